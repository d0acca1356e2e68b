// Hot path. Comparison of a packet's addresses with a pair of own addresses, one of each family.

import { at } from '../../base/bytes.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';

/** Whether the address at `index` is the one of its family in `own` (IPv4 at 0, IPv6 at 4). */
export function isAddressOf(own: Int32Array, packet: ParsedPacket, index: 0 | 4): boolean {
  const { addresses } = packet;
  const base = packet.version === 4 ? 0 : 4;
  return (
    at(own, base + 3) === at(addresses, index + 3) &&
    at(own, base + 2) === at(addresses, index + 2) &&
    at(own, base + 1) === at(addresses, index + 1) &&
    at(own, base) === at(addresses, index)
  );
}
