// Super-packets split into packets of the tunnel's MTU, and sealed: the twin of `native/segment.c` and of the sealing half of
// `native/sender.c` (operations 6.4). Cold: it allocates. Also the reference that the compliance suite compares native output with.

import type { ReceiveBatch, TransportAead, TunBatch } from '../../base/batch.ts';
import {
  DATAGRAM,
  GSO_TYPE,
  PATH,
  SUPER,
  SUPER_FLAG,
  TUN_FLAG,
  TUN_PACKET,
} from '../../base/batch.ts';
import { at, concat, viewOf } from '../../base/bytes.ts';
import type { Ecn } from '../../base/transmit.ts';
import { LARGEST_TUNNEL_MTU } from '../../wire/ip/protocol.ts';
import { checksumAdd, checksumFold, checksumPseudo } from './checksum.ts';

// Specification
const TCP = 6;
const UDP = 17;
const FIN_PSH = 0x01 | 0x08;
const CWR = 0x80;

export interface SealedDatagram {
  readonly slot: number;
  readonly ecn: Ecn;
  /** With the ChannelData header where the slot's path has a channel. */
  readonly bytes: Uint8Array;
}

export type SealDrop = 'no-key' | 'no-path' | 'malformed' | 'oversized';

/** What `sealSend` sends for a batch, in order, and what it drops. */
export function sealBatch(
  batch: TunBatch,
  aead: TransportAead,
): { readonly datagrams: readonly SealedDatagram[]; readonly drops: readonly SealDrop[] } {
  const datagrams: SealedDatagram[] = [];
  const drops: SealDrop[] = [];
  for (let i = 0; i < batch.packetCount; i++) {
    const row = i * TUN_PACKET.stride;
    const slot = at(batch.packets, row + TUN_PACKET.slot);
    if (slot < 0) continue;
    const sealed = sealPacket(batch, row, slot, aead);
    if (typeof sealed === 'string') {
      drops.push(sealed);
      continue;
    }
    const ecn = (at(batch.packets, row + TUN_PACKET.ecn) & 3) as Ecn;
    for (const bytes of sealed) datagrams.push({ slot, ecn, bytes });
  }
  return { datagrams, drops };
}

/** What one row of a TUN batch becomes with that slot's key, with the ChannelData header where its path has a channel. */
export function sealPacket(
  batch: TunBatch,
  row: number,
  slot: number,
  aead: TransportAead,
): readonly Uint8Array[] | SealDrop {
  const path = slot * PATH.stride;
  if (at(aead.paths, path + PATH.usable) !== 1) return 'no-path';
  const packets = segmentTunPacket(batch, row);
  if (typeof packets === 'string') return packets;
  const channel = at(aead.paths, path + PATH.channel);
  return packets.map((packet) => {
    const message = aead.sealOne(slot, packet);
    return channel === 0 ? message : inChannel(channel, message);
  });
}

/** The complete packets that one row of a TUN batch stands for, none longer than `largestPacket`. */
export function segmentTunPacket(
  batch: TunBatch,
  row: number,
  largestPacket: number = LARGEST_TUNNEL_MTU,
): Uint8Array[] | SealDrop {
  const { packets: rows } = batch;
  const offset = at(rows, row + TUN_PACKET.offset);
  const length = at(rows, row + TUN_PACKET.length);
  const packet = batch.slab.slice(offset, offset + length);
  if (at(rows, row + TUN_PACKET.gsoType) === GSO_TYPE.none) {
    if (length > largestPacket) return 'oversized';
    const isOpen = (at(rows, row + TUN_PACKET.flags) & TUN_FLAG.checksumNeeded) !== 0;
    const start = at(rows, row + TUN_PACKET.checksumStart);
    const isComplete =
      !isOpen || completeChecksum(packet, start, at(rows, row + TUN_PACKET.checksumOffset));
    return isComplete ? [packet] : 'malformed';
  }
  const segment = at(rows, row + TUN_PACKET.gsoSegment);
  const headers = at(rows, row + TUN_PACKET.headerLength);
  const ipHeader = at(packet, 0) >> 4 === 6 ? 40 : (at(packet, 0) & 15) * 4;
  const protocol = at(rows, row + TUN_PACKET.gsoType) === GSO_TYPE.udp ? UDP : TCP;
  const smallest = ipHeader + (protocol === UDP ? 8 : 20);
  if (segment <= 0 || headers < smallest || ipHeader < 20 || headers >= length) return 'malformed';
  if (Math.min(length, headers + segment) > largestPacket) return 'oversized';
  const payloads: Uint8Array[] = [];
  for (let start = headers; start < length; start += segment) {
    payloads.push(packet.subarray(start, Math.min(length, start + segment)));
  }
  return segmentPayloads(packet.subarray(0, headers), ipHeader, protocol, payloads);
}

/** The complete packets that one super-packet row stands for: what a TUN without offloads is given. */
export function segmentSuperPacket(batch: ReceiveBatch, row: number): Uint8Array[] {
  const { superPackets: rows, datagrams, slab } = batch;
  const offset = at(rows, row + SUPER.offset);
  const length = at(rows, row + SUPER.length);
  if ((at(rows, row + SUPER.flags) & SUPER_FLAG.checksumOnWrite) === 0) {
    return [slab.slice(offset, offset + length)];
  }
  const ipHeader = at(rows, row + SUPER.ipHeaderLength);
  const headers = ipHeader + at(rows, row + SUPER.transportHeaderLength);
  const segment = at(rows, row + SUPER.segmentLength);
  const payloads: Uint8Array[] = [];
  let datagram = at(rows, row + SUPER.firstDatagram);
  for (let left = length - headers; left > 0; left -= segment) {
    const source = datagram * DATAGRAM.stride;
    const start =
      (payloads.length === 0 ? offset : at(datagrams, source + DATAGRAM.offset)) + headers;
    payloads.push(slab.slice(start, start + Math.min(left, segment)));
    datagram = at(datagrams, source + DATAGRAM.next);
  }
  const head = slab.subarray(offset, offset + headers);
  return segmentPayloads(head, ipHeader, at(rows, row + SUPER.protocol), payloads);
}

/** One packet per payload. FIN and PSH stay on the last one, CWR on the first (RFC 3168 §6.1.2). */
function segmentPayloads(
  headers: Uint8Array,
  ipHeader: number,
  protocol: number,
  payloads: readonly Uint8Array[],
): Uint8Array[] {
  let position = 0;
  return payloads.map((payload, index) => {
    const packet = concat(headers, payload);
    const view = viewOf(packet);
    if (at(packet, 0) >> 4 === 6) {
      view.setUint16(4, packet.length - ipHeader);
    } else {
      view.setUint16(2, packet.length);
      view.setUint16(4, view.getUint16(4) + index);
      view.setUint16(10, 0);
      view.setUint16(10, ~checksumFold(checksumAdd(packet.subarray(0, ipHeader))));
    }
    if (protocol === TCP) {
      view.setUint32(ipHeader + 4, view.getUint32(ipHeader + 4) + position);
      let flags = at(packet, ipHeader + 13);
      if (index < payloads.length - 1) flags &= ~FIN_PSH;
      if (index > 0) flags &= ~CWR;
      packet[ipHeader + 13] = flags;
    } else {
      view.setUint16(ipHeader + 4, packet.length - ipHeader);
    }
    writeTransportChecksum(packet, ipHeader, protocol, protocol === TCP ? 16 : 6);
    position += payload.length;
    return packet;
  });
}

/** Completes a checksum that the kernel left open; false if its place does not lie in the packet. */
function completeChecksum(packet: Uint8Array, start: number, offset: number): boolean {
  if (start >= packet.length || start + offset + 2 > packet.length) return false;
  const isIpv6 = at(packet, 0) >> 4 === 6;
  const ipHeader = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
  const protocol = at(packet, isIpv6 ? 6 : 9);
  if (start === ipHeader) {
    writeTransportChecksum(packet, start, protocol, offset);
    return true;
  }
  // Behind extension headers: the kernel left the pseudo-header's sum in the field.
  const view = viewOf(packet);
  const partial = view.getUint16(start + offset);
  view.setUint16(start + offset, 0);
  view.setUint16(start + offset, ~checksumFold(checksumAdd(packet.subarray(start), partial)));
  return true;
}

function writeTransportChecksum(
  packet: Uint8Array,
  start: number,
  protocol: number,
  offset: number,
): void {
  const view = viewOf(packet);
  view.setUint16(start + offset, 0);
  const pseudo = checksumPseudo(packet, protocol, packet.length - start);
  const sum = 0xffff & ~checksumFold(checksumAdd(packet.subarray(start), pseudo));
  view.setUint16(start + offset, protocol === UDP && sum === 0 ? 0xffff : sum);
}

function inChannel(channel: number, message: Uint8Array): Uint8Array {
  const header = new Uint8Array(4);
  viewOf(header).setUint16(0, channel);
  viewOf(header).setUint16(2, message.length);
  return concat(header, message);
}
