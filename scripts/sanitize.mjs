// `npm run test:sanitize`: the corpora of `npm run fuzz:native`, and the compliance suite, on native code built with the address and
// undefined-behaviour sanitizers. Node itself is not built with them, so their run-time library is loaded in front; leaks are not looked
// for, because Node's own would drown ours.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, runSteps, vitest } from './steps.mjs';

const compiler = process.env.CC || 'cc';
const library = (name) =>
  spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();

const code = runSteps([
  ['build', 'node', [join(root, 'scripts', 'build-native.mjs'), '--sanitize']],
  ['fuzz', 'node', [join(root, 'test', 'fuzz', 'native', 'native.mjs'), '--replay']],
]);
if (code !== 0) process.exit(code);
process.env.LD_PRELOAD = `${library('libasan.so')} ${library('libubsan.so')}`;
process.env.ASAN_OPTIONS = 'detect_leaks=0:abort_on_error=1';
process.env.UBSAN_OPTIONS = 'halt_on_error=1:print_stacktrace=1';
process.exit(
  runSteps([['compliance', 'node', [vitest, 'run', '--config', 'vitest.sanitize.config.ts']]]),
);
