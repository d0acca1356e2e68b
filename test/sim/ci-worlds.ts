// The worlds of CI: short ones, each run twice. A machine that has much else to do runs as many as it can; all of them are `npm run sim -- --seed 1 --runs 200
// --steps 6`, and a long search is `npm run sim`.

import { expect, test } from 'vitest';
import { runSeed } from './run-seed.ts';

const SEEDS = 200;
const STEPS = 6;
const BUDGET_MS = 45_000;

/** Every `of`-th seed, from `first` on, so that several threads share them. */
export function testWorlds(first: number, of: number): void {
  const name = 'keep their promises, and are the same again byte for byte';
  const timeout = 4 * BUDGET_MS;
  test(name, { timeout }, ({ annotate }) => {
    const startedAt = performance.now();
    let count = 0;
    for (let seed = first; seed <= SEEDS; seed += of) {
      if (performance.now() - startedAt > BUDGET_MS) break;
      const verdict = runSeed(seed, STEPS);
      expect(verdict.faults, `npm run sim -- --seed ${seed} --runs 1 --steps ${STEPS}`).toEqual([]);
      expect(runSeed(seed, STEPS).trace, `seed ${seed}`).toBe(verdict.trace);
      count++;
    }
    return annotate(`${count} worlds`);
  });
}
