// ICMP errors from the network about translated flows, as the client must see them (data-plane 10). Cold.

import {
  addressFromWords,
  familyOf,
  type IpAddress,
  writeAddressWords,
} from '../../base/address.ts';
import { at, viewOf } from '../../base/bytes.ts';
import type { NatTable } from '../../proto/nat/nat-table.ts';
import { ICMP, ICMPV4_FRAGMENTATION_NEEDED, ICMPV4_TYPE, ICMPV6_TYPE } from '../../wire/ip/icmp.ts';
import { type EmbeddedPacket, ICMP_ERROR_HOP_LIMIT } from '../../wire/ip/icmp-error.ts';
import { IPV4 } from '../../wire/ip/ipv4.ts';
import { IPV6 } from '../../wire/ip/ipv6.ts';
import { type ParsedPacket, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import { writeIcmpPacket } from '../../wire/ip/write-packet.ts';
import type { Decision } from './decisions.ts';

/**
 * The error as the client must see it: from the proxy address, about the packet it sent. Type, code and MTU are kept. Checksums
 * inside are left as they are; the client's kernel does not look at them.
 */
export function writeTranslatedError(
  slab: Uint8Array,
  packet: ParsedPacket,
  about: EmbeddedPacket,
  to: { readonly nat: NatTable; readonly session: number; readonly client: IpAddress },
): Uint8Array | Decision {
  const { nat, session, client } = to;
  const proxy = addressFromWords(nat.rows, nat.insideOf(session));
  if (familyOf(proxy) !== packet.version) return 'unsupported-icmp';
  const payload = slab.slice(about.offset, about.offset + about.length);
  const view = viewOf(payload);
  writeAddress(view, packet.version === 4 ? IPV4.destination : IPV6.destination, proxy);
  const portField = about.headerLength + (about.transport === TRANSPORT.echo ? ICMP.identifier : 0);
  view.setUint16(portField, nat.insidePortOf(session));
  const error = writeIcmpPacket({
    source: proxy,
    destination: client,
    hopLimit: ICMP_ERROR_HOP_LIMIT,
    type: packet.icmpType,
    code: packet.icmpCode,
    rest: mtuOf(slab, packet),
    payload,
  });
  return error.length > MAX_PACKET_LENGTH ? 'too-large' : error;
}

/** Bytes 4-7 as far as they are an MTU, otherwise zero. */
function mtuOf(slab: Uint8Array, packet: ParsedPacket): number {
  const { icmpType: type, icmpCode: code } = packet;
  const rest = viewOf(slab).getUint32(packet.transportOffset + ICMP.rest);
  if (packet.version === 6) return type === ICMPV6_TYPE.packetTooBig ? rest : 0;
  const hasMtu =
    type === ICMPV4_TYPE.destinationUnreachable && code === ICMPV4_FRAGMENTATION_NEEDED;
  return hasMtu ? rest & 0xffff : 0;
}

function writeAddress(view: DataView, offset: number, address: IpAddress): void {
  const words = new Int32Array(4);
  writeAddressWords(address, words, 0);
  const isIpv4 = familyOf(address) === 4;
  for (let i = isIpv4 ? 3 : 0, field = offset; i < 4; i++, field += 4) {
    view.setInt32(field, at(words, i));
  }
}
