// Secrets that the portal derives instead of storing: ICE credentials and the pre-shared key of a client-gateway pair
// (portal 10.5, connectivity 4.1), TURN credentials (portal 9.3), the relay's id (portal 9.2), random UUIDs. Equal inputs
// give equal secrets, so that a second resource of the same pair reuses the connection (client 7.4).

import { at, concat, toBase64, toHex, utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { type RelayId, relayId } from '../../base/ids.ts';
import type { IceCredentials } from '../../wire/portal/common.ts';

// Specification

/** 2038-01-01T00:00:00Z: relay credentials of gateways end then, and so does what has no other end (portal 9.3). */
export const FAR_FUTURE_SECONDS = 2_145_916_800;
/** portal 10.5.1: characters of the base32 text. */
const ICE_USERNAME_LENGTH = 4;
const ICE_PASSWORD_LENGTH = 22;

/** One side of a pair: the id as UUID text, the public key, the device's 32 secret bytes. */
export interface PairMember {
  readonly id: string;
  readonly publicKey: Uint8Array;
  readonly pskBase: Uint8Array;
}

export interface PairSecrets {
  readonly clientIce: IceCredentials;
  readonly gatewayIce: IceCredentials;
  readonly presharedKey: Uint8Array;
}

export function pairSecrets(
  crypto: CryptoProvider,
  client: PairMember,
  gateway: PairMember,
): PairSecrets {
  const seed = [client.id, toBase64(client.publicKey), gateway.id, toBase64(gateway.publicKey)];
  const text = base32(crypto.sha256(utf8Encode(seed.join(':'))));
  const half = ICE_USERNAME_LENGTH + ICE_PASSWORD_LENGTH;
  return {
    clientIce: iceFrom(text.slice(0, half)),
    gatewayIce: iceFrom(text.slice(half, 2 * half)),
    presharedKey: presharedKey(crypto, client, gateway),
  };
}

function iceFrom(text: string): IceCredentials {
  return {
    username: text.slice(0, ICE_USERNAME_LENGTH),
    password: text.slice(ICE_USERNAME_LENGTH),
  };
}

/** portal 10.5.2: PBKDF2-HMAC-SHA256 (RFC 8018 §5.2) with one iteration and one block is one HMAC over salt and INT(1). */
function presharedKey(crypto: CryptoProvider, client: PairMember, gateway: PairMember): Uint8Array {
  const password = concat(client.pskBase, gateway.pskBase);
  const salt = [
    'WG_PSK',
    `C_ID:${client.id}`,
    `G_ID:${gateway.id}`,
    `C_PK:${toBase64(client.publicKey)}`,
    `G_PK:${toBase64(gateway.publicKey)}`,
  ].join('|');
  return crypto.hmacSha256(password, concat(utf8Encode(salt), Uint8Array.of(0, 0, 0, 1)));
}

export interface TurnCredentials {
  readonly username: string;
  readonly password: string;
}

/** portal 9.3: the salt comes from the receiver's public key, so that the credentials outlive a reconnect. */
export function turnCredentials(
  crypto: CryptoProvider,
  stampSecret: string,
  receiverPublicKey: Uint8Array,
  expiresAtSeconds: number,
): TurnCredentials {
  const salt = unpadded(toBase64(crypto.sha256(utf8Encode(toBase64(receiverPublicKey)))));
  const signed = crypto.sha256(utf8Encode(`${expiresAtSeconds}:${stampSecret}:${salt}`));
  return {
    username: `${expiresAtSeconds}:${salt}`,
    password: unpadded(toBase64(signed)),
  };
}

/** portal 9.2: a relay is known by its stamp secret, so that it keeps its id over reconnects. */
export function relayIdOf(crypto: CryptoProvider, stampSecret: string): RelayId {
  return relayId(uuidFrom(crypto.sha256(utf8Encode(stampSecret))));
}

/** A random UUID, version 4 (RFC 9562 §5.4). */
export function randomUuid(crypto: CryptoProvider): string {
  return uuidFrom(crypto.randomBytes(16));
}

function uuidFrom(bytes: Uint8Array): string {
  const uuid = bytes.slice(0, 16);
  uuid[6] = (at(uuid, 6) & 0x0f) | 0x40;
  uuid[8] = (at(uuid, 8) & 0x3f) | 0x80;
  const hex = toHex(uuid);
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-');
}

const unpadded = (text: string): string => text.replace(/=+$/, '');

/** base64url without padding (RFC 4648 §5). */
export function base64Url(bytes: Uint8Array): string {
  return unpadded(toBase64(bytes)).replaceAll('+', '-').replaceAll('/', '_');
}

/** Lower-case base32 without padding (RFC 4648 §6). */
export function base32(bytes: Uint8Array): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
  let text = '';
  let held = 0;
  let bits = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += at(alphabet, (held >> bits) & 31);
    }
    held &= (1 << bits) - 1;
  }
  if (bits > 0) text += at(alphabet, (held << (5 - bits)) & 31);
  return text;
}
