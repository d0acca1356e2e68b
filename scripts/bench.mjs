// `npm run bench [-- NAME] [arguments]`: runs bench/NAME.bench.ts, or bench/NAME/main.ts; without a name all *.bench.ts. Benchmarks are bundled on
// the fly, because the Node of the product runs no TypeScript. They print; speed is reported, allocation is gated.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root, runSteps } from './steps.mjs';

const [name, ...rest] = process.argv.slice(2);
const folder = join(root, 'bench');
const entries =
  name === undefined
    ? readdirSync(folder).filter((file) => file.endsWith('.bench.ts'))
    : [`${name}.bench.ts`, join(name, 'main.ts')].filter((file) => existsSync(join(folder, file)));

if (entries.length === 0) {
  process.stderr.write(`bench: there is no benchmark named ${name ?? '*'}\n`);
  process.exit(2);
}

const steps = [];
for (const entry of entries) {
  // As deep as the lab's own modules are, which find the checkout from where they are.
  const outfile = join(
    root,
    'build',
    'bench',
    entry.replace('.bench', '/bench').replace('.ts', '.mjs'),
  );
  await build({
    entryPoints: [join(folder, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'warning',
  });
  steps.push([entry, 'node', ['--expose-gc', outfile, ...rest]]);
}
if (rest.includes('--json')) {
  // One document and nothing else on the standard output.
  for (const [, , args] of steps) {
    const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    if (status !== 0) process.exit(status ?? 1);
  }
  process.exit(0);
}
process.exit(runSteps(steps));
