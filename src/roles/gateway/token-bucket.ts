// A rate limit with burst: a token for each thing, refilled steadily.

import type { Instant } from '../../base/time.ts';

export class TokenBucket {
  readonly #perMillisecond: number;
  readonly #burst: number;
  #tokens: number;
  #filledAt: number;

  constructor(perSecond: number, burst: number, now: Instant) {
    this.#perMillisecond = perSecond / 1000;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filledAt = now;
  }

  /** Takes a token if there is one. */
  take(now: Instant): boolean {
    if (now > this.#filledAt) {
      const refill = (now - this.#filledAt) * this.#perMillisecond;
      this.#tokens = Math.min(this.#burst, this.#tokens + refill);
      this.#filledAt = now;
    }
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
