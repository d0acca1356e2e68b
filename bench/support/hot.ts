// Measures functions of the hot path: nanoseconds are reported, garbage is refused. A million warm calls must not cause a single
// collection (run with `--expose-gc`; `npm run bench` does).

import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

// Implementation
const WARM_UP = 200_000;
const CALLS = 1_000_000;
const ROUNDS = 5;

export interface HotFunction {
  readonly name: string;
  /** One call; `i` counts up without repetition over warm-up and rounds. */
  run(i: number): void;
}

/** Prints a table; sets the exit code if anything allocated. */
export async function measureHot(functions: readonly HotFunction[]): Promise<void> {
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (isMinor(entry)) collections++;
  });
  observer.observe({ entryTypes: ['gc'] });
  for (const { name, run } of functions) {
    let i = 0;
    for (; i < WARM_UP; i++) run(i);
    globalThis.gc?.();
    await sleep(20); // lets the observer see what came before
    collections = 0;
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round++) {
      const end = i + CALLS;
      const start = performance.now();
      for (; i < end; i++) run(i);
      best = Math.min(best, performance.now() - start);
    }
    await sleep(20);
    const nanoseconds = ((best * 1e6) / CALLS).toFixed(1);
    const verdict = collections === 0 ? '' : `  ALLOCATES: ${collections} collections`;
    console.log(`${name.padEnd(40)} ${nanoseconds.padStart(8)} ns${verdict}`);
    if (collections > 0) process.exitCode = 1;
  }
  observer.disconnect();
}

/** What was allocated shows in the young generation first; a full collection may as well be V8 tidying up while nothing happens. */
function isMinor(entry: PerformanceEntry): boolean {
  const { detail } = entry as PerformanceEntry & { readonly detail?: { readonly kind?: number } };
  return detail?.kind === constants.NODE_PERFORMANCE_GC_MINOR;
}
