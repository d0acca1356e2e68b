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

/** Queries and the types of their replies (RFC 792, 950, 8335; RFC 4443, 4620). */
const REPLIES_IPV4: readonly (readonly [number, number])[] = [
  [8, 0],
  [13, 14],
  [15, 16],
  [17, 18],
  [42, 43],
];
const REPLIES_IPV6: readonly (readonly [number, number])[] = [
  [128, 129],
  [139, 140],
  [160, 161],
];
const REPLY_TYPE_IPV4: Int16Array = replyTypes(REPLIES_IPV4);
const REPLY_TYPE_IPV6: Int16Array = replyTypes(REPLIES_IPV6);

/** The type of the reply to a query of this type, or -1 if it is no query. */
export function icmpReplyType(version: number, type: number): number {
  return (version === 4 ? REPLY_TYPE_IPV4 : REPLY_TYPE_IPV6)[type] ?? -1;
}

/** Whether this is the type of a reply to some query. */
export function isIcmpReplyType(version: number, type: number): boolean {
  return (version === 4 ? REPLIES_IPV4 : REPLIES_IPV6).some(([, reply]) => reply === type);
}

function replyTypes(pairs: readonly (readonly [number, number])[]): Int16Array {
  const table = new Int16Array(256).fill(-1);
  for (const [query, reply] of pairs) table[query] = reply;
  return table;
}
