// What connections we lost in the last seconds, so that their late packets are told apart from those of strangers
// (connectivity 4.6, 11.25). Only for counting and logs: such packets are dropped either way.

import { type Instant, later } from '../../base/time.ts';

// Specification

/** connectivity 3, "recently disconnected" memory. */
const MEMORY_MS = 5_000;

// Implementation

/** Four names per lost connection; a mass disconnect must not pin memory. */
const MAX_NAMES = 4_096;

export type ConnectionName = 'peer' | 'index' | 'public-key' | 'username';

export class RecentlyDisconnected {
  /** Insertion order is order of expiry. */
  readonly #forgottenAt = new Map<string, Instant>();

  handleTimeout(now: Instant): void {
    for (const [name, at] of this.#forgottenAt) {
      if (at > now) break;
      this.#forgottenAt.delete(name);
    }
  }

  remember(kind: ConnectionName, value: string | number, now: Instant): void {
    const name = `${kind}:${value}`;
    this.#forgottenAt.delete(name);
    this.#forgottenAt.set(name, later(now, MEMORY_MS));
    if (this.#forgottenAt.size > MAX_NAMES) {
      for (const oldest of this.#forgottenAt.keys()) {
        this.#forgottenAt.delete(oldest);
        break;
      }
    }
  }

  has(kind: ConnectionName, value: string | number, now: Instant): boolean {
    const at = this.#forgottenAt.get(`${kind}:${value}`);
    return at !== undefined && at > now;
  }

  pollTimeout(): Instant | undefined {
    for (const at of this.#forgottenAt.values()) return at;
    return undefined;
  }

  get count(): number {
    return this.#forgottenAt.size;
  }
}
