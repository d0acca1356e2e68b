// Data-plane P18.

import { expect, test } from 'vitest';
import { ExpiringMap } from './expiring-map.ts';
import { instant } from './time.ts';

test('data-plane 15.1-P18: the next expiry is the earliest, and is inclusive', () => {
  const map = new ExpiringMap<string, number>();
  map.set('a', 1, instant(20));
  map.set('b', 2, instant(10));
  map.set('c', 3, instant(10));
  map.set('d', 4, undefined);
  expect(map.nextExpiry).toBe(10);
  expect(map.takeExpired(instant(9))).toEqual([]);
  expect(map.takeExpired(instant(10))).toEqual([
    ['b', 2],
    ['c', 3],
  ]);
  expect(map.nextExpiry).toBe(20);
  expect(map.size).toBe(2);
});

test('an entry that is over stays until it is taken', () => {
  const map = new ExpiringMap<string, number>();
  map.set('a', 1, instant(5));
  expect(map.get('a')).toBe(1);
  expect(map.takeExpired(instant(100))).toHaveLength(1);
  expect(map.has('a')).toBe(false);
});

test.each([5, 10, 20])(
  'data-plane 15.1-P18: setting a key again with expiry %i leaves one expiry',
  (expiry) => {
    const map = new ExpiringMap<string, number>();
    map.set('a', 1, instant(10));
    map.set('a', 2, instant(expiry));
    expect(map.nextExpiry).toBe(expiry);
    expect(map.takeExpired(instant(expiry))).toEqual([['a', 2]]);
    expect(map.nextExpiry).toBeUndefined();
  },
);

test('data-plane 15.1-P18: changing and taking keep the index, unknown keys are reported', () => {
  const map = new ExpiringMap<string, number>();
  map.set('a', 1, instant(10));
  map.set('b', 2, instant(30));
  expect(map.setExpiry('a', instant(40))).toBe(true);
  expect(map.setExpiry('x', instant(1))).toBe(false);
  expect(map.expiryOf('a')).toBe(40);
  expect(map.nextExpiry).toBe(30);
  expect(map.take('b')).toBe(2);
  expect(map.take('b')).toBeUndefined();
  expect(map.nextExpiry).toBe(40);
  expect([...map.keys()]).toEqual(['a']);
  expect([...map.values()]).toEqual([1]);
  expect([...map.entries()]).toEqual([['a', 1]]);
  map.clear();
  expect(map.nextExpiry).toBeUndefined();
  expect(map.size).toBe(0);
});
