// Vectors of RFC 5769 and relay 9; round trips; hostile bytes.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as vectors from '../../../test/vectors/stun.ts';
import { endpoint, ipFromBytes, parseEndpoint } from '../../base/address.ts';
import { at, concat, toHex } from '../../base/bytes.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import type { StunAttribute } from './attributes.ts';
import { verifyFingerprint } from './fingerprint.ts';
import { longTermKey, shortTermKey, verifyIntegrity } from './integrity.ts';
import {
  findAttribute,
  isStun,
  parseStun,
  parseStunHeader,
  STUN_METHOD,
  type StunMessage,
  type StunMessageInput,
  unknownRequiredAttributes,
  writeStun,
} from './message.ts';

const crypto = createNodeCrypto();
const ICE_KEY = shortTermKey('VOkJxbRl1RmTxUk/WvJxBt');
const USERNAME = '1999999999:lab-salt';
const PASSWORD = 'AXjZm6KYTM0L56saSnziYJvmPDS72e/aB0CFjB9QSLE';
const NONCE = 'f47ac10b-58cc-4372-a567-0e02b2c3d479';
const RELAY_SOFTWARE = 'firezone-relay; rev=xxxxxxxx';
const TURN_KEY = longTermKey(USERNAME, 'firezone', PASSWORD, crypto);
const TRANSACTION_ID = Uint8Array.from({ length: 12 }, (_, i) => i + 1);

describe('RFC 5769', () => {
  it('§2.1: reads a request, its integrity over padding that is not zero, and its fingerprint', () => {
    const message = parsed(vectors.rfc5769Request);
    expect(message.method).toBe(STUN_METHOD.binding);
    expect(message.class).toBe('request');
    expect(findAttribute(message, 'software')).toBe('STUN test client');
    expect(findAttribute(message, 'priority')).toBe(0x6e0001ff);
    expect(findAttribute(message, 'ice-controlled')).toBe(0x932ff9b151263b36n);
    expect(findAttribute(message, 'username')).toBe('evtj:h6vY');
    expect(verifyIntegrity(message, ICE_KEY, crypto)).toBe(true);
    expect(verifyIntegrity(message, shortTermKey('another'), crypto)).toBe(false);
    expect(verifyFingerprint(message)).toBe(true);
  });

  it('§2.2 and §2.3: reads the mapped addresses of both families', () => {
    const v4 = parsed(vectors.rfc5769ResponseV4);
    const v6 = parsed(vectors.rfc5769ResponseV6);
    expect(findAttribute(v4, 'xor-mapped-address')?.key).toBe('192.0.2.1:32853');
    expect(findAttribute(v6, 'xor-mapped-address')?.key).toBe(
      '[2001:db8:1234:5678:11:2233:4455:6677]:32853',
    );
    for (const message of [v4, v6]) {
      expect(message.class).toBe('success');
      expect(findAttribute(message, 'software')).toBe('test vector');
      expect(verifyIntegrity(message, ICE_KEY, crypto)).toBe(true);
      expect(verifyFingerprint(message)).toBe(true);
    }
  });

  it('§2.4: verifies long-term credentials', () => {
    const message = parsed(vectors.rfc5769LongTerm);
    const username = '\u30de\u30c8\u30ea\u30c3\u30af\u30b9';
    expect(findAttribute(message, 'username')).toBe(username);
    const key = longTermKey(username, 'example.org', 'TheMatrIX', crypto);
    expect(toHex(key)).toBe('e8ca7ad59d5eb0518e312911d2dab2a9');
    expect(verifyIntegrity(message, key, crypto)).toBe(true);
    expect(verifyFingerprint(message)).toBe(false);
  });
});

describe('the vectors of the Firezone scheme', () => {
  const software: StunAttribute = { kind: 'software', value: 'snownet' };
  const relaySoftware: StunAttribute = { kind: 'software', value: RELAY_SOFTWARE };
  const username: StunAttribute = { kind: 'username', value: USERNAME };
  const realm: StunAttribute = { kind: 'realm', value: 'firezone' };
  const nonce: StunAttribute = { kind: 'nonce', value: NONCE };
  const transport: StunAttribute = { kind: 'requested-transport', value: 17 };
  const additional: StunAttribute = { kind: 'additional-address-family', value: 6 };
  const early: StunAttribute = { kind: 'early-additional-address-family', value: 6 };
  const auth = [software, username, realm, nonce];
  const mapped = address('xor-mapped-address', '203.0.113.9:40000');
  const { binding, allocate, refresh, channelBind } = STUN_METHOD;

  const cases: readonly [string, Uint8Array, Omit<StunMessageInput, 'transactionId'>][] = [
    ['F1', vectors.bindingRequest, request(binding, [software])],
    [
      'F2',
      vectors.bindingSuccess,
      { method: binding, class: 'success', attributes: [relaySoftware, mapped] },
    ],
    [
      'F3',
      vectors.allocateFirst,
      signed(request(allocate, [transport, additional, software, username, realm])),
    ],
    ['F4', vectors.allocate401, signed(failure(allocate, 401, 'Unauthorized', [realm, nonce]))],
    [
      'F4b',
      vectors.allocate401Fingerprint,
      {
        ...signed(failure(allocate, 401, 'Unauthorized', [realm, nonce])),
        fingerprint: true,
      },
    ],
    ['F5', vectors.allocateWithNonce, signed(request(allocate, [transport, additional, ...auth]))],
    [
      'F6',
      vectors.allocateSuccess,
      signed({
        method: allocate,
        class: 'success',
        attributes: [
          relaySoftware,
          address('xor-relayed-address', '198.51.100.7:50000'),
          address('xor-relayed-address', '[2001:db8::7]:50000'),
          mapped,
          { kind: 'lifetime', value: 600 },
        ],
      }),
    ],
    ['F7', vectors.refreshUpstream, signed(request(refresh, [transport, additional, ...auth]))],
    [
      'F8',
      vectors.refreshDelete,
      signed(request(refresh, [software, { kind: 'lifetime', value: 0 }, username, realm, nonce])),
    ],
    [
      'F9',
      vectors.channelBindV4,
      signed(
        request(channelBind, [
          address('xor-peer-address', '192.0.2.33:52625'),
          { kind: 'channel-number', value: 0x4000 },
          ...auth,
        ]),
      ),
    ],
    [
      'F10',
      vectors.channelBindV6,
      signed(
        request(channelBind, [
          address('xor-peer-address', '[2001:db8:1::33]:52625'),
          { kind: 'channel-number', value: 0x4001 },
          ...auth,
        ]),
      ),
    ],
    [
      'F11',
      vectors.channelBindSuccess,
      signed({ method: channelBind, class: 'success', attributes: [relaySoftware] }),
    ],
    ['F12', vectors.refresh437, signed(failure(refresh, 437, 'Allocation Mismatch', []))],
    [
      'F13',
      vectors.allocateProbe,
      request(allocate, [transport, additional, early, software, username, realm]),
    ],
    ['F14', vectors.refreshMinimal, signed(request(refresh, auth))],
    ['F15', vectors.refresh438, signed(failure(refresh, 438, 'Stale Nonce', [realm, nonce]))],
  ];

  it.each(cases)('%s is written byte for byte and reads back', (_name, bytes, input) => {
    expect(toHex(writeStun({ ...input, transactionId: TRANSACTION_ID }, crypto))).toBe(
      toHex(bytes),
    );
    const message = parsed(bytes);
    expect(message.method).toBe(input.method);
    expect(message.class).toBe(input.class);
    expect(message.attributes.slice(0, input.attributes.length)).toEqual(input.attributes);
    expect(verifyIntegrity(message, TURN_KEY, crypto)).toBe(input.integrityKey !== undefined);
    expect(verifyFingerprint(message)).toBe(input.fingerprint === true);
  });

  it('the long-term key is MD5 of user, realm and password', () => {
    expect(toHex(TURN_KEY)).toBe('5ee9f00edf20ab7b43a2aafb32059c20');
  });

  function failure(
    method: number,
    code: number,
    reason: string,
    rest: readonly StunAttribute[],
  ): Omit<StunMessageInput, 'transactionId'> {
    const error: StunAttribute = { kind: 'error-code', value: { code, reason } };
    return { method, class: 'error', attributes: [relaySoftware, error, ...rest] };
  }
});

describe('the vectors of ICE (connectivity 13.2)', () => {
  const key = shortTermKey('gatewaypassword0123456');
  const transactionId = Uint8Array.from({ length: 12 }, (_, i) => i);

  it('the request of a controlling client', () => {
    const bytes = writeStun(
      {
        method: STUN_METHOD.binding,
        class: 'request',
        transactionId,
        attributes: [
          { kind: 'username', value: 'gwuf:cluf' },
          { kind: 'ice-controlling', value: 0x1122334455667788n },
          { kind: 'priority', value: 0x6efffeff },
          { kind: 'use-candidate', value: true },
        ],
        integrityKey: key,
        fingerprint: true,
      },
      crypto,
    );
    expect(toHex(bytes)).toBe(
      '000100482112a442000102030405060708090a0b00060009677775663a636c7566000000802a00081122334455667788' +
        '002400046efffeff00250000000800' +
        '1446faf42c01386d0031fc2453b26ba99ef2ad12a880280004b29d0d24',
    );
    expect(findAttribute(parsed(bytes), 'use-candidate')).toBe(true);
  });

  it('the success and the role conflict', () => {
    const success = writeStun(
      {
        method: STUN_METHOD.binding,
        class: 'success',
        transactionId,
        attributes: [address('xor-mapped-address', '192.0.2.15:52625')],
        integrityKey: key,
        fingerprint: true,
      },
      crypto,
    );
    expect(toHex(success)).toBe(
      '0101002c2112a442000102030405060708090a0b002000080001ec83e112a64d00080014a90ecff1efbcb33583cae3a92792cfa67dfc1be180280004f4da6a09',
    );
    const conflict = writeStun(
      {
        method: STUN_METHOD.binding,
        class: 'error',
        transactionId,
        attributes: [{ kind: 'error-code', value: { code: 487, reason: 'Role Conflict' } }],
        integrityKey: key,
        fingerprint: true,
      },
      crypto,
    );
    expect(toHex(conflict)).toBe(
      '011100382112a442000102030405060708090a0b0009001100000457526f6c6520436f6e666c6963740000000008001454c2c0728914ca92f23bc31e15ba8f4cc2e3d22c80280004c15dcffe',
    );
  });
});

describe('datagrams of coturn', () => {
  it('reads an unsigned 401', () => {
    const message = parsed(vectors.coturn401);
    expect(findAttribute(message, 'error-code')).toEqual({ code: 401, reason: 'Unauthorized' });
    expect(findAttribute(message, 'nonce')).toBe('6fcb0cd783516f7f');
    expect(message.integrityOffset).toBeUndefined();
  });

  it('verifies an allocation with an unspecified address and an address error', () => {
    const message = parsed(vectors.coturnAllocateSuccess);
    const key = longTermKey(
      '1999999999:gw',
      'example.org',
      coturnPassword('topsecret', '1999999999:gw'),
      crypto,
    );
    expect(verifyIntegrity(message, key, crypto)).toBe(true);
    const relayed = message.attributes.filter(({ kind }) => kind === 'xor-relayed-address');
    expect(relayed.map(({ value }) => value)).toMatchObject([
      { address: '127.0.0.1' },
      { key: '0.0.0.0:0' },
    ]);
    expect(findAttribute(message, 'early-address-error-code')).toMatchObject({
      family: 6,
      code: 440,
    });
    expect(findAttribute(message, 'lifetime')).toBe(60);
  });

  it('cuts NULs off a reason', () => {
    expect(findAttribute(parsed(vectors.coturn400Nul), 'error-code')).toEqual({
      code: 400,
      reason: 'Bad Request',
    });
  });
});

describe('framing', () => {
  it('packs methods and classes as RFC 8489 §5 draws them', () => {
    const type = (method: number, cls: StunMessageInput['class']): string =>
      toHex(
        writeStun(
          { method, class: cls, transactionId: TRANSACTION_ID, attributes: [] },
          crypto,
        ).subarray(0, 2),
      );
    expect(type(0x0ff, 'success')).toBe('03ef');
    expect(type(0x055, 'indication')).toBe('00b5');
    expect(type(0xfff, 'error')).toBe('3fff');
  });

  it.each([
    ['one byte more', concat(vectors.bindingRequest, Uint8Array.of(0))],
    ['one byte less', vectors.bindingRequest.subarray(0, -1)],
    ['four bytes more', concat(vectors.bindingRequest, new Uint8Array(4))],
    ['a wrong cookie', edited(vectors.bindingRequest, 4, 0x22)],
    ['a top bit', edited(vectors.bindingRequest, 0, 0x40)],
    ['a length that is no multiple of four', edited(vectors.bindingRequest, 3, 0x0a)],
    ['an attribute that overruns the message', edited(vectors.bindingRequest, 23, 0x09)],
    ['nothing', new Uint8Array()],
    ['a WireGuard initiation', concat(Uint8Array.of(1, 0, 0, 0), new Uint8Array(144))],
  ])('refuses %s', (_name, bytes) => {
    expect(parseStun(bytes)).toBeUndefined();
  });

  it('still frames a message whose attribute it cannot read', () => {
    const bytes = edited(vectors.channelBindV4, 21 + 4, 3);
    expect(parseStun(bytes)).toBeUndefined();
    expect(parseStunHeader(bytes)?.method).toBe(STUN_METHOD.channelBind);
  });

  it('ignores what stands behind MESSAGE-INTEGRITY, except the fingerprint', () => {
    const late = Uint8Array.of(0x80, 0x22, 0, 4, 65, 66, 67, 68);
    const bytes = concat(vectors.refreshMinimal, late);
    bytes[3] = bytes.length - 20;
    const message = parsed(bytes);
    expect(message.attributes.at(-1)?.kind).toBe('message-integrity');
    expect(verifyIntegrity(message, TURN_KEY, crypto)).toBe(true);
  });

  it('lists unknown comprehension-required attributes once', () => {
    const unknown = (type: number): StunAttribute => ({
      kind: 'unknown',
      value: { type, bytes: new Uint8Array(3) },
    });
    const bytes = writeStun(
      {
        ...request(STUN_METHOD.binding, [0x7ffe, 0xfffe, 0x7ffe, 0x0002].map(unknown)),
        transactionId: TRANSACTION_ID,
      },
      crypto,
    );
    expect(unknownRequiredAttributes(parsed(bytes))).toEqual([0x7ffe, 0x0002]);
  });
});

describe('properties', () => {
  const text = fc.string({ maxLength: 100, unit: 'grapheme-ascii' });
  const endpoints = fc
    .tuple(
      fc.oneof(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
      ),
      fc.integer({ min: 0, max: 65535 }),
    )
    .map(([bytes, port]) => endpoint(ipFromBytes(bytes), port));
  const uint32 = fc.integer({ min: 0, max: 0xffffffff });
  const attributes: fc.Arbitrary<StunAttribute> = fc.oneof(
    fc.record({ kind: fc.constant('username' as const), value: text }),
    fc.record({ kind: fc.constant('nonce' as const), value: text }),
    fc.record({ kind: fc.constant('xor-mapped-address' as const), value: endpoints }),
    fc.record({ kind: fc.constant('mapped-address' as const), value: endpoints }),
    fc.record({ kind: fc.constant('priority' as const), value: uint32 }),
    fc.record({ kind: fc.constant('lifetime' as const), value: uint32 }),
    fc.record({
      kind: fc.constant('ice-controlling' as const),
      value: fc.bigInt({ min: 0n, max: 0xffffffffffffffffn }),
    }),
    fc.record({
      kind: fc.constant('channel-number' as const),
      value: fc.integer({ min: 0x4000, max: 0x4fff }),
    }),
    fc.record({ kind: fc.constant('data' as const), value: fc.uint8Array({ maxLength: 50 }) }),
    fc.record({
      kind: fc.constant('unknown-attributes' as const),
      value: fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 5 }),
    }),
    fc.record({
      kind: fc.constant('error-code' as const),
      value: fc.record({
        code: fc.integer({ min: 300, max: 699 }),
        reason: fc.string({ maxLength: 20, unit: fc.constantFrom('a', 'ß', '鬼') }),
      }),
    }),
    fc.record({
      kind: fc.constant('address-error-code' as const),
      value: fc.record({
        family: fc.constantFrom(4 as const, 6 as const),
        code: fc.integer({ min: 300, max: 699 }),
        reason: fc.constant('why'),
      }),
    }),
    fc.constant({ kind: 'use-candidate' as const, value: true as const }),
    fc.record({ kind: fc.constant('even-port' as const), value: fc.boolean() }),
  );

  it('what is written reads back', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xfff }),
        fc.constantFrom('request' as const, 'indication', 'success', 'error'),
        fc.uint8Array({ minLength: 12, maxLength: 12 }),
        fc.array(attributes, { maxLength: 8 }),
        fc.boolean(),
        fc.boolean(),
        (method, cls, transactionId, list, sign, fingerprint) => {
          const key = sign ? { integrityKey: TURN_KEY } : {};
          const input = {
            method,
            class: cls,
            transactionId,
            attributes: list,
            fingerprint,
            ...key,
          };
          const message = parsed(writeStun(input, crypto));
          expect(message).toMatchObject({ method, class: cls, transactionId });
          expect(message.attributes.slice(0, list.length)).toEqual(list);
          expect(verifyIntegrity(message, TURN_KEY, crypto)).toBe(sign);
          expect(verifyFingerprint(message)).toBe(fingerprint);
        },
      ),
    );
  });

  it('no bytes make the parser throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        parseStun(bytes);
      }),
    );
  });

  it('no change of a valid message makes it throw, or keeps the integrity of what it covers', () => {
    const whole = vectors.allocateSuccess;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        (offset, flip) => {
          const message = parseStun(edited(whole, offset, at(whole, offset) ^ flip));
          if (message) expect(verifyIntegrity(message, TURN_KEY, crypto)).toBe(false);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('nothing is STUN that the parser does not frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(isStun(bytes)).toBe(parseStunHeader(bytes) !== undefined);
      }),
    );
  });
});

function parsed(bytes: Uint8Array): StunMessage {
  const message = parseStun(bytes);
  if (!message) throw new Error('the message does not parse');
  return message;
}

function request(
  method: number,
  attributes: readonly StunAttribute[],
): Omit<StunMessageInput, 'transactionId'> {
  return { method, class: 'request', attributes };
}

function signed(
  input: Omit<StunMessageInput, 'transactionId'>,
): Omit<StunMessageInput, 'transactionId'> {
  return { ...input, integrityKey: TURN_KEY };
}

function address(
  kind: 'xor-mapped-address' | 'xor-relayed-address' | 'xor-peer-address',
  text: string,
): StunAttribute {
  const value = parseEndpoint(text);
  if (!value) throw new Error('not an endpoint');
  return { kind, value };
}

function edited(bytes: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = bytes.slice();
  copy[offset] = value;
  return copy;
}

/** coturn's `use-auth-secret` (relay 7.1 row 9). */
function coturnPassword(secret: string, username: string): string {
  const mac = crypto.hmacSha1(new TextEncoder().encode(secret), new TextEncoder().encode(username));
  return Buffer.from(mac).toString('base64');
}
