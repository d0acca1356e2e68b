import { expect, test } from 'vitest';
import { instant } from '../../base/time.ts';
import { RecentlyDisconnected } from './recently-disconnected.ts';

test('a lost connection is remembered for five seconds by each of its names', () => {
  const recent = new RecentlyDisconnected();
  recent.remember('peer', 'a', instant(1_000));
  recent.remember('index', 7, instant(1_000));
  expect(recent.has('peer', 'a', instant(5_999))).toBe(true);
  expect(recent.has('index', 7, instant(5_999))).toBe(true);
  expect(recent.has('public-key', 'a', instant(1_000))).toBe(false);
  expect(recent.has('peer', 'a', instant(6_000))).toBe(false);
});

test('names are forgotten on time and the memory is bounded', () => {
  const recent = new RecentlyDisconnected();
  recent.remember('peer', 'a', instant(0));
  expect(recent.pollTimeout()).toBe(5_000);
  recent.handleTimeout(instant(5_000));
  expect(recent.count).toBe(0);
  for (let i = 0; i < 10_000; i++) recent.remember('index', i, instant(1));
  expect(recent.count).toBeLessThanOrEqual(4_096);
});
