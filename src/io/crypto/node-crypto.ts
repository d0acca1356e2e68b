// `CryptoProvider` on Node's OpenSSL; `@noble` supplies the two primitives that OpenSSL's binding lacks: BLAKE2s with a key and
// a 16-byte digest (RFC 7693 §2.8) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03 §2.3). Handshakes, STUN and cookies use
// it. It does not touch bulk data: that is `TransportAead`'s (`io/packets/aead.ts`).

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { xchacha20poly1305 } from '@noble/ciphers/chacha.js';
import { blake2s } from '@noble/hashes/blake2.js';
import type { CryptoProvider } from '../../base/crypto.ts';

// Specification
const TAG_LENGTH = 16; // RFC 8439 §2.8
const MAC_LENGTH = 16; // WireGuard §5.4: Mac(key, input) is keyed BLAKE2s with 16 bytes
/** A JSON Web Key of X25519 without its values (RFC 8037 §2). */
const JWK = { kty: 'OKP', crv: 'X25519' } as const;

// Implementation
const CIPHER = 'chacha20-poly1305';
/** RFC 7748 §6.1: multiplying by the base point yields the public key. */
const BASE_POINT: KeyObject = publicKeyObject(Uint8Array.of(9, ...new Uint8Array(31)));

export type RandomBytes = (length: number) => Uint8Array;

/** `source` replaces the system's generator (tests). */
export function createNodeCrypto(source: RandomBytes = systemRandomBytes): CryptoProvider {
  return {
    randomBytes: source,
    x25519,
    x25519PublicKey,
    seal,
    open,
    xSeal: (key, nonce, plaintext, aad) => xchacha20poly1305(key, nonce, aad).encrypt(plaintext),
    xOpen,
    blake2s: (data) => digest('blake2s256', data),
    hmacBlake2s: (key, data) => hmac('blake2s256', key, data),
    macBlake2s: (key, data) => blake2s(data, { key, dkLen: MAC_LENGTH }),
    hmacSha1: (key, data) => hmac('sha1', key, data),
    hmacSha256: (key, data) => hmac('sha256', key, data),
    sha256: (data) => digest('sha256', data),
    md5: (data) => digest('md5', data),
  };
}

function systemRandomBytes(length: number): Uint8Array {
  return plain(randomBytes(length));
}

function x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined {
  try {
    return plain(
      diffieHellman({
        privateKey: privateKeyObject(privateKey),
        publicKey: publicKeyObject(publicKey),
      }),
    );
  } catch {
    return undefined; // OpenSSL refuses an all-zero secret (RFC 7748 §6.1)
  }
}

function x25519PublicKey(privateKey: Uint8Array): Uint8Array {
  return plain(
    diffieHellman({
      privateKey: privateKeyObject(privateKey),
      publicKey: BASE_POINT,
    }),
  );
}

/**
 * As a JSON Web Key, which Node hands to OpenSSL as the raw bytes they are: 0.08 ms where decoding PKCS #8 takes 0.86, and a handshake needs
 * five (2026-11). The private key alone counts; `x` has to be there and is not looked at.
 */
function privateKeyObject(bytes: Uint8Array): KeyObject {
  return createPrivateKey({ key: { ...JWK, d: base64Url(bytes), x: '' }, format: 'jwk' });
}

function publicKeyObject(bytes: Uint8Array): KeyObject {
  return createPublicKey({ key: { ...JWK, x: base64Url(bytes) }, format: 'jwk' });
}

function base64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64url');
}

function seal(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  aad: Uint8Array,
): Uint8Array {
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_LENGTH });
  if (aad.length > 0) cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const out = new Uint8Array(plaintext.length + TAG_LENGTH);
  out.set(cipher.update(plaintext), 0);
  cipher.final();
  out.set(cipher.getAuthTag(), plaintext.length);
  return out;
}

function open(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  aad: Uint8Array,
): Uint8Array | undefined {
  const length = sealed.length - TAG_LENGTH;
  if (length < 0) return undefined;
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_LENGTH });
  if (aad.length > 0) decipher.setAAD(aad, { plaintextLength: length });
  decipher.setAuthTag(sealed.subarray(length));
  const plaintext = plain(decipher.update(sealed.subarray(0, length)));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plaintext;
}

function xOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  sealed: Uint8Array,
  aad: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < TAG_LENGTH) return undefined;
  try {
    return xchacha20poly1305(key, nonce, aad).decrypt(sealed);
  } catch {
    return undefined;
  }
}

function digest(algorithm: string, data: Uint8Array): Uint8Array {
  return plain(createHash(algorithm).update(data).digest());
}

function hmac(algorithm: string, key: Uint8Array, data: Uint8Array): Uint8Array {
  return plain(createHmac(algorithm, key).update(data).digest());
}

/** A `Uint8Array` with a buffer of its own: a `Buffer` would behave differently in `slice` and show other bytes of its pool. */
function plain(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes);
}
