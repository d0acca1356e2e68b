// Hot path. ICMP headers (RFC 792, RFC 4443 §2.1): the same eight bytes for both families, with different numbers.

export const ICMP = {
  type: 0,
  code: 1,
  checksum: 2,
  /** Identifier of an echo. */
  identifier: 4,
  sequence: 6,
  /** Four bytes whose meaning depends on the type: MTU, pointer, unused. */
  rest: 4,
  headerLength: 8,
} as const;

export const ICMPV4_TYPE = {
  echoReply: 0,
  destinationUnreachable: 3,
  echoRequest: 8,
  timeExceeded: 11,
} as const;

export const ICMPV6_TYPE = {
  destinationUnreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  echoRequest: 128,
  echoReply: 129,
} as const;

/** Code of ICMPv4 type 3 whose bytes 6-7 are the MTU of the next hop (RFC 1191 §4). */
export const ICMPV4_FRAGMENTATION_NEEDED = 4;

/** An echo request or reply with code 0; with another code it is "other ICMP" (data-plane 12.3). */
export function isEcho(version: number, type: number, code: number): boolean {
  if (code !== 0) return false;
  return version === 4
    ? type === ICMPV4_TYPE.echoRequest || type === ICMPV4_TYPE.echoReply
    : type === ICMPV6_TYPE.echoRequest || type === ICMPV6_TYPE.echoReply;
}
