// How good a pair is (iceless 4.2): smaller is better. Everything but the round trip makes the bucket; round trips only decide inside one.
//
//   bucket = tier, own end relayed or not, families at the relay, IPv6 or IPv4          tier = worse end, better end

import { familyOf } from '../../base/address.ts';
import {
  isFamilyMatched,
  type PathCandidate,
  type PathCandidateKind,
  sendAddressOf,
} from '../../wire/iceless/candidate.ts';

// Specification

const RANK: Readonly<Record<PathCandidateKind, number>> = { host: 0, srflx: 1, relayed: 2 };

/** iceless 6.7: what a challenger in the bucket of the primary has to be faster by, at least. */
const MIN_GAIN_MS = 10;
const MIN_GAIN_RATIO = 0.2;

export function bucketOf(local: PathCandidate, remote: PathCandidate): number {
  const worse = Math.max(RANK[local.kind], RANK[remote.kind]);
  const better = Math.min(RANK[local.kind], RANK[remote.kind]);
  const isMatched = isFamilyMatched(local) && isFamilyMatched(remote);
  const criteria = [
    local.kind === 'relayed',
    isMatched,
    familyOf(sendAddressOf(local).address) === 6,
  ];
  return criteria.reduce((sum, isMet) => sum * 2 + (isMet ? 0 : 1), worse * 3 + better);
}

/** Whether the round trip is shorter by enough to be worth a change of paths. */
export function isClearlyFaster(challengerRtt: number, primaryRtt: number): boolean {
  return challengerRtt + Math.max(MIN_GAIN_MS, primaryRtt * MIN_GAIN_RATIO) < primaryRtt;
}
