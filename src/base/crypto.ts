// The primitives that protocols need. `io/crypto` implements this on Node's OpenSSL; tests use the same with a seeded
// source of random bytes. Cold: bulk data is sealed and opened by `base/batch.ts`'s `TransportAead`.

export interface CryptoProvider {
  randomBytes(length: number): Uint8Array;
  /** X25519 (RFC 7748). `undefined` if the shared secret is all zero (a low-order point). */
  x25519(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined;
  x25519PublicKey(privateKey: Uint8Array): Uint8Array;
  /** ChaCha20-Poly1305 (RFC 8439), 12-byte nonce; the result is ciphertext and 16-byte tag. */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  /** `undefined` if the tag is wrong. */
  open(
    key: Uint8Array,
    nonce: Uint8Array,
    sealed: Uint8Array,
    aad: Uint8Array,
  ): Uint8Array | undefined;
  /** XChaCha20-Poly1305, 24-byte nonce (cookie replies, WireGuard §5.4.7). */
  xSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  xOpen(
    key: Uint8Array,
    nonce: Uint8Array,
    sealed: Uint8Array,
    aad: Uint8Array,
  ): Uint8Array | undefined;
  /** Unkeyed BLAKE2s-256 (RFC 7693). */
  blake2s(data: Uint8Array): Uint8Array;
  /** HMAC over BLAKE2s-256. */
  hmacBlake2s(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** Keyed BLAKE2s with a 16-byte result (WireGuard's MAC). */
  macBlake2s(key: Uint8Array, data: Uint8Array): Uint8Array;
  hmacSha1(key: Uint8Array, data: Uint8Array): Uint8Array;
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;
  sha256(data: Uint8Array): Uint8Array;
  md5(data: Uint8Array): Uint8Array;
}
