// What keeps an allocation alive, as deadlines: REFRESH half way through its lifetime, and BINDING requests that hold the NAT's
// mapping towards the relay (relay 4.9, 4.12, 4.19).

import { earliest, type Instant, instant, later } from '../../base/time.ts';

// Specification
const KEEP_ALIVE_MS = 25_000; // relay 1

// Implementation
/** A keep-alive goes out at least this often, however much we send: only an answer shows that the relay lives (relay 10). */
const MAX_SILENT_SENDING_MS = 60_000;
/** A REFRESH that met an error is not repeated faster than this. */
const REFRESH_RETRY_MS = 10_000;

export class Upkeep {
  #since: Instant;
  #lifetimeMs: number;
  #refreshNotBefore: Instant;
  #lastSentAt: Instant;
  #lastKeepAliveAt: Instant;

  constructor(lifetimeSeconds: number, now: Instant) {
    this.#since = now;
    this.#lifetimeMs = lifetimeSeconds * 1000;
    this.#refreshNotBefore = now;
    this.#lastSentAt = now;
    this.#lastKeepAliveAt = now;
  }

  extend(lifetimeSeconds: number, now: Instant): void {
    this.#since = now;
    this.#lifetimeMs = lifetimeSeconds * 1000;
  }

  noteRefreshError(now: Instant): void {
    this.#refreshNotBefore = later(now, REFRESH_RETRY_MS);
  }

  noteSent(now: Instant): void {
    this.#lastSentAt = now;
  }

  noteKeepAlive(now: Instant): void {
    this.#lastSentAt = now;
    this.#lastKeepAliveAt = now;
  }

  get expiresAt(): Instant {
    return later(this.#since, this.#lifetimeMs);
  }

  get refreshAt(): Instant {
    const half = later(this.#since, this.#lifetimeMs / 2);
    return instant(Math.max(half, this.#refreshNotBefore));
  }

  get keepAliveAt(): Instant | undefined {
    return earliest(
      later(this.#lastSentAt, KEEP_ALIVE_MS),
      later(this.#lastKeepAliveAt, MAX_SILENT_SENDING_MS),
    );
  }
}
