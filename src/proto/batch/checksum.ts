// The Internet checksum (RFC 1071) over whole packets, for the TypeScript twins of native segmentation. Plain and slow;
// incremental updates of headers belong to whoever rewrites them.

import { at } from '../../base/bytes.ts';

/** Sum of the 16-bit words of `bytes`, an odd last byte padded with zero. */
export function checksumAdd(bytes: Uint8Array, sum = 0): number {
  for (let i = 0; i + 1 < bytes.length; i += 2) sum += (at(bytes, i) << 8) | at(bytes, i + 1);
  if (bytes.length % 2 === 1) sum += at(bytes, bytes.length - 1) << 8;
  return sum;
}

export function checksumFold(sum: number): number {
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  return sum;
}

/** Sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) of a packet that begins with its IP header. */
export function checksumPseudo(packet: Uint8Array, protocol: number, length: number): number {
  const isIpv6 = at(packet, 0) >> 4 === 6;
  const addresses = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
  return checksumAdd(addresses) + protocol + (length >>> 16) + (length & 0xffff);
}
