// Vectors of connectivity 13.1: a complete exchange with fixed keys, byte for byte.

import { describe, expect, it } from 'vitest';
import { concat, fromHex, toHex, utf8Encode, viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { instant, unixMillis } from '../../base/time.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import {
  parseWireGuard,
  type Response,
  writeCookieReply,
  writeDataHeader,
} from '../../wire/wireguard/messages.ts';
import { PlainAead } from '../batch/plain-aead.ts';
import {
  createInitiation,
  createResponse,
  openInitiationStatic,
  openInitiationTimestamp,
  openResponse,
  type StaticKeys,
  staticKeys,
} from './handshake.ts';
import { cookieKey, MacWriter, mac1Key, mac1Of, mac2Of } from './macs.ts';
import { isLaterTai64n, successorTai64n, tai64n } from './tai64n.ts';

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const sequence = (first: number, length = 32): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => first + i);
/** Real primitives whose next random bytes are given. */
const cryptoWith = (...random: Uint8Array[]): CryptoProvider =>
  createNodeCrypto((length) => random.shift() ?? new Uint8Array(length));

const SI = sequence(0x01);
const SR = sequence(0x41);
const EI = sequence(0x81);
const ER = sequence(0xc1);
const PRESHARED = new Uint8Array(32).fill(0x5a);
const PUBLIC_I = hex('07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c');
const PUBLIC_R = hex('64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466');
const INITIATOR_INDEX = 0x00abcd01;
const RESPONDER_INDEX = 0x12345601;
const INITIATION = hex(`
  0100000001cdab00883186b800b41d5cf0429695da9b3cc4f328ebcd184a6e482fa578c103f06c77fa6ff1a71203eaf305dc6260f1911ba7d914db25d127ce39ef62f6c6
  467fb8a777377a28376c744882e58802dabbe0882d2440df1460a7a0525fffe0346e6d7f19bb5a2b984dfa7d0d908d783112ba739d453bbc749f8bd3404f604e
  00000000000000000000000000000000`);
const RESPONSE = hex(`
  020000000156341201cdab003a553d74792d727efa9b9a4cde3da1ad93f1a2d0c09cb639b1a3c0fda14cbe245d886bcaa4f1d186adb40820a62ef061
  ca0456f37aa9eca8c6092a45f7932b9e00000000000000000000000000000000`);
const T1 = 'a528fefc6bab2ae3cff638caa02b5541f215d0a293b3fc32d33d146fffabc4c1';
const T2 = '4089704de7a9776269473c272c628c1315bbd0ae0a16be6329d8748592a5ee57';

const crypto = createNodeCrypto();
const now = instant(0);

function keysOf(privateKey: Uint8Array, publicKey: Uint8Array, remote: Uint8Array): StaticKeys {
  const keys = { privateKey, publicKey, remotePublicKey: remote, presharedKey: PRESHARED };
  return staticKeys(crypto, keys) ?? expect.unreachable();
}

const initiatorKeys = keysOf(SI, PUBLIC_I, PUBLIC_R);
const responderKeys = keysOf(SR, PUBLIC_R, PUBLIC_I);

function initiate() {
  const timestamp = tai64n(unixMillis(1_700_000_000_500));
  return (
    createInitiation(cryptoWith(EI), initiatorKeys, INITIATOR_INDEX, timestamp) ??
    expect.unreachable()
  );
}

function open() {
  return (
    openInitiationStatic(crypto, { privateKey: SR, publicKey: PUBLIC_R }, INITIATION) ??
    expect.unreachable()
  );
}

describe('primitives', () => {
  it('derive the public keys of the vectors', () => {
    expect(crypto.x25519PublicKey(SI)).toEqual(PUBLIC_I);
    expect(crypto.x25519PublicKey(SR)).toEqual(PUBLIC_R);
  });

  it('hash the construction and the identifier to the initial state', () => {
    const chainingKey = crypto.blake2s(utf8Encode('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s'));
    expect(toHex(chainingKey)).toBe(
      '60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36',
    );
    const identifier = utf8Encode('WireGuard v1 zx2c4 Jason@zx2c4.com');
    expect(toHex(crypto.blake2s(concat(chainingKey, identifier)))).toBe(
      '2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3',
    );
  });
});

describe('an initiation', () => {
  it('is made byte for byte as in the vector', () => {
    const { message } = initiate();
    new MacWriter(crypto, PUBLIC_R).stamp(message, INITIATOR_INDEX, now);
    expect(toHex(message)).toBe(toHex(INITIATION));
  });

  it('shows its sender and its time to the responder', () => {
    const opened = open();
    expect(opened.remotePublicKey).toEqual(PUBLIC_I);
    expect(opened.initiation.senderIndex).toBe(INITIATOR_INDEX);
    const timestamp = openInitiationTimestamp(opened, responderKeys.sharedSecret);
    expect(toHex(timestamp ?? new Uint8Array())).toBe('400000006553f1251dcd6500');
  });

  it('cannot be opened when it was altered or made for another key', () => {
    const altered = INITIATION.slice();
    altered[50] = 0;
    const own = { privateKey: SR, publicKey: PUBLIC_R };
    expect(openInitiationStatic(crypto, own, altered)).toBeUndefined();
    const other = { privateKey: SI, publicKey: PUBLIC_I };
    expect(openInitiationStatic(crypto, other, INITIATION)).toBeUndefined();
    const weak = INITIATION.slice();
    weak.fill(0, 8, 40);
    expect(openInitiationStatic(crypto, own, weak)).toBeUndefined();
  });
});

describe('a response', () => {
  it('is made byte for byte as in the vector, with the keys of the vector', () => {
    const opened = open();
    openInitiationTimestamp(opened, responderKeys.sharedSecret);
    const made = createResponse(cryptoWith(ER), opened, PRESHARED, RESPONDER_INDEX);
    if (made === undefined) return expect.unreachable();
    new MacWriter(crypto, PUBLIC_I).stamp(made.message, RESPONDER_INDEX, now);
    expect(toHex(made.message)).toBe(toHex(RESPONSE));
    expect(toHex(made.keys.initiatorToResponder)).toBe(T1);
    expect(toHex(made.keys.responderToInitiator)).toBe(T2);
  });

  it('gives the initiator the same keys', () => {
    const { sent } = initiate();
    const response = parseWireGuard(RESPONSE) as Response;
    const keys = openResponse(crypto, sent, initiatorKeys, response);
    expect(toHex(keys?.initiatorToResponder ?? new Uint8Array())).toBe(T1);
    expect(toHex(keys?.responderToInitiator ?? new Uint8Array())).toBe(T2);
  });

  it('that is forged leaves the initiation usable', () => {
    const { sent } = initiate();
    const forged = RESPONSE.slice();
    forged[20] = 0;
    const weak = RESPONSE.slice();
    weak.fill(0, 12, 44);
    for (const bytes of [forged, weak]) {
      const response = parseWireGuard(bytes) as Response;
      expect(openResponse(crypto, sent, initiatorKeys, response)).toBeUndefined();
    }
    const genuine = parseWireGuard(RESPONSE) as Response;
    expect(openResponse(crypto, sent, initiatorKeys, genuine)).toBeDefined();
  });

  it('needs the same preshared key on both sides', () => {
    const { sent } = initiate();
    const keys = { ...initiatorKeys, presharedKey: new Uint8Array(32) };
    const response = parseWireGuard(RESPONSE) as Response;
    expect(openResponse(crypto, sent, keys, response)).toBeUndefined();
  });
});

describe('data messages', () => {
  it('are sealed with the keys of the vector to its bytes', () => {
    const aead = new PlainAead(crypto, 2);
    const toResponder = aead.install(hex(T1), hex(T2), RESPONDER_INDEX);
    const toInitiator = aead.install(hex(T2), hex(T1), INITIATOR_INDEX);
    expect(toHex(aead.sealOne(toResponder, new Uint8Array()))).toBe(
      '0400000001563412000000000000000016b2f06f67690c08d612975106efc319',
    );
    const echo = hex('4500001c000040004001cc9b644000010a0000050800f7f700070001');
    const sealed = aead.sealOne(toResponder, echo);
    expect(toHex(sealed)).toBe(
      '040000000156341201000000000000002218cad722ff29b782135e4f14aa96a01eb7418acc77a6647d78214ef1a67feb30e796932aab885701ff852d',
    );
    expect(aead.openOne(toInitiator, sealed)).toEqual(echo);
    const goodbye = concat(hex('600000000008ff00'), new Uint8Array(32), hex('0200000000000000'));
    expect(toHex(aead.sealOne(toInitiator, goodbye))).toBe(
      '0400000001cdab000000000000000000d50a69c0fa8b5705c457b4dbdbd4059e0159993c69d009835f64b5c11a2fc608c1764a973c90a21626895d4b510ba1fe702c350a7d96ad775ecf3db0845593b6',
    );
  });

  it('carry counters as two words', () => {
    const bytes = new Uint8Array(32);
    writeDataHeader(viewOf(bytes), RESPONDER_INDEX, 0x3_0000_0005);
    expect(parseWireGuard(bytes)).toEqual({
      kind: 'data',
      receiverIndex: RESPONDER_INDEX,
      counterLow: 5,
      counterHigh: 3,
    });
  });
});

describe('macs and cookies', () => {
  const nonce = sequence(0x10, 24);
  const cookie = sequence(0xa0, 16);
  const COOKIE_REPLY =
    '0300000001cdab00101112131415161718191a1b1c1d1e1f2021222324252627e138280385e8f9d47123f034098b0504512f5d3774dd4cdfd56173cc31cad204';
  const mac1 = INITIATION.subarray(116, 132);

  it('mac1 is the one of the vector', () => {
    expect(mac1Of(crypto, mac1Key(crypto, PUBLIC_R), INITIATION)).toEqual(mac1);
  });

  it('a cookie reply is sealed to the bytes of the vector', () => {
    const key = cookieKey(crypto, PUBLIC_R);
    expect(toHex(key)).toBe('938c1de9d5d2d5d98c6e1c5723aedb083f0a17bad4a87a535f0f385f0003ed8b');
    const encryptedCookie = crypto.xSeal(key, nonce, cookie, mac1);
    const reply = writeCookieReply({ receiverIndex: INITIATOR_INDEX, nonce, encryptedCookie });
    expect(toHex(reply)).toBe(COOKIE_REPLY);
  });

  it('mac2 with that cookie is the one of the vector', () => {
    expect(toHex(mac2Of(crypto, cookie, INITIATION))).toBe('5c1edb98ac7d3d5d10a7ee40b00d4a07');
  });

  it('a cookie is used for the next message and forgotten after 120 seconds', () => {
    const macs = new MacWriter(crypto, PUBLIC_R);
    macs.stamp(initiate().message, INITIATOR_INDEX, now);
    expect(macs.handleCookieReply(hex(COOKIE_REPLY), now)).toBeUndefined();
    const { message } = initiate();
    macs.stamp(message, INITIATOR_INDEX, instant(120_000));
    expect(toHex(message.subarray(132))).toBe('5c1edb98ac7d3d5d10a7ee40b00d4a07');
    macs.stamp(message, INITIATOR_INDEX, instant(120_001));
    const later = initiate().message;
    macs.stamp(later, INITIATOR_INDEX, instant(120_002));
    expect(toHex(later.subarray(132))).toBe('00'.repeat(16));
  });

  it('a cookie reply is refused when nothing was sent, for another message, or when altered', () => {
    const macs = new MacWriter(crypto, PUBLIC_R);
    expect(macs.handleCookieReply(hex(COOKIE_REPLY), now)).toBe('unexpected');
    macs.stamp(initiate().message, INITIATOR_INDEX + 1, now);
    expect(macs.handleCookieReply(hex(COOKIE_REPLY), now)).toBe('wrong-index');
    macs.stamp(initiate().message, INITIATOR_INDEX, now);
    const altered = hex(COOKIE_REPLY);
    altered[40] = 0;
    expect(macs.handleCookieReply(altered, now)).toBe('not-authenticated');
    expect(macs.handleCookieReply(hex(COOKIE_REPLY).subarray(1), now)).toBe('malformed');
    expect(macs.hasCookie).toBe(false);
  });
});

describe('timestamps', () => {
  it('order by seconds, then nanoseconds', () => {
    const at = (milliseconds: number): Uint8Array => tai64n(unixMillis(milliseconds));
    expect(isLaterTai64n(at(2000), at(1999.5))).toBe(true);
    expect(isLaterTai64n(at(1999.5), at(2000))).toBe(false);
    expect(isLaterTai64n(at(1999.5), at(1999.5))).toBe(false);
    expect(isLaterTai64n(at(0), new Uint8Array(12))).toBe(true);
  });

  it('have a successor that is just later, also over a carry', () => {
    const last = concat(sequence(0x40, 1), new Uint8Array(7), new Uint8Array(4).fill(255));
    const next = successorTai64n(last);
    expect(isLaterTai64n(next, last)).toBe(true);
    expect(toHex(next)).toBe('400000000000000100000000');
  });
});
