// Fragments of IP packets (RFC 791 §3.2, RFC 8200 §4.5): their headers, and the way from a whole packet to fragments and back. Cold. IPv6
// fragments with other extension headers in front of the fragment header are not read.

import { viewOf } from '../../base/bytes.ts';
import { checksumOf, sumBytes } from './checksum.ts';
import { IPV4, IPV4_DONT_FRAGMENT, ipv4HeaderLength } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import { IP_PROTOCOL } from './protocol.ts';

const IPV4_MORE = 0x2000;
const IPV4_OFFSET_MASK = 0x1fff;
const IPV6_OFFSET_MASK = 0xfff8;
/** Offsets are in units of eight bytes. */
const UNIT = 8;
const IPV6_FRAGMENT_HEADER = 8;

export interface Fragment {
  readonly version: 4 | 6;
  /** What all fragments of one packet share: addresses, identification and, in IPv4, protocol, as they stand in the header. */
  readonly identity: string;
  readonly identification: number;
  /** Source (0-3) and destination (4-7). */
  readonly addresses: Int32Array;
  /** Of a fragment of IPv6: what follows its header. */
  readonly protocol: number;
  readonly ecn: number;
  /** The header without the fragment header. */
  readonly header: Uint8Array;
  /** Where `data` belongs in the whole packet's payload. */
  readonly start: number;
  readonly isLast: boolean;
  readonly data: Uint8Array;
}

/** `undefined`: no fragment, or one no conforming sender makes. What it returns are views of `bytes`. */
export function parseFragment(bytes: Uint8Array): Fragment | undefined {
  if (bytes.length < IPV4.minHeaderLength) return undefined;
  const view = viewOf(bytes);
  const version = view.getUint8(0) >> 4;
  const fragment =
    version === 4 ? parseIpv4(bytes, view) : version === 6 ? parseIpv6(bytes, view) : undefined;
  if (!fragment) return undefined;
  const { data, isLast } = fragment;
  return data.length === 0 || (!isLast && data.length % UNIT !== 0) ? undefined : fragment;
}

function parseIpv4(bytes: Uint8Array, view: DataView): Fragment | undefined {
  const length = ipv4HeaderLength(view, 0);
  if (length < IPV4.minHeaderLength || length > bytes.length) return undefined;
  if (view.getUint16(IPV4.totalLength) !== bytes.length) return undefined;
  const field = view.getUint16(IPV4.flagsAndFragment);
  const identification = view.getUint16(IPV4.identification);
  const protocol = view.getUint8(IPV4.protocol);
  return {
    version: 4,
    identity: `${hex(bytes, IPV4.source, 8)}/${identification}/${protocol}`,
    identification,
    addresses: Int32Array.of(
      ...[0, 0, 0xffff, view.getInt32(IPV4.source)],
      ...[0, 0, 0xffff, view.getInt32(IPV4.destination)],
    ),
    protocol,
    ecn: view.getUint8(1) & 3,
    header: bytes.subarray(0, length),
    start: (field & IPV4_OFFSET_MASK) * UNIT,
    isLast: (field & IPV4_MORE) === 0,
    data: bytes.subarray(length),
  };
}

function parseIpv6(bytes: Uint8Array, view: DataView): Fragment | undefined {
  const headers = IPV6.headerLength + IPV6_FRAGMENT_HEADER;
  if (bytes.length < headers || view.getUint8(IPV6.nextHeader) !== IP_PROTOCOL.fragment)
    return undefined;
  if (view.getUint16(IPV6.payloadLength) + IPV6.headerLength !== bytes.length) return undefined;
  const at = IPV6.headerLength;
  const identification = view.getUint32(at + 4);
  return {
    version: 6,
    identity: `${hex(bytes, IPV6.source, 32)}/${identification}`,
    identification,
    addresses: Int32Array.from({ length: 8 }, (_, i) => view.getInt32(IPV6.source + i * 4)),
    protocol: view.getUint8(at),
    ecn: (view.getUint8(1) >> 4) & 3,
    header: bytes.subarray(0, at),
    start: view.getUint16(at + 2) & IPV6_OFFSET_MASK,
    isLast: (view.getUint16(at + 2) & 1) === 0,
    data: bytes.subarray(headers),
  };
}

/** The whole packet: the header of the first fragment, and all data. */
export function joinFragments(first: Fragment, payload: Uint8Array): Uint8Array {
  const { header, version, protocol } = first;
  const packet = new Uint8Array(header.length + payload.length);
  packet.set(header);
  packet.set(payload, header.length);
  const view = viewOf(packet);
  if (version === 6) {
    view.setUint16(IPV6.payloadLength, payload.length);
    view.setUint8(IPV6.nextHeader, protocol);
    return packet;
  }
  const field = view.getUint16(IPV4.flagsAndFragment);
  view.setUint16(IPV4.totalLength, packet.length);
  view.setUint16(IPV4.flagsAndFragment, field & IPV4_DONT_FRAGMENT);
  writeIpv4Checksum(view, header.length);
  return packet;
}

/** Fragments of at most `mtu` bytes of a packet without extension headers. Options of IPv4 are in each. */
export function splitPacket(
  packet: Uint8Array,
  identification: number,
  mtu: number,
): readonly Uint8Array[] {
  const view = viewOf(packet);
  const isIpv4 = view.getUint8(0) >> 4 === 4;
  const headerLength = isIpv4 ? ipv4HeaderLength(view, 0) : IPV6.headerLength;
  const overhead = headerLength + (isIpv4 ? 0 : IPV6_FRAGMENT_HEADER);
  const room = Math.floor((mtu - overhead) / UNIT) * UNIT;
  const header = packet.subarray(0, headerLength);
  const fragments: Uint8Array[] = [];
  for (let start = 0; headerLength + start < packet.length; start += room) {
    const data = packet.subarray(headerLength + start, headerLength + start + room);
    const isLast = headerLength + start + room >= packet.length;
    const fragment = new Uint8Array(overhead + data.length);
    fragment.set(header);
    fragment.set(data, overhead);
    const out = viewOf(fragment);
    if (isIpv4) {
      const flags = out.getUint16(IPV4.flagsAndFragment) & IPV4_DONT_FRAGMENT;
      out.setUint16(IPV4.totalLength, fragment.length);
      out.setUint16(IPV4.identification, identification);
      out.setUint16(IPV4.flagsAndFragment, flags | (isLast ? 0 : IPV4_MORE) | (start / UNIT));
      writeIpv4Checksum(out, headerLength);
    } else {
      out.setUint16(IPV6.payloadLength, fragment.length - IPV6.headerLength);
      out.setUint8(IPV6.nextHeader, IP_PROTOCOL.fragment);
      out.setUint8(headerLength, view.getUint8(IPV6.nextHeader));
      out.setUint16(headerLength + 2, start | (isLast ? 0 : 1));
      out.setUint32(headerLength + 4, identification);
    }
    fragments.push(fragment);
  }
  return fragments;
}

/** Whether a router may cut the packet into fragments: IPv4 without DF. */
export function mayBeSplit(packet: Uint8Array): boolean {
  const view = viewOf(packet);
  const isIpv4 = view.getUint8(0) >> 4 === 4;
  return isIpv4 && (view.getUint16(IPV4.flagsAndFragment) & IPV4_DONT_FRAGMENT) === 0;
}

/** Makes the header tell the length of `packet`. */
export function setIpLength(packet: Uint8Array): void {
  const view = viewOf(packet);
  if (view.getUint8(0) >> 4 === 6) {
    view.setUint16(IPV6.payloadLength, packet.length - IPV6.headerLength);
    return;
  }
  view.setUint16(IPV4.totalLength, packet.length);
  writeIpv4Checksum(view, ipv4HeaderLength(view, 0));
}

function writeIpv4Checksum(view: DataView, headerLength: number): void {
  view.setUint16(IPV4.checksum, 0);
  view.setUint16(IPV4.checksum, checksumOf(sumBytes(view, 0, headerLength)));
}

function hex(bytes: Uint8Array, offset: number, length: number): string {
  return bytes.subarray(offset, offset + length).join('.');
}
