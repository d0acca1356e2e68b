// What ran: sums the slices of `build/fuzz` into `test/fuzz/totals.json` and writes docs/fuzzing.md from it; and takes the pool of a
// target over into its committed corpus.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(dirname(dirname(fileURLToPath(import.meta.url)))));
const TOTALS = join(ROOT, 'test', 'fuzz', 'totals.json');
const PAGE = join(ROOT, 'docs', 'fuzzing.md');
const BEGIN = '<!-- totals: written by `npm run fuzz -- report` -->';
const END = '<!-- end of totals -->';
/** A committed corpus is small: replay costs time in every `npm test`. */
const MAX_FILES = 40;
const MAX_FILE_BYTES = 512;

export function readTotals() {
  return existsSync(TOTALS) ? JSON.parse(readFileSync(TOTALS, 'utf8')) : {};
}

/** Adds the slices that `state` has of each name, and removes them. */
export function writeReport(here, state, names) {
  const totals = readTotals();
  for (const name of names) {
    const before = totals[name] ?? { kind: kindOf(here, name), runs: 0, seconds: 0, findings: 0 };
    totals[name] = { ...addSlices(before, join(state, name, 'slices')), kind: kindOf(here, name) };
  }
  const sorted = Object.fromEntries(Object.entries(totals).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(TOTALS, `${JSON.stringify(sorted, null, 2)}\n`);
  const page = readFileSync(PAGE, 'utf8');
  const [head] = page.split(BEGIN);
  const [, tail = ''] = page.split(END);
  writeFileSync(PAGE, `${head}${BEGIN}\n\n${tableOf(sorted)}\n\n${END}${tail}`);
  return 0;
}

function addSlices(before, folder) {
  if (!existsSync(folder)) return before;
  const sum = { ...before };
  for (const file of readdirSync(folder)) {
    const slice = JSON.parse(readFileSync(join(folder, file), 'utf8'));
    sum.runs += slice.runs;
    sum.seconds = Math.round((sum.seconds + slice.milliseconds / 1000) * 10) / 10;
    sum.findings += slice.findings;
    sum.edges = Math.max(sum.edges ?? 0, slice.edges);
    rmSync(join(folder, file));
  }
  return sum;
}

function kindOf(here, name) {
  const file = join(here, 'targets', `${name}.ts`);
  if (!existsSync(file)) return 'native';
  return /kind = 'operations'/.test(readFileSync(file, 'utf8')) ? 'operations' : 'bytes';
}

function tableOf(totals) {
  const rows = Object.entries(totals).map(([name, total]) => {
    const { kind, runs, seconds, edges = 0, findings } = total;
    const rate = seconds > 0 ? Math.round(runs / seconds) : 0;
    const cells = [name, kind, number(runs), number(rate), number(seconds), edges, findings];
    return `| ${cells.join(' | ')} |`;
  });
  const sumOf = (...kinds) =>
    Object.values(totals)
      .filter(({ kind }) => kinds.includes(kind))
      .reduce((sum, { runs }) => sum + runs, 0);
  return [
    `**${number(sumOf('bytes', 'native'))} hostile messages and ${number(sumOf('operations'))} lists of operations in all.**`,
    '',
    '| target | input | runs | runs/s | seconds | edges | findings |',
    '|---|---|--:|--:|--:|--:|--:|',
    ...rows,
  ].join('\n');
}

function number(value) {
  return Math.round(value).toLocaleString('en-US').replaceAll(',', ' ');
}

/** Copies what the search kept, the smallest first, as far as a committed corpus goes. */
export function minimizeCorpus(name, here, state) {
  const corpus = join(here, 'corpus', name);
  const pool = join(state, name, 'pool');
  if (!existsSync(pool)) return;
  mkdirSync(corpus, { recursive: true });
  const room = MAX_FILES - readdirSync(corpus).length;
  const found = readdirSync(pool)
    .map((file) => readFileSync(join(pool, file)))
    .filter((bytes) => bytes.length <= MAX_FILE_BYTES)
    .sort((a, b) => a.length - b.length);
  const step = Math.max(1, found.length / Math.max(1, room));
  let taken = 0;
  for (let i = 0; taken < room && i < found.length; i = Math.ceil((taken + 1) * step - 1)) {
    const bytes = found[i];
    const file = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
    writeFileSync(join(corpus, file), bytes);
    taken += 1;
  }
  console.log(`${name}: ${taken} of ${found.length} kept inputs`);
}
