// Worlds of CI: small ones, each run twice. A long search is `npm run sim`.

import { describe, expect, test } from 'vitest';
import { drawPlan } from './draw-plan.ts';
import { judgesOf } from './judges/judges.ts';
import { runSeed } from './run-seed.ts';
import { drawSteps } from './steps/draw-steps.ts';
import { runWorld } from './world.ts';

const SEEDS = Array.from({ length: 4 }, (_, index) => 100 + index);
const STEPS = 12;
const TIMEOUT_MS = 120_000;

describe('a simulated world', () => {
  test(
    'keeps its promises, and is the same again byte for byte',
    () => {
      for (const seed of SEEDS) {
        const [first, second] = [runSeed(seed, STEPS), runSeed(seed, STEPS)];
        expect(first.faults, `npm run sim -- --seed ${seed} --runs 1 --steps ${STEPS}`).toEqual([]);
        expect(second.trace, `seed ${seed}`).toBe(first.trace);
      }
    },
    TIMEOUT_MS,
  );

  test('is another one for another seed, or when a step is left out', () => {
    const [plan, steps] = [drawPlan(1), drawSteps(1, 3)];
    const { trace } = runWorld(plan, steps, judgesOf);
    expect(runWorld(drawPlan(2), steps, judgesOf).trace).not.toBe(trace);
    expect(runWorld(plan, steps.slice(1), judgesOf).trace).not.toBe(trace);
  });
});
