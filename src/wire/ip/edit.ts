// Hot path. Edits of parsed headers in place, with incremental checksums (data-plane 12.4). Which checksums are kept is
// `ParsedPacket.keepChecksums`. A UDP checksum of zero stays zero. TTL, identification, options and DSCP never change.

import { int32At } from '../../base/bytes.ts';
import { fold, foldWord, updateChecksum } from './checksum.ts';
import { ICMP } from './icmp.ts';
import { IPV4 } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import {
  DESTINATION_WORDS,
  KEEP_CHECKSUM,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from './parsed-packet.ts';
import { ECN, IP_PROTOCOL } from './protocol.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

/** Replaces the source by the four words at `index`; they must be of the packet's family. */
export function setSource(
  view: DataView,
  packet: ParsedPacket,
  words: Int32Array,
  index: number,
): void {
  setAddress(view, packet, SOURCE_WORDS, words, index);
}

/** Replaces the destination by the four words at `index`; they must be of the packet's family. */
export function setDestination(
  view: DataView,
  packet: ParsedPacket,
  words: Int32Array,
  index: number,
): void {
  setAddress(view, packet, DESTINATION_WORDS, words, index);
}

/** Source port of TCP and UDP, identifier of an echo; nothing for other packets. */
export function setSourcePort(view: DataView, packet: ParsedPacket, port: number): void {
  if (packet.transport === TRANSPORT.echo) {
    setIdentifier(view, packet, port);
  } else if (hasPorts(packet)) {
    setPort(view, packet, packet.transportOffset + UDP.sourcePort, port);
    packet.sourcePort = port;
  }
}

/** Destination port of TCP and UDP, identifier of an echo; nothing for other packets. */
export function setDestinationPort(view: DataView, packet: ParsedPacket, port: number): void {
  if (packet.transport === TRANSPORT.echo) {
    setIdentifier(view, packet, port);
  } else if (hasPorts(packet)) {
    setPort(view, packet, packet.transportOffset + UDP.destinationPort, port);
    packet.destinationPort = port;
  }
}

/** ECN of the IP header (data-plane 6.2). */
export function ecnOf(view: DataView, packet: ParsedPacket): 0 | 1 | 2 | 3 {
  const byte = view.getUint8(packet.offset + 1);
  const ecn = packet.version === 4 ? byte & 3 : (byte >> 4) & 3;
  return ecn as 0 | 1 | 2 | 3;
}

/** RFC 6040 in the subset of data-plane 6.2: outer CE marks an ECN-capable inner packet, nothing else changes. */
export function mergeEcn(view: DataView, packet: ParsedPacket, outer: number): void {
  if (outer !== ECN.ce) return;
  const inner = ecnOf(view, packet);
  if (inner !== ECN.ect0 && inner !== ECN.ect1) return;
  const { offset } = packet;
  if (packet.version === 6) {
    view.setUint8(offset + 1, view.getUint8(offset + 1) | 0x30);
    return;
  }
  const before = view.getUint16(offset);
  view.setUint16(offset, before | 3);
  if ((packet.keepChecksums & KEEP_CHECKSUM.ip) !== 0) {
    const checksum = view.getUint16(offset + IPV4.checksum);
    view.setUint16(offset + IPV4.checksum, updateChecksum(checksum, before, before | 3));
  }
}

function hasPorts(packet: ParsedPacket): boolean {
  return packet.transport === TRANSPORT.tcp || packet.transport === TRANSPORT.udp;
}

function setAddress(
  view: DataView,
  packet: ParsedPacket,
  which: 0 | 4,
  words: Int32Array,
  index: number,
): void {
  const { addresses, offset } = packet;
  let removed = 0;
  let added = 0;
  if (packet.version === 4) {
    const field = offset + (which === SOURCE_WORDS ? IPV4.source : IPV4.destination);
    removed = foldWord(int32At(addresses, which + 3));
    added = foldWord(int32At(words, index + 3));
    addresses[which + 3] = int32At(words, index + 3);
    view.setInt32(field, int32At(words, index + 3));
    if ((packet.keepChecksums & KEEP_CHECKSUM.ip) !== 0) {
      const checksum = view.getUint16(offset + IPV4.checksum);
      view.setUint16(offset + IPV4.checksum, updateChecksum(checksum, removed, added));
    }
  } else {
    const field = offset + (which === SOURCE_WORDS ? IPV6.source : IPV6.destination);
    for (let i = 0; i < 4; i++) {
      const word = int32At(words, index + i);
      removed += foldWord(int32At(addresses, which + i));
      added += foldWord(word);
      addresses[which + i] = word;
      view.setInt32(field + i * 4, word);
    }
    removed = fold(removed);
    added = fold(added);
  }
  if (packet.protocol !== IP_PROTOCOL.icmp) patchTransport(view, packet, removed, added);
}

function setPort(view: DataView, packet: ParsedPacket, field: number, port: number): void {
  const before = view.getUint16(field);
  view.setUint16(field, port);
  patchTransport(view, packet, before, port);
}

function setIdentifier(view: DataView, packet: ParsedPacket, identifier: number): void {
  const field = packet.transportOffset + ICMP.identifier;
  const before = view.getUint16(field);
  view.setUint16(field, identifier);
  packet.sourcePort = identifier;
  packet.destinationPort = identifier;
  patchTransport(view, packet, before, identifier);
}

/** Takes over into the transport checksum that `removed` (a folded sum) was replaced by `added`. */
export function patchTransport(
  view: DataView,
  packet: ParsedPacket,
  removed: number,
  added: number,
): void {
  if ((packet.keepChecksums & KEEP_CHECKSUM.transport) === 0) return;
  const field = checksumField(packet);
  if (field < 0) return;
  const checksum = view.getUint16(field);
  if (checksum === 0 && packet.transport === TRANSPORT.udp) return;
  view.setUint16(field, updateChecksum(checksum, removed, added));
}

/** Offset of the transport checksum, or -1 for protocols we do not know. */
function checksumField(packet: ParsedPacket): number {
  switch (packet.transport) {
    case TRANSPORT.tcp:
      return packet.transportOffset + TCP.checksum;
    case TRANSPORT.udp:
      return packet.transportOffset + UDP.checksum;
    case TRANSPORT.echo:
    case TRANSPORT.icmp:
      return packet.transportOffset + ICMP.checksum;
    default:
      return -1;
  }
}
