import { expect, test } from 'vitest';
import { instant } from '../../base/time.ts';
import { ASK_INTERVAL_MS, RelayRequest } from './relay-request.ts';

test('is asked at once, and what comes within two seconds is asked once more when they are over', () => {
  const request = new RelayRequest();
  expect(request.pollTimeout()).toBeUndefined();
  expect(request.want(instant(1_000))).toBe(true);
  for (let at = 1_001; at < 1_100; at++) expect(request.want(instant(at))).toBe(false);
  expect(request.pollTimeout()).toBe(1_000 + ASK_INTERVAL_MS);
  expect(request.handleTimeout(instant(2_999))).toBe(false);
  expect(request.handleTimeout(instant(3_000))).toBe(true);
  expect(request.handleTimeout(instant(3_000))).toBe(false);
  expect(request.pollTimeout()).toBeUndefined();
});

test('is not asked again once there are relays', () => {
  const request = new RelayRequest();
  request.want(instant(0));
  request.want(instant(10));
  request.satisfy();
  expect(request.pollTimeout()).toBeUndefined();
  expect(request.handleTimeout(instant(10_000))).toBe(false);
});
