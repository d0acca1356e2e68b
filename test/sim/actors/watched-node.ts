// The node as it ships, with notes of what its role did with it: packets given to peers, key slots asked for, packets taken out. Of the packets that come the
// cold way it gives out one at a time, until `release`, so that what the role makes of each can be told apart.

import type { PeerId } from '../../../src/base/ids.ts';
import type { Instant } from '../../../src/base/time.ts';
import type { Ecn } from '../../../src/base/transmit.ts';
import { Node } from '../../../src/link/node.ts';
import type { InnerPacket, SendOutcome } from '../../../src/link/node-types.ts';

export interface SentToPeer {
  readonly peer: PeerId;
  readonly packet: Uint8Array;
  /** Sent, or waiting for a handshake; else the link had no way for it, which is not the role's fault. */
  readonly isTaken: boolean;
}

export class WatchedNode extends Node {
  #sent: SentToPeer[] = [];
  readonly #slots = new Map<PeerId, number>();
  #arrived: InnerPacket | undefined;
  #isHolding = false;

  override sendPacket(peer: PeerId, packet: Uint8Array, ecn: Ecn, now: Instant): SendOutcome {
    const outcome = super.sendPacket(peer, packet, ecn, now);
    const isTaken = outcome === 'sent' || outcome === 'waiting';
    this.#sent.push({ peer, packet: packet.slice(), isTaken });
    return outcome;
  }

  override sendSlot(peer: PeerId, now: Instant): number {
    const slot = super.sendSlot(peer, now);
    this.#slots.set(peer, slot);
    return slot;
  }

  override pollPacket(): InnerPacket | undefined {
    if (this.#isHolding) return undefined;
    const packet = super.pollPacket();
    if (packet === undefined) return undefined;
    this.#isHolding = true;
    this.#arrived = { ...packet, bytes: packet.bytes.slice() };
    return packet;
  }

  /** What was given out since the last call; the next one may come. */
  release(): InnerPacket | undefined {
    const arrived = this.#arrived;
    this.#arrived = undefined;
    this.#isHolding = false;
    return arrived;
  }

  takeSent(): readonly SentToPeer[] {
    const sent = this.#sent;
    if (sent.length > 0) this.#sent = [];
    return sent;
  }

  /** What the last question for that peer's slot gave, since they were forgotten. */
  slotAsked(peer: string): number | undefined {
    for (const [id, slot] of this.#slots) if (id === peer) return slot;
    return undefined;
  }

  forgetSlots(): void {
    this.#slots.clear();
  }
}
