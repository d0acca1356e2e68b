// Packets of every kind through client and gateway, sent and answered by ordinary programs in the lab's namespaces (issue: "Policy and packets,
// whole"). The kernel here has neither SCTP nor GRE: `socat` sends and answers packets of these protocols from raw sockets instead.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LAB_ADDRESSES } from '../../../src/app/lab/addresses.ts';
import { eventually } from '../../../src/app/lab/expectations.ts';
import { downloadDigest, fetchOk } from '../../../src/app/lab/http.ts';
import { Lab } from '../../../src/app/lab/lab.ts';
import { patternDigest } from '../../../src/app/lab/resource-server.ts';
import { DIRECT } from '../../../src/app/lab/router-rules.ts';
import { sctpInit, sctpInitAck } from './sctp-init.ts';

const missing =
  process.getuid?.() !== 0
    ? 'root'
    : ['ip', 'nft', 'ping', 'curl', 'traceroute', 'tracepath', 'socat', 'nc'].find(
        (name) => spawnSync('which', [name]).status !== 0,
      );
if (missing) console.warn(`skipped: packets of every kind need ${missing}`);

const here = dirname(fileURLToPath(import.meta.url));
const HOST = LAB_ADDRESSES.resourceHosts[0];
/** Something to carry: an Ethernet frame of zeros. */
const FRAME: Uint8Array = new Uint8Array(60);
const ECHO_PORT = 7_007;
/** Answers from the address that was asked; the lab's own echo, which is bound to none, does not. */
const ECHO = `
for (const host of process.argv.slice(2)) {
  const socket = require('dgram').createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address));
  socket.bind(Number(process.argv[1]), host);
}`;

async function start(settings: Readonly<Record<string, string>> = {}): Promise<Lab> {
  return Lab.create({ ...DIRECT, keepLogs: false, onProgress: () => {}, settings });
}

/** Runs a shell command on the client; its output, both streams. */
async function run(lab: Lab, script: string, timeoutMs = 90_000): Promise<string> {
  const { stdout, stderr } = await lab.exec('client', ['sh', '-c', script], timeoutMs);
  return `${stdout}${stderr}`;
}

/** Starts a program on the resource's host and waits until `isReady` says so. */
async function serve(
  lab: Lab,
  name: string,
  command: readonly string[],
  ready: string,
): Promise<void> {
  const [program = '', ...args] = command;
  lab.network.spawn('resource', program, args, process.env, join(lab.folder, `${name}.log`));
  await eventually(`${name} is ready`, 10_000, async () => {
    const { code } = await lab.exec('resource', ['sh', '-c', ready]);
    return code === 0 ? true : undefined;
  });
}

/** A shell's question whether somebody on the host has this UDP port, or raw protocol. */
function isBound(table: 'udp6' | 'raw', port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return `grep -q ':${hex} ' /proc/net/${table}`;
}

describe.skipIf(missing)('packets of every kind', () => {
  let made: Lab | undefined;
  const lab = (): Lab => made ?? expect.unreachable();

  beforeAll(async () => {
    made = await start();
    await fetchOk(lab(), lab().urls.httpIpv4);
    await fetchOk(lab(), lab().urls.httpIpv6);
    const echo = [process.execPath, '-e', ECHO, String(ECHO_PORT), HOST.ipv4, HOST.ipv6];
    await serve(lab(), 'echo', echo, isBound('udp6', ECHO_PORT));
    // The resource learns from its first answer that the tunnel carries 1280.
    await run(lab(), `ping -6 -n -c 2 -i 0.2 -s 1400 ${HOST.ipv6}`);
  });
  afterAll(() => made?.close());

  it.each([
    ['-4', HOST.ipv4],
    ['-6', HOST.ipv6],
  ])('ping %s: every size from 1 to 1,500', async (family, host) => {
    const loop = (first: number): string =>
      `for s in $(seq ${first} 4 1500); do ping ${family} -n -q -c 1 -W 5 -s $s ${host} > /dev/null || echo "lost $s"; done`;
    const lost = await Promise.all([1, 2, 3, 4].map((first) => run(lab(), loop(first), 170_000)));
    expect(lost.join('')).toBe('');
  });

  it('ping -M do: what the tunnel carries, and no byte more', async () => {
    expect(await run(lab(), `ping -n -c 1 -W 5 -M do -s 1252 ${HOST.ipv4}`)).toContain(
      '1 received',
    );
    expect(await run(lab(), `ping -n -c 1 -W 5 -M do -s 1253 ${HOST.ipv4}`)).toMatch(
      /mtu[ =:]+1280/,
    );
    expect(await run(lab(), `ping -6 -n -c 1 -W 5 -M do -s 1232 ${HOST.ipv6}`)).toContain(
      '1 received',
    );
    expect(await run(lab(), `ping -6 -n -c 1 -W 5 -M do -s 1233 ${HOST.ipv6}`)).toMatch(
      /mtu[ =:]+1280/,
    );
  });

  it('path-MTU discovery towards a resource: its network carries less than the tunnel', async () => {
    // Less than 1280 for the interface itself would be the end of IPv6 there.
    const setMtu = (mtu: string): Promise<unknown> =>
      lab().exec('gateway', ['sh', '-c', `ip route replace 10.20.0.0/24 dev res0 ${mtu}`]);
    await setMtu('mtu lock 900');
    try {
      const told = await run(lab(), `ping -n -c 2 -i 0.3 -W 5 -M do -s 1000 ${HOST.ipv4}`);
      expect(told).toMatch(/mtu[ =:]+900/);
      const { digest } = await downloadDigest(lab(), lab().urls.bytes(1_000_000), 60_000);
      expect(digest).toBe(patternDigest(1_000_000));
    } finally {
      await setMtu('');
      await run(lab(), 'ip route flush cache; ip -6 route flush cache');
    }
  });

  it('traceroute by UDP and ICMP: the gateway, then the resource', async () => {
    for (const flags of ['-4 -U -p 40000', '-4 -I', '-6 -U -p 40000', '-6 -I']) {
      const host = flags.startsWith('-4') ? HOST.ipv4 : HOST.ipv6;
      const hops = await run(lab(), `traceroute ${flags} -n -q 1 -w 3 -m 5 ${host}`);
      expect(hops).toMatch(/^ *1 +(100\.(6[4-9]|[78]\d|9[0-5])\.|fd00:2021:1111:)/m);
      expect(hops).toMatch(new RegExp(`^ *2 +${host.replaceAll('.', '\\.')}`, 'm'));
    }
  });

  it('tracepath: the path carries 1280', async () => {
    const path = await run(lab(), `tracepath -n -m 5 ${HOST.ipv4}`);
    expect(path).toMatch(/pmtu 1280/);
    expect(path).toContain(`${HOST.ipv4}`);
    expect(path).toContain('reached');
  });

  it('nc -u: a datagram and its answer', async () => {
    for (const host of [HOST.ipv4, HOST.ipv6])
      expect(await run(lab(), `echo hello | nc -u -w 2 ${host} ${ECHO_PORT}`)).toBe('hello\n');
  });

  it.each([32_768, 65_000])(
    'a UDP datagram of %i bytes and its answer, in fragments',
    async (size) => {
      for (const host of [`UDP4:${HOST.ipv4}`, `UDP6:[${HOST.ipv6}]`]) {
        const answer = await run(
          lab(),
          `head -c ${size} /dev/urandom > ${lab().folder}/sent; ` +
            `socat -b 65536 -t 3 - ${host}:${ECHO_PORT} < ${lab().folder}/sent > ${lab().folder}/got; ` +
            `cmp ${lab().folder}/sent ${lab().folder}/got && stat -c %s ${lab().folder}/got`,
        );
        expect(answer).toBe(`${size}\n`);
      }
      const { client } = (await lab().state('client')) ?? {};
      expect(JSON.stringify(client)).not.toContain('fragment-');
    },
  );

  it('FTP in passive mode', async () => {
    const server = [process.execPath, join(here, 'ftp-server.cjs'), HOST.ipv4, '2121', '300000'];
    await serve(lab(), 'ftp', server, `nc -z ${HOST.ipv4} 2121`);
    for (const mode of ['--ftp-pasv --disable-epsv', '--ftp-pasv']) {
      const size = await run(lab(), `curl -sS -m 20 ${mode} ftp://${HOST.ipv4}:2121/file | wc -c`);
      expect(size).toBe('300000\n');
    }
  });

  it.each([
    [
      'GRE',
      47,
      Uint8Array.of(0, 0, 0x65, 0x58, ...FRAME),
      Uint8Array.of(0, 0, 0x65, 0x58, 9, ...FRAME),
    ],
    ['ESP', 50, Uint8Array.of(0, 0, 1, 1, 0, 0, 0, 1, 7), Uint8Array.of(0, 0, 1, 2, 0, 0, 0, 1, 9)],
    ['SCTP', 132, sctpInit(4_000, 5_000), sctpInitAck(5_000, 4_000)],
  ])('%s: a packet, and the answer comes back', async (name, protocol, request, answer) => {
    writeFileSync(join(lab().folder, `${name}-request`), request);
    writeFileSync(join(lab().folder, `${name}-answer`), answer);
    const reply = `SYSTEM:cat ${lab().folder}/${name}-answer`;
    const server = ['socat', `IP4-RECVFROM:${protocol},bind=${HOST.ipv4},fork`, reply];
    await serve(lab(), name, server, isBound('raw', protocol));
    const got = await run(
      lab(),
      `socat -t 3 -T 3 - IP4-SENDTO:${HOST.ipv4}:${protocol} < ${lab().folder}/${name}-request | od -An -v -tx1 | tr -d ' \\n'`,
    );
    expect(got).toContain(Buffer.from(answer).toString('hex'));
  });

  it('a name that has IPv6 addresses only', async () => {
    const page = await fetchOk(lab(), 'http://six.team.lab.test/');
    expect(page.body).toContain('six.team.lab.test');
    // IPv4 is refused at once, so that nobody waits for it.
    const over4 = await run(
      lab(),
      'curl -4 -sS -m 5 -o /dev/null -w "%{time_total} %{http_code}" http://six.team.lab.test/',
    );
    expect(over4).toMatch(/000$|Could not|Couldn't|No route/);
  });

  it('a client that has IPv6 only reaches resources of both families', async () => {
    await lab().client.stop();
    await lab().exec('client', ['sh', '-c', 'ip -4 addr flush dev eth0 scope global']);
    try {
      lab().client.start();
      await lab().waitUntilReady();
      await fetchOk(lab(), lab().urls.httpIpv4);
      await fetchOk(lab(), lab().urls.httpIpv6);
    } finally {
      await lab().client.stop();
      await lab().network.setClientAddress(LAB_ADDRESSES.client, {
        ipv4: '203.0.113.201',
        ipv6: '2001:db8::201',
      });
      lab().client.start();
      await lab().waitUntilReady();
    }
  });

  it('and nothing of all this was worth a warning', () => {
    expect(lab().warnings()).toEqual([]);
  });
});

describe.skipIf(missing)('with FIREZONE_TUN_MTU=1420', () => {
  let made: Lab | undefined;
  const lab = (): Lab => made ?? expect.unreachable();
  const ping = (size: number): Promise<string> =>
    run(lab(), `ping -n -c 1 -W 3 -M do -s ${size - 28} ${HOST.ipv4}`);

  beforeAll(async () => {
    made = await start({ FIREZONE_TUN_MTU: '1420' });
    await fetchOk(lab(), lab().urls.httpIpv4);
  });
  afterAll(() => made?.close());

  it('longer packets pass where the path carries them', async () => {
    await eventually('1420 bytes pass', 15_000, async () =>
      (await ping(1_420)).includes('1 received') ? true : undefined,
    );
    expect(await run(lab(), `ping -6 -n -c 1 -W 3 -M do -s 1372 ${HOST.ipv6}`)).toContain(
      '1 received',
    );
    expect(await ping(1_421)).toMatch(/mtu[ =:]+1420/);
    const { digest } = await downloadDigest(lab(), lab().urls.bytes(5_000_000), 60_000);
    expect(digest).toBe(patternDigest(5_000_000));
  });

  it('a path that gets narrower is noticed, and both ends send less', async () => {
    await lab().network.exec('client-router', ['ip', 'link', 'set', 'wan', 'mtu', '1400']);
    await lab().network.exec('gateway-router', ['ip', 'link', 'set', 'wan', 'mtu', '1400']);
    await eventually('packets are too big again', 60_000, async () =>
      /mtu[ =:]+1(280|336)/.test(await ping(1_420)) ? true : undefined,
    );
    const { digest } = await downloadDigest(lab(), lab().urls.bytes(2_000_000), 60_000);
    expect(digest).toBe(patternDigest(2_000_000));
  });
});
