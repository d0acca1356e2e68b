// Measures our data path beside the floor, in turn, in the same run: Gbit/s, and CPU seconds per GiB of the gateway process.
//
//   npm run bench:net -- [--seconds 8] [--rounds 3] [--cases tcp-up,tcp-down,...] [--json]
//
// Needs root, cc, OpenSSL's headers and iperf3. Only ratios of one run mean anything (bench/floor/README.md).

import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runForwarder } from './forwarder.ts';
import { Net, type Subject } from './namespaces.ts';

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
/** Bundles live in build/bench. */
const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));

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

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '8' },
      rounds: { type: 'string', default: '3' },
      cases: { type: 'string', default: DEFAULT_CASES },
      json: { type: 'boolean', default: false },
    },
  });
  const floor: Subject = { name: 'floor', command: [buildFloor()] };
  const ours: Subject = {
    name: 'ours',
    command: [process.execPath, process.argv[1] ?? '', 'forwarder'],
  };
  const say = values.json ? () => {} : (line: string) => console.log(line);
  const cases: Record<string, CaseResult> = {};
  const net = new Net();
  process.once('SIGINT', () => {
    net.down();
    process.exit(130);
  });
  net.up();
  try {
    for (const name of values.cases.split(',')) {
      const args = CASES[name];
      if (args === undefined)
        throw new Error(`no case ${name}; there are ${Object.keys(CASES).join(', ')}`);
      const samples = new Map<string, Sample[]>([
        ['floor', []],
        ['ours', []],
      ]);
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const subject of round % 2 === 0 ? [floor, ours] : [ours, floor]) {
          const sample = await measure(net, floor, subject, [...args, '-t', values.seconds]);
          samples.get(subject.name)?.push(sample);
          say(`${name.padEnd(15)} ${subject.name.padEnd(6)} ${format(sample)}`);
        }
      }
      const result = summarize(samples.get('ours') ?? [], samples.get('floor') ?? []);
      cases[name] = result;
      say(`${name.padEnd(15)} ratio  ${result.ratio.toFixed(2)}`);
    }
  } finally {
    net.down();
  }
  if (values.json) console.log(JSON.stringify({ cases }));
}

async function measure(
  net: Net,
  floor: Subject,
  subject: Subject,
  args: readonly string[],
): Promise<Sample> {
  const gateway = await net.start(floor, subject);
  try {
    const before = cpuSeconds(gateway.pid ?? 0);
    const { end } = await net.iperf(args);
    const used = cpuSeconds(gateway.pid ?? 0) - before;
    const sum = args.includes('-u') ? end.sum : end.sum_received;
    const delivered = sum ?? { bytes: 0, bits_per_second: 0 };
    const lost = end.sum ? end.sum.lost_packets / Math.max(1, end.sum.packets) : 0;
    const isUdp = args.includes('-u');
    const bytes = delivered.bytes * (isUdp ? 1 - lost : 1);
    return {
      gbps: (delivered.bits_per_second * (isUdp ? 1 - lost : 1)) / 1e9,
      cpuPerGiB: used / (bytes / 2 ** 30),
    };
  } finally {
    await net.stop();
  }
}

/** Run time of all threads of a process, from the scheduler: exact, unlike clock ticks. */
function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(
      readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0],
    );
  }
  return nanoseconds / 1e9;
}

function summarize(ours: readonly Sample[], floor: readonly Sample[]): CaseResult {
  const median = (samples: readonly Sample[], key: keyof Sample): number => {
    const sorted = samples.map((sample) => sample[key]).sort((a, b) => a - b);
    const middle = sorted.length / 2;
    const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
    return (low + (sorted[Math.floor(middle)] ?? low)) / 2;
  };
  const cpuPerGiB = median(ours, 'cpuPerGiB');
  const floorCpuPerGiB = median(floor, 'cpuPerGiB');
  return {
    gbps: median(ours, 'gbps'),
    cpuPerGiB,
    floorGbps: median(floor, 'gbps'),
    floorCpuPerGiB,
    ratio: cpuPerGiB / floorCpuPerGiB,
  };
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
