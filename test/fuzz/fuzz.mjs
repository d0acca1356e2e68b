// Searches for inputs that a fuzz target does not survive:
//
//   node test/fuzz/fuzz.mjs all | <target>... [--seconds N | --minutes N] [--jobs N] [--seed N]
//   node test/fuzz/fuzz.mjs corpus all | <target>...     takes what the search found interesting over into the committed corpus
//   node test/fuzz/fuzz.mjs report                       adds what ran since the last report to docs/fuzzing.md
//
// The time is for the whole run. It is dealt out in slices, to the target that had least of it; the state between slices stands in
// build/fuzz, so a run can be stopped and resumed at any time. A fault becomes a corpus file, which `npm test` replays.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { bundle, ROOT } from './engine/instrument.mjs';
import { minimizeCorpus, writeReport } from './engine/report.mjs';

const HERE = join(ROOT, 'test', 'fuzz');
const STATE = join(ROOT, 'build', 'fuzz');
const SLICE_SECONDS = 20;
/** No progress for so long is a hang. */
const HANG_MS = 30_000;
const CURRENT_LENGTH = 4096 + 4;
const HEAP_MB = 1024;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string' },
    minutes: { type: 'string' },
    jobs: { type: 'string' },
    seed: { type: 'string' },
  },
});
const known = readdirSync(join(HERE, 'targets')).map((file) => file.replace(/\.ts$/, ''));
const bundles = new Map();
/** Of `native/native.mjs`. */
const NATIVE = ['native-inward', 'native-outward'];
let isStopped = false;
let findings = 0;

process.exitCode = await main();

async function main() {
  const [first, ...rest] = positionals;
  if (first === 'report') return writeReport(HERE, STATE, [...known, ...NATIVE]);
  const chosen = first === 'corpus' ? rest : positionals;
  const names = chosen.includes('all') ? known : chosen;
  if (names.length === 0 || names.some((name) => !known.includes(name))) {
    console.error(`usage: node test/fuzz/fuzz.mjs <all|report|corpus|${known.join('|')}>...`);
    return 2;
  }
  if (first === 'corpus') {
    for (const name of names) await minimizeCorpus(name, HERE, STATE);
    return 0;
  }
  return fuzz(names);
}

async function fuzz(names) {
  const seconds = values.minutes ? Number(values.minutes) * 60 : Number(values.seconds ?? 60);
  const jobs = Math.min(Number(values.jobs ?? availableParallelism()), names.length);
  const slice = Math.min(SLICE_SECONDS, (seconds * jobs) / names.length);
  const end = Date.now() + seconds * 1000;
  const queue = names.map((name) => ({ name, had: 0, isRunning: false, isBroken: false }));
  process.on('SIGINT', () => {
    isStopped = true;
  });
  const job = async () => {
    while (!isStopped && Date.now() < end - 500) {
      const waiting = queue.filter(({ isRunning, isBroken }) => !isRunning && !isBroken);
      const next = waiting.sort((a, b) => a.had - b.had)[0];
      if (!next) return;
      next.isRunning = true;
      const left = Math.max(1, (end - Date.now()) / 1000);
      next.isBroken = !(await runSlice(next.name, Math.min(slice, left)));
      next.had += slice;
      next.isRunning = false;
    }
  };
  await Promise.all(Array.from({ length: jobs }, job));
  console.log(`${names.length} targets, ${findings} findings`);
  return findings > 0 ? 1 : 0;
}

/** One target for a while. False when it found something. */
async function runSlice(name, seconds) {
  const { outfile, literals } = await bundled(name);
  const current = new Uint8Array(new SharedArrayBuffer(CURRENT_LENGTH));
  const seed = Number(values.seed ?? Date.now() % 0x7fff_ffff);
  const inputs = [...filesOf(join(HERE, 'corpus', name)), ...filesOf(join(STATE, name, 'pool'))];
  const worker = new Worker(outfile, {
    workerData: { seed, milliseconds: seconds * 1000, inputs, literals, current },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  let last = { runs: 0, milliseconds: 0, edges: 0, poolLength: 0 };
  let finding;
  let heardAt = Date.now();
  await new Promise((resolve) => {
    const watch = setInterval(() => {
      if (Date.now() - heardAt > HANG_MS) finding = { bytes: lastInput(current), problem: 'hangs' };
      if (finding || isStopped) void worker.terminate();
    }, 500);
    worker.on('message', (message) => {
      heardAt = Date.now();
      if (message.kind === 'progress') last = message;
      else if (message.kind === 'finding') finding = message;
      else save(join(STATE, name, 'pool'), message.bytes);
    });
    worker.on('error', (error) => {
      finding = { bytes: lastInput(current), problem: String(error.stack ?? error) };
    });
    worker.on('exit', () => {
      clearInterval(watch);
      resolve();
    });
  });
  record(name, last, finding);
  return !finding;
}

function record(name, last, finding) {
  const rate = Math.round((last.runs * 1000) / Math.max(1, last.milliseconds));
  const numbers = `${last.runs} runs, ${rate}/s, ${last.edges} edges, pool ${last.poolLength}`;
  console.log(`${new Date().toISOString().slice(11, 19)} ${name}: ${numbers}`);
  const slices = join(STATE, name, 'slices');
  mkdirSync(slices, { recursive: true });
  const { runs, milliseconds, edges } = last;
  const slice = JSON.stringify({ runs, milliseconds, edges, findings: finding ? 1 : 0 });
  writeFileSync(join(slices, `${Date.now()}-${process.pid}.json`), slice);
  if (!finding) return;
  findings += 1;
  const file = save(join(HERE, 'corpus', name), finding.bytes);
  console.error(`${name}: FOUND ${file}\n${finding.problem}`);
}

async function bundled(name) {
  const existing = bundles.get(name);
  if (existing) return existing;
  mkdirSync(join(STATE, name), { recursive: true });
  const outfile = join(STATE, name, `target-${process.pid}.mjs`);
  const contents = `import * as target from './targets/${name}.ts';
    import { work } from './engine/worker.ts';
    work(target);`;
  const literals = await bundle(contents, outfile);
  const built = { outfile, literals };
  bundles.set(name, built);
  return built;
}

function filesOf(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((file) => Uint8Array.from(readFileSync(join(folder, file))));
}

function save(folder, bytes) {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, createHash('sha256').update(bytes).digest('hex').slice(0, 16));
  writeFileSync(file, bytes);
  return file;
}

function lastInput(current) {
  const length = new DataView(current.buffer).getUint32(0);
  return Uint8Array.from(current.subarray(4, 4 + length));
}
