// Builds whole IP packets with right checksums: errors the gateway answers with, control packets, DNS answers, tests. Cold.
// Defaults are those of data-plane 12.4: hop limit 64, identification 0, DF clear, TCP window 128.

import { familyOf, type IpAddress, ipBytes } from '../../base/address.ts';
import { assert } from '../../base/errors.ts';
import { checksumOf, nonZeroChecksumOf, sumBytes } from './checksum.ts';
import { ICMP, ICMPV4_TYPE, ICMPV6_TYPE } from './icmp.ts';
import { IPV4, IPV4_DONT_FRAGMENT } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import { IP_PROTOCOL } from './protocol.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

// Implementation.
/** Common default of hosts; every path on the Internet is shorter. */
const DEFAULT_HOP_LIMIT = 64;
/** No packet here is part of a stream that the window could slow down. */
const TCP_WINDOW = 128;

export interface IpFields {
  readonly source: IpAddress;
  /** Of the same family as `source`. */
  readonly destination: IpAddress;
  readonly hopLimit?: number;
  /** DSCP and ECN. */
  readonly trafficClass?: number;
  /** IPv4 only. */
  readonly identification?: number;
  /** IPv4 only. */
  readonly dontFragment?: boolean;
}

export interface UdpFields extends IpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly payload?: Uint8Array;
  /** Leaves the UDP checksum zero. */
  readonly withoutChecksum?: boolean;
}

export interface TcpFields extends IpFields {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  /** `TCP_FLAG` bits. */
  readonly flags: number;
  readonly payload?: Uint8Array;
}

export interface IcmpFields extends IpFields {
  readonly type: number;
  readonly code: number;
  /** Bytes 4-7. */
  readonly rest?: number;
  readonly payload?: Uint8Array;
}

export interface EchoFields extends IpFields {
  readonly kind: 'request' | 'reply';
  readonly identifier: number;
  readonly sequence: number;
  readonly payload?: Uint8Array;
}

/** A packet of any protocol; `payload` is taken as it is. */
export function writeIpPacket(
  fields: IpFields & { readonly protocol: number; readonly payload: Uint8Array },
): Uint8Array {
  const { packet } = begin(fields, fields.protocol, fields.payload.length);
  packet.set(fields.payload, packet.length - fields.payload.length);
  return packet;
}

export function writeUdpPacket(fields: UdpFields): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0);
  const length = UDP.headerLength + payload.length;
  const { packet, view, at } = begin(fields, IP_PROTOCOL.udp, length);
  view.setUint16(at + UDP.sourcePort, fields.sourcePort);
  view.setUint16(at + UDP.destinationPort, fields.destinationPort);
  view.setUint16(at + UDP.length, length);
  packet.set(payload, at + UDP.headerLength);
  if (fields.withoutChecksum !== true) {
    const sum = pseudoHeaderSum(fields, IP_PROTOCOL.udp, length) + sumBytes(view, at, length);
    view.setUint16(at + UDP.checksum, nonZeroChecksumOf(sum));
  }
  return packet;
}

export function writeTcpPacket(fields: TcpFields): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0);
  const length = TCP.minHeaderLength + payload.length;
  const { packet, view, at } = begin(fields, IP_PROTOCOL.tcp, length);
  view.setUint16(at + TCP.sourcePort, fields.sourcePort);
  view.setUint16(at + TCP.destinationPort, fields.destinationPort);
  view.setUint32(at + TCP.sequence, fields.sequence ?? 0);
  view.setUint32(at + TCP.acknowledgment, fields.acknowledgment ?? 0);
  view.setUint8(at + TCP.dataOffset, (TCP.minHeaderLength / 4) << 4);
  view.setUint8(at + TCP.flags, fields.flags);
  view.setUint16(at + TCP.window, TCP_WINDOW);
  packet.set(payload, at + TCP.minHeaderLength);
  const sum = pseudoHeaderSum(fields, IP_PROTOCOL.tcp, length) + sumBytes(view, at, length);
  view.setUint16(at + TCP.checksum, nonZeroChecksumOf(sum));
  return packet;
}

/** ICMPv4 or ICMPv6, by the family of the addresses. */
export function writeIcmpPacket(fields: IcmpFields): Uint8Array {
  const payload = fields.payload ?? new Uint8Array(0);
  const length = ICMP.headerLength + payload.length;
  const isIpv4 = familyOf(fields.source) === 4;
  const protocol = isIpv4 ? IP_PROTOCOL.icmp : IP_PROTOCOL.icmpv6;
  const { packet, view, at } = begin(fields, protocol, length);
  view.setUint8(at + ICMP.type, fields.type);
  view.setUint8(at + ICMP.code, fields.code);
  view.setUint32(at + ICMP.rest, fields.rest ?? 0);
  packet.set(payload, at + ICMP.headerLength);
  const pseudo = isIpv4 ? 0 : pseudoHeaderSum(fields, protocol, length);
  view.setUint16(at + ICMP.checksum, nonZeroChecksumOf(pseudo + sumBytes(view, at, length)));
  return packet;
}

export function writeEchoPacket(fields: EchoFields): Uint8Array {
  const { kind, identifier, sequence, ...rest } = fields;
  const isRequest = kind === 'request';
  const type =
    familyOf(fields.source) === 4
      ? isRequest
        ? ICMPV4_TYPE.echoRequest
        : ICMPV4_TYPE.echoReply
      : isRequest
        ? ICMPV6_TYPE.echoRequest
        : ICMPV6_TYPE.echoReply;
  return writeIcmpPacket({ ...rest, type, code: 0, rest: ((identifier << 16) | sequence) >>> 0 });
}

/** Sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1). */
export function pseudoHeaderSum(
  fields: Pick<IpFields, 'source' | 'destination'>,
  protocol: number,
  length: number,
): number {
  const source = ipBytes(fields.source);
  const destination = ipBytes(fields.destination);
  return (
    sumBytes(new DataView(source.buffer), 0, source.length) +
    sumBytes(new DataView(destination.buffer), 0, destination.length) +
    protocol +
    length
  );
}

/** A packet with its IP header done, and where the transport header begins. */
function begin(
  fields: IpFields,
  protocol: number,
  length: number,
): { packet: Uint8Array; view: DataView; at: number } {
  const { source, destination } = fields;
  assert(familyOf(source) === familyOf(destination), 'both addresses are of one family');
  const isIpv4 = familyOf(source) === 4;
  const at = isIpv4 ? IPV4.minHeaderLength : IPV6.headerLength;
  const packet = new Uint8Array(at + length);
  const view = new DataView(packet.buffer);
  const trafficClass = fields.trafficClass ?? 0;
  const hopLimit = fields.hopLimit ?? DEFAULT_HOP_LIMIT;
  if (isIpv4) {
    view.setUint16(0, 0x4500 | trafficClass);
    view.setUint16(IPV4.totalLength, packet.length);
    view.setUint16(IPV4.identification, fields.identification ?? 0);
    view.setUint16(IPV4.flagsAndFragment, fields.dontFragment === true ? IPV4_DONT_FRAGMENT : 0);
    view.setUint8(IPV4.timeToLive, hopLimit);
    view.setUint8(IPV4.protocol, protocol);
    packet.set(ipBytes(source), IPV4.source);
    packet.set(ipBytes(destination), IPV4.destination);
    view.setUint16(IPV4.checksum, checksumOf(sumBytes(view, 0, at)));
  } else {
    view.setUint16(0, 0x6000 | (trafficClass << 4));
    view.setUint16(IPV6.payloadLength, length);
    view.setUint8(IPV6.nextHeader, protocol);
    view.setUint8(IPV6.hopLimit, hopLimit);
    packet.set(ipBytes(source), IPV6.source);
    packet.set(ipBytes(destination), IPV6.destination);
  }
  return { packet, view, at };
}
