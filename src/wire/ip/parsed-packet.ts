// Hot path. The headers of an IP packet, parsed once by strict rules (data-plane 12.1) into a target that is used again for
// the next packet. Addresses are four words each, as in `base/address.ts`. Checksums are never verified here.
//
// Does not copy: positions are offsets into the caller's slab and valid as long as its bytes are.

import { int32At } from '../../base/bytes.ts';
import { ICMP, isEcho } from './icmp.ts';
import { IPV4, IPV4_FRAGMENT_MASK, ipv4HeaderLength } from './ipv4.ts';
import { IPV6, walkIpv6Extensions } from './ipv6.ts';
import { IP_PROTOCOL } from './protocol.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

/** What the policy knows about the transport; other ICMP and other protocols have no ports. */
export const TRANSPORT = { other: 0, tcp: 1, udp: 2, echo: 3, icmp: 4 } as const;

/** Which checksums whoever edits headers must keep right; the others are completed later by the batch border. */
export const KEEP_CHECKSUM = { none: 0, ip: 1, transport: 2, all: 3 } as const;

export type ParseOutcome = 'parsed' | 'malformed' | 'fragment';

export class ParsedPacket {
  offset = 0;
  /** Bytes as its own header declares them. */
  length = 0;
  /** Of a packet from the TUN device: bytes of the longest packet that it becomes in the tunnel. */
  tunnelLength = 0;
  /** 4 or 6. */
  version = 0;
  /** IP header with options or extension headers. */
  headerLength = 0;
  protocol = 0;
  /** `TRANSPORT`. */
  transport = 0;
  /** Of an echo: its identifier, in both. */
  sourcePort = 0;
  destinationPort = 0;
  tcpFlags = 0;
  icmpType = 0;
  icmpCode = 0;
  /** Source (0-3) and destination (4-7). */
  readonly addresses: Int32Array = new Int32Array(8);
  /** `KEEP_CHECKSUM`; set by the caller of the edits in `edit.ts`. */
  keepChecksums = 3;

  get transportOffset(): number {
    return this.offset + this.headerLength;
  }

  get transportLength(): number {
    return this.length - this.headerLength;
  }
}

/** Where source and destination begin in `ParsedPacket.addresses`. */
export const SOURCE_WORDS = 0;
export const DESTINATION_WORDS = 4;

/** Parses the packet that fills exactly `length` bytes at `offset`. On failure `target` holds nothing of meaning. */
export function parsePacket(
  view: DataView,
  offset: number,
  length: number,
  target: ParsedPacket,
): ParseOutcome {
  if (length < IPV4.minHeaderLength) return 'malformed';
  target.offset = offset;
  target.length = length;
  target.tcpFlags = 0;
  target.icmpType = 0;
  target.icmpCode = 0;
  target.keepChecksums = KEEP_CHECKSUM.all;
  const version = view.getUint8(offset) >> 4;
  target.version = version;
  let outcome: ParseOutcome = 'malformed';
  if (version === 4) outcome = parseIpv4(view, target);
  else if (version === 6) outcome = parseIpv6(view, target);
  if (outcome !== 'parsed') return outcome;
  return parseTransport(view, target) ? 'parsed' : 'malformed';
}

function parseIpv4(view: DataView, target: ParsedPacket): ParseOutcome {
  const { offset, length } = target;
  const headerLength = ipv4HeaderLength(view, offset);
  if (headerLength < IPV4.minHeaderLength || headerLength > length) return 'malformed';
  if (view.getUint16(offset + IPV4.totalLength) !== length) return 'malformed';
  if ((view.getUint16(offset + IPV4.flagsAndFragment) & IPV4_FRAGMENT_MASK) !== 0)
    return 'fragment';
  target.headerLength = headerLength;
  target.protocol = view.getUint8(offset + IPV4.protocol);
  const { addresses } = target;
  addresses[0] = 0;
  addresses[1] = 0;
  addresses[2] = 0xffff;
  addresses[3] = view.getInt32(offset + IPV4.source);
  addresses[4] = 0;
  addresses[5] = 0;
  addresses[6] = 0xffff;
  addresses[7] = view.getInt32(offset + IPV4.destination);
  return 'parsed';
}

function parseIpv6(view: DataView, target: ParsedPacket): ParseOutcome {
  const { offset, length } = target;
  if (length < IPV6.headerLength) return 'malformed';
  if (view.getUint16(offset + IPV6.payloadLength) + IPV6.headerLength !== length)
    return 'malformed';
  const walk = walkIpv6Extensions(view, offset, length, target);
  if (walk !== 'walked') return walk;
  for (let i = 0; i < 8; i++) {
    target.addresses[i] = view.getInt32(offset + IPV6.source + i * 4);
  }
  const { addresses } = target;
  const isMapped =
    isMappedWords(addresses, SOURCE_WORDS) || isMappedWords(addresses, DESTINATION_WORDS);
  return isMapped ? 'malformed' : 'parsed';
}

/**
 * Whether four words of an IPv6 packet are an IPv4-mapped address. Such addresses have no place on the wire (RFC 6890 §2.2.3), and their
 * words would be taken for those of an IPv4 address; so packets with one are malformed.
 */
export function isMappedWords(words: Int32Array, index: number): boolean {
  return (
    int32At(words, index) === 0 &&
    int32At(words, index + 1) === 0 &&
    int32At(words, index + 2) === 0xffff
  );
}

function parseTransport(view: DataView, target: ParsedPacket): boolean {
  const start = target.offset + target.headerLength;
  const length = target.length - target.headerLength;
  target.transport = TRANSPORT.other;
  target.sourcePort = 0;
  target.destinationPort = 0;
  switch (target.protocol) {
    case IP_PROTOCOL.tcp: {
      if (length < TCP.minHeaderLength) return false;
      const headerLength = (view.getUint8(start + TCP.dataOffset) >> 4) * 4;
      if (headerLength < TCP.minHeaderLength || headerLength > length) return false;
      target.transport = TRANSPORT.tcp;
      target.tcpFlags = view.getUint8(start + TCP.flags);
      break;
    }
    case IP_PROTOCOL.udp:
      if (length < UDP.headerLength || view.getUint16(start + UDP.length) !== length) return false;
      target.transport = TRANSPORT.udp;
      break;
    case IP_PROTOCOL.icmp:
      return target.version === 4 && parseIcmp(view, target);
    case IP_PROTOCOL.icmpv6:
      return target.version === 6 && parseIcmp(view, target);
    default:
      return true;
  }
  target.sourcePort = view.getUint16(start + UDP.sourcePort);
  target.destinationPort = view.getUint16(start + UDP.destinationPort);
  return true;
}

function parseIcmp(view: DataView, target: ParsedPacket): boolean {
  if (target.length - target.headerLength < ICMP.headerLength) return false;
  const start = target.offset + target.headerLength;
  target.icmpType = view.getUint8(start + ICMP.type);
  target.icmpCode = view.getUint8(start + ICMP.code);
  if (isEcho(target.version, target.icmpType, target.icmpCode)) {
    target.transport = TRANSPORT.echo;
    target.sourcePort = view.getUint16(start + ICMP.identifier);
    target.destinationPort = target.sourcePort;
  } else {
    target.transport = TRANSPORT.icmp;
  }
  return true;
}
