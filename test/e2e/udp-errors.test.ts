// What an error of one datagram does to the others, in a namespace of our own: nothing. Root only. Loopback does not do, because there nothing is too big
// and everything is reachable.
//
//   v0 192.0.2.1/24, MTU 1280 --- v1 192.0.2.2/24, MTU 1500, in a namespace of its own; 198.51.100.0/24 is unreachable by route

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const HERE = `fz-udp-${process.pid}`;
const THERE = `fz-udp-${process.pid}-far`;
const isRoot = process.getuid?.() === 0;

/** Prints what `body` returns; `udp` is a native socket, `to` an endpoint, `counters` what they counted since. */
const script = (body: string): string => `
  const { UdpSocket } = await import('${ROOT}/dist/io/packets/udp.js');
  const { nativeCounters } = await import('${ROOT}/dist/io/packets/native.js');
  const { endpoint, parseIp } = await import('${ROOT}/dist/base/address.js');
  const { createReceiveBatch, PATH } = await import('${ROOT}/dist/base/batch.js');
  const udp = UdpSocket.open({ family: 4, port: 0 });
  const to = (address, port = 5000) => endpoint(parseIp(address), port);
  const send = (address, length, port) =>
    udp.send({ destination: to(address, port), payload: new Uint8Array(length), ecn: 0 });
  // A run of datagrams as one call with UDP_SEGMENT: three of that size and a shorter one.
  const forward = (size) => {
    const batch = createReceiveBatch(16 * 65536, 16, 64);
    batch.runs.set([0, 3 * size + 100, size]);
    batch.runCount = 1;
    const paths = new Int32Array(PATH.stride);
    paths.set([0, 0, 0xffff, (192 << 24) | (2 << 8) | 2], PATH.remote);
    paths[PATH.remotePort] = 5000;
    udp.forward(batch, 0, 0, 4, 0, paths, 0, 0);
  };
  const before = { ...nativeCounters() };
  const counters = () => Object.fromEntries(
    Object.entries(nativeCounters()).map(([name, value]) => [name, value - before[name]]).filter(([, value]) => value !== 0));
  const result = await (async () => { ${body} })();
  console.log(JSON.stringify({ result, counters: counters() }));
  process.exit(0);
`;

interface Outcome {
  readonly result: unknown;
  readonly counters: Readonly<Record<string, number>>;
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout;
}
const ip = (...args: string[]): string => run('ip', ...args);

function inside(body: string): Outcome {
  const node = [process.execPath, '--input-type=module', '-e', script(body)];
  return JSON.parse(ip('netns', 'exec', HERE, ...node));
}

describe.skipIf(!isRoot)('an error of the network', () => {
  beforeAll(() => {
    for (const name of [HERE, THERE]) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    ip(
      '-n',
      HERE,
      'link',
      'add',
      'v0',
      'mtu',
      '1280',
      'type',
      'veth',
      'peer',
      'name',
      'v1',
      'netns',
      THERE,
    );
    ip('-n', HERE, 'address', 'add', '192.0.2.1/24', 'dev', 'v0');
    ip('-n', THERE, 'address', 'add', '192.0.2.2/24', 'dev', 'v1');
    ip('-n', HERE, 'link', 'set', 'v0', 'up');
    ip('-n', THERE, 'link', 'set', 'v1', 'up');
    ip('-n', HERE, 'route', 'add', 'unreachable', '198.51.100.0/24');
  });

  afterAll(() => {
    for (const name of [HERE, THERE]) ip('netns', 'del', name);
  });

  test('does not cost the datagrams to others: unreachable by route, refused by port', () => {
    const { result, counters } = inside(`
      const outcomes = [];
      for (let i = 0; i < 50; i++) {
        send('198.51.100.7', 10);
        send('127.0.0.1', 10, 9);
        await new Promise((resolve) => setTimeout(resolve, 2));
        outcomes.push(send('192.0.2.2', 88));
      }
      return outcomes.filter((outcome) => outcome !== 'sent').length;`);
    expect(result).toBe(0);
    expect(counters).toMatchObject({ 'udp-send-unreachable': 50, 'udp-sent': 100 });
    expect(counters).not.toHaveProperty('udp-send-errors');
  });

  test('a datagram that is too big for the interface is counted under that name', () => {
    const { counters } = inside(`send('192.0.2.2', 1253); send('192.0.2.2', 1252);`);
    expect(counters).toMatchObject({ 'udp-send-too-big': 1, 'udp-sent': 1 });
  });

  test('a run of datagrams that are too big does not end segmentation for all others, and its last one, which fits, goes', () => {
    const { counters } = inside('forward(1300); forward(1200);');
    expect(counters).toMatchObject({ 'udp-send-too-big': 3, 'udp-sent': 5, 'udp-sent-runs': 1 });
    expect(counters).not.toHaveProperty('udp-segmentation-off');
  });

  test('what arrives behind a pending error arrives', () => {
    const { result } = inside(`
      const other = UdpSocket.open({ family: 4, port: 0 });
      const batch = createReceiveBatch(16 * 65536, 16, 64);
      let received = 0;
      for (let i = 0; i < 50; i++) {
        send('127.0.0.1', 10, 9);
        other.send({ destination: to('127.0.0.1', udp.port), payload: new Uint8Array(5), ecn: 0 });
        received += udp.receive(batch);
      }
      return received;`);
    expect(result).toBe(50);
  });
});
