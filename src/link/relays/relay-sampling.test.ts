import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SeededRandom } from '../../base/random.ts';
import { inclusionThreshold, sampleRelay } from './relay-sampling.ts';

function picks(rtts: readonly (number | undefined)[], rounds = 2000): Map<number, number> {
  const random = new SeededRandom(7);
  const relays = rtts.map((rtt, index) => ({ index, rtt }));
  const counts = new Map<number, number>();
  for (let i = 0; i < rounds; i++) {
    const relay = sampleRelay(relays, random);
    if (relay) counts.set(relay.index, (counts.get(relay.index) ?? 0) + 1);
  }
  return counts;
}

test.each([
  [[40], 60],
  [[40, 60], 60],
  [[30, 35, 40], 50],
  [[30, 30, 30, 31], 36],
  [[30, 40, 50, 60], 75],
])('the threshold of %j is %d ms', (rtts, threshold) => {
  expect(inclusionThreshold(rtts)).toBe(threshold);
});

test('an outlier is never picked', () => {
  expect([...picks([30, 35, 200, 40]).keys()].sort()).toEqual([0, 1, 3]);
});

test('two relays one millisecond apart are picked evenly', () => {
  const counts = picks([30, 31]);
  expect(Math.abs((counts.get(0) ?? 0) - (counts.get(1) ?? 0))).toBeLessThan(200);
});

test('of two relays the one six times slower is never picked', () => {
  expect([...picks([10, 60]).keys()]).toEqual([0]);
});

test('a single slow relay is picked', () => {
  expect(picks([900]).get(0)).toBe(2000);
});

test('relays that never answered are never picked', () => {
  expect(picks([undefined, undefined]).size).toBe(0);
  expect([...picks([undefined, 500]).keys()]).toEqual([1]);
});

test('the fastest relay always takes part', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (rtts) => {
      expect(inclusionThreshold(rtts)).toBeGreaterThanOrEqual(Math.min(...rtts));
    }),
  );
});
