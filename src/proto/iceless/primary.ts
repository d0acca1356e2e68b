// Which pair carries data, and how far it is trusted (iceless 6.7). Probes only ever promote. A primary that may be dead is *in doubt*: it goes
// on carrying data while it is asked, and is given up when it does not answer in time.
//
// Deviates from iceless 6.7 as iceless 13 asks: a new candidate puts the primary in doubt instead of clearing it, so that a burst of
// candidates does not interrupt a healthy path.

import { type Instant, later } from '../../base/time.ts';
import type { Pair } from './pair.ts';
import { isClearlyFaster } from './score.ts';

// Specification (iceless 6.3, 6.4)

const DISTRESS = 2;

// Implementation

/** Three probes at 0, 200 and 500 ms fit in, and their answers over any path on Earth. */
const CHECK_GRACE_MS = 700;
const CHECK_GRACE_ROUND_TRIPS = 3;
/** When other paths are known to be there: one probe, and twice the time its answer took so far. */
const NEWS_GRACE_MS = 100;
const NEWS_GRACE_ROUND_TRIPS = 2;
/** Its round trip may be anything. */
const UNMEASURED_GRACE_MS = 2_000;

export class Primary {
  #pair: Pair | undefined;
  #giveUpAt: Instant | undefined;
  /** Of the last answer, or of becoming the primary. */
  #confirmedAt: Instant | undefined;
  #unansweredRekeys = 0;
  #peerRekeys = 0;

  /** Zeroes what was counted against the last one. */
  set(pair: Pair, now: Instant): void {
    this.#pair = pair;
    this.#giveUpAt = undefined;
    this.#confirmedAt = now;
    this.#unansweredRekeys = 0;
    this.#peerRekeys = 0;
    pair.keepUp(now);
  }

  clear(): void {
    this.#pair = undefined;
    this.#giveUpAt = undefined;
  }

  /** With what was counted. */
  forget(): void {
    this.clear();
    this.#unansweredRekeys = 0;
    this.#peerRekeys = 0;
  }

  /** It answered. */
  confirm(now: Instant): void {
    this.#giveUpAt = undefined;
    this.#confirmedAt = now;
  }

  /** `news`: other paths may have come; `silence`: nothing was heard. An older doubt stays as it is. */
  doubt(cause: 'news' | 'silence', now: Instant): void {
    if (this.#pair === undefined || this.#giveUpAt !== undefined) return;
    this.#giveUpAt = later(now, graceOf(cause, this.#pair.rtt));
  }

  /** iceless 6.7: whether the best measured pair takes its place. */
  isWorseThan(best: Pair): boolean {
    const pair = this.#pair;
    if (pair === undefined || best.bucket < pair.bucket) return true;
    if (best === pair || best.bucket > pair.bucket) return false;
    return pair.rtt !== undefined && isClearlyFaster(best.rtt ?? pair.rtt, pair.rtt);
  }

  /** True with the second in a row: the path is dead, if there is one (iceless 6.3). Said once. */
  noteOwnRekey(): boolean {
    this.#unansweredRekeys += 1;
    return this.#unansweredRekeys === DISTRESS && this.#pair !== undefined;
  }

  noteOwnRekeyAnswered(): void {
    this.#unansweredRekeys = 0;
  }

  /** True with the second without data in between: the peer does not hear us (iceless 6.4). */
  notePeerRekey(): boolean {
    this.#peerRekeys += 1;
    return this.#peerRekeys >= DISTRESS && this.#pair !== undefined;
  }

  notePeerData(): void {
    this.#peerRekeys = 0;
  }

  isGivenUp(now: Instant): boolean {
    return this.#giveUpAt !== undefined && this.#giveUpAt <= now;
  }

  pollTimeout(): Instant | undefined {
    return this.#giveUpAt;
  }

  get pair(): Pair | undefined {
    return this.#pair;
  }

  get isInDoubt(): boolean {
    return this.#giveUpAt !== undefined;
  }

  get confirmedAt(): Instant | undefined {
    return this.#pair && this.#confirmedAt;
  }

  snapshot(): { readonly unansweredRekeys: number; readonly peerRekeys: number } {
    return { unansweredRekeys: this.#unansweredRekeys, peerRekeys: this.#peerRekeys };
  }
}

function graceOf(cause: 'news' | 'silence', rtt: number | undefined): number {
  if (rtt === undefined) return UNMEASURED_GRACE_MS;
  return cause === 'silence'
    ? Math.max(CHECK_GRACE_MS, CHECK_GRACE_ROUND_TRIPS * rtt)
    : Math.max(NEWS_GRACE_MS, NEWS_GRACE_ROUND_TRIPS * rtt);
}
