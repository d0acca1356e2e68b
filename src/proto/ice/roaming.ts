// WireGuard's data as a second source of knowledge about paths (connectivity 14.15). A peer whose NAT gave it another mapping, or
// that moved, is heard at its new address with its next packet, long before ICE gives the old pair up (16.5 s). But data from elsewhere alone
// proves little: it may be late, sent over both paths, or replayed by a bystander. So the question is asked by checks:
//
//   authentic data on another pair ──▶ check both pairs ──┬─ the pair in use is heard ──────────────▶ stay
//                                                         └─ only the other one answers, 200 ms pass ──▶ move
//
// Only paths that answered a check of ours are ever used.

import { type Instant, later } from '../../base/time.ts';
import type { CandidatePair } from './candidate-pair.ts';

// Implementation
/** A pair in use that works answers within this time, or within two of its round trips. */
const GRACE_MS = 200;
const GRACE_ROUND_TRIPS = 2;
/** A path that neither answers nor falls silent is asked again after this time, not with each packet. */
const QUESTION_MS = 1_000;

interface Question {
  readonly pair: CandidatePair;
  readonly askedAt: Instant;
  readonly decideAt: Instant;
  /** The pair in use had its time; whenever the other one answers, it is taken. */
  isOverdue: boolean;
}

export interface Move {
  readonly to: CandidatePair;
  /** What was not heard since then is not to be trusted. */
  readonly since: Instant;
}

export class Roaming {
  #question: Question | undefined;
  #nextQuestionAt: Instant | undefined;

  /** Data came by `pair` while `selected` is in use. True if the question is new: both are to be checked now. */
  ask(pair: CandidatePair, selected: CandidatePair, now: Instant): boolean {
    if (this.#nextQuestionAt !== undefined && now < this.#nextQuestionAt) return false;
    const roundTripMs = Math.max(pair.rtt ?? 0, selected.rtt ?? 0);
    const graceMs = Math.max(GRACE_MS, GRACE_ROUND_TRIPS * roundTripMs);
    this.#question = { pair, askedAt: now, decideAt: later(now, graceMs), isOverdue: false };
    this.#nextQuestionAt = later(now, Math.max(QUESTION_MS, graceMs));
    return true;
  }

  /** Where to move now, if anywhere. */
  decide(selected: CandidatePair | undefined, now: Instant): Move | undefined {
    const question = this.#question;
    if (question === undefined) return undefined;
    const { pair, askedAt, decideAt } = question;
    const isSettled = !selected || selected === pair || selected.heardAt >= askedAt;
    if (!isSettled && now < decideAt) return undefined;
    question.isOverdue = true;
    if (!isSettled && pair.answeredAt < askedAt) return undefined;
    this.#question = undefined;
    return isSettled ? undefined : { to: pair, since: askedAt };
  }

  pollTimeout(): Instant | undefined {
    return this.#question?.isOverdue === false ? this.#question.decideAt : undefined;
  }
}
