// Packets and batches for the compliance suite: whole IPv4/IPv6 packets with right checksums, and rows that describe them.

import type { ReceiveBatch, TunBatch } from '../../src/base/batch.ts';
import {
  createReceiveBatch,
  createTunBatch,
  DATAGRAM,
  GSO_TYPE,
  RUN,
  TUN_FLAG,
  TUN_PACKET,
} from '../../src/base/batch.ts';
import { at, concat, viewOf } from '../../src/base/bytes.ts';
import { checksumAdd, checksumFold, checksumPseudo } from '../../src/proto/batch/checksum.ts';

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const ECE = 64;
export const CWR = 128;

export interface PacketOptions {
  readonly isIpv6?: boolean;
  /** Bytes of an address of the right family. */
  readonly source?: Uint8Array;
  readonly destination?: Uint8Array;
  readonly protocol?: 'tcp' | 'udp' | 'icmp';
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  readonly urgentPointer?: number;
  readonly tos?: number;
  readonly ttl?: number;
  readonly identification?: number;
  /** IPv4 flags and fragment offset. */
  readonly fragment?: number;
  /** Multiple of 4. */
  readonly tcpOptions?: Uint8Array;
  readonly ipOptions?: Uint8Array;
  readonly payload?: Uint8Array;
  readonly hasUdpChecksum?: boolean;
}

export function makePacket(options: PacketOptions): Uint8Array {
  const protocol = options.protocol ?? 'tcp';
  const transport =
    protocol === 'tcp'
      ? tcpHeader(options)
      : protocol === 'udp'
        ? udpHeader(options)
        : icmpHeader();
  const number = protocol === 'tcp' ? 6 : protocol === 'udp' ? 17 : options.isIpv6 ? 58 : 1;
  const payload = options.payload ?? new Uint8Array();
  const ip = options.isIpv6
    ? ipv6Header(options, number, transport.length + payload.length)
    : ipv4Header(options, number, transport.length + payload.length);
  const packet = concat(ip, transport, payload);
  if (protocol === 'udp')
    viewOf(packet).setUint16(ip.length + 4, transport.length + payload.length);
  if (protocol === 'udp' && options.hasUdpChecksum === false) return packet;
  const field = protocol === 'tcp' ? 16 : protocol === 'udp' ? 6 : 2;
  fillChecksum(packet, ip.length, number, field, protocol === 'icmp' && !options.isIpv6);
  return packet;
}

function fillChecksum(
  packet: Uint8Array,
  start: number,
  protocol: number,
  field: number,
  isBare: boolean,
): void {
  const pseudo = isBare ? 0 : checksumPseudo(packet, protocol, packet.length - start);
  const sum = 0xffff & ~checksumFold(checksumAdd(packet.subarray(start), pseudo));
  viewOf(packet).setUint16(start + field, protocol === 17 && sum === 0 ? 0xffff : sum);
}

function ipv4Header(options: PacketOptions, protocol: number, length: number): Uint8Array {
  const extra = options.ipOptions ?? new Uint8Array();
  const header = new Uint8Array(20 + extra.length);
  const view = viewOf(header);
  header[0] = 0x40 | (header.length / 4);
  header[1] = options.tos ?? 0;
  view.setUint16(2, header.length + length);
  view.setUint16(4, options.identification ?? 0);
  view.setUint16(6, options.fragment ?? 0x4000);
  header[8] = options.ttl ?? 64;
  header[9] = protocol;
  header.set(options.source ?? [100, 64, 0, 2], 12);
  header.set(options.destination ?? [10, 99, 2, 2], 16);
  header.set(extra, 20);
  view.setUint16(10, ~checksumFold(checksumAdd(header)));
  return header;
}

function ipv6Header(options: PacketOptions, protocol: number, length: number): Uint8Array {
  const header = new Uint8Array(40);
  const view = viewOf(header);
  view.setUint32(0, 0x6000_0000 | ((options.tos ?? 0) << 20));
  view.setUint16(4, length);
  header[6] = protocol;
  header[7] = options.ttl ?? 64;
  header.set([0xfd, 0, 0x20, 0x21, 0x11, 0x11], 8);
  header[23] = 2;
  header.set([0xfd, 0x99], 24);
  header[39] = 9;
  if (options.source) header.set(options.source, 8);
  if (options.destination) header.set(options.destination, 24);
  return header;
}

function tcpHeader(options: PacketOptions): Uint8Array {
  const extra = options.tcpOptions ?? new Uint8Array();
  const header = new Uint8Array(20 + extra.length);
  const view = viewOf(header);
  view.setUint16(0, options.sourcePort ?? 1000);
  view.setUint16(2, options.destinationPort ?? 443);
  view.setUint32(4, options.sequence ?? 0);
  view.setUint32(8, options.acknowledgement ?? 0);
  header[12] = (header.length / 4) << 4;
  header[13] = options.flags ?? ACK;
  view.setUint16(14, options.window ?? 500);
  view.setUint16(18, options.urgentPointer ?? 0);
  header.set(extra, 20);
  return header;
}

function udpHeader(options: PacketOptions): Uint8Array {
  const header = new Uint8Array(8);
  viewOf(header).setUint16(0, options.sourcePort ?? 1000);
  viewOf(header).setUint16(2, options.destinationPort ?? 53);
  return header;
}

function icmpHeader(): Uint8Array {
  return Uint8Array.of(8, 0, 0, 0, 0, 1, 0, 1);
}

/** Whether every checksum of a packet is right (a UDP checksum of zero counts as right). */
export function hasRightChecksums(packet: Uint8Array): boolean {
  const isIpv6 = at(packet, 0) >> 4 === 6;
  const ipHeader = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
  const protocol = at(packet, isIpv6 ? 6 : 9);
  if (!isIpv6 && checksumFold(checksumAdd(packet.subarray(0, ipHeader))) !== 0xffff) return false;
  if (protocol === 17 && viewOf(packet).getUint16(ipHeader + 6) === 0) return true;
  const isBare = protocol === 1;
  const pseudo = isBare ? 0 : checksumPseudo(packet, protocol, packet.length - ipHeader);
  return checksumFold(checksumAdd(packet.subarray(ipHeader), pseudo)) === 0xffff;
}

export interface Opened {
  readonly packet: Uint8Array;
  readonly slot?: number;
  readonly ecn?: number;
  readonly accepted?: boolean;
}

/** A batch as it is after `open` and `Node.handleOpened`: one run per datagram. */
export function openedBatch(opened: readonly Opened[]): ReceiveBatch {
  const bytes = opened.reduce((sum, { packet }) => sum + packet.length, 0);
  const batch = createReceiveBatch(bytes + 64, opened.length + 1, opened.length + 1);
  let offset = 0;
  opened.forEach(({ packet, slot, ecn, accepted }, i) => {
    batch.slab.set(packet, offset);
    batch.runs[i * RUN.stride + RUN.ecn] = ecn ?? 0;
    const row = i * DATAGRAM.stride;
    batch.datagrams[row + DATAGRAM.offset] = offset;
    batch.datagrams[row + DATAGRAM.length] = packet.length;
    batch.datagrams[row + DATAGRAM.run] = i;
    batch.datagrams[row + DATAGRAM.slot] = slot ?? 0;
    batch.datagrams[row + DATAGRAM.accepted] = accepted === false ? 0 : 1;
    offset += packet.length;
  });
  batch.runCount = opened.length;
  batch.datagramCount = opened.length;
  return batch;
}

export function copyBatch(batch: ReceiveBatch): ReceiveBatch {
  const copy = createReceiveBatch(
    batch.slab.length,
    batch.runs.length / RUN.stride,
    batch.datagrams.length / DATAGRAM.stride,
  );
  copy.slab.set(batch.slab);
  copy.runs.set(batch.runs);
  copy.datagrams.set(batch.datagrams);
  copy.runCount = batch.runCount;
  copy.datagramCount = batch.datagramCount;
  return copy;
}

export interface TunPacket {
  readonly packet: Uint8Array;
  /** Present: a super-packet of that segment size. */
  readonly segment?: number;
  readonly checksumNeeded?: boolean;
  readonly slot: number;
  readonly ecn?: number;
}

/** A batch as it is after `readTun` and the role. */
export function tunBatch(packets: readonly TunPacket[]): TunBatch {
  const bytes = packets.reduce((sum, { packet }) => sum + packet.length, 0);
  const batch = createTunBatch(bytes + 64, packets.length + 1);
  let offset = 0;
  packets.forEach(({ packet, segment, checksumNeeded, slot, ecn }, i) => {
    batch.slab.set(packet, offset);
    const isIpv6 = at(packet, 0) >> 4 === 6;
    const ipHeader = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
    const isTcp = at(packet, isIpv6 ? 6 : 9) === 6;
    const row = i * TUN_PACKET.stride;
    batch.packets[row + TUN_PACKET.offset] = offset;
    batch.packets[row + TUN_PACKET.length] = packet.length;
    batch.packets[row + TUN_PACKET.slot] = slot;
    batch.packets[row + TUN_PACKET.ecn] = ecn ?? 0;
    batch.packets[row + TUN_PACKET.flags] =
      (isIpv6 ? TUN_FLAG.ipv6 : 0) |
      (checksumNeeded || segment !== undefined ? TUN_FLAG.checksumNeeded : 0);
    batch.packets[row + TUN_PACKET.checksumStart] = ipHeader;
    batch.packets[row + TUN_PACKET.checksumOffset] = isTcp ? 16 : 6;
    if (segment !== undefined) {
      batch.packets[row + TUN_PACKET.gsoType] = !isTcp
        ? GSO_TYPE.udp
        : isIpv6
          ? GSO_TYPE.tcp6
          : GSO_TYPE.tcp4;
      batch.packets[row + TUN_PACKET.gsoSegment] = segment;
      const tcpHeader = (at(packet, ipHeader + 12) >> 4) * 4;
      batch.packets[row + TUN_PACKET.headerLength] = ipHeader + (isTcp ? tcpHeader : 8);
    }
    offset += packet.length;
  });
  batch.packetCount = packets.length;
  return batch;
}
