// Messages of the kernel's routing netlink (netlink(7), rtnetlink(7)), built and read. Only what setting up an interface needs;
// the exchange itself is one call of the add-on.

import { endianness } from 'node:os';
import { concat, utf8Encode, viewOf } from '../../base/bytes.ts';
import { FzError } from '../../base/errors.ts';
import { errnoName, native } from '../packets/native.ts';

// Specification (linux/netlink.h, linux/rtnetlink.h)
export const RTM = {
  newLink: 16,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newRule: 32,
  deleteRule: 33,
} as const;

export const NLM = {
  request: 0x1,
  acknowledge: 0x4,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  dump: 0x300,
} as const;

const HEADER_LENGTH = 16;
const NLA_TYPE_MASK = 0x3fff;
const IS_LITTLE_ENDIAN: boolean = endianness() === 'LE';

export class NetlinkError extends FzError {
  readonly code = 'FZ_ERR_NETLINK';
  readonly errno: string;

  constructor(what: string, errno: string) {
    super(`${what}: ${errno}`);
    this.errno = errno;
  }
}

export interface NetlinkMessage {
  readonly type: number;
  /** The fixed part behind the header, and attributes, still encoded. */
  readonly body: Uint8Array;
}

/** A fixed part of `length` bytes, written by `write` in the byte order of the machine. */
export function fixedPart(
  length: number,
  write: (set: {
    u8(offset: number, value: number): void;
    u32(offset: number, value: number): void;
  }) => void,
): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  write({
    u8: (offset, value) => view.setUint8(offset, value),
    u32: (offset, value) => view.setUint32(offset, value, IS_LITTLE_ENDIAN),
  });
  return bytes;
}

export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + value.length + 3) & ~3);
  const view = viewOf(bytes);
  view.setUint16(0, 4 + value.length, IS_LITTLE_ENDIAN);
  view.setUint16(2, type, IS_LITTLE_ENDIAN);
  bytes.set(value, 4);
  return bytes;
}

export function attributeU32(type: number, value: number): Uint8Array {
  return attribute(
    type,
    fixedPart(4, (set) => set.u32(0, value)),
  );
}

export function attributeText(type: number, text: string): Uint8Array {
  return attribute(type, concat(utf8Encode(text), new Uint8Array(1)));
}

export function readU32(bytes: Uint8Array, offset = 0): number {
  return viewOf(bytes).getUint32(offset, IS_LITTLE_ENDIAN);
}

/** Attributes behind a fixed part of `skip` bytes, by type. */
export function readAttributes(body: Uint8Array, skip: number): ReadonlyMap<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = viewOf(body);
  for (let offset = skip; offset + 4 <= body.length; ) {
    const length = view.getUint16(offset, IS_LITTLE_ENDIAN);
    if (length < 4 || offset + length > body.length) break;
    const type = view.getUint16(offset + 2, IS_LITTLE_ENDIAN) & NLA_TYPE_MASK;
    attributes.set(type, body.subarray(offset + 4, offset + length));
    offset += (length + 3) & ~3;
  }
  return attributes;
}

/** Sends one message and returns the kernel's answer. Throws `NetlinkError` with `what` was tried. */
export function netlinkCall(
  what: string,
  type: number,
  flags: number,
  ...parts: readonly Uint8Array[]
): readonly NetlinkMessage[] {
  const body = concat(...parts);
  const header = new Uint8Array(HEADER_LENGTH);
  const view = viewOf(header);
  view.setUint32(0, HEADER_LENGTH + body.length, IS_LITTLE_ENDIAN);
  view.setUint16(4, type, IS_LITTLE_ENDIAN);
  const answered = (flags & NLM.dump) === NLM.dump ? 0 : NLM.acknowledge;
  view.setUint16(6, NLM.request | answered | flags, IS_LITTLE_ENDIAN);
  view.setUint32(8, 1, IS_LITTLE_ENDIAN);
  const answer = native().netlink(concat(header, body));
  if (typeof answer === 'number') throw new NetlinkError(what, errnoName(answer));
  return readMessages(answer);
}

export function readMessages(bytes: Uint8Array): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  const view = viewOf(bytes);
  for (let offset = 0; offset + HEADER_LENGTH <= bytes.length; ) {
    const length = view.getUint32(offset, IS_LITTLE_ENDIAN);
    if (length < HEADER_LENGTH || offset + length > bytes.length) break;
    messages.push({
      type: view.getUint16(offset + 4, IS_LITTLE_ENDIAN),
      body: bytes.subarray(offset + HEADER_LENGTH, offset + length),
    });
    offset += (length + 3) & ~3;
  }
  return messages;
}
