// STUN messages (RFC 8489 §5): framing, parsing to readonly objects, writing. The attribute registry is in `attributes.ts`,
// the two trailers in `integrity.ts` and `fingerprint.ts`.
//
//    0                   1                   2                   3
//   |0 0|  message type (14 bits)     |  length behind the header     |
//   |                  magic cookie 0x2112A442                        |
//   |                  transaction id (96 bits)                       |
//   |  attribute type             |  length without padding | value... |
//
// Over UDP one datagram is one message (RFC 8489 §6.2.1), so the lengths must agree exactly. What a message means, and
// which attributes it needs, is the business of `proto/stun`, `proto/ice` and `proto/turn`.

import { at, viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';
import {
  ATTRIBUTE_TYPE,
  type AttributeKind,
  type AttributeValues,
  parseAttribute,
  type StunAttribute,
  writeAttributeValue,
} from './attributes.ts';
import { FINGERPRINT_LENGTH, fingerprintOf } from './fingerprint.ts';
import { INTEGRITY_LENGTH } from './integrity.ts';

// Specification
export const STUN_HEADER_LENGTH = 20; // RFC 8489 §5
export const MAGIC_COOKIE = 0x2112a442; // RFC 8489 §5
export const TRANSACTION_ID_LENGTH = 12; // RFC 8489 §5
const ATTRIBUTE_HEADER_LENGTH = 4; // RFC 8489 §14

/** RFC 8489 §18.2, RFC 8656 §17. */
export const STUN_METHOD = {
  binding: 0x001,
  allocate: 0x003,
  refresh: 0x004,
  send: 0x006,
  data: 0x007,
  createPermission: 0x008,
  channelBind: 0x009,
} as const;

export type StunClass = 'request' | 'indication' | 'success' | 'error';

/** RFC 8489 §5: the two class bits, 0b00 to 0b11, in this order. */
const CLASSES: readonly StunClass[] = ['request', 'indication', 'success', 'error'];

export interface StunHeader {
  /** A value of `STUN_METHOD`, or one that we do not know. */
  readonly method: number;
  readonly class: StunClass;
  readonly transactionId: Uint8Array;
  /** The whole datagram. */
  readonly raw: Uint8Array;
}

/** Byte values (`transactionId`, `raw`, opaque attributes) are views of the bytes that were parsed: who keeps them copies. */
export interface StunMessage extends StunHeader {
  /** In the order of the message, up to MESSAGE-INTEGRITY; behind it only the other trailers count (RFC 8489 §14.5). */
  readonly attributes: readonly StunAttribute[];
  /** Offset of the MESSAGE-INTEGRITY attribute in `raw`. */
  readonly integrityOffset: number | undefined;
  /** Offset of the FINGERPRINT attribute in `raw`. */
  readonly fingerprintOffset: number | undefined;
}

export interface StunMessageInput {
  readonly method: number;
  readonly class: StunClass;
  readonly transactionId: Uint8Array;
  readonly attributes: readonly StunAttribute[];
  /** Signs with MESSAGE-INTEGRITY under this key. */
  readonly integrityKey?: Uint8Array;
  /** Appends FINGERPRINT. */
  readonly fingerprint?: boolean;
}

/** Whether the bytes are framed as a STUN message; WireGuard's messages never are (RFC 8489 §5, relay 2.8). */
export function isStun(bytes: Uint8Array): boolean {
  if (bytes.length < STUN_HEADER_LENGTH || (at(bytes, 0) & 0xc0) !== 0) return false;
  const view = viewOf(bytes);
  const length = view.getUint16(2);
  return (
    view.getUint32(4) === MAGIC_COOKIE &&
    length % 4 === 0 &&
    length === bytes.length - STUN_HEADER_LENGTH
  );
}

/** The framing alone, for a server that has to answer a message whose attributes it cannot read. */
export function parseStunHeader(bytes: Uint8Array): StunHeader | undefined {
  if (!isStun(bytes)) return undefined;
  const type = viewOf(bytes).getUint16(0);
  return {
    method: (type & 0x00f) | ((type >> 1) & 0x070) | ((type >> 2) & 0xf80),
    class: at(CLASSES, ((type >> 4) & 1) | ((type >> 7) & 2)),
    transactionId: bytes.subarray(8, STUN_HEADER_LENGTH),
    raw: bytes,
  };
}

/** `undefined` if the framing is wrong, an attribute overruns the message, or one that we understand has a bad value. */
export function parseStun(bytes: Uint8Array): StunMessage | undefined {
  const header = parseStunHeader(bytes);
  return header && parseStunAttributes(header);
}

export function parseStunAttributes(header: StunHeader): StunMessage | undefined {
  const { raw, transactionId } = header;
  const view = viewOf(raw);
  const attributes: StunAttribute[] = [];
  let integrityOffset: number | undefined;
  let fingerprintOffset: number | undefined;
  let offset = STUN_HEADER_LENGTH;
  while (offset < raw.length && fingerprintOffset === undefined) {
    if (offset + ATTRIBUTE_HEADER_LENGTH > raw.length) return undefined;
    const type = view.getUint16(offset);
    const start = offset + ATTRIBUTE_HEADER_LENGTH;
    const end = start + view.getUint16(offset + 2);
    if (end > raw.length) return undefined;
    const ignored = integrityOffset !== undefined && !isTrailer(type);
    if (!ignored) {
      const attribute = parseAttribute(type, raw.subarray(start, end), transactionId);
      if (attribute === undefined) return undefined;
      attributes.push(attribute);
      if (type === ATTRIBUTE_TYPE['message-integrity']) integrityOffset = offset;
      if (type === ATTRIBUTE_TYPE['fingerprint']) fingerprintOffset = offset;
    }
    offset = start + padded(end - start);
  }
  return { ...header, attributes, integrityOffset, fingerprintOffset };
}

/** Value of the first attribute of a kind: where one appears twice, the first counts (relay 2.3). */
export function findAttribute<K extends AttributeKind>(
  message: StunMessage,
  kind: K,
): AttributeValues[K] | undefined {
  for (const attribute of message.attributes) {
    if (attribute.kind === kind) return attribute.value as AttributeValues[K];
  }
  return undefined;
}

/** Types of comprehension-required attributes that we do not know (RFC 8489 §14), in the order of the message. */
export function unknownRequiredAttributes(message: StunMessage): readonly number[] {
  const types: number[] = [];
  for (const attribute of message.attributes) {
    if (attribute.kind !== 'unknown') continue;
    const { type } = attribute.value;
    if (type < 0x8000 && !types.includes(type)) types.push(type);
  }
  return types;
}

export function writeStun(message: StunMessageInput, crypto: CryptoProvider): Uint8Array {
  assert(
    message.transactionId.length === TRANSACTION_ID_LENGTH,
    'a STUN transaction id has 12 bytes',
  );
  const values = message.attributes.map((attribute) =>
    writeAttributeValue(attribute, message.transactionId),
  );
  let length = STUN_HEADER_LENGTH;
  for (const { value } of values) length += ATTRIBUTE_HEADER_LENGTH + padded(value.length);
  const integrityOffset = length;
  if (message.integrityKey) length += ATTRIBUTE_HEADER_LENGTH + INTEGRITY_LENGTH;
  const fingerprintOffset = length;
  if (message.fingerprint) length += ATTRIBUTE_HEADER_LENGTH + FINGERPRINT_LENGTH;

  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  view.setUint16(0, typeOf(message.method, message.class));
  view.setUint32(4, MAGIC_COOKIE);
  bytes.set(message.transactionId, 8);
  let offset = STUN_HEADER_LENGTH;
  for (const { type, value } of values) {
    view.setUint16(offset, type);
    view.setUint16(offset + 2, value.length);
    bytes.set(value, offset + ATTRIBUTE_HEADER_LENGTH);
    offset += ATTRIBUTE_HEADER_LENGTH + padded(value.length);
  }
  if (message.integrityKey) {
    view.setUint16(2, fingerprintOffset - STUN_HEADER_LENGTH);
    const mac = crypto.hmacSha1(message.integrityKey, bytes.subarray(0, integrityOffset));
    view.setUint16(integrityOffset, ATTRIBUTE_TYPE['message-integrity']);
    view.setUint16(integrityOffset + 2, INTEGRITY_LENGTH);
    bytes.set(mac, integrityOffset + ATTRIBUTE_HEADER_LENGTH);
  }
  view.setUint16(2, length - STUN_HEADER_LENGTH);
  if (message.fingerprint) {
    view.setUint16(fingerprintOffset, ATTRIBUTE_TYPE['fingerprint']);
    view.setUint16(fingerprintOffset + 2, FINGERPRINT_LENGTH);
    view.setUint32(fingerprintOffset + 4, fingerprintOf(bytes.subarray(0, fingerprintOffset)));
  }
  return bytes;
}

/** A text that identifies a transaction, as a key of maps. */
export function transactionKey(transactionId: Uint8Array): string {
  return String.fromCharCode(...transactionId);
}

/** RFC 8489 §5: the class bits stand between the bits of the method. */
function typeOf(method: number, cls: StunClass): number {
  const bits = CLASSES.indexOf(cls);
  return (
    (method & 0x00f) |
    ((method & 0x070) << 1) |
    ((method & 0xf80) << 2) |
    ((bits & 1) << 4) |
    ((bits & 2) << 7)
  );
}

function isTrailer(type: number): boolean {
  return (
    type === ATTRIBUTE_TYPE['fingerprint'] || type === ATTRIBUTE_TYPE['message-integrity-sha256']
  );
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
