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
/** Between two answers of a peer at the far end of a slow path. */
const SUSPICION_MS = 2000;
/** Sent at 0, 0.5, 1.25 and 2.4 s, given up at 4.1 s; with the suspicion before it well under ten seconds. */
const QUESTION: RetransmissionSchedule = {
  firstIntervalMs: 500,
  multiplier: 1.5,
  giveUpMs: 4000,
};
/** On a stream the transport repeats, and loss of a segment costs about a second. */
const STREAM_QUESTION: RetransmissionSchedule = {
  firstIntervalMs: 5000,
  multiplier: 1,
  giveUpMs: 5000,
};

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

  schedule(isStream: boolean): RetransmissionSchedule {
    return isStream ? STREAM_QUESTION : QUESTION;
  }
}
