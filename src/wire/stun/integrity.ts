// MESSAGE-INTEGRITY (RFC 8489 §14.5): HMAC-SHA1 over the bytes of the message as they were received, so that whatever the
// sender put into padding and reserved bits is covered. The key is the password itself (short-term, ICE) or derived from user,
// realm and password (long-term, TURN). SASLprep is not applied: the credentials of both uses are ASCII.

import { equalSecrets, utf8Encode, viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';

// Specification
export const INTEGRITY_LENGTH = 20; // RFC 8489 §14.5
const INTEGRITY_ATTRIBUTE_LENGTH = 24;
const HEADER_LENGTH = 20; // RFC 8489 §5

/** RFC 8489 §9.2.2: MD5(username ":" realm ":" password). */
export function longTermKey(
  username: string,
  realm: string,
  password: string,
  crypto: CryptoProvider,
): Uint8Array {
  return crypto.md5(utf8Encode(`${username}:${realm}:${password}`));
}

/** RFC 8489 §9.1.1. */
export function shortTermKey(password: string): Uint8Array {
  return utf8Encode(password);
}

/** The part of a `StunMessage` that matters here. */
export interface Protected {
  readonly raw: Uint8Array;
  readonly integrityOffset: number | undefined;
}

/** Whether the message carries MESSAGE-INTEGRITY and it was made with `key`; takes the same time for any wrong value. */
export function verifyIntegrity(
  message: Protected,
  key: Uint8Array,
  crypto: CryptoProvider,
): boolean {
  const offset = message.integrityOffset;
  if (offset === undefined) return false;
  const covered = message.raw.slice(0, offset);
  viewOf(covered).setUint16(2, offset - HEADER_LENGTH + INTEGRITY_ATTRIBUTE_LENGTH);
  const received = message.raw.subarray(offset + 4, offset + INTEGRITY_ATTRIBUTE_LENGTH);
  return equalSecrets(crypto.hmacSha1(key, covered), received);
}
