// Peers that a channel is wanted for while there is no allocation, and peers that the relay refused one for.

import type { Endpoint } from '../../base/address.ts';
import { type Instant, later } from '../../base/time.ts';

// Specification
const MAX_WISHES = 100; // relay 1: the oldest makes room

// Implementation
/** Peers are named by the other side's candidates, so their number must be bounded; the oldest makes room. */
const MAX_FORBIDDEN = 256;

export class ChannelWishes {
  readonly #wishes = new Map<string, Endpoint>();
  readonly #forbidden = new Map<string, Instant>();

  add(peer: Endpoint): void {
    if (this.#wishes.has(peer.key)) return;
    if (this.#wishes.size >= MAX_WISHES) deleteFirst(this.#wishes);
    this.#wishes.set(peer.key, peer);
  }

  /** All of them, oldest first. */
  take(): readonly Endpoint[] {
    const peers = [...this.#wishes.values()];
    this.#wishes.clear();
    return peers;
  }

  forbid(peer: Endpoint, durationMs: number, now: Instant): void {
    this.#forbidden.delete(peer.key);
    if (this.#forbidden.size >= MAX_FORBIDDEN) deleteFirst(this.#forbidden);
    this.#forbidden.set(peer.key, later(now, durationMs));
  }

  isForbidden(peer: Endpoint, now: Instant): boolean {
    const until = this.#forbidden.get(peer.key);
    return until !== undefined && until > now;
  }

  clear(): void {
    this.#wishes.clear();
    this.#forbidden.clear();
  }
}

function deleteFirst(map: Map<string, unknown>): void {
  for (const key of map.keys()) {
    map.delete(key);
    return;
  }
}
