// RFC 1071 and RFC 1624, with their own numbers and against recomputation.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { viewOf } from '../../base/bytes.ts';
import { checksumOf, foldWord, nonZeroChecksumOf, sumBytes, updateChecksum } from './checksum.ts';

test('the sum of RFC 1071 §3 is ddf2', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  expect(sumBytes(viewOf(bytes), 0, 8)).toBe(0xddf2);
});

test('data-plane 15.3-K5: the example of RFC 1624 §4 gives zero, written as ffff', () => {
  expect(updateChecksum(0xdd2f, 0x5555, 0x3285)).toBe(0xffff);
});

test('a 32-bit change is folded first', () => {
  expect(updateChecksum(0x1c46, foldWord(0x0a000001), foldWord(0x64600001))).toBe(0xc1e5);
});

test('data-plane 15.3-K5: removing and adding zero keeps ffff', () => {
  expect(updateChecksum(0xffff, 0, 0)).toBe(0xffff);
});

test('an incremental update equals a checksum from scratch', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 8, maxLength: 64 }),
      fc.integer({ min: 0, max: 65_535 }),
      (bytes, word) => {
        const view = viewOf(bytes);
        fc.pre(bytes.some((byte) => byte !== 0));
        const before = checksumOf(sumBytes(view, 0, bytes.length));
        const old = view.getUint16(4);
        view.setUint16(4, word);
        fc.pre(bytes.some((byte) => byte !== 0));
        const scratch = nonZeroChecksumOf(sumBytes(view, 0, bytes.length));
        expect(updateChecksum(before, old, word)).toBe(scratch);
      },
    ),
  );
});

test('an odd last byte counts as the high half of a word', () => {
  expect(sumBytes(viewOf(Uint8Array.of(0x01, 0x02, 0x03)), 0, 3)).toBe(0x0102 + 0x0300);
});
