// The four WireGuard messages (WireGuard §5.4, connectivity 7.2). Handshake messages and cookies are cold: parsed into views
// of the datagram, written without their two MACs, which `proto/wireguard/macs.ts` fills in. It does no cryptography.
//
// Hot path: `isDataMessage` and the `read*` accessors below, on a shared `DataView`.
//
//   data   0 type 4, reserved 0 | 4 receiver index | 8 counter (64 bits) | 16 sealed packet and tag
//
// All integers are little-endian.

import { viewOf } from '../../base/bytes.ts';

// Specification
/** The type byte and three reserved zero bytes, read as one little-endian word (WireGuard §5.4). */
export const MESSAGE_TYPE = { initiation: 1, response: 2, cookieReply: 3, data: 4 } as const;
export const INITIATION_LENGTH = 148; // WireGuard §5.4.2
export const RESPONSE_LENGTH = 92; // WireGuard §5.4.3
export const COOKIE_REPLY_LENGTH = 64; // WireGuard §5.4.7
export const DATA_HEADER_LENGTH = 16; // WireGuard §5.4.6
export const DATA_MIN_LENGTH = 32; // header and tag: a keepalive
export const MAC_LENGTH = 16; // WireGuard §5.4.4
const KEY_LENGTH = 32;
const SEALED_KEY_LENGTH = 48;
const SEALED_TIMESTAMP_LENGTH = 28;
const TAG_LENGTH = 16;
const COOKIE_NONCE_LENGTH = 24;

/** Byte offsets of fields; `mac1` and `mac2` end both handshake messages. */
const OFFSET = {
  senderIndex: 4,
  receiverIndex: 4,
  initiation: { ephemeral: 8, encryptedStatic: 40, encryptedTimestamp: 88 },
  response: { receiverIndex: 8, ephemeral: 12, encryptedNothing: 44 },
  cookieReply: { nonce: 8, encryptedCookie: 32 },
  data: { counterLow: 8, counterHigh: 12 },
} as const;

export interface Initiation {
  readonly kind: 'initiation';
  readonly senderIndex: number;
  readonly ephemeral: Uint8Array;
  readonly encryptedStatic: Uint8Array;
  readonly encryptedTimestamp: Uint8Array;
}

export interface Response {
  readonly kind: 'response';
  readonly senderIndex: number;
  readonly receiverIndex: number;
  readonly ephemeral: Uint8Array;
  readonly encryptedNothing: Uint8Array;
}

export interface CookieReply {
  readonly kind: 'cookie-reply';
  readonly receiverIndex: number;
  readonly nonce: Uint8Array;
  readonly encryptedCookie: Uint8Array;
}

export interface DataMessage {
  readonly kind: 'data';
  readonly receiverIndex: number;
  readonly counterLow: number;
  readonly counterHigh: number;
}

export type WireGuardMessage = Initiation | Response | CookieReply | DataMessage;

/** Fields are views of `bytes`. `undefined`: no WireGuard message (type, reserved bytes or length). */
export function parseWireGuard(bytes: Uint8Array): WireGuardMessage | undefined {
  if (bytes.length < DATA_MIN_LENGTH) return undefined;
  const view = viewOf(bytes);
  switch (view.getUint32(0, true)) {
    case MESSAGE_TYPE.initiation:
      return bytes.length === INITIATION_LENGTH ? initiationOf(bytes, view) : undefined;
    case MESSAGE_TYPE.response:
      return bytes.length === RESPONSE_LENGTH ? responseOf(bytes, view) : undefined;
    case MESSAGE_TYPE.cookieReply:
      return bytes.length === COOKIE_REPLY_LENGTH ? cookieReplyOf(bytes, view) : undefined;
    case MESSAGE_TYPE.data:
      return {
        kind: 'data',
        receiverIndex: readReceiverIndex(view, 0),
        counterLow: readCounterLow(view, 0),
        counterHigh: readCounterHigh(view, 0),
      };
    default:
      return undefined;
  }
}

/** Hot: the reserved bytes are part of the comparison. */
export function isDataMessage(view: DataView, offset: number, length: number): boolean {
  return length >= DATA_MIN_LENGTH && view.getUint32(offset, true) === MESSAGE_TYPE.data;
}

/** Hot: of a data message. */
export function readReceiverIndex(view: DataView, offset: number): number {
  return view.getUint32(offset + OFFSET.receiverIndex, true);
}

export function readCounterLow(view: DataView, offset: number): number {
  return view.getUint32(offset + OFFSET.data.counterLow, true);
}

export function readCounterHigh(view: DataView, offset: number): number {
  return view.getUint32(offset + OFFSET.data.counterHigh, true);
}

/** A new message whose MACs are still zero. */
export function writeInitiation(message: Omit<Initiation, 'kind'>): Uint8Array {
  const bytes = new Uint8Array(INITIATION_LENGTH);
  const view = viewOf(bytes);
  view.setUint32(0, MESSAGE_TYPE.initiation, true);
  view.setUint32(OFFSET.senderIndex, message.senderIndex, true);
  bytes.set(message.ephemeral, OFFSET.initiation.ephemeral);
  bytes.set(message.encryptedStatic, OFFSET.initiation.encryptedStatic);
  bytes.set(message.encryptedTimestamp, OFFSET.initiation.encryptedTimestamp);
  return bytes;
}

/** A new message whose MACs are still zero. */
export function writeResponse(message: Omit<Response, 'kind'>): Uint8Array {
  const bytes = new Uint8Array(RESPONSE_LENGTH);
  const view = viewOf(bytes);
  view.setUint32(0, MESSAGE_TYPE.response, true);
  view.setUint32(OFFSET.senderIndex, message.senderIndex, true);
  view.setUint32(OFFSET.response.receiverIndex, message.receiverIndex, true);
  bytes.set(message.ephemeral, OFFSET.response.ephemeral);
  bytes.set(message.encryptedNothing, OFFSET.response.encryptedNothing);
  return bytes;
}

export function writeCookieReply(message: Omit<CookieReply, 'kind'>): Uint8Array {
  const bytes = new Uint8Array(COOKIE_REPLY_LENGTH);
  const view = viewOf(bytes);
  view.setUint32(0, MESSAGE_TYPE.cookieReply, true);
  view.setUint32(OFFSET.receiverIndex, message.receiverIndex, true);
  bytes.set(message.nonce, OFFSET.cookieReply.nonce);
  bytes.set(message.encryptedCookie, OFFSET.cookieReply.encryptedCookie);
  return bytes;
}

/** Header of a data message; sealed bytes follow. The counter is exact up to 2^53. */
export function writeDataHeader(view: DataView, receiverIndex: number, counter: number): void {
  view.setUint32(0, MESSAGE_TYPE.data, true);
  view.setUint32(OFFSET.receiverIndex, receiverIndex, true);
  view.setUint32(OFFSET.data.counterLow, counter % 0x1_0000_0000, true);
  view.setUint32(OFFSET.data.counterHigh, Math.floor(counter / 0x1_0000_0000), true);
}

/** Where `mac1` starts in an initiation or response; `mac2` follows it. */
export function mac1Offset(handshakeMessage: Uint8Array): number {
  return handshakeMessage.length - 2 * MAC_LENGTH;
}

function initiationOf(bytes: Uint8Array, view: DataView): Initiation {
  const { ephemeral, encryptedStatic, encryptedTimestamp } = OFFSET.initiation;
  return {
    kind: 'initiation',
    senderIndex: view.getUint32(OFFSET.senderIndex, true),
    ephemeral: bytes.subarray(ephemeral, ephemeral + KEY_LENGTH),
    encryptedStatic: bytes.subarray(encryptedStatic, encryptedStatic + SEALED_KEY_LENGTH),
    encryptedTimestamp: bytes.subarray(
      encryptedTimestamp,
      encryptedTimestamp + SEALED_TIMESTAMP_LENGTH,
    ),
  };
}

function responseOf(bytes: Uint8Array, view: DataView): Response {
  const { receiverIndex, ephemeral, encryptedNothing } = OFFSET.response;
  return {
    kind: 'response',
    senderIndex: view.getUint32(OFFSET.senderIndex, true),
    receiverIndex: view.getUint32(receiverIndex, true),
    ephemeral: bytes.subarray(ephemeral, ephemeral + KEY_LENGTH),
    encryptedNothing: bytes.subarray(encryptedNothing, encryptedNothing + TAG_LENGTH),
  };
}

function cookieReplyOf(bytes: Uint8Array, view: DataView): CookieReply {
  const { nonce, encryptedCookie } = OFFSET.cookieReply;
  return {
    kind: 'cookie-reply',
    receiverIndex: view.getUint32(OFFSET.receiverIndex, true),
    nonce: bytes.subarray(nonce, nonce + COOKIE_NONCE_LENGTH),
    encryptedCookie: bytes.subarray(encryptedCookie),
  };
}
