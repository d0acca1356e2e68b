// `npm run check`: what CI runs. Cheap checks first.

import { biome, runSteps, tsc, vitest } from './steps.mjs';

process.exit(
  runSteps([
    ['format and lint', 'node', [biome, 'check', '.']],
    ['layers and types', 'node', [tsc, '-b']],
    ['npm test', 'npm', ['test']],
    ['foreign programs', 'node', [vitest, 'run', '--config', 'vitest.interop.config.ts']],
    ['one executable', 'node', ['scripts/single-executable.mjs']],
    ['end to end', 'node', [vitest, 'run', '--config', 'vitest.e2e.config.ts']],
    ['the lab proves itself', 'node', ['bin/firezone-gateway', 'lab', '--check']],
  ]),
);
