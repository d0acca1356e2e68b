// ICMP errors: the two kinds we answer with (data-plane 5), and the reading of errors that come back from the network with
// the packet they are about inside (data-plane 12.5). Cold: errors are rate limited, and bulk traffic has none.

import { addressFromWords } from '../../base/address.ts';
import { ICMP, ICMPV4_TYPE, ICMPV6_TYPE } from './icmp.ts';
import { IPV4, ipv4HeaderLength } from './ipv4.ts';
import { IPV6, walkIpv6Extensions } from './ipv6.ts';
import {
  DESTINATION_WORDS,
  isMappedWords,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from './parsed-packet.ts';
import { IP_PROTOCOL, MAX_PACKET_LENGTH } from './protocol.ts';
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
  const { offset, length, headerLength, version } = packet;
  const quoted =
    version === 4
      ? Math.min(length, headerLength + QUOTED_TRANSPORT_BYTES_IPV4)
      : Math.min(length, MAX_QUOTE_IPV6);
  const [type, code] = TYPE_AND_CODE[kind][version === 4 ? 4 : 6];
  return writeIcmpPacket({
    source: addressFromWords(packet.addresses, DESTINATION_WORDS),
    destination: addressFromWords(packet.addresses, SOURCE_WORDS),
    hopLimit: ICMP_ERROR_HOP_LIMIT,
    type,
    code,
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

/** The packet inside an error; it may be cut off behind the ports. A reusable target. */
export class EmbeddedPacket {
  /** Position in the slab, and the bytes that are there. */
  offset = 0;
  length = 0;
  headerLength = 0;
  protocol = 0;
  /** `TRANSPORT`: tcp, udp or echo. */
  transport = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** Source (0-3) and destination (4-7). */
  readonly addresses: Int32Array = new Int32Array(8);
}

/**
 * Reads the packet inside the error `packet`. False if `packet` is no known error, or if what is inside is cut off too early,
 * not of the same family, or neither TCP, UDP nor an echo request.
 */
export function parseEmbeddedPacket(
  view: DataView,
  packet: ParsedPacket,
  target: EmbeddedPacket,
): boolean {
  if (!isIcmpError(packet)) return false;
  target.offset = packet.transportOffset + ICMP.headerLength;
  target.length = packet.transportLength - ICMP.headerLength;
  const isParsed =
    packet.version === 4 ? parseEmbeddedIpv4(view, target) : parseEmbeddedIpv6(view, target);
  return isParsed && parseEmbeddedTransport(view, packet.version, target);
}

function parseEmbeddedIpv4(view: DataView, target: EmbeddedPacket): boolean {
  const { offset, length, addresses } = target;
  if (length < IPV4.minHeaderLength || view.getUint8(offset) >> 4 !== 4) return false;
  const headerLength = ipv4HeaderLength(view, offset);
  if (headerLength < IPV4.minHeaderLength || headerLength > length) return false;
  target.headerLength = headerLength;
  target.protocol = view.getUint8(offset + IPV4.protocol);
  addresses.fill(0);
  addresses[2] = 0xffff;
  addresses[3] = view.getInt32(offset + IPV4.source);
  addresses[6] = 0xffff;
  addresses[7] = view.getInt32(offset + IPV4.destination);
  return true;
}

function parseEmbeddedIpv6(view: DataView, target: EmbeddedPacket): boolean {
  const { offset, length } = target;
  if (length < IPV6.headerLength || view.getUint8(offset) >> 4 !== 6) return false;
  if (walkIpv6Extensions(view, offset, length, target) !== 'walked') return false;
  for (let i = 0; i < 8; i++) {
    target.addresses[i] = view.getInt32(offset + IPV6.source + i * 4);
  }
  return (
    !isMappedWords(target.addresses, SOURCE_WORDS) &&
    !isMappedWords(target.addresses, DESTINATION_WORDS)
  );
}

function parseEmbeddedTransport(view: DataView, version: number, target: EmbeddedPacket): boolean {
  const at = target.offset + target.headerLength;
  const left = target.length - target.headerLength;
  if (target.protocol === IP_PROTOCOL.tcp || target.protocol === IP_PROTOCOL.udp) {
    if (left < 4) return false;
    target.transport = target.protocol === IP_PROTOCOL.tcp ? TRANSPORT.tcp : TRANSPORT.udp;
    target.sourcePort = view.getUint16(at);
    target.destinationPort = view.getUint16(at + 2);
    return true;
  }
  const request = version === 4 ? ICMPV4_TYPE.echoRequest : ICMPV6_TYPE.echoRequest;
  const protocol = version === 4 ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  if (target.protocol !== protocol || left < ICMP.headerLength) return false;
  if (view.getUint16(at) !== request << 8) return false;
  target.transport = TRANSPORT.echo;
  target.sourcePort = view.getUint16(at + ICMP.identifier);
  target.destinationPort = target.sourcePort;
  return true;
}
