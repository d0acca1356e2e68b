// A thread of the runner: a seed in, what its world came to out.

import { parentPort } from 'node:worker_threads';
import { runSeed } from '../run-seed.ts';

parentPort?.on('message', ({ seed, steps }: { readonly seed: number; readonly steps: number }) => {
  const startedAt = performance.now();
  const { faults, trace, simulatedMs } = runSeed(seed, steps);
  const busyMs = performance.now() - startedAt;
  parentPort?.postMessage({ seed, trace, simulatedMs, busyMs, fault: faults[0] });
});
