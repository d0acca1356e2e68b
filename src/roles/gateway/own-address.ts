// Hot path. Comparison of a packet's addresses with a pair of own addresses, one of each family.

import { int32At } from '../../base/bytes.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';

/** Whether the address at `index` is the one of its family in `own` (IPv4 at 0, IPv6 at 4). */
export function isAddressOf(own: Int32Array, packet: ParsedPacket, index: 0 | 4): boolean {
  const { addresses } = packet;
  const base = packet.version === 4 ? 0 : 4;
  return (
    int32At(own, base + 3) === int32At(addresses, index + 3) &&
    int32At(own, base + 2) === int32At(addresses, index + 2) &&
    int32At(own, base + 1) === int32At(addresses, index + 1) &&
    int32At(own, base) === int32At(addresses, index)
  );
}
