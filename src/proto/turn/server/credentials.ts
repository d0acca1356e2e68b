// The credentials of Firezone's relays (relay 5.2, portal-protocol 9.3): the portal makes user name and password from the stamp
// secret that the relay told it, so the relay needs no list of users. Every restart has a new secret and ends them all.

import { toBase64, toHex, utf8Encode } from '../../../base/bytes.ts';
import type { CryptoProvider } from '../../../base/crypto.ts';
import type { UnixMillis } from '../../../base/time.ts';
import { longTermKey } from '../../../wire/stun/integrity.ts';

// Specification
export const RELAY_REALM = 'firezone'; // relay 1
const SECRET_LENGTH = 32; // relay 5.2
const MAX_EXPIRY = 2n ** 64n - 1n; // relay 5.2: an unsigned 64-bit number

export interface RelayUser {
  readonly username: string;
  /** Key of MESSAGE-INTEGRITY. */
  readonly key: Uint8Array;
  readonly isExpired: boolean;
}

/** The text is the secret; it is never decoded. */
export function createStampSecret(crypto: CryptoProvider): string {
  return toHex(crypto.randomBytes(SECRET_LENGTH));
}

/** RFC 4648 §4 without padding, of SHA-256(expiry ":" secret ":" salt). */
export function relayPassword(
  expiry: string,
  secret: string,
  salt: string,
  crypto: CryptoProvider,
): string {
  const digest = crypto.sha256(utf8Encode(`${expiry}:${secret}:${salt}`));
  return toBase64(digest).replace(/=+$/, '');
}

/** `undefined` if the name is not `EXPIRY:SALT`. */
export function findUser(
  username: string,
  secret: string,
  crypto: CryptoProvider,
  unixNow: UnixMillis,
): RelayUser | undefined {
  const match = /^([0-9]{1,20}):([^:]*)$/.exec(username);
  if (!match) return undefined;
  const [, expiry = '', salt = ''] = match;
  if (BigInt(expiry) > MAX_EXPIRY) return undefined;
  const password = relayPassword(expiry, secret, salt, crypto);
  const key = longTermKey(username, RELAY_REALM, password, crypto);
  return { username, key, isExpired: Number(expiry) < Math.floor(unixNow / 1000) };
}
