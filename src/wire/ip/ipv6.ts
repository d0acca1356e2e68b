// Hot path. The IPv6 header (RFC 8200 §3) and the walk along its extension headers (§4).
//
//    0 version|traffic class|flow label | 4 payload length  6 next header  7 hop limit | 8 source | 24 destination

import { IP_PROTOCOL } from './protocol.ts';

export const IPV6 = {
  versionAndClass: 0,
  payloadLength: 4,
  nextHeader: 6,
  hopLimit: 7,
  source: 8,
  destination: 24,
  headerLength: 40,
} as const;

/** Offset and M flag of a fragment header (RFC 8200 §4.5): both zero in an atomic fragment (RFC 6946). */
const FRAGMENT_MASK = 0xfff9;

/** Result of `walkIpv6Extensions`. */
export interface Ipv6Walk {
  /** Protocol number of what follows the last extension header. */
  protocol: number;
  /** Bytes of the header and all its extension headers. */
  headerLength: number;
}

/**
 * Follows the extension headers of the packet of `length` bytes at `offset`. ESP, AH and "no next header" end the walk as
 * protocols of their own. At least 40 bytes must be there.
 */
export function walkIpv6Extensions(
  view: DataView,
  offset: number,
  length: number,
  target: Ipv6Walk,
): 'walked' | 'malformed' | 'fragment' {
  let protocol = view.getUint8(offset + IPV6.nextHeader);
  let position: number = IPV6.headerLength;
  while (isExtension(protocol)) {
    if (position + 8 > length) return 'malformed';
    const at = offset + position;
    if (protocol === IP_PROTOCOL.fragment) {
      if ((view.getUint16(at + 2) & FRAGMENT_MASK) !== 0) return 'fragment';
      position += 8;
    } else {
      position += 8 + view.getUint8(at + 1) * 8;
    }
    protocol = view.getUint8(at);
    if (position > length) return 'malformed';
  }
  target.protocol = protocol;
  target.headerLength = position;
  return 'walked';
}

function isExtension(protocol: number): boolean {
  switch (protocol) {
    case IP_PROTOCOL.hopByHop:
    case IP_PROTOCOL.routing:
    case IP_PROTOCOL.fragment:
    case IP_PROTOCOL.destinationOptions:
    case IP_PROTOCOL.mobility:
    case IP_PROTOCOL.hostIdentity:
    case IP_PROTOCOL.shim6:
    case IP_PROTOCOL.experimentA:
    case IP_PROTOCOL.experimentB:
      return true;
    default:
      return false;
  }
}
