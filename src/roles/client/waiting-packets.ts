// Packets that have a gateway but no established connection to it yet: kept in order, sent when the connection is there (client 8 and 9).

import type { PeerId } from '../../base/ids.ts';
import { PacketBuffer } from './packet-buffer.ts';

// Specification: client 9.
const MAX_WAITING_PACKETS = 128;

// Implementation
/** Gateways come from the portal; more than this many connecting at once is not a client's life. */
const MAX_PEERS = 64;

export class WaitingPackets {
  readonly #byPeer = new Map<PeerId, PacketBuffer>();

  /** Keeps `packet`; false if there are too many peers to wait for. */
  push(peer: PeerId, packet: Uint8Array): boolean {
    let buffer = this.#byPeer.get(peer);
    if (!buffer) {
      if (this.#byPeer.size >= MAX_PEERS) return false;
      buffer = new PacketBuffer(MAX_WAITING_PACKETS);
      this.#byPeer.set(peer, buffer);
    }
    buffer.push(packet);
    return true;
  }

  takeAll(peer: PeerId): Uint8Array[] {
    const packets = this.#byPeer.get(peer)?.takeAll() ?? [];
    this.#byPeer.delete(peer);
    return packets;
  }

  clear(): void {
    this.#byPeer.clear();
  }

  get count(): number {
    let count = 0;
    for (const buffer of this.#byPeer.values()) count += buffer.count;
    return count;
  }
}
