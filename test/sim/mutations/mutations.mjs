// Breaks the product on purpose, one way at a time, and says how soon that is found:
//
//   node test/sim/mutations/mutations.mjs [id...] [--seeds 2000] [--seconds 900] [--minutes N] [--jobs N] [--fresh]
//
// A mutation is made while esbuild bundles, never in the tree. What has to find it are machines under lists of operations drawn from a seed
// (`detectors.mjs`), each for as many seeds or seconds at most. In the end what found something must find nothing in the unbroken product, for
// as many seeds as it needed. What was found before is taken from build/mutations unless its source or --fresh says otherwise, so that a run can be
// stopped and resumed. The result stands in docs/mutations.md.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { bundle, ROOT } from '../../fuzz/engine/instrument.mjs';
import { entryOf } from './detectors.mjs';
import { MUTATIONS } from './list.mjs';

const STATE = join(ROOT, 'build', 'mutations');
const PAGE = join(ROOT, 'docs', 'mutations.md');
/** A seed that takes longer does not come to an end. */
const HANG_MS = 60_000;
const HEAP_MB = 1024;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '900' },
    minutes: { type: 'string', default: 'Infinity' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    fresh: { type: 'boolean', default: false },
  },
});
const seeds = Number(values.seeds);
const longestMs = Number(values.seconds) * 1_000;
/** No other mutation is begun after that. */
const lastBegin = Date.now() + Number(values.minutes) * 60_000;
mkdirSync(STATE, { recursive: true });
process.exitCode = await main();

async function main() {
  const chosen = MUTATIONS.filter(({ id }) => positionals.length === 0 || positionals.includes(id));
  for (const mutation of chosen) textOf(mutation);
  const results = new Map();
  await each(chosen, async (mutation) => {
    if (Date.now() > lastBegin) return;
    const result = await resultOf(mutation);
    results.set(mutation.id, result);
    const verdict = result.found
      ? `found by ${result.detector} after ${result.seeds} seeds: ${result.problem}`
      : `not found in ${result.seeds} seeds`;
    console.log(`${mutation.id}: ${verdict}`);
  });
  const needed = new Map();
  for (const { detector, own } of results.values())
    if (detector) needed.set(detector, Math.max(own, needed.get(detector) ?? 0));
  const broken = [];
  const unbroken = new Map();
  await each([...needed], async ([detector, count]) => {
    const result = await resultOf({ id: `unbroken-${detector}`, by: [detector] }, count);
    unbroken.set(detector, result.seeds);
    if (result.found) broken.push(`${detector}: ${result.problem}`);
    console.log(`unbroken ${detector}: ${result.problem ?? `nothing in ${result.seeds} seeds`}`);
  });
  if (broken.length > 0) {
    console.error(`found where nothing was broken, so that the rest means nothing: ${broken}`);
    return 2;
  }
  const found = chosen.filter(({ id }) => results.get(id)?.found).length;
  console.log(`${chosen.length} mutations, ${found} found`);
  if (positionals.length === 0) writePage(results, found, unbroken);
  return found === chosen.length ? 0 : 1;
}

async function each(items, work) {
  const queue = [...items];
  const job = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await work(next);
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, job));
}

function textOf({ id, file, find, replace }) {
  const original = readFileSync(join(ROOT, file), 'utf8');
  const pieces = original.split(find);
  if (pieces.length !== 2) {
    throw new Error(`${id}: ${file} has ${pieces.length - 1} places like ${JSON.stringify(find)}`);
  }
  return pieces.join(replace);
}

/** Each detector in turn; the seeds of those before count, too. */
async function resultOf(mutation, count = seeds) {
  let tried = 0;
  for (const detector of mutation.by) {
    const { seeds: own, problem } = await outcomeOf(mutation, detector, count);
    tried += own;
    if (problem !== undefined) return { found: true, detector, seeds: tried, own, problem };
  }
  return { found: false, seeds: tried };
}

/** From an earlier run, if neither the mutation nor what finds it changed. */
async function outcomeOf(mutation, detector, count) {
  const outfile = join(STATE, `${mutation.id}-${detector}-${process.pid}.mjs`);
  const target = mutation.find === undefined ? undefined : join(ROOT, mutation.file);
  const rewrite = (path) => (path === target ? textOf(mutation) : undefined);
  await bundle(entryOf(detector), outfile, { isInstrumented: false, rewrite });
  const program = readFileSync(outfile);
  const version = createHash('sha256')
    .update(`${count} ${longestMs}`)
    .update(program)
    .digest('hex');
  const file = join(STATE, `${mutation.id}-${detector}.json`);
  const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  try {
    if (known?.version === version && !values.fresh) return known;
    const outcome = { version, ...(await searchWith(outfile, count)) };
    writeFileSync(file, JSON.stringify(outcome));
    return outcome;
  } finally {
    rmSync(outfile);
  }
}

function searchWith(outfile, count) {
  return new Promise((resolve) => {
    const worker = new Worker(outfile, {
      workerData: { seeds: count },
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    const startedAt = Date.now();
    let done = 0;
    let heardAt = Date.now();
    let problem;
    const watch = setInterval(() => {
      if (Date.now() - heardAt > HANG_MS) problem = 'it does not come to an end';
      if (problem !== undefined || Date.now() - startedAt > longestMs) void worker.terminate();
    }, 1_000);
    worker.on('message', (message) => {
      heardAt = Date.now();
      if (problem === undefined) ({ done, problem } = message);
    });
    worker.on('error', (error) => {
      problem = String(error.message);
    });
    worker.on('exit', () => {
      clearInterval(watch);
      resolve({ seeds: done, problem });
    });
  });
}

function writePage(results, found, unbroken) {
  const rows = MUTATIONS.map(({ id, what, clause, file }) => {
    const result = results.get(id);
    if (!result) return `| ${id} | ${what} | \`${file.slice(4)}\` | ${clause} | | not run |`;
    const { found: isFound, detector, seeds: count, problem } = result;
    const verdict = isFound ? `${detector}: ${problem}`.replaceAll('|', '\\|') : '**not found**';
    return `| ${id} | ${what} | \`${file.slice(4)}\` | ${clause} | ${isFound ? count : `> ${count}`} | ${verdict} |`;
  });
  const passed = [...unbroken].map(([detector, count]) => `${count} of ${detector}`).join(', ');
  const page = [
    '# Mutations',
    '',
    'What is found when the product is broken on purpose, one way at a time: `npm run sim:mutations`, by the list in `test/sim/mutations/list.mjs`. Each machine that should',
    `notice gets at most ${seeds} seeds; "seeds" counts those of all machines that were asked before. The unbroken product passes: ${passed}. Written by that command.`,
    '',
    `**${found} of ${results.size} that were run are found; ${MUTATIONS.length} are in the list.**`,
    '',
    '| mutation | what it does | file | clause | seeds | found by |',
    '|---|---|---|---|--:|---|',
    ...rows,
    '',
  ];
  writeFileSync(PAGE, page.join('\n'));
}
