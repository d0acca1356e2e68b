// One seed, whole: its plan, its steps, its judges.

import { drawPlan } from './draw-plan.ts';
import { judgesOf } from './judges/judges.ts';
import { drawSteps, STEP_COUNT } from './steps/draw-steps.ts';
import { runWorld, type Verdict } from './world.ts';

export function runSeed(seed: number, stepCount: number = STEP_COUNT): Verdict {
  return runWorld(drawPlan(seed), drawSteps(seed, stepCount), judgesOf);
}
