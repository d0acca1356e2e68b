import fc from 'fast-check';
import { expect, test } from 'vitest';
import { shrink } from './shrink.ts';

test('nothing is left but what the failure needs, in its order', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 5 }), (needed) => {
      const steps = Array.from({ length: 61 }, (_, i) => i);
      const fails = (list: readonly number[]): boolean => needed.every((n) => list.includes(n));
      expect(shrink(steps, fails, 10_000)).toEqual([...needed].sort((a, b) => a - b));
    }),
  );
});

test('it stops when its budget is used up, with a list that fails', () => {
  let asked = 0;
  const fails = (list: readonly number[]): boolean => {
    asked++;
    return list.includes(7);
  };
  const result = shrink([1, 2, 3, 4, 5, 6, 7, 8], fails, 3);
  expect(asked).toBe(3);
  expect(result).toContain(7);
});

test('a list that fails by itself shrinks to nothing', () => {
  expect(shrink([1, 2, 3], () => true, 100)).toEqual([]);
});
