// A thread of the runner: a seed in, what its world came to out; or a failed list of steps in, the shortest that still fails and all that happened out.

import { parentPort } from 'node:worker_threads';
import { explain, type Replay, shorten } from '../report/explain.ts';
import { runSeed } from '../run-seed.ts';
import { drawSteps } from '../steps/draw-steps.ts';

type Order =
  | { readonly seed: number; readonly steps: number }
  | { readonly shorten: { readonly seed: number; readonly steps: number }; readonly rule: string }
  | { readonly replay: Replay };

/** Worlds that are run to find a shorter one. */
const TRIES = 200;

parentPort?.on('message', (order: Order) => {
  if ('replay' in order) parentPort?.postMessage(explain(order.replay));
  else if ('shorten' in order) {
    const { seed, steps } = order.shorten;
    const replay = shorten({ seed, steps: drawSteps(seed, steps) }, order.rule, TRIES);
    parentPort?.postMessage(explain(replay));
  } else {
    const startedAt = performance.now();
    const { faults, trace, simulatedMs } = runSeed(order.seed, order.steps);
    const busyMs = performance.now() - startedAt;
    parentPort?.postMessage({ seed: order.seed, trace, simulatedMs, busyMs, fault: faults[0] });
  }
});
