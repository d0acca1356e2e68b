// What an ICE agent shows of itself: plain data for diagnosis and for messages of failing tests. No secrets.

import type { Instant } from '../../base/time.ts';
import type { IceCandidate } from './candidate.ts';
import type { CandidatePair, CheckState, IceRole, Nomination } from './candidate-pair.ts';
import type { IceState } from './nomination.ts';
import { type CandidateKind, formatPairPriority } from './priority.ts';
import type { IceTiming } from './timing.ts';

export interface CandidatePairSnapshot {
  readonly local: string;
  readonly localKind: CandidateKind;
  readonly remote: string;
  readonly remoteKind: CandidateKind;
  /** Decimal text of the 64-bit priority. */
  readonly priority: string;
  readonly checkState: CheckState;
  readonly nomination: Nomination;
  readonly isSelected: boolean;
  readonly attempts: number;
  readonly answered: number;
  readonly rttMs: number | undefined;
  /** Milliseconds until the next check; 0 if it is due. */
  readonly nextCheckInMs: number;
}

export interface IceAgentSnapshot {
  readonly role: IceRole;
  readonly state: IceState;
  readonly timing: IceTiming;
  readonly localCandidates: readonly IceCandidate[];
  readonly remoteCandidates: readonly IceCandidate[];
  readonly pairs: readonly CandidatePairSnapshot[];
  readonly heldRequests: number;
  /** Checks whose responses would still be accepted. */
  readonly transactions: number;
  readonly drops: Readonly<Record<string, number>>;
}

export function snapshotOfPair(
  pair: CandidatePair,
  isSelected: boolean,
  now: Instant,
): CandidatePairSnapshot {
  return {
    local: pair.local.candidate.base.key,
    localKind: pair.local.candidate.kind,
    remote: pair.remote.candidate.address.key,
    remoteKind: pair.remote.candidate.kind,
    priority: formatPairPriority(pair.priority),
    checkState: pair.checkState,
    nomination: pair.nomination,
    isSelected,
    attempts: pair.attempts.length,
    answered: pair.attempts.filter(({ isAnswered }) => isAnswered).length,
    rttMs: pair.rtt,
    nextCheckInMs: Math.max(0, pair.nextCheckAt - now),
  };
}
