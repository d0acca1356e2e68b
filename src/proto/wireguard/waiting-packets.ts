// Inner packets for a session that is about to exist (connectivity 14.25): without them the first packets towards a peer that has
// just connected are lost. Bounded in count and age; the oldest goes first.

import type { Instant } from '../../base/time.ts';

// Implementation
/** Enough for the opening packets of a few flows; 40 KiB a tunnel. */
export const MAX_WAITING_PACKETS = 32;
/** An initiation is repeated after this long: whoever sent the packet has repeated it by then, too. */
export const MAX_WAIT_MS = 5_000;

interface WaitingPacket {
  readonly bytes: Uint8Array;
  readonly at: Instant;
}

export class WaitingPackets {
  #packets: WaitingPacket[] = [];

  /** Keeps a copy; true if an older packet had to go for it. */
  push(bytes: Uint8Array, now: Instant): boolean {
    const isFull = this.#packets.length >= MAX_WAITING_PACKETS;
    if (isFull) this.#packets.shift();
    this.#packets.push({ bytes: bytes.slice(), at: now });
    return isFull;
  }

  /** All that did not wait too long; none remains. */
  takeAll(now: Instant): readonly Uint8Array[] {
    const fresh = this.#packets.filter((packet) => now - packet.at <= MAX_WAIT_MS);
    this.#packets = [];
    return fresh.map((packet) => packet.bytes);
  }

  get count(): number {
    return this.#packets.length;
  }
}
