// Requests that came before the peer's credentials were known (connectivity 5.11, last paragraph): copies of their bytes, a
// limited number for a limited time. Only what our own password has authenticated belongs here.

import type { Instant } from '../../base/time.ts';
import { parseStun, type StunMessage } from '../../wire/stun/message.ts';
import type { IcePath } from './agent-types.ts';

// Specification

/** Connectivity 3; the oldest go. */
const MAX_HELD_REQUESTS = 100;

export class HeldRequests {
  #requests: { bytes: Uint8Array; path: IcePath; at: Instant }[] = [];

  hold(message: StunMessage, path: IcePath, now: Instant): void {
    this.#requests.push({ bytes: message.raw.slice(), path, at: now });
    if (this.#requests.length > MAX_HELD_REQUESTS) this.#requests.shift();
  }

  /** All of them, oldest first; without a message where it is older than `maxAgeMs`. */
  take(maxAgeMs: number, now: Instant): { message: StunMessage | undefined; path: IcePath }[] {
    const taken = this.#requests.map(({ bytes, path, at }) => ({
      message: now - at <= maxAgeMs ? parseStun(bytes) : undefined,
      path,
    }));
    this.#requests = [];
    return taken;
  }

  get length(): number {
    return this.#requests.length;
  }
}
