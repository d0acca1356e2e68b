// Packets that a client's applications send and get, with right checksums.

import { writeIcmpPacket, writeTcpPacket, writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import { ip } from './packets.ts';

const OWN = { 4: ip('100.64.0.5'), 6: ip('fd00:2021:1111::5') };
const HEADER = { hopLimit: 64 } as const;

function ownFor(address: string): (typeof OWN)[4] {
  return address.includes(':') ? OWN[6] : OWN[4];
}

export function udpTo(destination: string, text = 'hello', port = 4_000): Uint8Array {
  return writeUdpPacket({
    ...HEADER,
    source: ownFor(destination),
    destination: ip(destination),
    sourcePort: 40_000,
    destinationPort: port,
    payload: new TextEncoder().encode(text),
  });
}

export function tcpTo(destination: string, port: number, flags = 2): Uint8Array {
  return writeTcpPacket({
    ...HEADER,
    source: ownFor(destination),
    destination: ip(destination),
    sourcePort: 40_000,
    destinationPort: port,
    flags,
    payload: new Uint8Array(),
  });
}

/** From a resource; `destination` is the client unless given. */
export function udpFrom(
  source: string,
  text = 'hello',
  destination: string = ownFor(source),
): Uint8Array {
  return writeUdpPacket({
    ...HEADER,
    source: ip(source),
    destination: ip(destination),
    sourcePort: 4_000,
    destinationPort: 40_000,
    payload: new TextEncoder().encode(text),
  });
}

/** "Administratively prohibited" about `quoted`. */
export function icmpProhibited(
  quoted: Uint8Array,
  source: string,
  destination: string,
): Uint8Array {
  const isIpv6 = source.includes(':');
  return writeIcmpPacket({
    source: ip(source),
    destination: ip(destination),
    hopLimit: 64,
    type: isIpv6 ? 1 : 3,
    code: isIpv6 ? 1 : 13,
    payload: quoted.slice(0, isIpv6 ? 88 : 28),
  });
}
