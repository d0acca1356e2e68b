// Scenarios with a real TUN device, each run in a network namespace of its own by kernel-tun.test.ts:
//
//   node kernel-scenarios.mjs NAME      prints one JSON document

import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { IpAddress, IpNetwork } from '../../../src/base/address.ts';
import { endpoint, parseIp, parseNetwork, writeAddressWords } from '../../../src/base/address.ts';
import type { ReceiveBatch, TunBatch } from '../../../src/base/batch.ts';
import {
  createReceiveBatch,
  createTunBatch,
  GSO_TYPE,
  PATH,
  RUN,
  SUPER,
  TUN_PACKET,
  VERDICT,
} from '../../../src/base/batch.ts';
import { at, concat, viewOf } from '../../../src/base/bytes.ts';
import {
  installRules,
  removeRules,
  TUNNEL_TABLE,
  TunnelInterface,
} from '../../../src/io/host/interface.ts';
import { NativeAead } from '../../../src/io/packets/aead.ts';
import { nativeCounters } from '../../../src/io/packets/native.ts';
import { TunDevice } from '../../../src/io/packets/tun.ts';
import { TunnelSockets, UdpSocket } from '../../../src/io/packets/udp.ts';
import { segmentTunPacket } from '../../../src/proto/batch/segment.ts';
import { openedBatch, tunBatch } from '../../compliance/packets.ts';

const KEY = new Uint8Array(32).fill(9);

function ip(text: string): IpAddress {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

function networkOf(text: string): IpNetwork {
  const parsed = parseNetwork(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}

const run = (...command: string[]): string => {
  const [program = '', ...args] = command;
  return execFileSync(program, args, { encoding: 'utf8' });
};

/** Sets an interface up twice, differently, and shows what the kernel then says. */
function configureInterface(): unknown {
  const tun = TunDevice.open('tun-test');
  const device = new TunnelInterface('tun-test');
  device.configure({ addresses: [ip('100.64.0.1'), ip('fd00:2021:1111::1')] });
  const result = device.configure({ addresses: [ip('100.64.0.2'), ip('fd00:2021:1111::1')] });
  device.setRoutes([networkOf('100.64.0.0/11'), networkOf('10.0.0.0/8')], TUNNEL_TABLE);
  const routes = [networkOf('100.64.0.0/11'), networkOf('fd00:2021:1111::/107')];
  const problems = [...device.setRoutes(routes, TUNNEL_TABLE), ...installRules([4, 6])];
  const again = installRules([4, 6]).length;
  const table = String(TUNNEL_TABLE);
  const shown = {
    families: result.families,
    problems: problems.length + again,
    link: JSON.parse(run('ip', '-j', 'addr', 'show', 'tun-test')),
    routes4: JSON.parse(run('ip', '-j', '-4', 'route', 'show', 'table', table)),
    routes6: JSON.parse(run('ip', '-j', '-6', 'route', 'show', 'table', table)),
    rules: run('ip', 'rule').includes('not from all fwmark 0xfd002021 lookup 539098368'),
  };
  removeRules([4, 6]);
  const left = run('ip', 'rule').includes('0xfd002021');
  tun.close();
  return { ...shown, left };
}

/** Datagrams into the TUN by segmentation offload, back out of it as one gathered super-packet. */
async function echoThroughTun(family: 4 | 6): Promise<unknown> {
  const tun = TunDevice.open('tun-test');
  const [ours, far] = family === 4 ? ['10.9.0.1', '10.9.0.2'] : ['fd09::1', 'fd09::2'];
  const device = new TunnelInterface('tun-test');
  device.configure({ addresses: [ip(ours)] });
  device.setRoutes([networkOf(far)]);
  const socket = UdpSocket.open({ family, address: ip(ours), port: 0 });
  const source = createReceiveBatch(65_536, 1, 64);
  const payload = concat(...Array.from({ length: 20 }, (_, i) => new Uint8Array(500).fill(i)));
  source.slab.set(payload);
  source.runs.set([0, payload.length, 500]);
  source.runCount = 1;
  const paths = new Int32Array(PATH.stride);
  writeAddressWords(ip(far), paths, PATH.remote);
  paths[PATH.remotePort] = 7;
  const forwarded = socket.forward(source, 0, 0, 20, 0, paths, 0, 0);

  const batch = createTunBatch(160 * 1024, 64);
  const packets: Uint8Array[] = [];
  const gsoTypes: number[] = [];
  for (let i = 0; i < 20 && packets.length < 20; i++) {
    if (tun.read(batch) === 0) await sleep(10);
    collectPackets(batch, packets, gsoTypes);
  }
  // Addresses and ports change places; the sums stay as they are.
  const length = family === 4 ? 4 : 16;
  const first = family === 4 ? 12 : 8;
  for (const packet of packets) {
    swap(packet, first, first + length, length);
    swap(packet, first + 2 * length, first + 2 * length + 2, 2);
  }
  const back = openedBatch(packets.map((packet) => ({ packet })));
  new NativeAead(1).gather(back);
  for (let i = 0; i < back.superCount; i++) {
    back.superPackets[i * SUPER.stride + SUPER.verdict] = VERDICT.forward;
  }
  const before = nativeCounters()['tun-written'];
  tun.write(back);
  const received = createReceiveBatch(16 * 65_536, 16, 64);
  let bytes = 0;
  for (let i = 0; i < 50 && bytes < payload.length; i++) {
    if (socket.receive(received) === 0) await sleep(10);
    for (let run = 0; run < received.runCount; run++) {
      bytes += at(received.runs, run * RUN.stride + RUN.length);
    }
  }
  socket.close();
  tun.close();
  return {
    offloads: tun.offloads,
    forwarded,
    wasSuperPacket: gsoTypes.includes(GSO_TYPE.udp),
    packets: packets.length,
    superPackets: back.superCount,
    written: nativeCounters()['tun-written'] - before,
    bytes,
  };
}

function collectPackets(batch: TunBatch, packets: Uint8Array[], gsoTypes: number[]): void {
  for (let i = 0; i < batch.packetCount; i++) {
    const row = i * TUN_PACKET.stride;
    const segments = segmentTunPacket(batch, row);
    if (typeof segments === 'string' || at(segments, 0).length < 500) continue;
    gsoTypes.push(at(batch.packets, row + TUN_PACKET.gsoType));
    packets.push(...segments);
  }
}

function swap(packet: Uint8Array, a: number, b: number, length: number): void {
  const copy = packet.slice(a, a + length);
  packet.copyWithin(a, b, b + length);
  packet.set(copy, b);
}

/** A network slower than we are: sends must wait in order, and none of what was accepted may be lost. */
async function sendIntoSlowNetwork(): Promise<unknown> {
  const limits = ['rate', '100mbit', 'burst', '70kb', 'limit', '20mb'];
  run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'tbf', ...limits);
  const loopback = ip('127.0.0.1');
  const receiver = UdpSocket.open({ family: 4, address: loopback, port: 0 });
  const far = endpoint(loopback, receiver.port);
  const sockets = TunnelSockets.open({ port: 0, addresses: [loopback], sendBuffer: 65_536 });
  const aead = new NativeAead(1);
  aead.install(KEY, KEY, 1);
  writeAddressWords(far.address, aead.paths, PATH.remote);
  aead.paths[PATH.remotePort] = far.port;
  aead.paths[PATH.usable] = 1;
  const packet = new Uint8Array(1000);
  packet.set([0x45, 0, 1000 >> 8, 1000 & 255]);
  const batch = tunBatch(Array.from({ length: 64 }, () => ({ packet, slot: 0 })));

  let drained = 0;
  let sent = 0;
  let blocked = 0;
  sockets.onDrained(() => drained++);
  sockets.onReadable(() => {});
  for (let i = 0; i < 16; i++) {
    sent += batch.packetCount;
    if (!sockets.sealSend(batch, aead)) blocked++;
  }
  const control = sockets.send({ destination: far, payload: Uint8Array.of(1, 2, 3), ecn: 0 });
  const counters: number[] = [];
  let controls = 0;
  const received = createReceiveBatch(16 * 65_536, 16, 64);
  for (let i = 0; i < 200 && counters.length + controls < sent + 1; i++) {
    if (receiver.receive(received) === 0) await sleep(5);
    for (const datagram of datagramsOf(received)) {
      if (datagram.length === 3) controls++;
      else counters.push(viewOf(datagram).getUint32(8, true));
    }
  }
  const isBlocked = sockets.isBlocked;
  sockets.close();
  receiver.close();
  return {
    control,
    controls,
    blocked,
    drained,
    isBlocked,
    sent,
    received: counters.length,
    inOrder: counters.every((counter, i) => counter === i),
    dropped: nativeCounters()['udp-send-queue-full'],
  };
}

function datagramsOf(batch: ReceiveBatch): Uint8Array[] {
  const datagrams: Uint8Array[] = [];
  for (let row = 0; row < batch.runCount * RUN.stride; row += RUN.stride) {
    const start = at(batch.runs, row + RUN.offset);
    const end = start + at(batch.runs, row + RUN.length);
    const segment = at(batch.runs, row + RUN.segmentLength);
    for (let offset = start; offset < end; offset += segment) {
      datagrams.push(batch.slab.slice(offset, Math.min(end, offset + segment)));
    }
  }
  return datagrams;
}

const scenarios: Readonly<Record<string, () => unknown>> = {
  interface: configureInterface,
  echo4: () => echoThroughTun(4),
  echo6: () => echoThroughTun(6),
  slow: sendIntoSlowNetwork,
};
run('ip', 'link', 'set', 'lo', 'up');
const result = await scenarios[process.argv[2] ?? '']?.();
console.log(JSON.stringify(result));
process.exit(0);
