// The native half of the data path without network or kernel: open and gather a batch of 16 runs, segment and seal a batch of
// super-packets. Prints nanoseconds of CPU per packet, for each backend of the cipher; fails if warm calls cause garbage collection (anchors 12.8).

import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { endpoint, parseIp, writeAddressWords } from '../src/base/address.ts';
import type { TransportAead } from '../src/base/batch.ts';
import {
  createReceiveBatch,
  createTunBatch,
  DATAGRAM,
  GSO_TYPE,
  PATH,
  RUN,
  TUN_FLAG,
  TUN_PACKET,
} from '../src/base/batch.ts';
import { viewOf } from '../src/base/bytes.ts';
import { type CipherBackend, cipherKernelsProblem, NativeAead } from '../src/io/packets/aead.ts';
import { TunnelSockets, UdpSocket } from '../src/io/packets/udp.ts';
import { checksumOf, sumBytes } from '../src/wire/ip/checksum.ts';

const KEY: Uint8Array = new Uint8Array(32).fill(7);
const TCP = 6;
const RUNS = 16;
const SEGMENTS = 49;
const PAYLOAD = 1228;
const PACKET = 40 + PAYLOAD;
const MESSAGE = PACKET + 32;

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

function tcpPacket(sequence: number): Uint8Array {
  const packet = new Uint8Array(PACKET);
  const view = viewOf(packet);
  packet.set([0x45, 0, PACKET >> 8, PACKET & 255, 0, 0, 0x40, 0, 64, 6]);
  packet.set([100, 64, 0, 2, 10, 0, 0, 1, 0x10, 0, 1, 0xbb], 12);
  view.setUint32(24, sequence);
  packet.set([0x50, 0x10, 1, 0], 32);
  view.setUint16(10, checksumOf(sumBytes(view, 0, 20)));
  const pseudo = sumBytes(view, 12, 8) + TCP + PACKET - 20;
  view.setUint16(36, checksumOf(pseudo + sumBytes(view, 20, PACKET - 20)));
  return packet;
}

/** Runs `work` until a million packets went through; one call handles `packets`. */
async function measure(name: string, packets: number, work: () => void): Promise<void> {
  for (let i = 0; i < 200; i++) work();
  globalThis.gc?.();
  await sleep(20); // lets the observer see what came before
  collections = 0;
  const calls = Math.ceil(1e6 / packets);
  const before = process.cpuUsage();
  for (let i = 0; i < calls; i++) work();
  const used = process.cpuUsage(before);
  const nanoseconds = ((used.user + used.system) * 1000) / (calls * packets);
  await sleep(20);
  const verdict = collections === 0 ? '' : `  ALLOCATES: ${collections} collections`;
  console.log(`${name.padEnd(42)} ${nanoseconds.toFixed(0).padStart(6)} ns/packet${verdict}`);
  if (collections > 0) process.exitCode = 1;
}

async function benchOpen(backend: CipherBackend): Promise<void> {
  const aead: TransportAead = new NativeAead(1, backend);
  const slot = aead.install(KEY, KEY, 1);
  const pristine = new Uint8Array(RUNS * 65_536);
  const batch = createReceiveBatch(RUNS * 65_536, RUNS, RUNS * 64);
  for (let run = 0; run < RUNS; run++) {
    for (let i = 0; i < SEGMENTS; i++) {
      const message = aead.sealOne(slot, tcpPacket((run * SEGMENTS + i) * PAYLOAD));
      pristine.set(message, run * 65_536 + i * MESSAGE);
    }
    batch.runs.set([run * 65_536, SEGMENTS * MESSAGE, MESSAGE], run * RUN.stride);
    batch.runs[run * RUN.stride + RUN.slot] = slot;
  }
  batch.runCount = RUNS;
  await measure('copy 1 MiB (to be subtracted)', RUNS * SEGMENTS, () => batch.slab.set(pristine));
  await measure(`open and gather, ${backend}`, RUNS * SEGMENTS, () => {
    batch.slab.set(pristine);
    aead.open(batch);
    for (let i = 0; i < batch.datagramCount; i++) {
      batch.datagrams[i * DATAGRAM.stride + DATAGRAM.accepted] = 1;
    }
    aead.gather(batch);
  });
  await measure('gather alone', RUNS * SEGMENTS, () => aead.gather(batch));
  if (batch.superCount !== Math.ceil((RUNS * SEGMENTS) / 53)) process.exitCode = 1;
}

async function benchSeal(backend: CipherBackend): Promise<void> {
  const loopback = parseIp('127.0.0.1');
  if (loopback === undefined) return;
  const sockets = TunnelSockets.open({ port: 0, addresses: [loopback] });
  // Nobody reads here: what does not fit is dropped on arrival.
  const sink = UdpSocket.open({ family: 4, address: loopback, port: 0, receiveBuffer: 65_536 });
  const aead = new NativeAead(1, backend);
  aead.install(KEY, KEY, 1);
  writeAddressWords(loopback, aead.paths, PATH.remote);
  aead.paths[PATH.remotePort] = endpoint(loopback, sink.port).port;
  aead.paths[PATH.usable] = 1;
  const length = 40 + SEGMENTS * PAYLOAD;
  const batch = createTunBatch(length, 1);
  batch.slab.set(tcpPacket(0).subarray(0, 40));
  batch.packets.set([0, length, GSO_TYPE.tcp4, PAYLOAD, TUN_FLAG.checksumNeeded, 20, 16, 40, 0]);
  batch.packets[TUN_PACKET.slot] = 0;
  batch.packetCount = 1;
  await measure(`segment, seal and send, ${backend}`, SEGMENTS, () => {
    sockets.sealSend(batch, aead);
  });
  sockets.close();
  sink.close();
}

const backends: readonly CipherBackend[] =
  cipherKernelsProblem() === null ? ['openssl', 'openssl-kernels'] : ['openssl'];
for (const backend of backends) {
  await benchOpen(backend);
  await benchSeal(backend);
}
