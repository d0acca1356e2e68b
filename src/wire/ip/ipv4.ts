// Hot path. The IPv4 header (RFC 791 §3.1): where its fields are.
//
//    0 version|IHL  1 TOS  2 total length | 4 identification  6 flags|fragment offset
//    8 TTL  9 protocol  10 header checksum | 12 source | 16 destination | 20 options

export const IPV4 = {
  versionAndIhl: 0,
  typeOfService: 1,
  totalLength: 2,
  identification: 4,
  flagsAndFragment: 6,
  timeToLive: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  minHeaderLength: 20,
} as const;

/** "Don't fragment" in `flagsAndFragment`. */
export const IPV4_DONT_FRAGMENT = 0x4000;
/** "More fragments" and the fragment offset: any bit set means a fragment. */
export const IPV4_FRAGMENT_MASK = 0x3fff;

/** Header bytes including options; the version is not looked at. */
export function ipv4HeaderLength(view: DataView, offset: number): number {
  return (view.getUint8(offset) & 15) * 4;
}
