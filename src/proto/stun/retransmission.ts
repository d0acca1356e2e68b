// When a request that was not answered is sent again, and when it is given up (RFC 8489 §6.2.1). The schedule is a parameter:
// TURN follows connlib's (relay 4.5), which gives up after 8 s where the RFC waits for 39.5 s.

import { type Instant, later } from '../../base/time.ts';

export interface RetransmissionSchedule {
  /** From the first transmission to the second. */
  readonly firstIntervalMs: number;
  /** Each interval is the one before times this. */
  readonly multiplier: number;
  /** A request that is due again this long after its first transmission is given up instead. */
  readonly giveUpMs: number;
}

export class Retransmission {
  readonly #schedule: RetransmissionSchedule;
  readonly #startedAt: Instant;
  #intervalMs: number;
  #dueAt: Instant;

  constructor(schedule: RetransmissionSchedule, now: Instant) {
    this.#schedule = schedule;
    this.#startedAt = now;
    this.#intervalMs = schedule.firstIntervalMs;
    this.#dueAt = later(now, schedule.firstIntervalMs);
  }

  /** `false`: give up. Otherwise the request is to be sent once, however many due times were missed. */
  advance(now: Instant): boolean {
    if (now - this.#startedAt >= this.#schedule.giveUpMs) return false;
    while (this.#dueAt <= now) {
      this.#intervalMs *= this.#schedule.multiplier;
      this.#dueAt = later(this.#dueAt, this.#intervalMs);
    }
    return true;
  }

  get startedAt(): Instant {
    return this.#startedAt;
  }

  get dueAt(): Instant {
    return this.#dueAt;
  }
}
