// Measures our gateway beside the floor, in turn, in the same run: Gbit/s, and CPU seconds per GiB of the gateway process; then the
// set-up of a connection and the memory of the idle gateway.
//
//   npm run bench:net -- [--subject gateway|path] [--seconds 8] [--rounds 3] [--cases tcp-up,tcp-down,...] [--json]
//
// `gateway` is the complete one, with portal and client; `path` only our native path with a fixed key. Needs root, cc, OpenSSL's
// headers, iperf3 and curl. Only ratios of one run mean anything (bench/floor/README.md).

import { type ChildProcess, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { runForwarder } from './forwarder.ts';
import { Net } from './namespaces.ts';
import { CompleteSubject, FixedKeySubject, ROOT, type Subject } from './subjects.ts';

const CASES: Readonly<Record<string, readonly string[]>> = {
  'tcp-up': [],
  'tcp-down': ['-R'],
  'tcp-up-8': ['-P', '8'],
  'tcp-down-8': ['-P', '8', '-R'],
  'udp-up': ['-u', '-b', '500M', '-l', '1200'],
  'udp-down': ['-u', '-b', '500M', '-l', '1200', '-R'],
  'udp-small-up': ['-u', '-b', '0', '-l', '64'],
  'udp-small-down': ['-u', '-b', '0', '-l', '64', '-R'],
};
const DEFAULT_CASES = 'tcp-up,tcp-down,tcp-up-8,tcp-down-8';
const SET_UPS = 7;
/** Before each measurement; a just-in-time compiler needs it, the floor gets it too. */
const WARM_UP_SECONDS = '3';

interface Sample {
  readonly gbps: number;
  readonly cpuPerGiB: number;
}

interface CaseResult {
  readonly gbps: number;
  readonly cpuPerGiB: number;
  readonly floorGbps: number;
  readonly floorCpuPerGiB: number;
  /** Our CPU per GiB to the floor's, medians. */
  readonly ratio: number;
}

interface SetUpResult {
  /** Median, from the first packet of the application to its first answer. */
  readonly milliseconds: number;
  readonly idleRssMiB: number;
}

interface Options {
  readonly seconds: string;
  readonly rounds: number;
  readonly cases: readonly string[];
  readonly say: (line: string) => void;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      subject: { type: 'string', default: 'gateway' },
      seconds: { type: 'string', default: '8' },
      rounds: { type: 'string', default: '3' },
      cases: { type: 'string', default: DEFAULT_CASES },
      json: { type: 'boolean', default: false },
    },
  });
  const options: Options = {
    seconds: values.seconds,
    rounds: Number(values.rounds),
    cases: values.cases.split(',').filter((name) => name !== ''),
    say: values.json ? () => {} : (line) => console.log(line),
  };
  const binary = buildFloor();
  const floor = new FixedKeySubject('floor', binary, [binary]);
  const net = new Net();
  const complete = new CompleteSubject();
  const forwarder = [process.execPath, process.argv[1] ?? '', 'forwarder'];
  const ours =
    values.subject === 'path' ? new FixedKeySubject('path', binary, forwarder) : complete;
  process.once('SIGINT', () => {
    net.down();
    process.exit(130);
  });
  net.up();
  try {
    const cases = await compare(net, floor, ours, options);
    const setUp = ours === complete ? await measureSetUp(net, complete, options) : undefined;
    if (values.json) console.log(JSON.stringify({ cases, setUp }));
  } finally {
    net.down();
    complete.remove();
  }
}

async function compare(
  net: Net,
  floor: Subject,
  ours: Subject,
  { cases, rounds, seconds, say }: Options,
): Promise<Record<string, CaseResult>> {
  const results: Record<string, CaseResult> = {};
  for (const name of cases) {
    const args = CASES[name];
    if (args === undefined) {
      throw new Error(`no case ${name}; there are ${Object.keys(CASES).join(', ')}`);
    }
    const samples = { floor: [] as Sample[], ours: [] as Sample[] };
    for (let round = 0; round < rounds; round++) {
      for (const subject of round % 2 === 0 ? [floor, ours] : [ours, floor]) {
        const sample = await measure(net, subject, [...args, '-t', seconds]);
        samples[subject === floor ? 'floor' : 'ours'].push(sample);
        say(`${name.padEnd(15)} ${subject.name.padEnd(8)} ${format(sample)}`);
      }
    }
    const result = summarize(samples.ours, samples.floor);
    results[name] = result;
    say(`${name.padEnd(15)} ratio    ${result.ratio.toFixed(2)}`);
  }
  return results;
}

async function measure(net: Net, subject: Subject, args: readonly string[]): Promise<Sample> {
  const gateway = await subject.start(net);
  try {
    net.startServer();
    await net.reachable();
    await net.iperf([...args, '-t', WARM_UP_SECONDS]);
    const before = cpuSeconds(gateway);
    const { end } = await net.iperf(args);
    const used = cpuSeconds(gateway) - before;
    const isUdp = args.includes('-u');
    const sum = isUdp ? end.sum : end.sum_received;
    const lost = isUdp && end.sum ? end.sum.lost_packets / Math.max(1, end.sum.packets) : 0;
    const delivered = (sum?.bytes ?? 0) * (1 - lost);
    return {
      gbps: ((sum?.bits_per_second ?? 0) * (1 - lost)) / 1e9,
      cpuPerGiB: used / (delivered / 2 ** 30),
    };
  } finally {
    await net.stop();
  }
}

/** The client is started anew each time, so that the first packet finds nothing prepared but the portal connections. */
async function measureSetUp(
  net: Net,
  subject: CompleteSubject,
  { say }: Options,
): Promise<SetUpResult> {
  const gateway = await subject.start(net);
  try {
    await delay(1000);
    const idleRssMiB = residentMiB(gateway);
    const times: number[] = [];
    while (times.length < SET_UPS) {
      times.push(net.firstAnswer());
      await subject.restartClient(net);
      await delay(300);
    }
    const milliseconds = median(times);
    say(
      `set-up          gateway  ${milliseconds.toFixed(0)} ms to the first answer (${times.join(' ')})`,
    );
    say(`idle            gateway  ${idleRssMiB.toFixed(0)} MiB`);
    return { milliseconds, idleRssMiB };
  } finally {
    await net.stop();
  }
}

/** Run time of all threads of a process, from the scheduler: exact, unlike clock ticks. */
function cpuSeconds({ pid }: ChildProcess): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const [time] = readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ');
    nanoseconds += Number(time);
  }
  return nanoseconds / 1e9;
}

function residentMiB({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

function summarize(ours: readonly Sample[], floor: readonly Sample[]): CaseResult {
  const of = (samples: readonly Sample[], key: keyof Sample): number =>
    median(samples.map((sample) => sample[key]));
  const cpuPerGiB = of(ours, 'cpuPerGiB');
  const floorCpuPerGiB = of(floor, 'cpuPerGiB');
  return {
    gbps: of(ours, 'gbps'),
    cpuPerGiB,
    floorGbps: of(floor, 'gbps'),
    floorCpuPerGiB,
    ratio: cpuPerGiB / floorCpuPerGiB,
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  return (low + (sorted[Math.floor(middle)] ?? low)) / 2;
}

function format({ gbps, cpuPerGiB }: Sample): string {
  return `${gbps.toFixed(2).padStart(6)} Gbit/s ${cpuPerGiB.toFixed(2).padStart(6)} CPU s/GiB`;
}

function buildFloor(): string {
  const binary = join(ROOT, 'build', 'floor');
  const source = join(ROOT, 'bench', 'floor', 'forwarder.c');
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  const args = ['-O3', '-march=native', '-o', binary, source, '-lcrypto'];
  const result = spawnSync(process.env['CC'] ?? 'cc', args, { stdio: 'inherit' });
  if (result.status !== 0) throw new Error('cannot build the floor: is libssl-dev installed?');
  return binary;
}

if (process.argv[2] === 'forwarder') runForwarder(process.argv.slice(3));
else await main();
