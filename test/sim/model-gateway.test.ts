// The model of the gateway beside the product's, for any order of steps (`support/gateway-and-model.ts`).

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runBoth, STEPS } from '../support/gateway-and-model.ts';

test('the product decides about every packet as the model does', () => {
  const outcomes = new Set<string>();
  fc.assert(
    fc.property(STEPS, (steps) => {
      runBoth(steps, outcomes);
    }),
    // The same worlds in every run of CI; `MODEL_SEED` and `MODEL_RUNS` search elsewhere.
    {
      seed: Number(process.env['MODEL_SEED'] ?? 1),
      numRuns: Number(process.env['MODEL_RUNS'] ?? 60),
    },
  );
  // The property means something only if packets met every fate.
  expect([...outcomes].sort()).toEqual(['answered', 'dropped', 'forwarded', 'kept', 'sent']);
});
