// The WAN itself, between two namespaces: it delays, loses, reorders and limits as it is told, the same for the same seed.
//
//   left 192.0.2.1/24 ── WAN ── 192.0.2.2/24 right

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NamespaceGroup } from '../../../src/io/host/netns.ts';
import { Wan, type WanFlags } from './wan.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const isMissing = process.getuid?.() !== 0 || spawnSync('ping', ['-V']).status !== 0;
if (isMissing) console.warn('skipped: the WAN needs root and ping');

const RECEIVER = `
const socket = require('dgram').createSocket('udp4');
const got = [];
socket.on('message', (bytes) => got.push([bytes.readUInt32BE(0), performance.now()]));
socket.bind(7000, () => console.log('ready'));
setTimeout(() => { console.log(JSON.stringify(got)); process.exit(); }, Number(process.argv[1]));
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

  /** Numbers and times of the datagrams that arrived. */
  async function send(count: number, length: number, ms: number): Promise<[number, number][]> {
    const receiver = group.exec('right', [process.execPath, '-e', RECEIVER, String(ms)]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await group.exec('left', [process.execPath, '-e', SENDER, String(count), String(length)]);
    const { stdout } = await receiver;
    return JSON.parse(stdout.split('\n')[1] ?? '[]') as [number, number][];
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
      const numbers = (await send(300, 100, 2_500)).map(([number]) => number);
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
    const numbers = (await send(300, 100, 2_500)).map(([number]) => number);
    expect(numbers).toHaveLength(300);
    expect(numbers).not.toEqual([...numbers].sort((a, b) => a - b));
  });

  it('keeps to its rate, and drops what finds its queue full', async () => {
    await start({ mbit: 8, queue: 64 });
    const got = await send(500, 1_000, 3_000);
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
    const server = group.exec('right', [
      process.execPath,
      '-e',
      `require('http').createServer((_, r) => r.end(Buffer.alloc(3e6))).listen(80); setTimeout(() => process.exit(), 5000)`,
    ]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await wan?.change({ loss: 2, rtt: 4 });
    const { code, stdout } = await group.exec('left', [
      'sh',
      '-c',
      'curl -s --max-time 20 http://192.0.2.2/ | wc -c',
    ]);
    expect([code, stdout.trim()]).toEqual([0, '3000000']);
    await server;
    const report = await wan?.stop();
    wan = undefined;
    expect(report?.toLeft['loss']).toBeGreaterThan(10);
    expect(report?.toLeft['passed']).toBeGreaterThan(2_000);
    expect(report?.toLeft).not.toHaveProperty('oversized');
  });
});
