// Packets that wait for an authorization, a connection or the gateway's DNS NAT. A ring: when it is full the oldest goes. What an
// application repeats while it waits is kept once: a byte-identical packet is not added again, and a retransmitted TCP SYN replaces
// the one before it (data-plane 11.4).

import { at, equalBytes, viewOf } from '../../base/bytes.ts';

// Specification
const PROTOCOL_TCP = 6;
const TCP_SYN = 0x02;
const TCP_ACK = 0x10;

export class PacketBuffer {
  readonly #capacity: number;
  #packets: Uint8Array[] = [];
  #overflowed = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Keeps `packet`, which the buffer owns from now on. */
  push(packet: Uint8Array): void {
    if (this.#packets.some((kept) => equalBytes(kept, packet))) return;
    const syn = synKey(packet);
    if (syn !== undefined) {
      const index = this.#packets.findIndex((kept) => synKey(kept) === syn);
      if (index >= 0) {
        this.#packets[index] = packet;
        return;
      }
    }
    if (this.#packets.length === this.#capacity) {
      this.#packets.shift();
      this.#overflowed++;
    }
    this.#packets.push(packet);
  }

  /** All packets, oldest first; the buffer is empty afterwards. */
  takeAll(): Uint8Array[] {
    const packets = this.#packets;
    this.#packets = [];
    return packets;
  }

  get count(): number {
    return this.#packets.length;
  }

  /** Packets that were lost because the buffer was full. */
  get overflowed(): number {
    return this.#overflowed;
  }
}

/** What identifies a connection attempt: addresses, ports and sequence number of a SYN without ACK; `undefined` for other packets. */
function synKey(packet: Uint8Array): string | undefined {
  const isIpv6 = at(packet, 0) >> 4 === 6;
  const headerLength = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
  const protocol = at(packet, isIpv6 ? 6 : 9);
  if (protocol !== PROTOCOL_TCP || packet.length < headerLength + 20) return undefined;
  const flags = at(packet, headerLength + 13);
  if ((flags & TCP_SYN) === 0 || (flags & TCP_ACK) !== 0) return undefined;
  const addresses = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  const view = viewOf(packet);
  return `${addresses.join('.')} ${view.getUint32(headerLength)} ${view.getUint32(headerLength + 4)}`;
}
