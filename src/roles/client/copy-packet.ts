// Copies of packets out of a slab: for the wait, for control, for ICMP errors. A copy is complete: its checksum is computed here where the kernel
// left it to the device.

import { at, viewOf } from '../../base/bytes.ts';
import { checksumOf, nonZeroChecksumOf, sumBytes } from '../../wire/ip/checksum.ts';
import { IPV4 } from '../../wire/ip/ipv4.ts';
import { IPV6 } from '../../wire/ip/ipv6.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../wire/ip/protocol.ts';

// Specification
const CHECKSUM_OFFSET: Readonly<Record<number, number>> = {
  [IP_PROTOCOL.tcp]: 16,
  [IP_PROTOCOL.udp]: 6,
};

/** A copy of the packet; with `isChecksumPartial` its transport checksum is computed anew (TCP and UDP). */
export function copyPacket(
  slab: Uint8Array,
  packet: ParsedPacket,
  isChecksumPartial: boolean,
): Uint8Array {
  const copy = slab.slice(packet.offset, packet.offset + packet.length);
  if (isChecksumPartial) completeChecksum(copy, packet);
  return copy;
}

function completeChecksum(copy: Uint8Array, packet: ParsedPacket): void {
  const field = CHECKSUM_OFFSET[packet.protocol];
  if (field === undefined) return;
  const view = viewOf(copy);
  const isIpv4 = at(copy, 0) >> 4 === 4;
  const addresses = isIpv4 ? sumBytes(view, IPV4.source, 8) : sumBytes(view, IPV6.source, 32);
  const length = copy.length - packet.headerLength;
  view.setUint16(packet.headerLength + field, 0);
  const sum = addresses + packet.protocol + length + sumBytes(view, packet.headerLength, length);
  const checksum = packet.protocol === IP_PROTOCOL.udp ? nonZeroChecksumOf(sum) : checksumOf(sum);
  view.setUint16(packet.headerLength + field, checksum);
}
