// When to ask the portal for relays (`no_relays`, connectivity 4.3 and 12 `32bf2973d3`): at once, but not again and again while the
// answer is on its way. What is asked for too soon is asked later, because the answer may be lost with a portal connection.

import { type Instant, later } from '../../base/time.ts';

// Implementation
/** The portal answers within a round trip; each authorization that comes meanwhile would ask again. */
export const ASK_INTERVAL_MS = 2_000;

export class RelayRequest {
  #askedAt: Instant | undefined;
  #isPending = false;

  /** True: ask now. */
  want(now: Instant): boolean {
    const isTooSoon = this.#askedAt !== undefined && now < later(this.#askedAt, ASK_INTERVAL_MS);
    this.#isPending = isTooSoon;
    if (!isTooSoon) this.#askedAt = now;
    return !isTooSoon;
  }

  /** The portal named relays: nothing is wanted any more. */
  satisfy(): void {
    this.#isPending = false;
  }

  /** True: ask now. */
  handleTimeout(now: Instant): boolean {
    const due = this.pollTimeout();
    return due !== undefined && due <= now && this.want(now);
  }

  pollTimeout(): Instant | undefined {
    if (!this.#isPending || this.#askedAt === undefined) return undefined;
    return later(this.#askedAt, ASK_INTERVAL_MS);
  }
}
