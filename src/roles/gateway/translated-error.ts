// ICMP errors about connections that are translated, as the other side must see them (data-plane 10). Cold.
//
// Beyond the reference (data-plane 17.14): the packet inside is the very packet its sender sent, with right checksums; the length
// of RFC 4884 extensions is kept; and errors of the gateway's own kernel are translated, too, instead of showing the real address.

import { addressFromWords, familyOf, type IpAddress } from '../../base/address.ts';
import { viewOf } from '../../base/bytes.ts';
import type { NatTable } from '../../proto/nat/nat-table.ts';
import { setDestination } from '../../wire/ip/edit.ts';
import {
  type EmbeddedPacket,
  refreshIcmpChecksum,
  setEmbeddedAddress,
  setEmbeddedPort,
} from '../../wire/ip/embedded-packet.ts';
import { ICMP, ICMPV4_FRAGMENTATION_NEEDED, ICMPV4_TYPE, ICMPV6_TYPE } from '../../wire/ip/icmp.ts';
import { ICMP_ERROR_HOP_LIMIT } from '../../wire/ip/icmp-error.ts';
import { DESTINATION_WORDS, type ParsedPacket, SOURCE_WORDS } from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import { writeIcmpPacket } from '../../wire/ip/write-packet.ts';
import type { Decision } from './decisions.ts';

export interface ErrorToClient {
  readonly nat: NatTable;
  readonly session: number;
  readonly client: IpAddress;
  /** Who the client is told it comes from; `undefined`: the address it sent to. */
  readonly from: IpAddress | undefined;
}

/** An error from the network about a packet of the client: from the proxy address, about the packet the client sent. */
export function writeTranslatedError(
  slab: Uint8Array,
  packet: ParsedPacket,
  about: EmbeddedPacket,
  { nat, session, client, from }: ErrorToClient,
): Uint8Array | Decision {
  const proxy = addressFromWords(nat.rows, nat.insideOf(session));
  if (familyOf(proxy) !== packet.version) return 'unsupported-icmp';
  const rest = restOf(slab, packet, about.length);
  const payload = slab.slice(about.offset, about.offset + about.length);
  const view = viewOf(payload);
  about.offset = 0;
  const words = nat.rows;
  setEmbeddedAddress(view, about, {
    which: DESTINATION_WORDS,
    words,
    index: nat.insideOf(session),
  });
  setEmbeddedPort(view, about, SOURCE_WORDS, nat.insidePortOf(session));
  const error = writeIcmpPacket({
    source: from ?? proxy,
    destination: client,
    hopLimit: ICMP_ERROR_HOP_LIMIT,
    type: packet.icmpType,
    code: packet.icmpCode,
    rest,
    payload,
  });
  return error.length > MAX_PACKET_LENGTH ? 'too-large' : error;
}

/** An error of the client about a packet of the resource, in place: to the real address, about the packet the resource sent. */
export function translateClientError(
  view: DataView,
  packet: ParsedPacket,
  about: EmbeddedPacket,
  nat: NatTable,
  session: number,
): void {
  const words = nat.rows;
  const index = nat.outsideOf(session);
  setEmbeddedAddress(view, about, { which: SOURCE_WORDS, words, index });
  setEmbeddedPort(view, about, DESTINATION_WORDS, nat.outsidePortOf(session));
  setDestination(view, packet, words, index);
  refreshIcmpChecksum(view, packet);
}

/**
 * Bytes 4-7 as far as they mean something: an MTU, or the length of what is quoted where extensions follow it (RFC 4884 §4), if it can
 * be true; otherwise zero.
 */
function restOf(slab: Uint8Array, packet: ParsedPacket, quoted: number): number {
  const { icmpType: type, icmpCode: code, version } = packet;
  const rest = viewOf(slab).getUint32(packet.transportOffset + ICMP.rest);
  if (version === 6 && type === ICMPV6_TYPE.packetTooBig) return rest;
  const words = version === 4 ? (rest >>> 16) & 0xff : rest >>> 24;
  const isLength = words * (version === 4 ? 4 : 8) < quoted;
  const length = isLength ? (version === 4 ? words << 16 : words * 0x100_0000) : 0;
  const hasMtu =
    version === 4 &&
    type === ICMPV4_TYPE.destinationUnreachable &&
    code === ICMPV4_FRAGMENTATION_NEEDED;
  return hasMtu ? length | (rest & 0xffff) : length;
}
