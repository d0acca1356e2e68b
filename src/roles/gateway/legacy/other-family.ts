// Packets of connections whose two ends have addresses of different families (data-plane 13): each segment is made anew in the other family, with the
// addresses and ports of its session. Cold: it allocates for each packet, for clients of the earliest generation only.

import { addressFromWords, type IpAddress } from '../../../base/address.ts';
import { viewOf } from '../../../base/bytes.ts';
import type { NatTable } from '../../../proto/nat/nat-table.ts';
import { changeFamily, type NewAddresses } from '../../../proto/nat64/header-translation.ts';
import { setDestinationPort, setSourcePort } from '../../../wire/ip/edit.ts';
import { clampMss } from '../../../wire/ip/mss.ts';
import { ParsedPacket, parsePacket } from '../../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../../wire/ip/protocol.ts';
import { TCP_FLAG } from '../../../wire/ip/tcp.ts';

/** By this an IPv6 header is longer: segments must leave room for it, whichever way they go. */
const HEADER_DIFFERENCE = 20;

/** Whose session it is. */
export interface FamilyClient {
  readonly nat: NatTable;
  readonly addresses: { readonly ipv4: IpAddress; readonly ipv6: IpAddress };
  /** Of the packet that was decided last. */
  readonly lastSession: number;
}

/** `packets` of the client as the resource must see them; those without a counterpart, or too long in the other family, are left out. */
export function changeToResource(
  { nat, addresses, lastSession: session }: FamilyClient,
  packets: readonly Uint8Array[],
): Uint8Array[] {
  const destination = addressFromWords(nat.rows, nat.outsideOf(session));
  const ends = { source: ownOf(addresses, destination), destination };
  const port = nat.outsidePortOf(session);
  return changed(packets, ends, (view, packet) => setSourcePort(view, packet, port));
}

/** `packets` of the resource as the client must see them. */
export function changeToClient(
  { nat, addresses, lastSession: session }: FamilyClient,
  packets: readonly Uint8Array[],
): Uint8Array[] {
  const source = addressFromWords(nat.rows, nat.insideOf(session));
  const ends = { source, destination: ownOf(addresses, source) };
  const port = nat.insidePortOf(session);
  return changed(packets, ends, (view, packet) => setDestinationPort(view, packet, port));
}

function changed(
  packets: readonly Uint8Array[],
  ends: NewAddresses,
  setPort: (view: DataView, packet: ParsedPacket) => void,
): Uint8Array[] {
  const parsed = new ParsedPacket();
  return packets.flatMap((packet) => {
    const other = changeFamily(packet, ends);
    if (!other || other.length > MAX_PACKET_LENGTH) return [];
    const view = viewOf(other);
    if (parsePacket(view, 0, other.length, parsed) !== 'parsed') return [];
    setPort(view, parsed);
    if ((parsed.tcpFlags & TCP_FLAG.syn) !== 0)
      clampMss(view, parsed, MAX_PACKET_LENGTH - HEADER_DIFFERENCE);
    return [other];
  });
}

/** The client's address of the family of `other`. */
function ownOf({ ipv4, ipv6 }: FamilyClient['addresses'], other: IpAddress): IpAddress {
  return other.includes(':') ? ipv6 : ipv4;
}
