// What the link layer costs per data datagram: `handleRuns` and `handleOpened` around a cipher that opens nothing, direct and
// behind a ChannelData header, with a thousand other connections. Speed is reported; allocation is gated: a million warm
// datagrams must not cause a garbage collection.
//
//   npm run bench -- demux

import { PerformanceObserver, performance } from 'node:perf_hooks';
import { writeAddressWords } from '../src/base/address.ts';
import { createReceiveBatch, DATAGRAM, type ReceiveBatch, RUN } from '../src/base/batch.ts';
import { peerId } from '../src/base/ids.ts';
import { type Instant, later } from '../src/base/time.ts';
import { udpPacket } from '../test/support/inner-packets.ts';
import {
  CLIENT,
  directWorld,
  GATEWAY,
  type LinkWorld,
  relayedWorld,
} from '../test/support/link-world.ts';
import type { Datagram } from '../test/support/virtual-network.ts';

const RUNS_PER_BATCH = 16;
const DATAGRAMS_PER_RUN = 4;
const WARM_BATCHES = 20_000;
const MEASURED_BATCHES = 16_000; // a little over a million datagrams
const OTHER_CONNECTIONS = 1_000;

interface Case {
  readonly name: string;
  readonly world: LinkWorld;
  /** A data message as the gateway receives it. */
  readonly datagram: Datagram;
}

function cases(): Case[] {
  const direct = directWorld();
  const { world: relayed } = relayedWorld(1);
  relayed.run(1_000);
  return [
    { name: 'direct', world: direct },
    { name: 'relayed', world: relayed },
  ].map(({ name, world }) => {
    if (!world.connect()) throw new Error(`${name}: no connection`);
    addConnections(world);
    return { name, world, datagram: recordDatagram(world) };
  });
}

/** They make the tables large; nobody answers them. */
function addConnections(world: LinkWorld): void {
  const terms = world.terms('gateway');
  for (let i = 0; i < OTHER_CONNECTIONS; i++) {
    const remotePublicKey = new Uint8Array(32).fill(i & 255);
    const remoteCredentials = { ufrag: `x${i}`, password: 'p'.repeat(22) };
    world.gateway.node.upsertConnection(
      { ...terms, id: peerId(`other ${i}`), remotePublicKey, remoteCredentials },
      world.network.now,
    );
  }
}

/** What the client sends, seen where it arrives. */
function recordDatagram(world: LinkWorld): Datagram {
  let seen: Datagram | undefined;
  const receive = world.gateway.receive.bind(world.gateway);
  world.gateway.receive = (datagrams, now): void => {
    seen = datagrams[0];
    receive(datagrams, now);
  };
  world.client.send(GATEWAY, udpPacket('100.64.0.1', '10.0.0.5', 'x'.repeat(1_200)));
  while (seen === undefined || seen.payload.length < 1_000) world.run(1);
  world.gateway.receive = receive;
  return seen;
}

function fill(batch: ReceiveBatch, datagram: Datagram): void {
  const { length } = datagram.payload;
  for (let run = 0; run < RUNS_PER_BATCH; run++) {
    const row = run * RUN.stride;
    const offset = run * DATAGRAMS_PER_RUN * length;
    for (let i = 0; i < DATAGRAMS_PER_RUN; i++)
      batch.slab.set(datagram.payload, offset + i * length);
    batch.runs.set([offset, DATAGRAMS_PER_RUN * length, length], row);
    writeAddressWords(datagram.source.address, batch.runs, row + RUN.remote);
    batch.runs[row + RUN.remotePort] = datagram.source.port;
    writeAddressWords(datagram.destination.address, batch.runs, row + RUN.local);
    batch.runs[row + RUN.localPort] = datagram.destination.port;
  }
  batch.runCount = RUNS_PER_BATCH;
}

let counter = 1_000;

/** The rows that `open` would write, each with a counter of its own. */
function pretendOpen(batch: ReceiveBatch): void {
  const { datagrams, runs } = batch;
  batch.datagramCount = RUNS_PER_BATCH * DATAGRAMS_PER_RUN;
  for (let index = 0; index < batch.datagramCount; index++) {
    const row = index * DATAGRAM.stride;
    const run = (index / DATAGRAMS_PER_RUN) | 0;
    datagrams[row + DATAGRAM.length] = 1_228;
    datagrams[row + DATAGRAM.counterLow] = counter++;
    datagrams[row + DATAGRAM.counterHigh] = 0;
    datagrams[row + DATAGRAM.run] = run;
    datagrams[row + DATAGRAM.slot] = runs[run * RUN.stride + RUN.slot] ?? -1;
    datagrams[row + DATAGRAM.accepted] = 0;
  }
}

function runBatches({ world }: Case, batch: ReceiveBatch, count: number, start: Instant): void {
  const { node } = world.gateway;
  let now = start;
  for (let i = 0; i < count; i++) {
    now = later(now, 0.01);
    node.handleRuns(batch, now);
    pretendOpen(batch);
    node.handleOpened(batch, now);
    node.sendSlot(CLIENT, now);
  }
}

const collections: number[] = [];
new PerformanceObserver((list) => {
  for (const { startTime } of list.getEntries()) collections.push(startTime);
}).observe({ entryTypes: ['gc'] });

/** Entries of the observer come some turns late. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

let hasFailed = false;
for (const one of cases()) {
  const batch = createReceiveBatch(131_072, RUNS_PER_BATCH, RUNS_PER_BATCH * DATAGRAMS_PER_RUN);
  fill(batch, one.datagram);
  const base = one.world.network.now;
  runBatches(one, batch, WARM_BATCHES, base);
  if (batch.datagrams[DATAGRAM.accepted] !== 1) throw new Error(`${one.name}: not accepted`);
  globalThis.gc?.();
  await settle();
  const begin = performance.now();
  const cpuBefore = process.cpuUsage();
  runBatches(one, batch, MEASURED_BATCHES, later(base, 1_000));
  const cpu = process.cpuUsage(cpuBefore);
  const end = performance.now();
  await settle();
  const datagrams = MEASURED_BATCHES * RUNS_PER_BATCH * DATAGRAMS_PER_RUN;
  const nanoseconds = (((cpu.user + cpu.system) * 1e3) / datagrams).toFixed(1);
  const count = collections.filter((at) => at >= begin && at <= end).length;
  process.stdout.write(
    `demux ${one.name}: ${nanoseconds} CPU ns per datagram, ${count} garbage collections in ${datagrams}\n`,
  );
  hasFailed ||= count > 0;
}
if (hasFailed) {
  process.stderr.write('demux: data datagrams must not allocate\n');
  process.exitCode = 1;
}
