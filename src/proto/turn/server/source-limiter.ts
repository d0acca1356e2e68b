// Limits requests of those who have no allocation, by source address and before anything is computed: an answer is larger than
// its question, and the source may be somebody else's (relay 10). A token bucket each, in a bounded table.

import type { IpAddress } from '../../../base/address.ts';
import type { Instant } from '../../../base/time.ts';

// Implementation
/** A site with a thousand clients behind one address asks some 40 times a second for keep-alives. */
const REQUESTS_PER_SECOND = 100;
const BURST = 500;
const MAX_SOURCES = 8192;

interface Bucket {
  tokens: number;
  at: Instant;
}

export class SourceLimiter {
  readonly #buckets = new Map<IpAddress, Bucket>();

  /** Takes one request's worth; `false` if there is none left. */
  take(source: IpAddress, now: Instant): boolean {
    const bucket = this.#buckets.get(source) ?? this.#create(source, now);
    const refill = ((now - bucket.at) / 1000) * REQUESTS_PER_SECOND;
    bucket.tokens = Math.min(BURST, bucket.tokens + refill);
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  #create(source: IpAddress, now: Instant): Bucket {
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size < MAX_SOURCES) break;
      this.#buckets.delete(oldest);
    }
    const bucket = { tokens: BURST, at: now };
    this.#buckets.set(source, bucket);
    return bucket;
  }
}
