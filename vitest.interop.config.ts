import { defineConfig } from 'vitest/config';

/** Programs that we did not write, on loopback or in namespaces of the test's own. */
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
