// Packets that a gateway builds or changes, byte for byte: ICMP errors (data-plane 5, 10), translated packets (12.4). Checksums are computed anew here and
// never updated, so that the product's incremental ones have a judge.

import { type Address, isIpv4, isTunnel } from './address.ts';
import { areChecksumsRight, type Flow, type Packet } from './packet.ts';

const ERROR_HOP_LIMIT = 20;
const MAX_LENGTH = 1280;

export type Refusal = 'prohibited' | 'unreachable';

/** data-plane 5: what the client is told about a packet of its own. */
export function refusalOf(kind: Refusal, packet: Packet): Uint8Array {
  const isV4 = isIpv4(packet.source);
  const quoted = isV4 ? packet.bytes.subarray(0, packet.transport + 8) : packet.bytes;
  const type = isV4 ? 3 : 1;
  const code = kind === 'prohibited' ? (isV4 ? 13 : 1) : isV4 ? 0 : 3;
  const rest = new Uint8Array(4);
  return icmpPacket(packet.destination, packet.source, [type, code, 0, 0, ...rest], quoted);
}

/** data-plane 10: an error about a translated flow, as the client must see it; the quoted checksums are not looked at. */
export function translatedError(
  error: Packet,
  inside: { source: Address; port: number },
): Uint8Array {
  const start = error.transport;
  const { bytes, icmpType, icmpCode } = error;
  const hasMtu = isIpv4(error.source) ? icmpType === 3 && icmpCode === 4 : icmpType === 2;
  const mtuOffset = isIpv4(error.source) ? 2 : 0;
  const rest = hasMtu ? bytes.slice(start + 4, start + 8) : new Uint8Array(4);
  rest.fill(0, 0, mtuOffset);
  const quoted = bytes.slice(start + 8);
  const about = error.about as Flow;
  const isV4 = isIpv4(about.source);
  quoted.set(hexBytes(inside.source), isV4 ? 16 : 24);
  const transport = isV4 ? ((quoted[0] ?? 0) & 15) * 4 : 40;
  quoted.set([inside.port >> 8, inside.port & 255], transport + (about.kind === 'echo' ? 4 : 0));
  return icmpPacket(inside.source, about.source, [icmpType, icmpCode, 0, 0, ...rest], quoted);
}

function icmpPacket(
  source: Address,
  destination: Address,
  head: readonly number[],
  quoted: Uint8Array,
): Uint8Array {
  const isV4 = isIpv4(source);
  const headerLength = isV4 ? 20 : 40;
  const body = quoted.subarray(0, MAX_LENGTH - headerLength - head.length);
  const packet = new Uint8Array(headerLength + head.length + body.length);
  const length = head.length + (isV4 ? headerLength : 0) + body.length;
  if (isV4) packet.set([0x45, 0, length >> 8, length & 255, 0, 0, 0, 0, ERROR_HOP_LIMIT, 1]);
  else packet.set([0x60, 0, 0, 0, length >> 8, length & 255, 58, ERROR_HOP_LIMIT]);
  packet.set(hexBytes(source), isV4 ? 12 : 8);
  packet.set(hexBytes(destination), isV4 ? 16 : 24);
  packet.set(head, headerLength);
  packet.set(body, headerLength + head.length);
  return packet;
}

export interface Change {
  readonly source?: Address;
  readonly sourcePort?: number;
  readonly destination?: Address;
  readonly destinationPort?: number;
}

/** The packet with other addresses and ports; checksums are left to `sameButChecksums`. */
export function changed(packet: Packet, change: Change): Uint8Array {
  const bytes = packet.bytes.slice();
  const isV4 = isIpv4(packet.source);
  if (change.source) bytes.set(hexBytes(change.source), isV4 ? 12 : 8);
  if (change.destination) bytes.set(hexBytes(change.destination), isV4 ? 16 : 24);
  const set = (port: number | undefined, offset: number): void => {
    if (port !== undefined) bytes.set([port >> 8, port & 255], packet.transport + offset);
  };
  set(change.sourcePort, packet.kind === 'echo' ? 4 : 0);
  set(change.destinationPort, packet.kind === 'echo' ? 4 : 2);
  return bytes;
}

/** Equal but for checksums and ECN, and with right checksums where `original` had right ones. */
export function isFaithful(actual: Uint8Array, expected: Uint8Array, original: Packet): boolean {
  if (actual.length !== expected.length) return false;
  const skipped = new Set(checksumOffsets(original));
  for (let i = 0; i < actual.length; i++) {
    if (
      i === 1 &&
      ((actual[1] ?? 0) & ecnMask(original)) === ((expected[1] ?? 0) & ecnMask(original))
    )
      continue;
    if (!skipped.has(i) && actual[i] !== expected[i]) return false;
  }
  return areChecksumsRight(actual) || !areChecksumsRight(original.bytes);
}

/** As `isFaithful`, for packets that were built and quote others, whose checksums inside do not count. */
export function isSameError(actual: Uint8Array, expected: Uint8Array): boolean {
  if (actual.length !== expected.length || !areChecksumsRight(actual)) return false;
  const isV4 = (actual[0] ?? 0) >> 4 === 4;
  const start = isV4 ? 20 : 40;
  const skipped = new Set([...(isV4 ? [10, 11] : []), start + 2, start + 3]);
  const inner = start + 8;
  const innerTransport = inner + (isV4 ? ((actual[inner] ?? 0) & 15) * 4 : 40);
  if (isV4) for (const i of [inner + 10, inner + 11]) skipped.add(i);
  for (const i of [2, 3, 6, 7, 16, 17]) skipped.add(innerTransport + i);
  return actual.every((value, i) => skipped.has(i) || value === expected[i]);
}

function checksumOffsets({ source, kind, protocol, transport }: Packet): number[] {
  const header = isIpv4(source) ? [10, 11] : [];
  if (kind === 'tcp') return [...header, transport + 16, transport + 17];
  if (kind === 'udp') return [...header, transport + 6, transport + 7];
  return protocol === 1 || protocol === 58 ? [...header, transport + 2, transport + 3] : header;
}

function ecnMask({ source }: Packet): number {
  return isIpv4(source) ? 0xfc : 0xcf;
}

function hexBytes(value: Address): number[] {
  return (value.match(/../g) ?? []).map((pair) => parseInt(pair, 16));
}

/** The gateway's own words to a client need no resource. */
export function isFromGateway(packet: Packet, own: readonly Address[]): boolean {
  return own.includes(packet.source) && isTunnel(packet.destination);
}
