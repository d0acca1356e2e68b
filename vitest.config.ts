import { defineConfig } from 'vitest/config';

/** Unit, vector, property and pair tests: they stand beside the code and need nothing built. */
export default defineConfig({
  test: {
    include: [
      'src/**/*.test.ts',
      'test/unit/**/*.test.ts',
      'test/compliance/**/*.test.ts',
      'test/fuzz/**/*.test.ts',
      'test/pair/**/*.test.ts',
      'test/sim/**/*.test.ts',
    ],
    pool: 'threads',
    testTimeout: 20_000,
  },
});
