// ICMP errors: what we answer with (data-plane 5; RFC 1191 §4, RFC 4443 §3.2), and which packets are errors (data-plane 12.5). The
// packet inside one is read in `embedded-packet.ts`. Cold: errors are rate limited, and bulk traffic has none.

import { addressFromWords } from '../../base/address.ts';
import { ICMP, ICMPV4_FRAGMENTATION_NEEDED, ICMPV4_TYPE, ICMPV6_TYPE } from './icmp.ts';
import { IPV6 } from './ipv6.ts';
import { DESTINATION_WORDS, type ParsedPacket, SOURCE_WORDS, TRANSPORT } from './parsed-packet.ts';
import { MAX_PACKET_LENGTH } from './protocol.ts';
import { writeIcmpPacket } from './write-packet.ts';

// Specification (data-plane 5).
export const ICMP_ERROR_HOP_LIMIT = 20;
const QUOTED_TRANSPORT_BYTES_IPV4 = 8;
const MAX_QUOTE_IPV6: number = MAX_PACKET_LENGTH - IPV6.headerLength - ICMP.headerLength;

/** *prohibited*: policy refuses, asking again may help. *unreachable*: there is no such place. */
export type IcmpErrorKind = 'prohibited' | 'unreachable';

const TYPE_AND_CODE = {
  prohibited: { 4: [ICMPV4_TYPE.destinationUnreachable, 13], 6: [1, 1] },
  unreachable: { 4: [ICMPV4_TYPE.destinationUnreachable, 0], 6: [1, 3] },
} as const;

/** The answer to a packet that is refused: from where it was going, to where it came from, quoting it as it came. */
export function writeIcmpError(
  kind: IcmpErrorKind,
  slab: Uint8Array,
  packet: ParsedPacket,
): Uint8Array {
  const [type, code] = TYPE_AND_CODE[kind][packet.version === 4 ? 4 : 6];
  return answer(slab, packet, type, code, 0);
}

/**
 * The answer to a packet that is longer than the next link carries: "fragmentation needed" of IPv4, "packet too big" of IPv6, with the
 * length that would pass. In the form of the other errors.
 */
export function writeTooBig(mtu: number, slab: Uint8Array, packet: ParsedPacket): Uint8Array {
  return packet.version === 4
    ? answer(slab, packet, ICMPV4_TYPE.destinationUnreachable, ICMPV4_FRAGMENTATION_NEEDED, mtu)
    : answer(slab, packet, ICMPV6_TYPE.packetTooBig, 0, mtu);
}

function answer(
  slab: Uint8Array,
  packet: ParsedPacket,
  type: number,
  code: number,
  rest: number,
): Uint8Array {
  const { offset, length, headerLength, version } = packet;
  const quoted =
    version === 4
      ? Math.min(length, headerLength + QUOTED_TRANSPORT_BYTES_IPV4)
      : Math.min(length, MAX_QUOTE_IPV6);
  return writeIcmpPacket({
    source: addressFromWords(packet.addresses, DESTINATION_WORDS),
    destination: addressFromWords(packet.addresses, SOURCE_WORDS),
    hopLimit: ICMP_ERROR_HOP_LIMIT,
    type,
    code,
    rest,
    payload: slab.subarray(offset, offset + quoted),
  });
}

/** What kind of refusal an error packet reports, `undefined` for other errors (client 11.5). */
export function refusalOf(packet: ParsedPacket): IcmpErrorKind | undefined {
  for (const kind of ['prohibited', 'unreachable'] as const) {
    const [type, code] = TYPE_AND_CODE[kind][packet.version === 4 ? 4 : 6];
    if (packet.transport === TRANSPORT.icmp && packet.icmpType === type && packet.icmpCode === code)
      return kind;
  }
  return undefined;
}

/** Whether type and code are those of an error that this system knows (data-plane 12.5). */
export function isIcmpError(packet: ParsedPacket): boolean {
  if (packet.transport !== TRANSPORT.icmp) return false;
  const { icmpType: type, icmpCode: code } = packet;
  return packet.version === 4
    ? type === ICMPV4_TYPE.destinationUnreachable || type === ICMPV4_TYPE.timeExceeded
    : type === ICMPV6_TYPE.destinationUnreachable ||
        (type === ICMPV6_TYPE.packetTooBig && code === 0) ||
        type === ICMPV6_TYPE.timeExceeded;
}
