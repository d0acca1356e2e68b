// The thread that searches: what `fuzz.mjs` bundles with a target and starts. All it says are messages.

import { parentPort, workerData } from 'node:worker_threads';
import type { FuzzTarget } from '../target.ts';
import { type SearchOptions, search } from './search.ts';

export function work(target: FuzzTarget): void {
  const finding = search(target, workerData as SearchOptions, {
    clock: () => performance.now(),
    kept: (bytes) => parentPort?.postMessage({ kind: 'kept', bytes }),
    progress: (progress) => parentPort?.postMessage({ kind: 'progress', ...progress }),
  });
  if (finding) parentPort?.postMessage({ kind: 'finding', ...finding });
}
