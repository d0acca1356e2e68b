// The table against a plain map, with keys that collide often.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WordTable } from './word-table.ts';

const operation = fc.record({
  kind: fc.constantFrom('set', 'delete', 'get'),
  word: fc.integer({ min: 0, max: 40 }),
  extra: fc.integer({ min: 0, max: 3 }),
  value: fc.nat(1000),
});

test('any sequence of operations gives what a map gives', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), fc.integer(), (operations, seed) => {
      const table = new WordTable(seed);
      const twin = new Map<string, number>();
      for (const { kind, word, extra, value } of operations) {
        const words = Int32Array.of(9, 0, 0, 0xffff, word);
        const key = `${word}/${extra}`;
        if (kind === 'set') {
          table.set(words, 1, extra, value);
          twin.set(key, value);
        } else if (kind === 'delete') {
          expect(table.delete(words, 1, extra)).toBe(twin.delete(key));
        }
        expect(table.get(words, 1, extra)).toBe(twin.get(key) ?? -1);
        expect(table.count).toBe(twin.size);
      }
      for (const [key, value] of twin) {
        const [word = 0, extra = 0] = key.split('/').map(Number);
        expect(table.get(Int32Array.of(0, 0, 0xffff, word), 0, extra)).toBe(value);
      }
    }),
  );
});

test('clear forgets everything', () => {
  const table = new WordTable(1);
  const words = Int32Array.of(1, 2, 3, 4);
  table.set(words, 0, 5, 6);
  table.clear();
  expect(table.get(words, 0, 5)).toBe(-1);
  expect(table.count).toBe(0);
});
