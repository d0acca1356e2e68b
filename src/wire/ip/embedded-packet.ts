// The packet inside an ICMP error, which is about it (data-plane 12.5): read, and edited in place with its own checksums as far as they
// were quoted (data-plane 17.14), so that its sender sees the very packet it sent. Cold: bulk traffic has no errors.

import { int32At } from '../../base/bytes.ts';
import { fold, foldWord, nonZeroChecksumOf, sumBytes, updateChecksum } from './checksum.ts';
import { ICMP, ICMPV4_TYPE, ICMPV6_TYPE } from './icmp.ts';
import { isIcmpError } from './icmp-error.ts';
import { IPV4, ipv4HeaderLength } from './ipv4.ts';
import { IPV6, walkIpv6Extensions } from './ipv6.ts';
import {
  DESTINATION_WORDS,
  isMappedWords,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from './parsed-packet.ts';
import { IP_PROTOCOL } from './protocol.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

/** The packet inside an error; it may be cut off behind the ports. A reusable target. */
export class EmbeddedPacket {
  /** Position in the slab, and the bytes that are there. */
  offset = 0;
  length = 0;
  version = 0;
  headerLength = 0;
  protocol = 0;
  /** `TRANSPORT`: tcp, udp, echo, or other. */
  transport = 0;
  sourcePort = 0;
  destinationPort = 0;
  /** Source (0-3) and destination (4-7). */
  readonly addresses: Int32Array = new Int32Array(8);
}

/**
 * Reads the packet inside the error `packet`. False if `packet` is no known error, or if what is inside is cut off too early, not of
 * the same family, or ICMP but no echo request. Protocols without ports are `TRANSPORT.other`.
 */
export function parseAnyEmbedded(
  view: DataView,
  packet: ParsedPacket,
  target: EmbeddedPacket,
): boolean {
  if (!isIcmpError(packet)) return false;
  target.offset = packet.transportOffset + ICMP.headerLength;
  target.length = packet.transportLength - ICMP.headerLength;
  target.version = packet.version;
  const isParsed =
    packet.version === 4 ? parseEmbeddedIpv4(view, target) : parseEmbeddedIpv6(view, target);
  return isParsed && parseEmbeddedTransport(view, target);
}

/** As `parseAnyEmbedded`, for what data-plane 12.5 supports: TCP, UDP and echo requests. */
export function parseEmbeddedPacket(
  view: DataView,
  packet: ParsedPacket,
  target: EmbeddedPacket,
): boolean {
  return parseAnyEmbedded(view, packet, target) && target.transport !== TRANSPORT.other;
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

function parseEmbeddedTransport(view: DataView, target: EmbeddedPacket): boolean {
  const at = target.offset + target.headerLength;
  const left = target.length - target.headerLength;
  const { protocol, version } = target;
  if (protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp) {
    if (left < 4) return false;
    target.transport = protocol === IP_PROTOCOL.tcp ? TRANSPORT.tcp : TRANSPORT.udp;
    target.sourcePort = view.getUint16(at);
    target.destinationPort = view.getUint16(at + 2);
    return true;
  }
  if (protocol !== IP_PROTOCOL.icmp && protocol !== IP_PROTOCOL.icmpv6) {
    target.transport = TRANSPORT.other;
    target.sourcePort = 0;
    target.destinationPort = 0;
    return true;
  }
  const request = version === 4 ? ICMPV4_TYPE.echoRequest : ICMPV6_TYPE.echoRequest;
  const own = version === 4 ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  if (protocol !== own || left < ICMP.headerLength) return false;
  if (view.getUint16(at) !== request << 8) return false;
  target.transport = TRANSPORT.echo;
  target.sourcePort = view.getUint16(at + ICMP.identifier);
  target.destinationPort = target.sourcePort;
  return true;
}

/** One end of an embedded packet: its address, four words at `index`, and its port or identifier. */
export interface EmbeddedEnd {
  readonly which: typeof SOURCE_WORDS | typeof DESTINATION_WORDS;
  readonly words: Int32Array;
  readonly index: number;
}

/** Replaces one address, which must be of the packet's family; the checksums inside follow. The checksum around it does not. */
export function setEmbeddedAddress(
  view: DataView,
  about: EmbeddedPacket,
  { which, words, index }: EmbeddedEnd,
): void {
  const { offset, version, addresses } = about;
  const isSource = which === SOURCE_WORDS;
  let removed = 0;
  let added = 0;
  let field = offset + (isSource ? IPV6.source : IPV6.destination);
  if (version === 4) field = offset + (isSource ? IPV4.source : IPV4.destination);
  for (let i = version === 4 ? 3 : 0; i < 4; i++, field += 4) {
    removed += foldWord(int32At(addresses, which + i));
    added += foldWord(int32At(words, index + i));
    view.setInt32(field, int32At(words, index + i));
    addresses[which + i] = int32At(words, index + i);
  }
  removed = fold(removed);
  added = fold(added);
  if (version === 4) {
    const checksum = view.getUint16(offset + IPV4.checksum);
    view.setUint16(offset + IPV4.checksum, updateChecksum(checksum, removed, added));
  }
  if (about.protocol !== IP_PROTOCOL.icmp) patch(view, about, removed, added);
}

/** Replaces the port of one end, or the identifier. The checksum inside follows; the checksum around it does not. */
export function setEmbeddedPort(
  view: DataView,
  about: EmbeddedPacket,
  which: typeof SOURCE_WORDS | typeof DESTINATION_WORDS,
  port: number,
): void {
  if (about.transport === TRANSPORT.other) return;
  let field = about.offset + about.headerLength;
  if (about.transport === TRANSPORT.echo) field += ICMP.identifier;
  else if (which === DESTINATION_WORDS) field += UDP.destinationPort;
  const before = view.getUint16(field);
  view.setUint16(field, port);
  patch(view, about, before, port);
}

/** Computes the checksum of an ICMP packet anew, after its payload was edited. */
export function refreshIcmpChecksum(view: DataView, packet: ParsedPacket): void {
  const { offset, transportOffset, transportLength, version } = packet;
  view.setUint16(transportOffset + ICMP.checksum, 0);
  let sum = sumBytes(view, transportOffset, transportLength);
  if (version === 6) {
    sum += sumBytes(view, offset + IPV6.source, 32) + IP_PROTOCOL.icmpv6 + transportLength;
  }
  view.setUint16(transportOffset + ICMP.checksum, nonZeroChecksumOf(fold(sum)));
}

/** The transport checksum, if it was quoted. */
function patch(view: DataView, about: EmbeddedPacket, removed: number, added: number): void {
  const at = checksumOffset(about);
  if (at < 0 || about.headerLength + at + 2 > about.length) return;
  const field = about.offset + about.headerLength + at;
  const checksum = view.getUint16(field);
  if (checksum === 0 && about.transport === TRANSPORT.udp) return;
  view.setUint16(field, updateChecksum(checksum, removed, added));
}

function checksumOffset({ transport }: EmbeddedPacket): number {
  switch (transport) {
    case TRANSPORT.tcp:
      return TCP.checksum;
    case TRANSPORT.udp:
      return UDP.checksum;
    case TRANSPORT.echo:
      return ICMP.checksum;
    default:
      return -1;
  }
}
