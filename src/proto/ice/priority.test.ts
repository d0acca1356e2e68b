// Vectors of connectivity 13.3, and the interleaving of families.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type CandidateKind,
  candidatePriority,
  comparePairPriority,
  formatPairPriority,
  localPreference,
  pairPriority,
} from './priority.ts';

const priorities = (kind: CandidateKind, family: 4 | 6, isCrossFamily = false): number[] =>
  [0, 1, 2].map((n) => candidatePriority(kind, localPreference(kind, family, n, isCrossFamily)));

describe('candidate priorities', () => {
  it.each([
    ['host', 4, [2130706175, 2130705663, 2130705151]],
    ['host', 6, [2130706431, 2130705919, 2130705407]],
    ['srflx', 4, [1686109951, 1686109439, 1686108927]],
    ['srflx', 6, [1686110207, 1686109695, 1686109183]],
    ['relayed', 4, [37748479, 37747967, 37747455]],
    ['relayed', 6, [37748735, 37748223, 37747711]],
  ] as const)('are those of the vectors for %s over IPv%i', (kind, family, expected) => {
    expect(priorities(kind, family)).toEqual(expected);
  });

  it('are lower for a relayed candidate of another family than its relay is reached by', () => {
    expect(priorities('relayed', 6, true)[0]).toBe(37492735);
    expect(priorities('relayed', 4, true)[0]).toBe(37492479);
  });

  it('give the first IPv4 host its PRIORITY attribute', () => {
    expect(candidatePriority('prflx', localPreference('host', 4, 0, false))).toBe(1862270719);
  });

  it('stay positive after very many candidates', () => {
    expect(localPreference('relayed', 4, 1_000_000, true)).toBe(0);
  });
});

describe('pair priorities', () => {
  const host = 2130706175;
  const srflx = 1686109951;
  const relay = 37748479;

  it.each([
    [host, host, '9151313343271665150'],
    [host, srflx, '7241787101266574847'],
    [host, relay, '162128487040155135'],
    [relay, host, '162128487040155134'],
    [relay, relay, '162128482854239742'],
  ])('of G = %i and D = %i are those of the vectors', (g, d, expected) => {
    expect(formatPairPriority(pairPriority(g, d))).toBe(expected);
  });

  it('compare as the 64-bit numbers of RFC 8445 §6.1.2.3, for any priorities', () => {
    const u32 = fc.nat(0xffff_ffff);
    const reference = (g: number, d: number): bigint =>
      (BigInt(Math.min(g, d)) << 32n) + 2n * BigInt(Math.max(g, d)) + (g > d ? 1n : 0n);
    fc.assert(
      fc.property(u32, u32, u32, u32, (g1, d1, g2, d2) => {
        const [a, b] = [reference(g1, d1), reference(g2, d2)];
        const order = comparePairPriority(pairPriority(g1, d1), pairPriority(g2, d2));
        expect(Math.sign(order)).toBe(a === b ? 0 : a > b ? 1 : -1);
        expect(formatPairPriority(pairPriority(g1, d1))).toBe(a.toString());
      }),
    );
  });
});
