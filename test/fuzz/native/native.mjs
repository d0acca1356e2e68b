// Searches for inputs that the native packet functions do not survive, under the address and undefined-behaviour sanitizers:
//
//   npm run fuzz:native -- [inward|outward]... [--seconds N]     with clang's libFuzzer where it is installed, else with driver.c
//   npm run fuzz:native -- --replay                              the committed corpora and some mutations, with the C compiler of the machine
//
// What was found interesting stands in build/fuzz-native, a fault in test/fuzz/native/corpus. `npm run fuzz -- report` counts what ran.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = dirname(dirname(dirname(HERE)));
const BUILD = join(ROOT, 'build', 'fuzz-native');
const REPLAY_RUNS = 20_000;
const LONGEST_INPUT = 8192;
const FLAGS = [
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-Wall',
  '-Wextra',
];
/** What is fuzzed together, and the system call in front of which the target stands. */
const TARGETS = {
  inward: { sources: ['aead', 'gather', 'tun', 'segment', 'checksum'], wraps: 'writev' },
  outward: { sources: ['aead', 'tun', 'segment', 'checksum', 'sender'], wraps: 'read' },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '60' },
    replay: { type: 'boolean', default: false },
  },
});
const names = positionals.length > 0 ? positionals : Object.keys(TARGETS);
if (names.some((name) => !(name in TARGETS))) {
  console.error(
    `usage: npm run fuzz:native -- [${Object.keys(TARGETS).join('|')}]... [--seconds N] [--replay]`,
  );
  process.exit(2);
}
mkdirSync(BUILD, { recursive: true });
process.exit(names.map(fuzz).some((code) => code !== 0) ? 1 : 0);

function fuzz(name) {
  const hasLibFuzzer = !values.replay && compile(name, 'clang', true);
  if (!hasLibFuzzer && !compile(name, process.env.CC || 'cc', false)) return 1;
  const pool = join(BUILD, name);
  const corpus = join(HERE, 'corpus', name);
  mkdirSync(pool, { recursive: true });
  const folders = values.replay ? [corpus] : [pool, corpus];
  const limit = values.replay ? `-runs=${REPLAY_RUNS}` : `-max_total_time=${values.seconds}`;
  const options = hasLibFuzzer
    ? [
        `-max_len=${LONGEST_INPUT}`,
        `-artifact_prefix=${corpus}/`,
        '-verbosity=0',
        '-print_final_stats=1',
      ]
    : [];
  const startedAt = performance.now();
  const { status, stderr } = spawnSync(
    join(BUILD, `${name}.bin`),
    [limit, ...options, ...folders],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0', UBSAN_OPTIONS: 'print_stacktrace=1' },
    },
  );
  const milliseconds = Math.round(performance.now() - startedAt);
  const runs = Number(
    /Done (\d+) runs|number_of_executed_units: (\d+)/.exec(stderr)?.slice(1).find(Boolean) ?? 0,
  );
  console.log(
    `native-${name}: ${runs} runs in ${milliseconds} ms, ${readdirSync(corpus).length} files in the corpus`,
  );
  if (status !== 0) console.error(stderr.split('\n').slice(-60).join('\n'));
  if (!values.replay)
    record(`native-${name}`, { runs, milliseconds, edges: 0, findings: status === 0 ? 0 : 1 });
  return status ?? 1;
}

/** False if this compiler cannot do it; the reason is said only where there is no other. */
function compile(name, compiler, withLibFuzzer) {
  const { sources, wraps } = TARGETS[name];
  const sanitizers = `-fsanitize=address,undefined${withLibFuzzer ? ',fuzzer' : ''}`;
  const files = [
    join(HERE, `${name}.c`),
    ...(withLibFuzzer ? [] : [join(HERE, 'driver.c')]),
    ...sources.map((source) => join(ROOT, 'native', `${source}.c`)),
  ];
  const options = [...FLAGS, sanitizers, '-fno-sanitize-recover=undefined', `-Wl,--wrap=${wraps}`];
  const { status, stderr } = spawnSync(
    compiler,
    [...options, ...files, '-o', join(BUILD, `${name}.bin`)],
    {
      encoding: 'utf8',
    },
  );
  if (status !== 0 && !withLibFuzzer) console.error(stderr ?? `no C compiler ${compiler}`);
  return status === 0;
}

function record(name, slice) {
  const folder = join(ROOT, 'build', 'fuzz', name, 'slices');
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${Date.now()}-${process.pid}.json`), JSON.stringify(slice));
}
