// Half of the worlds of CI, and what makes a world another one.

import { describe, expect, test } from 'vitest';
import { testWorlds } from './ci-worlds.ts';
import { drawPlan } from './draw-plan.ts';
import { judgesOf } from './judges/judges.ts';
import { drawSteps } from './steps/draw-steps.ts';
import { runWorld } from './world.ts';

describe('worlds of odd seeds', () => testWorlds(1, 2));

describe('a simulated world', () => {
  test('is another one for another seed, or when a step is left out', () => {
    const [plan, steps] = [drawPlan(1), drawSteps(1, 3)];
    const { trace } = runWorld(plan, steps, judgesOf);
    expect(runWorld(drawPlan(2), steps, judgesOf).trace).not.toBe(trace);
    expect(runWorld(plan, steps.slice(1), judgesOf).trace).not.toBe(trace);
  });
});
