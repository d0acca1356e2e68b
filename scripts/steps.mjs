// Runs the steps of a check one after the other, says how long each took, and stops at the first that fails.

import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const vitest = join('node_modules', 'vitest', 'vitest.mjs');
export const tsc = join('node_modules', 'typescript', 'bin', 'tsc');
export const biome = join('node_modules', '@biomejs', 'biome', 'bin', 'biome');

/** Each step is [name, command, args]; `node` means the Node that runs this. Returns the exit code. */
export function runSteps(steps) {
  for (const [name, command, args] of steps) {
    const startedAt = Date.now();
    process.stdout.write(`\n== ${name}\n`);
    const program = command === 'node' ? process.execPath : command;
    const result = spawnSync(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
    const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
    if (result.status !== 0) {
      process.stdout.write(`== ${name}: FAILED after ${seconds} s\n`);
      return result.status ?? 1;
    }
    process.stdout.write(`== ${name}: ok, ${seconds} s\n`);
  }
  return 0;
}
