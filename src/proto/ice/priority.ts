// Priorities of candidates and of pairs: RFC 8445 §5.1.2.1 and §6.1.2.3 with the local preferences of connectivity 5.4.
// Pair priorities have 64 bits; they are two exact numbers compared one after the other, never one rounded number.

import type { IpFamily } from '../../base/address.ts';

/** `relayed` is called `relay` in candidate strings. */
export type CandidateKind = 'host' | 'srflx' | 'prflx' | 'relayed';

/** The 64-bit value `high * 2^32 + low`. */
export interface PairPriority {
  readonly high: number;
  readonly low: number;
}

// Specification

/** RFC 8445 §5.1.2.2. */
const TYPE_PREFERENCE: Readonly<Record<CandidateKind, number>> = {
  host: 126,
  prflx: 110,
  srflx: 100,
  relayed: 2,
};
/** Connectivity 5.4: where the local preferences of each kind start. */
const LOCAL_PREFERENCE_START: Readonly<Record<CandidateKind, number>> = {
  host: 65_535,
  prflx: 49_151,
  srflx: 32_767,
  relayed: 16_383,
};
/** Connectivity 5.4: a relayed candidate of another family than the socket to the relay. */
const CROSS_FAMILY_PENALTY = 1000;
/** The only component there is (connectivity 5.1). */
export const COMPONENT = 1;

/**
 * Local preference of the `ordinal`-th (from 0) candidate of its kind and family. IPv4 and IPv6 interleave, IPv6 first
 * (RFC 8421 §4).
 */
export function localPreference(
  kind: CandidateKind,
  family: IpFamily,
  ordinal: number,
  isCrossFamily: boolean,
): number {
  const start = LOCAL_PREFERENCE_START[kind] - (family === 6 ? 0 : 1);
  return Math.max(0, start - 2 * ordinal - (isCrossFamily ? CROSS_FAMILY_PENALTY : 0));
}

/** RFC 8445 §5.1.2.1. */
export function candidatePriority(kind: CandidateKind, preference: number): number {
  return TYPE_PREFERENCE[kind] * 2 ** 24 + preference * 2 ** 8 + (256 - COMPONENT);
}

/** RFC 8445 §6.1.2.3: `2^32*MIN(G,D) + 2*MAX(G,D) + (G>D?1:0)`, exact for any two 32-bit priorities. */
export function pairPriority(controlling: number, controlled: number): PairPriority {
  const smaller = Math.min(controlling, controlled);
  const doubled = 2 * Math.max(controlling, controlled) + (controlling > controlled ? 1 : 0);
  return { high: smaller + Math.floor(doubled / 2 ** 32), low: doubled % 2 ** 32 };
}

/** Negative if `a` is the lower one, 0 if they are equal. */
export function comparePairPriority(a: PairPriority, b: PairPriority): number {
  return a.high - b.high || a.low - b.low;
}

/** Decimal text of the 64-bit value, for people. */
export function formatPairPriority(priority: PairPriority): string {
  return ((BigInt(priority.high) << 32n) + BigInt(priority.low)).toString();
}
