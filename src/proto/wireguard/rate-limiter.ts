// How many handshake messages are worth their Diffie-Hellman (connectivity 7.4; per source: 14.2). One window for all senders, and in
// front of it a bucket per source address, so that no single address can spend what belongs to all.

import { familyOf, type IpAddress, ipBytes } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { Instant } from '../../base/time.ts';

// Specification
/** connectivity 7.4: handshake messages per window and node before cookies are asked for. */
export const HANDSHAKES_PER_WINDOW = 100;
export const WINDOW_MS = 1000;

// Implementation
/**
 * While less than this part of a window is spent, a source may spend more than its bucket holds: an office behind one address
 * that comes back all at once is no attack.
 */
export const RELAXED_HANDSHAKES = 50;
/** What a source that has been quiet finds in its bucket when the rest of the window is all there is. */
export const HANDSHAKES_PER_SOURCE = 20;
/** About 400 KiB of buckets; the oldest is forgotten for a new one. */
export const MAX_SOURCES = 4096;

interface Bucket {
  tokens: number;
  at: Instant;
}

/** A fixed number of events per window, counted from the first. */
export class WindowLimit {
  readonly #limit: number;
  #start: Instant;
  #count = 0;

  constructor(limit: number, now: Instant) {
    this.#limit = limit;
    this.#start = now;
  }

  take(now: Instant): boolean {
    if (now - this.#start >= WINDOW_MS) {
      this.#start = now;
      this.#count = 0;
    }
    if (this.#count >= this.#limit) return false;
    this.#count += 1;
    return true;
  }

  /** How many were taken in the window that `now` is in. */
  taken(now: Instant): number {
    return now - this.#start >= WINDOW_MS ? 0 : this.#count;
  }
}

/** A token bucket per source: IPv4 addresses, and IPv6 networks of 64 bits, because a host has all addresses of its network. */
export class SourceLimit {
  readonly #perWindow: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(perWindow: number = HANDSHAKES_PER_SOURCE) {
    this.#perWindow = perWindow;
  }

  take(source: IpAddress, now: Instant): boolean {
    const bucket = this.#bucketOf(sourceKey(source), now);
    const refill = ((now - bucket.at) * this.#perWindow) / WINDOW_MS;
    bucket.tokens = Math.min(this.#perWindow, bucket.tokens + Math.max(0, refill));
    bucket.at = now;
    if (bucket.tokens < 1) return false;
    bucket.tokens -= 1;
    return true;
  }

  get sourceCount(): number {
    return this.#buckets.size;
  }

  /** Moves the bucket to the end of the map, whose first entry is thus the one idle for longest. */
  #bucketOf(key: string, now: Instant): Bucket {
    const found = this.#buckets.get(key);
    if (found) this.#buckets.delete(key);
    else if (this.#buckets.size >= MAX_SOURCES) this.#forgetOldest();
    const bucket = found ?? { tokens: this.#perWindow, at: now };
    this.#buckets.set(key, bucket);
    return bucket;
  }

  #forgetOldest(): void {
    for (const key of this.#buckets.keys()) {
      this.#buckets.delete(key);
      return;
    }
  }
}

function sourceKey(source: IpAddress): string {
  if (familyOf(source) === 4) return source;
  const bytes = ipBytes(source);
  let key = '';
  for (let i = 0; i < 8; i++) key += `${at(bytes, i)}.`;
  return key;
}
