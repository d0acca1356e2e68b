// How long the IP packet inside a data message says it is: senders may pad to 16 bytes (WireGuard §5.4.6), so what follows the
// length field's end is cut (connectivity 7.5). It looks at nothing else of the packet.

import { at } from '../../base/bytes.ts';

// Specification
const IPV4_MIN_LENGTH = 20; // RFC 791 §3.1
const IPV6_HEADER_LENGTH = 40; // RFC 8200 §3

/** `undefined`: neither IPv4 nor IPv6, or it claims more bytes than there are. */
export function innerPacketLength(bytes: Uint8Array): number | undefined {
  const length = claimedLength(bytes);
  return length === undefined || length > bytes.length ? undefined : length;
}

function claimedLength(bytes: Uint8Array): number | undefined {
  if (bytes.length >= IPV4_MIN_LENGTH && at(bytes, 0) >> 4 === 4) {
    const total = (at(bytes, 2) << 8) | at(bytes, 3);
    return total < IPV4_MIN_LENGTH ? undefined : total;
  }
  if (bytes.length >= IPV6_HEADER_LENGTH && at(bytes, 0) >> 4 === 6) {
    return IPV6_HEADER_LENGTH + ((at(bytes, 4) << 8) | at(bytes, 5));
  }
  return undefined;
}
