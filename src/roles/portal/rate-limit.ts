// Token buckets in front of the connect pipeline (portal 10.1 step 2): one per client address and token, so that a component
// in a restart loop costs little. The table is bounded; full buckets are forgotten first.

import type { Instant } from '../../base/time.ts';

// Specification

/** portal 12: refill of one connect a second. */
const REFILL_MS = 1000;

// Implementation

/** Upstream allows one connect at a time; a household of components behind one address shares our bucket, and a client that
 * roams dials again at once. */
export const CONNECT_BURST = 10;
/** About 10 MB; an attacker's addresses beyond it push out the oldest. */
const MAX_BUCKETS = 65_536;

interface Bucket {
  tokens: number;
  updatedAt: Instant;
}

export class RateLimiter {
  readonly #buckets = new Map<string, Bucket>();
  readonly #burst: number;

  constructor(burst: number) {
    this.#burst = burst;
  }

  /** False: too early. */
  take(key: string, now: Instant): boolean {
    const bucket = this.#buckets.get(key) ?? { tokens: this.#burst, updatedAt: now };
    const refilled = bucket.tokens + Math.max(0, now - bucket.updatedAt) / REFILL_MS;
    bucket.tokens = Math.min(this.#burst, refilled);
    bucket.updatedAt = now;
    this.#buckets.delete(key); // the map stays in order of use
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > MAX_BUCKETS) this.#forgetOldest();
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  get size(): number {
    return this.#buckets.size;
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}
