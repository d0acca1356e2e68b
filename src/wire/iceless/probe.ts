// The probe of ICE-less connections: an ICMPv6 echo of 48 bytes inside the tunnel, between two addresses of the discard prefix
// (iceless 5.1, RFC 6666). A reply keeps the addresses of its request.
//
//   0 IPv6 header, hop limit 64    8 100::dead:1ce:1    24 100::dead:1ce:2    40 type, code 0, checksum    44 pair id    46 sequence
//
// Deviates from iceless 5.1: the checksum is verified (iceless 13), and what is not exactly 48 bytes long is no probe.

import { equalBytes, viewOf } from '../../base/bytes.ts';
import { checksumOf, sumBytes } from '../ip/checksum.ts';
import { ICMP, ICMPV6_TYPE } from '../ip/icmp.ts';
import { IPV6 } from '../ip/ipv6.ts';
import { IP_PROTOCOL } from '../ip/protocol.ts';

export interface Probe {
  readonly kind: 'request' | 'reply';
  /** Of the pair of who asks; 16 bits. */
  readonly id: number;
  /** 16 bits. */
  readonly sequence: number;
}

// Specification

export const PROBE_LENGTH = 48; // iceless 5.1

/** All of it up to the type: version 6, payload of 8 bytes, ICMPv6, hop limit 64, both addresses. */
const HEADER: Uint8Array = Uint8Array.of(
  ...[0x60, 0, 0, 0, 0, ICMP.headerLength, IP_PROTOCOL.icmpv6, 64],
  ...[0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0x01, 0xce, 0x00, 0x01],
  ...[0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xde, 0xad, 0x01, 0xce, 0x00, 0x02],
);
const AT = IPV6.headerLength;

export function writeProbe({ kind, id, sequence }: Probe): Uint8Array {
  const packet = new Uint8Array(PROBE_LENGTH);
  packet.set(HEADER);
  const view = viewOf(packet);
  view.setUint8(AT + ICMP.type, typeOf(kind));
  view.setUint16(AT + ICMP.identifier, id);
  view.setUint16(AT + ICMP.sequence, sequence);
  view.setUint16(AT + ICMP.checksum, checksumOf(sumOf(view)));
  return packet;
}

/** `undefined`: some other packet. */
export function parseProbe(packet: Uint8Array): Probe | undefined {
  if (packet.length !== PROBE_LENGTH) return undefined;
  if (!equalBytes(packet.subarray(0, AT), HEADER)) return undefined;
  const view = viewOf(packet);
  const type = view.getUint8(AT + ICMP.type);
  const isRequest = type === ICMPV6_TYPE.echoRequest;
  if (!isRequest && type !== ICMPV6_TYPE.echoReply) return undefined;
  if (view.getUint8(AT + ICMP.code) !== 0 || checksumOf(sumOf(view)) !== 0) return undefined;
  return {
    kind: isRequest ? 'request' : 'reply',
    id: view.getUint16(AT + ICMP.identifier),
    sequence: view.getUint16(AT + ICMP.sequence),
  };
}

function typeOf(kind: Probe['kind']): number {
  return kind === 'request' ? ICMPV6_TYPE.echoRequest : ICMPV6_TYPE.echoReply;
}

/** Of pseudo header and message (RFC 4443 §2.3). */
function sumOf(view: DataView): number {
  const addresses = sumBytes(view, IPV6.source, 32);
  return addresses + IP_PROTOCOL.icmpv6 + ICMP.headerLength + sumBytes(view, AT, ICMP.headerLength);
}
