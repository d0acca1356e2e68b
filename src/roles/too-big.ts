// The answer to a packet that is longer than a tunnel carries (RFC 1191 §4, RFC 4443 §3.2). Cold.

import { viewOf } from '../base/bytes.ts';
import { setIpLength } from '../wire/ip/fragment.ts';
import { isIcmpError, writeTooBig } from '../wire/ip/icmp-error.ts';
import { ParsedPacket, parsePacket } from '../wire/ip/parsed-packet.ts';

/**
 * "Too big" about `packet`, a copy of what the TUN device gave. Its sender knows of segments of `tunnelLength` bytes, not of the super-packet
 * that a kernel made of them, so the first is quoted. `undefined`: no error about an error (RFC 1122 §3.2.2, RFC 4443 §2.4).
 */
export function tooBigAbout(
  packet: Uint8Array,
  tunnelLength: number,
  mtu: number,
): Uint8Array | undefined {
  const segment = packet.subarray(0, tunnelLength);
  if (segment.length < packet.length) setIpLength(segment);
  const parsed = new ParsedPacket();
  // Of a UDP super-packet the header tells the length of the whole; nothing makes one that is too large.
  if (parsePacket(viewOf(segment), 0, segment.length, parsed) !== 'parsed') return undefined;
  return isIcmpError(parsed) ? undefined : writeTooBig(mtu, segment, parsed);
}
