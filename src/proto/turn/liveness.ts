// Whether a relay that we send through still lives (relay 10.11). A NAT, a crash or a cable may end it without a word; then what we send
// is not answered by anything at all. So whoever goes on sending and hears nothing asks, and asks again soon.
//
//   heard --sent--> unanswered --sent SUSPICION_MS later--> asked --answer, or any data--> heard
//                                                             \----nothing at all--------> silent
//
// What arrives counts, whatever it is: a loaded relay may lose the answers to our questions, but not all data as well.

import type { Instant } from '../../base/time.ts';
import type { RetransmissionSchedule } from '../stun/retransmission.ts';

// Implementation
/** Whoever goes on sending so long without hearing anything has lost more than a few datagrams. */
const SUSPICION_MS = 1000;
/**
 * The question is sent ten times, or four times where round trips are long: one of ten gets through and back even where a fifth of all datagrams
 * is lost each way. With the suspicion that is four seconds, and TCP in the tunnel, which doubles its pauses, comes back soon after.
 */
const PATIENCE_MS = 3000;
const MIN_INTERVAL_MS = 300;
const MAX_INTERVAL_MS = 1000;
const ROUND_TRIPS = 1.5;
/** On a stream the transport repeats; a lost segment and its successor cost it a second each. */
const STREAM_PATIENCE_MS = 5000;

export class Liveness {
  /** When the first of those was sent that nothing has come back for. */
  #unansweredSince: Instant | undefined;
  #askAt: Instant | undefined;
  #isAsking = false;
  #hasHeard = true;

  /** Hot. */
  noteSent(now: Instant): void {
    if (this.#unansweredSince === undefined) this.#unansweredSince = now;
    else if (now - this.#unansweredSince >= SUSPICION_MS && !this.#isAsking) this.#askAt ??= now;
  }

  /** Hot. */
  noteHeard(): void {
    this.#unansweredSince = undefined;
    this.#askAt = undefined;
    this.#hasHeard = true;
    this.#isAsking = false;
  }

  /** A question is on its way. */
  noteAsked(): void {
    this.#askAt = undefined;
    this.#hasHeard = false;
    this.#isAsking = true;
  }

  /** A question was given up: whether that means that the relay is silent. */
  get isSilent(): boolean {
    return !this.#hasHeard;
  }

  get askAt(): Instant | undefined {
    return this.#askAt;
  }

  /** How to ask, given the smoothed round trip time. */
  schedule(isStream: boolean, srttMs: number): RetransmissionSchedule {
    const giveUpMs = isStream ? STREAM_PATIENCE_MS : PATIENCE_MS;
    const interval = Math.max(MIN_INTERVAL_MS, srttMs * ROUND_TRIPS);
    const firstIntervalMs = isStream ? giveUpMs : Math.min(interval, MAX_INTERVAL_MS);
    return { firstIntervalMs, multiplier: 1, giveUpMs };
  }
}
