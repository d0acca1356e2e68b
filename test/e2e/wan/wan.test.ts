// The WAN itself, between two namespaces: it delays, loses, reorders and limits as it is told, the same for the same seed.
//
//   left 192.0.2.1/24 ── WAN ── 192.0.2.2/24 right

import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NamespaceGroup } from '../../../src/io/host/netns.ts';
import { Wan, type WanFlags } from './wan.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const isMissing = process.getuid?.() !== 0 || spawnSync('ping', ['-V']).status !== 0;
if (isMissing) console.warn('skipped: the WAN needs root and ping');

/** Ends, with what it got, when its standard input does. */
const RECEIVER = `
const socket = require('dgram').createSocket('udp4');
const got = [];
socket.on('message', (bytes) => got.push([bytes.readUInt32BE(0), performance.now()]));
socket.bind(7000, () => console.log('ready'));
process.stdin.on('end', () => { console.log(JSON.stringify(got)); process.exit(); }).resume();
`;
const SERVER = `
const server = require('http').createServer((_, response) => response.end(Buffer.alloc(3e6)));
server.listen(80, () => console.log('ready'));
process.stdin.on('end', () => process.exit()).resume();
`;
const SENDER = `
const socket = require('dgram').createSocket('udp4');
const [count, length] = process.argv.slice(1).map(Number);
let sent = 0;
const send = () => {
  const bytes = Buffer.alloc(length);
  bytes.writeUInt32BE(sent++, 0);
  socket.send(bytes, 7000, '192.0.2.2', () => sent < count ? setImmediate(send) : socket.close());
};
send();
`;

describe.skipIf(isMissing)('the WAN', () => {
  let group: NamespaceGroup;
  let wan: Wan | undefined;

  beforeEach(() => {
    group = NamespaceGroup.create(['left', 'right']);
  });

  afterEach(async () => {
    await wan?.stop();
    wan = undefined;
    group.destroy();
  });

  async function start(flags: WanFlags): Promise<void> {
    const [left, right] = ['left', 'right'].map((host) => `${group.nameOf(host)}:wan`);
    wan = await Wan.start(ROOT, left ?? '', right ?? '', flags);
    for (const [index, host] of ['left', 'right'].entries()) {
      await group.configure(
        host,
        `echo 1 > /proc/sys/net/ipv6/conf/wan/disable_ipv6; ip addr add 192.0.2.${index + 1}/24 dev wan; ip link set wan up`,
      );
    }
  }

  async function ping(count: number): Promise<string> {
    const command = ['ping', '-n', '-q', '-c', String(count), '-i', '0.02', '-W', '1', '192.0.2.2'];
    return (await group.exec('left', command)).stdout;
  }

  /** Runs a program, which says when it is ready, until `use` is done; resolves with what it said then. */
  async function whileRunning(source: string, use: () => Promise<void>): Promise<string> {
    const args = ['netns', 'exec', group.nameOf('right'), process.execPath, '-e', source];
    const child = spawn('ip', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      expect((await lines.next()).value).toBe('ready');
      await use();
      child.stdin.end();
      return (await lines.next()).value ?? '';
    } finally {
      child.kill('SIGKILL');
    }
  }

  /** Numbers and times of the datagrams that arrived. */
  async function send(count: number, length: number): Promise<[number, number][]> {
    const text = await whileRunning(RECEIVER, async () => {
      await group.exec('left', [process.execPath, '-e', SENDER, String(count), String(length)]);
      // Echoes wait in the same queue: after their answers nothing of before is on its way.
      await ping(10);
    });
    return JSON.parse(text) as [number, number][];
  }

  it('takes half of the round trip in each direction', async () => {
    await start({ rtt: 100 });
    const fastest = Number(/= ([0-9.]+)\//.exec(await ping(10))?.[1]);
    expect(fastest).toBeGreaterThanOrEqual(100);
    expect(fastest).toBeLessThan(140);
  });

  it('loses the same packets for the same seed, and others for another', async () => {
    const arrived = async (seed: number): Promise<number[]> => {
      await start({ loss: 20, seed });
      const numbers = (await send(300, 100)).map(([number]) => number);
      await wan?.stop();
      wan = undefined;
      return numbers;
    };
    const first = await arrived(7);
    expect(first.length).toBeGreaterThan(200);
    expect(first.length).toBeLessThan(280);
    expect(first).toEqual([...first].sort((a, b) => a - b));
    expect(await arrived(7)).toEqual(first);
    expect(await arrived(8)).not.toEqual(first);
  });

  it('lets some packets be overtaken, and loses none of them', async () => {
    await start({ reorder: 20, 'reorder-ms': 20, rtt: 20 });
    const numbers = (await send(300, 100)).map(([number]) => number);
    expect(numbers).toHaveLength(300);
    expect(numbers).not.toEqual([...numbers].sort((a, b) => a - b));
  });

  it('keeps to its rate, and drops what finds its queue full', async () => {
    await start({ mbit: 8, queue: 64 });
    const got = await send(500, 1_000);
    // 64 KiB may wait, the rest is gone before there is room.
    expect(got.length).toBeGreaterThan(60);
    expect(got.length).toBeLessThan(500);
    const seconds = ((got.at(-1)?.[1] ?? 0) - (got[0]?.[1] ?? 0)) / 1_000;
    const mbit = ((got.length - 1) * 1_028 * 8) / seconds / 1e6;
    expect(mbit).toBeLessThan(9);
    expect(mbit).toBeGreaterThan(4);
    const report = await wan?.stop();
    wan = undefined;
    expect(report?.toRight['queue-full']).toBe(500 - got.length);
  });

  it('carries super-packets of the kernel as packets, each with its own fate, and changes while it runs', async () => {
    await start({});
    await whileRunning(SERVER, async () => {
      await wan?.change({ loss: 2, rtt: 4 });
      const download = 'curl -s --max-time 20 http://192.0.2.2/ | wc -c';
      const { code, stdout } = await group.exec('left', ['sh', '-c', download]);
      expect([code, stdout.trim()]).toEqual([0, '3000000']);
    });
    const report = await wan?.stop();
    wan = undefined;
    expect(report?.toLeft['loss']).toBeGreaterThan(10);
    expect(report?.toLeft['passed']).toBeGreaterThan(2_000);
    expect(report?.toLeft).not.toHaveProperty('oversized');
  });
});
