// The lab's network does what its drawing says (src/app/lab/topology.ts): who reaches whom, what the routers' NATs show of one
// socket, what they let in, and that nothing is left behind. Needs root; small UDP probes run inside the namespaces.

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LAB_ADDRESSES, LAB_ROUTERS } from '../../src/app/lab/addresses.ts';
import { type LabHost, LabNetwork } from '../../src/app/lab/topology.ts';
import { removeStaleGroups } from '../../src/io/host/netns.ts';

const missing =
  process.getuid?.() !== 0
    ? 'root'
    : ['ip', 'nft', 'ping'].find((name) => spawnSync('which', [name]).status !== 0);
if (missing) console.warn(`skipped: the lab's network needs ${missing}`);

const folder = mkdtempSync(join(tmpdir(), 'lab-'));
const CLIENT_OUTSIDE = LAB_ROUTERS['client-router'].outside.ipv4;
const GATEWAY_OUTSIDE = LAB_ROUTERS['gateway-router'].outside.ipv4;

/** Answers each datagram with the address and port that it came from. */
const ECHO = `
const socket = require('dgram').createSocket('udp4');
socket.on('message', (_, from) => socket.send(from.address + ':' + from.port, from.port, from.address));
socket.bind(Number(process.argv[1]), () => console.log('ready'));
`;
/** Sends from one socket to each "address:port" and prints what came within the time, as JSON. */
const PROBE = `
const socket = require('dgram').createSocket('udp4');
const [port, milliseconds, ...targets] = process.argv.slice(1);
const got = {};
socket.on('message', (text, from) => { got[from.address + ':' + from.port] = text.toString(); });
socket.bind(Number(port), () => {
  const send = () => { for (const t of targets) { const [a, p] = t.split(':'); socket.send('hello', Number(p), a); } };
  send();
  const timer = setInterval(send, 50);
  setTimeout(() => { clearInterval(timer); socket.close(); console.log(JSON.stringify(got)); }, Number(milliseconds));
});
`;

afterAll(() => rmSync(folder, { recursive: true, force: true }));

class Bench {
  readonly network: LabNetwork;

  constructor(network: LabNetwork) {
    this.network = network;
  }

  async reaches(host: LabHost, address: string): Promise<boolean> {
    const command = ['ping', '-c', '1', '-W', '1', '-i', '0.2', address];
    return (await this.network.exec(host, command)).code === 0;
  }

  async echo(host: LabHost, port: number): Promise<void> {
    const log = join(folder, `echo-${this.network.namespaceOf(host)}-${port}`);
    const args = ['-e', ECHO, String(port)];
    this.network.spawn(host, process.execPath, args, process.env, log);
    while (!existsSync(log) || readFileSync(log, 'utf8') !== 'ready\n') {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async probe(host: LabHost, port: number, ms: number, targets: readonly string[]) {
    const command = [process.execPath, '-e', PROBE, String(port), String(ms), ...targets];
    const { code, stdout, stderr } = await this.network.exec(host, command);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as Record<string, string>;
  }
}

function leftovers(network: LabNetwork): string[] {
  const prefix = network.namespaceOf('portal').replace(/portal$/, '');
  return ['/run/netns', '/etc/netns', '/run/firezone-lab']
    .filter((path) => existsSync(path))
    .flatMap((path) => readdirSync(path))
    .filter((name) => name.startsWith(prefix) || prefix.includes(`-${name}-`));
}

describe.skipIf(missing)('the network of the lab', () => {
  let network: LabNetwork;
  let bench: Bench;
  beforeAll(async () => {
    network = await LabNetwork.create({
      clientNat: 'port-keeping',
      gatewayNat: 'port-keeping',
      ipv6: true,
    });
    bench = new Bench(network);
    await bench.echo('portal', 7000);
    await bench.echo('relay-1', 7000);
  });
  afterAll(() => {
    network.destroy();
    expect(leftovers(network)).toEqual([]);
  });

  it('lets everybody reach the portal and the relays, in both families', async () => {
    const { portal, relay1, relay2 } = LAB_ADDRESSES;
    for (const host of ['client', 'gateway', 'relay-1'] as const) {
      const targets = [portal, relay1, relay2].flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);
      const reached = await Promise.all(targets.map((target) => bench.reaches(host, target)));
      expect(reached).toEqual(targets.map(() => true));
    }
  });

  it('lets only the gateway reach the resources', async () => {
    const { resourceWeb, filtered } = LAB_ADDRESSES;
    const targets = [resourceWeb.ipv4, resourceWeb.ipv6, filtered.ipv4, filtered.ipv6];
    for (const target of targets) expect(await bench.reaches('gateway', target)).toBe(true);
    const others = await Promise.all(targets.map((target) => bench.reaches('client', target)));
    expect(others).toEqual([false, false, false, false]);
  });

  it('lets nobody from outside reach client and gateway', async () => {
    const { client, gateway } = LAB_ADDRESSES;
    const attempts = await Promise.all([
      bench.reaches('portal', client.ipv4),
      bench.reaches('portal', client.ipv6),
      bench.reaches('client', gateway.ipv4),
      bench.reaches('client', gateway.ipv6),
      bench.reaches('gateway', client.ipv6),
    ]);
    expect(attempts).toEqual([false, false, false, false, false]);
  });

  it('has names and resolvers of its own on each host', async () => {
    const { stdout } = await network.exec('client', ['getent', 'ahostsv4', 'portal']);
    expect(stdout).toContain(LAB_ADDRESSES.portal.ipv4);
    const resolver = await network.exec('gateway', ['cat', '/etc/resolv.conf']);
    expect(resolver.stdout).toBe(`nameserver ${LAB_ADDRESSES.resourceDns.ipv4}\n`);
    await network.exec('client', ['sh', '-c', 'echo nameserver 192.0.2.1 > /etc/resolv.conf']);
    expect(network.readEtcFile('client', 'resolv.conf')).toBe('nameserver 192.0.2.1\n');
  });

  it('shows one socket with one address, its own port, behind a port-keeping router', async () => {
    const [portal, relay] = [LAB_ADDRESSES.portal.ipv4, LAB_ADDRESSES.relay1.ipv4];
    expect(await bench.probe('client', 52625, 300, [`${portal}:7000`, `${relay}:7000`])).toEqual({
      [`${portal}:7000`]: `${CLIENT_OUTSIDE}:52625`,
      [`${relay}:7000`]: `${CLIENT_OUTSIDE}:52625`,
    });
  });

  it('lets two sockets behind port-keeping routers find each other', async () => {
    const [left, right] = await Promise.all([
      bench.probe('client', 52630, 1000, [`${GATEWAY_OUTSIDE}:52630`]),
      bench.probe('gateway', 52630, 1000, [`${CLIENT_OUTSIDE}:52630`]),
    ]);
    expect(left).toEqual({ [`${GATEWAY_OUTSIDE}:52630`]: 'hello' });
    expect(right).toEqual({ [`${CLIENT_OUTSIDE}:52630`]: 'hello' });
  });

  it('shows one socket with a port for each destination behind a symmetric router', async () => {
    await network.setNat('client-router', 'symmetric');
    const [portal, relay] = [LAB_ADDRESSES.portal.ipv4, LAB_ADDRESSES.relay1.ipv4];
    const seen = Object.values(
      await bench.probe('client', 52625, 300, [`${portal}:7000`, `${relay}:7000`]),
    );
    expect(seen).toHaveLength(2);
    expect(seen.every((text) => text.startsWith(`${CLIENT_OUTSIDE}:`))).toBe(true);
    expect(new Set([...seen, `${CLIENT_OUTSIDE}:52625`]).size).toBe(3);

    const [left, right] = await Promise.all([
      bench.probe('client', 52631, 800, [`${GATEWAY_OUTSIDE}:52631`]),
      bench.probe('gateway', 52631, 800, [`${CLIENT_OUTSIDE}:52631`]),
    ]);
    expect([left, right]).toEqual([{}, {}]);
  });

  it('routes both ways without NAT', async () => {
    await network.setNat('client-router', 'none');
    const portal = LAB_ADDRESSES.portal.ipv4;
    expect(await bench.probe('client', 52625, 300, [`${portal}:7000`])).toEqual({
      [`${portal}:7000`]: `${LAB_ADDRESSES.client.ipv4}:52625`,
    });
    expect(await bench.reaches('portal', LAB_ADDRESSES.client.ipv4)).toBe(true);
    await network.setNat('client-router', 'port-keeping');
    expect(await bench.reaches('portal', LAB_ADDRESSES.client.ipv4)).toBe(false);
  });

  it('lets UDP through to relays only, or loses some, as told', async () => {
    const [portal, relay] = [LAB_ADDRESSES.portal.ipv4, LAB_ADDRESSES.relay1.ipv4];
    await bench.echo('relay-1', 3478);
    await network.setRules('client-router', { relaysOnly: true });
    const targets = [`${portal}:7000`, `${relay}:3478`];
    expect(Object.keys(await bench.probe('client', 52640, 300, targets))).toEqual([
      `${relay}:3478`,
    ]);
    await network.setRules('client-router', { relaysOnly: false, lossPercent: 100 });
    expect(await bench.probe('client', 52641, 300, targets)).toEqual({});
    await network.setRules('client-router', { lossPercent: 0 });
    expect(Object.keys(await bench.probe('client', 52642, 300, targets))).toHaveLength(2);
  });

  it('moves the client to other addresses, with a dead time between', async () => {
    const inside = { ipv4: '10.30.0.200', ipv6: '2001:db8:30::200' };
    const outside = { ipv4: '203.0.113.203', ipv6: '2001:db8::203' };
    const { portal } = LAB_ADDRESSES;
    await network.setClientLink(false);
    expect(await bench.reaches('client', portal.ipv4)).toBe(false);
    await network.setClientAddress(inside, outside);
    await network.setClientLink(true);
    expect(await bench.probe('client', 52625, 300, [`${portal.ipv4}:7000`])).toEqual({
      [`${portal.ipv4}:7000`]: `${outside.ipv4}:52625`,
    });
    expect(await bench.reaches('client', portal.ipv6)).toBe(true);
    const { stdout } = await network.exec('client', ['ip', '-br', 'addr', 'show', 'eth0']);
    expect(stdout).toContain('10.30.0.200/24 2001:db8:30::200/64');
    expect(stdout).not.toContain('.100/');
  });
});

describe.skipIf(missing)('without IPv6', () => {
  it('has none anywhere', async () => {
    const network = await LabNetwork.create({
      clientNat: 'symmetric',
      gatewayNat: 'symmetric',
      ipv6: false,
    });
    try {
      const { stdout } = await network.exec('gateway', ['ip', '-6', 'addr']);
      expect(stdout.trim()).toBe('');
      expect(await new Bench(network).reaches('client', LAB_ADDRESSES.portal.ipv4)).toBe(true);
    } finally {
      network.destroy();
    }
    expect(leftovers(network)).toEqual([]);
  });
});

describe.skipIf(missing)('a lab whose owner was killed', () => {
  it('is removed by the next one, with the programs that still run in it', () => {
    const id = 'dead00';
    const ns = `fz-${id}-portal`;
    spawnSync('ip', ['netns', 'add', ns]);
    mkdirSync('/run/firezone-lab', { recursive: true });
    const dead = spawnSync(process.execPath, ['-e', 'console.log(process.pid)'], {
      encoding: 'utf8',
    });
    writeFileSync(`/run/firezone-lab/${id}`, `${dead.stdout.trim()} 12345\n`);
    const script = `ip netns exec ${ns} sleep 1000 > /dev/null 2>&1 & echo $!`;
    const pid = spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout.trim();
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    expect(removeStaleGroups()).toContain(id);
    expect(existsSync(`/run/netns/${ns}`)).toBe(false);
    const state = existsSync(`/proc/${pid}/stat`)
      ? readFileSync(`/proc/${pid}/stat`, 'utf8')
      : ' Z ';
    expect(state).toContain(' Z ');
  });
});
