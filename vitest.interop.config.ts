import { defineConfig } from 'vitest/config';

/** Programs that we did not write, on loopback or in namespaces of the test's own. */
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    pool: 'forks',
    // Ports and namespaces are each file's own, and most of the time is waiting for timers of others.
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
