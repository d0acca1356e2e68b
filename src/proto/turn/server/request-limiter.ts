// Limits requests before anything is computed: an answer is larger than its question, and the source may be somebody else's (relay
// 10). A token bucket for each key in a bounded table; who was quiet the longest makes room, with nothing lost but what it had spent.

import type { Instant } from '../../../base/time.ts';

export interface RequestLimits {
  readonly perSecond: number;
  readonly burst: number;
  /** Keys that are remembered. */
  readonly maxKeys: number;
}

interface Bucket {
  tokens: number;
  at: Instant;
}

export class RequestLimiter {
  readonly #limits: RequestLimits;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: RequestLimits) {
    this.#limits = limits;
  }

  /** Takes one request's worth; `false` if there is none left. */
  take(key: string, now: Instant): boolean {
    const bucket = this.#buckets.get(key) ?? this.#create(key, now);
    const { perSecond, burst } = this.#limits;
    const refill = ((now - bucket.at) / 1000) * perSecond;
    bucket.tokens = Math.min(burst, bucket.tokens + refill);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  get count(): number {
    return this.#buckets.size;
  }

  #create(key: string, now: Instant): Bucket {
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size < this.#limits.maxKeys) break;
      this.#buckets.delete(oldest);
    }
    const bucket = { tokens: this.#limits.burst, at: now };
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
