// Numbers that IPv4 and IPv6 share: protocol (next header) numbers and the two bits of ECN (RFC 3168 §5).

export const IP_PROTOCOL = {
  hopByHop: 0,
  icmp: 1,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  icmpv6: 58,
  destinationOptions: 60,
  mobility: 135,
  hostIdentity: 139,
  shim6: 140,
  experimentA: 253,
  experimentB: 254,
  /** The protocol of in-tunnel control packets (data-plane 9.1). */
  control: 255,
} as const;

/** Codepoints of RFC 3168 §5. */
export const ECN = { notEct: 0, ect1: 1, ect0: 2, ce: 3 } as const;

/** Largest packet on the tunnel device and inside the tunnel (data-plane 1.2), unless the operator set more and the path carries it. */
export const MAX_PACKET_LENGTH = 1280;

/** The most that can be set: jumbo frames. */
export const LARGEST_TUNNEL_MTU = 9000;
