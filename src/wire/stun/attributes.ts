// The attributes of STUN (RFC 8489 §14), TURN (RFC 8656 §18) and ICE (RFC 8445 §16.1): one registry, as IANA keeps one.
// Each kind has one typed value; a codec reads and writes it. An attribute without a codec here is kept as raw bytes of kind
// `unknown`. Whether an unknown one matters is decided by who understands the method (RFC 8489 §6.3).

import {
  type Endpoint,
  endpoint,
  familyOf,
  type IpFamily,
  ipBytes,
  ipFromBytes,
} from '../../base/address.ts';
import { at, utf8Decode, utf8Encode, viewOf } from '../../base/bytes.ts';
import { assert } from '../../base/errors.ts';
import { CHANNEL_MAX, CHANNEL_MIN } from './channel-number.ts';

// Specification
const MAX_USERNAME_LENGTH = 512; // relay 2.3; RFC 8489 §14.3 says fewer than 509
const MAX_TEXT_CHARACTERS = 127; // RFC 8489 §14.8 to §14.10, §14.14
const FAMILY_IPV4 = 1; // RFC 8489 §14.1
const FAMILY_IPV6 = 2;
const PORT_MASK = 0x2112; // RFC 8489 §14.2: the upper half of the magic cookie
const COOKIE = Uint8Array.of(0x21, 0x12, 0xa4, 0x42);

export interface ErrorCode {
  /** 300 to 699. */
  readonly code: number;
  /** Without the NULs that some servers pad it with. */
  readonly reason: string;
}

export interface AddressErrorCode extends ErrorCode {
  readonly family: IpFamily;
}

export interface UnknownAttribute {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** What the value of each kind is. An empty attribute has the value `true`. */
export interface AttributeValues {
  'mapped-address': Endpoint;
  username: string;
  'message-integrity': Uint8Array;
  'error-code': ErrorCode;
  'unknown-attributes': readonly number[];
  'channel-number': number;
  /** Seconds. */
  lifetime: number;
  'xor-peer-address': Endpoint;
  data: Uint8Array;
  realm: string;
  nonce: string;
  'xor-relayed-address': Endpoint;
  'requested-address-family': IpFamily;
  /** Whether the next port is to be reserved too. */
  'even-port': boolean;
  /** Protocol number, 17 for UDP. */
  'requested-transport': number;
  'dont-fragment': true;
  'message-integrity-sha256': Uint8Array;
  userhash: Uint8Array;
  'xor-mapped-address': Endpoint;
  'reservation-token': Uint8Array;
  priority: number;
  'use-candidate': true;
  'additional-address-family': IpFamily;
  'address-error-code': AddressErrorCode;
  software: string;
  'alternate-server': Endpoint;
  fingerprint: number;
  'ice-controlled': bigint;
  'ice-controlling': bigint;
  'response-origin': Endpoint;
  'other-address': Endpoint;
  /** The code point that coturn up to 4.7 uses for ADDITIONAL-ADDRESS-FAMILY (relay 7.1 row 11). */
  'early-additional-address-family': IpFamily;
  'early-address-error-code': AddressErrorCode;
  unknown: UnknownAttribute;
}

export type AttributeKind = keyof AttributeValues;

export type StunAttribute = {
  [K in AttributeKind]: { readonly kind: K; readonly value: AttributeValues[K] };
}[AttributeKind];

type KnownKind = Exclude<AttributeKind, 'unknown'>;

/** RFC 8489 §18.3, RFC 8656 §18, RFC 8445 §16.1, RFC 5780 §7. */
export const ATTRIBUTE_TYPE: Readonly<Record<KnownKind, number>> = {
  'mapped-address': 0x0001,
  username: 0x0006,
  'message-integrity': 0x0008,
  'error-code': 0x0009,
  'unknown-attributes': 0x000a,
  'channel-number': 0x000c,
  lifetime: 0x000d,
  'xor-peer-address': 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  'xor-relayed-address': 0x0016,
  'requested-address-family': 0x0017,
  'even-port': 0x0018,
  'requested-transport': 0x0019,
  'dont-fragment': 0x001a,
  'message-integrity-sha256': 0x001c,
  userhash: 0x001e,
  'xor-mapped-address': 0x0020,
  'reservation-token': 0x0022,
  priority: 0x0024,
  'use-candidate': 0x0025,
  'additional-address-family': 0x8000,
  'address-error-code': 0x8001,
  software: 0x8022,
  'alternate-server': 0x8023,
  fingerprint: 0x8028,
  'ice-controlled': 0x8029,
  'ice-controlling': 0x802a,
  'response-origin': 0x802b,
  'other-address': 0x802c,
  'early-additional-address-family': 0x8032,
  'early-address-error-code': 0x8033,
};

interface Codec<T> {
  /** `undefined`: a bad value. */
  parse(value: Uint8Array, transactionId: Uint8Array): T | undefined;
  write(value: T, transactionId: Uint8Array): Uint8Array;
}

const plainAddress: Codec<Endpoint> = { parse: parseAddress, write: writeAddress };

const xorAddress: Codec<Endpoint> = {
  parse: (value, transactionId) => {
    const masked = xorMask(value, transactionId);
    return masked && parseAddress(masked);
  },
  write: (value, transactionId) => xorMask(writeAddress(value), transactionId) ?? new Uint8Array(),
};

const shortText: Codec<string> = {
  parse: (value) => {
    const decoded = value.length <= MAX_TEXT_CHARACTERS * 6 ? utf8Decode(value) : undefined;
    return decoded !== undefined && [...decoded].length <= MAX_TEXT_CHARACTERS
      ? decoded
      : undefined;
  },
  write: utf8Encode,
};

const username: Codec<string> = {
  parse: (value) => (value.length <= MAX_USERNAME_LENGTH ? utf8Decode(value) : undefined),
  write: utf8Encode,
};

const word32: Codec<number> = {
  parse: (value) => (value.length === 4 ? viewOf(value).getUint32(0) : undefined),
  write: (value) => {
    const bytes = new Uint8Array(4);
    viewOf(bytes).setUint32(0, value);
    return bytes;
  },
};

const word64: Codec<bigint> = {
  parse: (value) => (value.length === 8 ? viewOf(value).getBigUint64(0) : undefined),
  write: (value) => {
    const bytes = new Uint8Array(8);
    viewOf(bytes).setBigUint64(0, value);
    return bytes;
  },
};

const empty: Codec<true> = {
  parse: (value) => (value.length === 0 ? true : undefined),
  write: () => new Uint8Array(),
};

const addressFamily: Codec<IpFamily> = {
  parse: (value) => (value.length === 4 ? familyFromCode(at(value, 0)) : undefined),
  write: (value) => Uint8Array.of(familyCode(value), 0, 0, 0),
};

const protocol: Codec<number> = {
  parse: (value) => (value.length === 4 ? at(value, 0) : undefined),
  write: (value) => Uint8Array.of(value, 0, 0, 0),
};

/** RFC 8656 §18.1: the number, then two reserved bytes. */
const channelNumber: Codec<number> = {
  parse: (value) => {
    if (value.length !== 4) return undefined;
    const number = viewOf(value).getUint16(0);
    return number >= CHANNEL_MIN && number <= CHANNEL_MAX ? number : undefined;
  },
  write: (value) => Uint8Array.of(value >> 8, value & 0xff, 0, 0),
};

const errorCode: Codec<ErrorCode> = {
  parse: (value) => parseErrorCode(value),
  write: ({ code, reason }) => writeErrorCode(0, code, reason),
};

const addressErrorCode: Codec<AddressErrorCode> = {
  parse: (value) => {
    const family = value.length >= 4 ? familyFromCode(at(value, 0)) : undefined;
    const error = parseErrorCode(value);
    return family && error && { family, ...error };
  },
  write: ({ family, code, reason }) => writeErrorCode(familyCode(family), code, reason),
};

const typeList: Codec<readonly number[]> = {
  parse: (value) => {
    if (value.length % 2 !== 0) return undefined;
    const view = viewOf(value);
    return Array.from({ length: value.length / 2 }, (_, i) => view.getUint16(i * 2));
  },
  write: (types) => Uint8Array.from(types.flatMap((type) => [type >> 8, type & 0xff])),
};

const evenPort: Codec<boolean> = {
  parse: (value) => (value.length === 1 ? (at(value, 0) & 0x80) !== 0 : undefined),
  write: (value) => Uint8Array.of(value ? 0x80 : 0),
};

function opaque(minLength: number, maxLength: number): Codec<Uint8Array> {
  return {
    parse: (value) => (value.length >= minLength && value.length <= maxLength ? value : undefined),
    write: (value) => value,
  };
}

const CODECS: { readonly [K in KnownKind]: Codec<AttributeValues[K]> } = {
  'mapped-address': plainAddress,
  username,
  'message-integrity': opaque(20, 20),
  'error-code': errorCode,
  'unknown-attributes': typeList,
  'channel-number': channelNumber,
  lifetime: word32,
  'xor-peer-address': xorAddress,
  data: opaque(0, 0xffff),
  realm: shortText,
  nonce: shortText,
  'xor-relayed-address': xorAddress,
  'requested-address-family': addressFamily,
  'even-port': evenPort,
  'requested-transport': protocol,
  'dont-fragment': empty,
  'message-integrity-sha256': opaque(16, 32),
  userhash: opaque(32, 32),
  'xor-mapped-address': xorAddress,
  'reservation-token': opaque(8, 8),
  priority: word32,
  'use-candidate': empty,
  'additional-address-family': addressFamily,
  'address-error-code': addressErrorCode,
  software: shortText,
  'alternate-server': plainAddress,
  fingerprint: word32,
  'ice-controlled': word64,
  'ice-controlling': word64,
  'response-origin': plainAddress,
  'other-address': plainAddress,
  'early-additional-address-family': addressFamily,
  'early-address-error-code': addressErrorCode,
};

/** Kinds that nobody acts on, so that a bad value is no reason to refuse the message (relay 2.7). */
const LENIENT: ReadonlySet<KnownKind> = new Set<KnownKind>([
  'mapped-address',
  'unknown-attributes',
  'even-port',
  'dont-fragment',
  'message-integrity-sha256',
  'userhash',
  'reservation-token',
  'address-error-code',
  'alternate-server',
  'response-origin',
  'other-address',
  'early-additional-address-family',
  'early-address-error-code',
]);

const KIND_OF_TYPE: ReadonlyMap<number, KnownKind> = new Map(
  Object.keys(ATTRIBUTE_TYPE).map((kind) => [ATTRIBUTE_TYPE[kind as KnownKind], kind as KnownKind]),
);

/** `undefined` if the value of a kind that matters is bad. */
export function parseAttribute(
  type: number,
  bytes: Uint8Array,
  transactionId: Uint8Array,
): StunAttribute | undefined {
  const kind = KIND_OF_TYPE.get(type);
  if (kind === undefined) return { kind: 'unknown', value: { type, bytes } };
  const value = CODECS[kind].parse(bytes, transactionId);
  if (value !== undefined) return { kind, value } as StunAttribute;
  return LENIENT.has(kind) ? { kind: 'unknown', value: { type, bytes } } : undefined;
}

export function writeAttributeValue(
  attribute: StunAttribute,
  transactionId: Uint8Array,
): { readonly type: number; readonly value: Uint8Array } {
  if (attribute.kind === 'unknown') {
    return { type: attribute.value.type, value: attribute.value.bytes };
  }
  const codec = CODECS[attribute.kind] as Codec<AttributeValues[KnownKind]>;
  const value = codec.write(attribute.value, transactionId);
  assert(value.length <= 0xffff, 'a STUN attribute fits its length field');
  return { type: ATTRIBUTE_TYPE[attribute.kind], value };
}

/** RFC 8489 §14.1: a zero byte, family, port, address. */
function parseAddress(value: Uint8Array): Endpoint | undefined {
  if (value.length < 4) return undefined;
  const family = familyFromCode(at(value, 1));
  if (family === undefined || value.length !== (family === 4 ? 8 : 20)) return undefined;
  return endpoint(ipFromBytes(value.subarray(4)), viewOf(value).getUint16(2));
}

function writeAddress({ address, port }: Endpoint): Uint8Array {
  const host = ipBytes(address);
  const bytes = new Uint8Array(4 + host.length);
  bytes[1] = familyCode(familyOf(address));
  viewOf(bytes).setUint16(2, port);
  bytes.set(host, 4);
  return bytes;
}

/** RFC 8489 §14.2: port and address are masked with the cookie, the rest of an IPv6 address with the transaction id. */
function xorMask(value: Uint8Array, transactionId: Uint8Array): Uint8Array | undefined {
  if (value.length !== 8 && value.length !== 20) return undefined;
  const out = value.slice();
  out[2] = at(value, 2) ^ (PORT_MASK >> 8);
  out[3] = at(value, 3) ^ (PORT_MASK & 0xff);
  for (let i = 4; i < out.length; i++) {
    out[i] = at(value, i) ^ (i < 8 ? at(COOKIE, i - 4) : at(transactionId, i - 8));
  }
  return out;
}

/** RFC 8489 §14.8: 21 reserved bits, class, number, reason. */
function parseErrorCode(value: Uint8Array): ErrorCode | undefined {
  if (value.length < 4) return undefined;
  const hundreds = at(value, 2) & 7;
  const number = at(value, 3);
  const reason = shortText.parse(withoutTrailingNuls(value.subarray(4)), value);
  if (hundreds < 3 || hundreds > 6 || number > 99 || reason === undefined) return undefined;
  return { code: hundreds * 100 + number, reason };
}

function writeErrorCode(firstByte: number, code: number, reason: string): Uint8Array {
  const text = utf8Encode(reason);
  const bytes = new Uint8Array(4 + text.length);
  bytes[0] = firstByte;
  bytes[2] = Math.floor(code / 100);
  bytes[3] = code % 100;
  bytes.set(text, 4);
  return bytes;
}

function withoutTrailingNuls(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

function familyFromCode(code: number): IpFamily | undefined {
  return code === FAMILY_IPV4 ? 4 : code === FAMILY_IPV6 ? 6 : undefined;
}

function familyCode(family: IpFamily): number {
  return family === 4 ? FAMILY_IPV4 : FAMILY_IPV6;
}
