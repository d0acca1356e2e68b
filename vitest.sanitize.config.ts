import { defineConfig } from 'vitest/config';

/** The tests that run native code, on its build with sanitizers (scripts/sanitize.mjs). */
export default defineConfig({
  test: {
    include: ['test/compliance/**/*.test.ts', 'src/io/loop-loopback.test.ts'],
    setupFiles: ['test/compliance/use-sanitized.ts'],
    pool: 'forks',
    testTimeout: 120_000,
  },
});
