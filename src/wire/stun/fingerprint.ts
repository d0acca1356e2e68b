// FINGERPRINT (RFC 8489 §14.7): a CRC that tells STUN from other traffic on one port. It proves nothing about the sender.

import { at, viewOf } from '../../base/bytes.ts';

// Specification
export const FINGERPRINT_LENGTH = 4; // RFC 8489 §14.7
const FINGERPRINT_XOR = 0x5354554e; // RFC 8489 §14.7
const CRC32_POLYNOMIAL = 0xedb88320; // ITU V.42 §8.1.1.6.2, bits reversed

/** CRC of one byte, for all bytes. */
const CRC32_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CRC32_POLYNOMIAL : crc >>> 1;
  return crc;
});

/** Value of the FINGERPRINT that follows `bytes`, whose header already counts it. */
export function fingerprintOf(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ at(CRC32_TABLE, (crc ^ byte) & 0xff);
  return (crc ^ 0xffff_ffff ^ FINGERPRINT_XOR) >>> 0;
}

/** The part of a `StunMessage` that matters here. */
export interface Fingerprinted {
  readonly raw: Uint8Array;
  readonly fingerprintOffset: number | undefined;
}

/** Whether the message ends with FINGERPRINT and it is right. */
export function verifyFingerprint(message: Fingerprinted): boolean {
  const offset = message.fingerprintOffset;
  if (offset === undefined || offset + 8 !== message.raw.length) return false;
  return (
    viewOf(message.raw).getUint32(offset + 4) === fingerprintOf(message.raw.subarray(0, offset))
  );
}
