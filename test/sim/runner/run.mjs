// Runs worlds, one for each seed:
//
//   npm run sim -- --seed N --runs K [--steps N] [--jobs N] [--fresh]
//   npm run sim -- --replay FILE
//
// What a seed came to stands in build/sim until the sources change, so that a run can be stopped and goes on where it was; --fresh forgets
// it. Of the first failures the shortest list of steps is looked for, and written down for --replay with a trace and captures. The last line is `K worlds, F failed, trace HASH`; the hash covers every event of every world.

import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { bundle, ROOT } from '../../fuzz/engine/instrument.mjs';
import { replayFile, reportFailure, tell } from './report.mjs';

const STATE = join(ROOT, 'build', 'sim');
/** A world that takes longer does not come to an end. */
const HANG_MS = 300_000;
const PROGRESS_MS = 10_000;
/** So many failures are made short; the others are only told. */
const MAX_REPORTS = 3;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '100' },
    steps: { type: 'string', default: '40' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    fresh: { type: 'boolean', default: false },
    replay: { type: 'string' },
  },
});
const first = Number(values.seed);
const runs = Number(values.runs);
const steps = Number(values.steps);
const startedAt = performance.now();
const results = new Map();
let ran = { worlds: 0, simulatedMs: 0, busyMs: 0 };
let isStopped = false;

process.exitCode = await main();

async function main() {
  const { file, program } = await prepared();
  if (values.replay !== undefined) return replayFile(program, values.replay);
  const queue = [];
  for (let seed = first; seed < first + runs; seed++) if (!results.has(seed)) queue.push(seed);
  if (queue.length < runs) console.log(`${runs - queue.length} of ${runs} worlds ran before`);
  for (const seed of range()) if (results.has(seed)) announce(results.get(seed));
  process.on('SIGINT', () => {
    isStopped = true;
  });
  const watch = setInterval(progress, PROGRESS_MS);
  const job = async () => {
    while (queue.length > 0 && !isStopped) await work(program, queue, file);
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, job));
  clearInterval(watch);
  await reportFailures(program);
  return summary();
}

/** Sources into one file; what is known of exactly these sources into `results`. */
async function prepared() {
  mkdirSync(STATE, { recursive: true });
  const draft = join(STATE, `draft-${process.pid}.mjs`);
  await bundle("import '../sim/runner/worker.ts';", draft, { isInstrumented: false });
  const text = readFileSync(draft);
  rmSync(draft);
  const version = createHash('sha256').update(text).digest('hex').slice(0, 12);
  const file = join(STATE, `${version}-${steps}.jsonl`);
  const program = join(STATE, `${version}.mjs`);
  for (const name of readdirSync(STATE)) {
    if (/^[0-9a-f]{12}(-\d+)?\.(mjs|jsonl)$/.test(name) && !name.startsWith(version))
      rmSync(join(STATE, name));
  }
  writeFileSync(program, text);
  if (values.fresh) rmSync(file, { force: true });
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  for (const line of lines) {
    if (!line.endsWith('}')) continue;
    const result = JSON.parse(line);
    results.set(result.seed, result);
  }
  return { file, program };
}

/** One thread, until the queue is empty or a world kills it. */
function work(program, queue, file) {
  return new Promise((resolve) => {
    let seed;
    let since = Date.now();
    const worker = new Worker(program);
    const finish = (result) => {
      seed = undefined;
      results.set(result.seed, result);
      appendFileSync(file, `${JSON.stringify(result)}\n`);
      announce(result);
    };
    const next = () => {
      seed = isStopped ? undefined : queue.shift();
      since = Date.now();
      if (seed === undefined) void worker.terminate();
      else worker.postMessage({ seed, steps });
    };
    const watch = setInterval(() => {
      if (Date.now() - since > HANG_MS) void worker.terminate();
    }, 1_000);
    worker.on('message', (result) => {
      ran = {
        worlds: ran.worlds + 1,
        simulatedMs: ran.simulatedMs + result.simulatedMs,
        busyMs: ran.busyMs + result.busyMs,
      };
      finish({ seed: result.seed, trace: result.trace, fault: result.fault });
      next();
    });
    worker.on('error', (error) => {
      finish({ seed, trace: 'none', fault: { rule: 'a world ends', found: String(error.stack) } });
    });
    worker.on('exit', () => {
      clearInterval(watch);
      const rule = 'a world ends';
      if (seed !== undefined) finish({ seed, trace: 'none', fault: { rule, found: 'it hangs' } });
      resolve();
    });
    next();
  });
}

function announce({ seed, fault }) {
  if (fault) console.error(`seed ${seed}: FAILED: ${fault.rule}`);
}

async function reportFailures(program) {
  const failed = range().filter((seed) => results.get(seed)?.fault);
  for (const [index, seed] of failed.entries()) {
    console.error(`\nseed ${seed}, ${steps} steps:`);
    const { fault } = results.get(seed);
    const folder = join(STATE, 'failures', String(seed));
    const isShort = index < MAX_REPORTS && !isStopped && fault.found !== 'it hangs';
    if (isShort) await reportFailure(program, { seed, steps, rule: fault.rule }, folder);
    else {
      tell(fault);
      console.error(`  again    npm run sim -- --seed ${seed} --runs 1 --steps ${steps} --fresh`);
    }
  }
}

function progress() {
  const { worlds, simulatedMs, busyMs } = ran;
  if (worlds === 0) return;
  const done = range().filter((seed) => results.has(seed)).length;
  const rate = Math.round(simulatedMs / busyMs);
  const time = Math.round((performance.now() - startedAt) / 1_000);
  console.log(
    `${time} s: ${done} of ${runs} worlds, ${rate} simulated seconds per second of a core`,
  );
}

function summary() {
  progress();
  const done = range().filter((seed) => results.has(seed));
  const failed = done.filter((seed) => results.get(seed).fault).length;
  const hash = createHash('sha256');
  for (const seed of done) hash.update(`${seed} ${results.get(seed).trace}\n`);
  if (done.length < runs) console.log(`stopped; the same command goes on with the rest`);
  console.log(`${done.length} worlds, ${failed} failed, trace ${hash.digest('hex').slice(0, 16)}`);
  return failed > 0 || done.length < runs ? 1 : 0;
}

function range() {
  return Array.from({ length: runs }, (_, index) => first + index);
}
