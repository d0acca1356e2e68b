// Vectors of the documents that define each primitive.

import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8Encode } from '../../base/bytes.ts';
import { createNodeCrypto } from './node-crypto.ts';
import { createSeededCrypto } from './seeded-crypto.ts';

const crypto = createNodeCrypto();
const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const EMPTY = new Uint8Array();
const SUNSCREEN = utf8Encode(
  "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
);

describe('X25519', () => {
  it('multiplies as in RFC 7748 §5.2', () => {
    const scalar = hex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4');
    const point = hex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c');
    expect(toHex(crypto.x25519(scalar, point) ?? EMPTY)).toBe(
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    );
  });

  it('derives a public key by multiplying the base point (RFC 7748 §5.2, one iteration)', () => {
    const scalar = concat(hex('09'), new Uint8Array(31));
    expect(toHex(crypto.x25519PublicKey(scalar))).toBe(
      '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079',
    );
  });

  it('gives both sides the same secret', () => {
    const a = crypto.randomBytes(32);
    const b = crypto.randomBytes(32);
    const ab = crypto.x25519(a, crypto.x25519PublicKey(b)) ?? EMPTY;
    expect(ab).toEqual(crypto.x25519(b, crypto.x25519PublicKey(a)));
    expect(ab.length).toBe(32);
  });

  it('refuses a point of low order', () => {
    expect(crypto.x25519(crypto.randomBytes(32), new Uint8Array(32))).toBeUndefined();
    expect(crypto.x25519(crypto.randomBytes(32), concat(hex('01'), new Uint8Array(31)))).toBe(
      undefined,
    );
  });
});

describe('ChaCha20-Poly1305', () => {
  const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
  const nonce = hex('070000004041424344454647');
  const aad = hex('50515253c0c1c2c3c4c5c6c7');

  it('seals and opens the text of RFC 8439 §2.8.2', () => {
    const sealed = crypto.seal(key, nonce, SUNSCREEN, aad);
    expect(toHex(sealed.subarray(0, 16))).toBe('d31a8d34648e60db7b86afbc53ef7ec2');
    expect(toHex(sealed.subarray(-16))).toBe('1ae10b594f09e26a7e902ecbd0600691');
    expect(crypto.open(key, nonce, sealed, aad)).toEqual(SUNSCREEN);
  });

  it('refuses a wrong tag, wrong associated data and what is too short', () => {
    const sealed = crypto.seal(key, nonce, SUNSCREEN, aad);
    expect(crypto.open(key, nonce, sealed, EMPTY)).toBeUndefined();
    sealed[0] = 0;
    expect(crypto.open(key, nonce, sealed, aad)).toBeUndefined();
    expect(crypto.open(key, nonce, sealed.subarray(0, 15), aad)).toBeUndefined();
    expect(crypto.open(key, nonce, EMPTY, aad)).toBeUndefined();
  });

  it('seals and opens the empty text', () => {
    const sealed = crypto.seal(key, nonce, EMPTY, aad);
    expect(sealed.length).toBe(16);
    expect(crypto.open(key, nonce, sealed, aad)).toEqual(EMPTY);
  });
});

describe('XChaCha20-Poly1305', () => {
  const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
  const nonce = hex('404142434445464748494a4b4c4d4e4f5051525354555657');
  const aad = hex('50515253c0c1c2c3c4c5c6c7');

  it('seals and opens the text of draft-irtf-cfrg-xchacha-03 §A.3.1', () => {
    const sealed = crypto.xSeal(key, nonce, SUNSCREEN, aad);
    expect(toHex(sealed.subarray(0, 16))).toBe('bd6d179d3e83d43b9576579493c0e939');
    expect(toHex(sealed.subarray(-16))).toBe('c0875924c1c7987947deafd8780acf49');
    expect(crypto.xOpen(key, nonce, sealed, aad)).toEqual(SUNSCREEN);
  });

  it('refuses what is forged or too short', () => {
    const sealed = crypto.xSeal(key, nonce, SUNSCREEN, aad);
    sealed[3] = (sealed[3] ?? 0) ^ 1;
    expect(crypto.xOpen(key, nonce, sealed, aad)).toBeUndefined();
    expect(crypto.xOpen(key, nonce, EMPTY, aad)).toBeUndefined();
  });
});

describe('hashes', () => {
  const text = (value: string): Uint8Array => utf8Encode(value);

  it('computes BLAKE2s-256 of "abc" (RFC 7693 appendix B)', () => {
    expect(toHex(crypto.blake2s(text('abc')))).toBe(
      '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982',
    );
  });

  it('computes HMAC-SHA-256 and HMAC-SHA-1 (RFC 4231 §4.3, RFC 2202 §3)', () => {
    const question = text('what do ya want for nothing?');
    expect(toHex(crypto.hmacSha256(text('Jefe'), question))).toBe(
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    );
    expect(toHex(crypto.hmacSha1(text('Jefe'), question))).toBe(
      'effcdf6ae5eb2fa2d27416d5f184df9c259a7c79',
    );
  });

  it('computes SHA-256 and MD5 (FIPS 180-4, RFC 1321 §A.5)', () => {
    expect(toHex(crypto.sha256(text('abc')))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    expect(toHex(crypto.md5(text('abc')))).toBe('900150983cd24fb0d6963f7d28e17f72');
  });

  it('computes HMAC-BLAKE2s as its definition says (RFC 2104 §2)', () => {
    const key = text('key');
    const pad = (byte: number): Uint8Array =>
      Uint8Array.from({ length: 64 }, (_, i) => (key[i] ?? 0) ^ byte);
    const inner = crypto.blake2s(concat(pad(0x36), text('data')));
    const outer = crypto.blake2s(concat(pad(0x5c), inner));
    expect(crypto.hmacBlake2s(key, text('data'))).toEqual(outer);
  });

  it('computes a 16-byte keyed BLAKE2s that depends on key and data', () => {
    const key = new Uint8Array(32).fill(7);
    const mac = crypto.macBlake2s(key, text('abc'));
    expect(mac.length).toBe(16);
    expect(crypto.macBlake2s(new Uint8Array(32), text('abc'))).not.toEqual(mac);
    expect(crypto.macBlake2s(key, text('abd'))).not.toEqual(mac);
  });
});

describe('seeded crypto', () => {
  it('repeats for one seed and differs between seeds', () => {
    const first = createSeededCrypto(1).randomBytes(64);
    expect(createSeededCrypto(1).randomBytes(64)).toEqual(first);
    expect(createSeededCrypto(2).randomBytes(64)).not.toEqual(first);
  });
});
