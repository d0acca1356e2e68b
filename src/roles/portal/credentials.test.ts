import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { at, fromBase64, toBase64, utf8Encode } from '../../base/bytes.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import {
  base32,
  base64Url,
  type PairMember,
  pairSecrets,
  randomUuid,
  relayIdOf,
  turnCredentials,
} from './credentials.ts';

const crypto = createNodeCrypto();
const STAMP_SECRET = '00112233445566778899aabbccddeeff'.repeat(2);
const range = (from: number): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => from + i);

const CLIENT: PairMember = {
  id: '11111111-2222-4333-8444-555555555555',
  publicKey: range(0),
  pskBase: new Uint8Array(32).fill(0xa1),
};
const GATEWAY: PairMember = {
  id: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
  publicKey: range(0x20),
  pskBase: new Uint8Array(32).fill(0xb2),
};

describe('secrets of a pair', () => {
  test('vectors T3 and T4 of the portal protocol', () => {
    const secrets = pairSecrets(crypto, CLIENT, GATEWAY);
    expect(secrets.clientIce).toEqual({ username: 'tqly', password: 'qvcsgnvroyhxr6pe4lrxru' });
    expect(secrets.gatewayIce).toEqual({ username: 'lvuf', password: 'ig3tbveeiqckgebijbqo5a' });
    expect(toBase64(secrets.presharedKey)).toBe('N/WOwio/6EA3/kZWjhT/OTVlbvlntrIbeNbIg++oOFg=');
  });

  test('vector 13.4 of connectivity', () => {
    const secrets = pairSecrets(
      crypto,
      {
        id: '0b9c1f7e-6d0e-4a7b-9a53-1f2f3a4b5c6d',
        publicKey: key('B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9/AsrhtHHw='),
        pskBase: new Uint8Array(32).fill(0x11),
      },
      {
        id: '7e57c0de-1111-4222-8333-444455556666',
        publicKey: key('ZLEBsdC+WocEvQePmJUAH8A+jp+VIvGI3RKNmEbUhGY='),
        pskBase: new Uint8Array(32).fill(0x22),
      },
    );
    expect(secrets.clientIce).toEqual({ username: 'qio6', password: 'ynam4zo2ioxpjuome3psfn' });
    expect(secrets.gatewayIce).toEqual({ username: 'weos', password: 'pgpxxunrnlwm5viytceuna' });
    expect(toBase64(secrets.presharedKey)).toBe('91Ca2fgJhYy/neqstuf0ECZjmJRPuf6PKrOF4UPMcRk=');
  });

  test('a new key on either side changes all of them', () => {
    const before = pairSecrets(crypto, CLIENT, GATEWAY);
    for (const after of [
      pairSecrets(crypto, { ...CLIENT, publicKey: range(1) }, GATEWAY),
      pairSecrets(crypto, CLIENT, { ...GATEWAY, publicKey: range(1) }),
    ]) {
      expect(after.clientIce).not.toEqual(before.clientIce);
      expect(after.gatewayIce).not.toEqual(before.gatewayIce);
      expect(after.presharedKey).not.toEqual(before.presharedKey);
    }
  });
});

describe('relays', () => {
  test('vectors T5 and T5b: credentials from the stamp secret and the receiver', () => {
    expect(turnCredentials(crypto, STAMP_SECRET, GATEWAY.publicKey, 2_145_916_800)).toEqual({
      username: '2145916800:uRn9aO+q3ZLJ+WSCwUd6KAg+lKk/p+EL5iN8qCTCKgY',
      password: 'GMhDvAv7rikzWwmBA960UDwexWcokZ4nonXaG7N8iQQ',
    });
    expect(turnCredentials(crypto, STAMP_SECRET, CLIENT.publicKey, 1_767_312_000)).toEqual({
      username: '1767312000:kF8o3vGOqsBa5vErLDRSdEr69ibaE0PVezlbVE4FGbY',
      password: 'kDCPldeG2dgNFIiLcwOKRg0HT24peJv+OeKP22yVdUQ',
    });
  });

  test('vector T6: the id comes from the stamp secret', () => {
    expect(relayIdOf(crypto, STAMP_SECRET)).toBe('2a8abfa8-cb99-4629-8437-854193ca6bca');
  });
});

describe('text forms', () => {
  test('vector T13: base32 of RFC 4648 §10, lower case and without padding', () => {
    expect(base32(utf8Encode('foobar'))).toBe('mzxw6ytboi');
    expect(base32(new Uint8Array(0))).toBe('');
    expect(base32(utf8Encode('f'))).toBe('my');
  });

  test('base32 is eight characters for five bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const text = base32(bytes);
        expect(text).toMatch(/^[a-z2-7]*$/);
        expect(text.length).toBe(Math.ceil((bytes.length * 8) / 5));
      }),
    );
  });

  test('base64url is what Node writes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(base64Url(bytes)).toBe(Buffer.from(bytes).toString('base64url'));
      }),
    );
  });

  test('random ids are version 4 and repeat with the seed', () => {
    const id = randomUuid(createSeededCrypto(7));
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(randomUuid(createSeededCrypto(7))).toBe(id);
  });
});

function key(text: string): Uint8Array {
  const bytes = fromBase64(text) ?? new Uint8Array(0);
  expect(at(bytes, 31)).toBeDefined();
  return bytes;
}
