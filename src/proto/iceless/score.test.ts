// Which pair is better (iceless 4.2, 12).

import { describe, expect, test } from 'vitest';
import { pathCandidate } from '../../../test/support/path-agent.ts';
import type { PathCandidate } from '../../wire/iceless/candidate.ts';
import { bucketOf, isClearlyFaster } from './score.ts';

const HOST = pathCandidate('host', '10.0.0.1:1');
const REFLEXIVE = pathCandidate('srflx', '203.0.113.1:1', '10.0.0.1:1');
const RELAYED = pathCandidate('relayed', '198.51.100.1:1', '10.0.0.1:1');
const HOST6 = pathCandidate('host', '[2001:db8::1]:1');
const RELAYED6 = pathCandidate('relayed', '[2001:db8:77::1]:1', '[2001:db8::1]:1');
const RELAYED6_OVER_4 = pathCandidate('relayed', '[2001:db8:77::1]:1', '10.0.0.1:1');

describe('iceless 12: score order', () => {
  test('from the best to the worst, all IPv4', () => {
    const order: (readonly [PathCandidate, PathCandidate][])[] = [
      [[HOST, HOST]],
      [
        [HOST, REFLEXIVE],
        [REFLEXIVE, HOST],
      ],
      [[REFLEXIVE, REFLEXIVE]],
      [[RELAYED, HOST]],
      [[HOST, RELAYED]],
      [[RELAYED, REFLEXIVE]],
      [[REFLEXIVE, RELAYED]],
      [[RELAYED, RELAYED]],
    ];
    // "local R / remote S < local S / remote R" is how the vector lists them, from better to worse.
    const buckets = order.map((pairs) => pairs.map(([local, remote]) => bucketOf(local, remote)));
    for (const same of buckets) expect(new Set(same).size).toBe(1);
    const values = buckets.map(([value]) => value ?? Number.NaN);
    expect(values.toSorted((a, b) => a - b)).toEqual(values);
    expect(new Set(values).size).toBe(values.length);
  });

  test('with IPv6 and IPv4 both host to host, IPv6 is first, whatever the round trip', () => {
    expect(bucketOf(HOST6, HOST6)).toBeLessThan(bucketOf(HOST, HOST));
  });

  test('a relayed address of another family than the way to its relay is worse, before the family counts', () => {
    expect(bucketOf(RELAYED6, HOST6)).toBeLessThan(bucketOf(RELAYED6_OVER_4, HOST6));
    expect(bucketOf(RELAYED, HOST)).toBeLessThan(bucketOf(RELAYED6_OVER_4, HOST6));
    expect(bucketOf(HOST6, RELAYED6)).toBeLessThan(bucketOf(HOST6, RELAYED6_OVER_4));
  });

  test('iceless 11, #13977: both ends count, so that relay to reflexive is not like relay to relay', () => {
    expect(bucketOf(RELAYED, REFLEXIVE)).toBeLessThan(bucketOf(RELAYED, RELAYED));
  });
});

describe('iceless 10: a switch in the same bucket', () => {
  test.each([
    [60, 47.9, true],
    [60, 48, false],
    [20, 9.9, true],
    [20, 10, false],
    [8, 0, false],
  ])('from %d ms to %d ms: %s', (primary, challenger, expected) => {
    expect(isClearlyFaster(challenger, primary)).toBe(expected);
  });
});
