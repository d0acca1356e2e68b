// Hot path. The Internet checksum: from scratch (RFC 1071) and incrementally (RFC 1624, equation 3). All values are 16-bit
// numbers; sums are one's-complement sums that callers may keep unfolded up to 2^31.

/** One's-complement sum of `length` bytes, folded to 16 bits. An odd last byte counts as the high half of a word. */
export function sumBytes(view: DataView, offset: number, length: number): number {
  let sum = 0;
  const end = offset + (length & ~1);
  for (let i = offset; i < end; i += 2) sum += view.getUint16(i);
  if ((length & 1) !== 0) sum += view.getUint8(end) << 8;
  return fold(sum);
}

/** Adds the carries of a sum below 2^32 back in, until 16 bits remain. */
export function fold(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The folded sum of a 32-bit word. */
export function foldWord(word: number): number {
  return fold((word >>> 16) + (word & 0xffff));
}

/** The checksum field for data whose sum is `sum`: its complement. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** As `checksumOf`, but never zero: zero and 0xffff are the same number, and zero means "none" in UDP (RFC 768). */
export function nonZeroChecksumOf(sum: number): number {
  const checksum = checksumOf(sum);
  return checksum === 0 ? 0xffff : checksum;
}

/**
 * RFC 1624 §3, equation 3: `HC' = ~(~HC + ~m + m')`, for data of which `removed` (a folded sum) was replaced by `added`.
 * The result is never zero.
 */
export function updateChecksum(checksum: number, removed: number, added: number): number {
  return nonZeroChecksumOf((~checksum & 0xffff) + (~removed & 0xffff) + added);
}
