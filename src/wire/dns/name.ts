// Domain names: their wire form with compression (RFC 1035 §4.1.4) and their text form (§5.1). In text, labels are joined by
// dots, without a dot at the end; the root is the empty text. Bytes that are no printable ASCII are written `\DDD`, a dot or
// backslash inside a label gets a backslash. Case is kept; `dnsKey` folds it for comparison (RFC 4343 §3).

import { type IpAddress, ipFromBytes, parseIp } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';

// Specification (RFC 1035 §2.3.4).
const MAX_LABEL_LENGTH = 63;
const MAX_NAME_LENGTH = 255;
/** A name of 255 bytes has at most 127 labels; each may be reached through one pointer. */
const MAX_POINTERS = 127;

export interface ParsedName {
  readonly name: string;
  /** Offset behind the name where it stands. */
  readonly end: number;
}

/** Reads the name at `offset` of a whole message; `undefined` if it is malformed. */
export function parseDnsName(message: Uint8Array, offset: number): ParsedName | undefined {
  const labels: string[] = [];
  let end = -1;
  let length = 1;
  let pointers = 0;
  for (let i = offset; ; ) {
    if (i >= message.length) return undefined;
    const head = at(message, i);
    if (head === 0) {
      return { name: labels.join('.'), end: end < 0 ? i + 1 : end };
    }
    if (head >= 0xc0) {
      if (i + 1 >= message.length) return undefined;
      if (end < 0) end = i + 2;
      const target = ((head & 0x3f) << 8) | at(message, i + 1);
      // Only backwards, so that names cannot loop.
      if (target >= i || ++pointers > MAX_POINTERS) return undefined;
      i = target;
      continue;
    }
    if (head > MAX_LABEL_LENGTH || i + 1 + head > message.length) return undefined;
    length += 1 + head;
    if (length > MAX_NAME_LENGTH) return undefined;
    labels.push(labelText(message.subarray(i + 1, i + 1 + head)));
    i += 1 + head;
  }
}

/** Labels of a text form as bytes; `undefined` if it is no name. One dot at the end is allowed. */
export function dnsLabels(name: string): Uint8Array[] | undefined {
  if (name === '' || name === '.') return [];
  const labels: Uint8Array[] = [];
  let current: number[] = [];
  let length = 1;
  for (let i = 0; i <= name.length; i++) {
    const character = name[i];
    if (character === undefined || character === '.') {
      if (character === undefined && current.length === 0 && name.endsWith('.')) break;
      if (current.length === 0 || current.length > MAX_LABEL_LENGTH) return undefined;
      labels.push(Uint8Array.from(current));
      length += 1 + current.length;
      if (length > MAX_NAME_LENGTH) return undefined;
      current = [];
      continue;
    }
    if (character === '\\') {
      const digits = /^[0-9]{3}/.exec(name.slice(i + 1, i + 4))?.[0];
      const byte = digits === undefined ? name.charCodeAt(i + 1) : Number(digits);
      if (!(byte <= 255)) return undefined;
      current.push(byte);
      i += digits === undefined ? 1 : 3;
    } else {
      const code = name.charCodeAt(i);
      if (code > 0x7f) return undefined;
      current.push(code);
    }
  }
  return labels;
}

/** A name as a key for look-ups: ASCII letters in lower case, no dot at the end. */
export function dnsKey(name: string): string {
  const lower = name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());
  return lower.endsWith('.') && !lower.endsWith('\\.') ? lower.slice(0, -1) : lower;
}

/** The address a reverse name stands for (`5.0.64.100.in-addr.arpa`), `undefined` if it is none. */
export function addressOfReverseName(name: string): IpAddress | undefined {
  const labels = dnsKey(name).split('.');
  const suffix = labels.slice(-2).join('.');
  const digits = labels.slice(0, -2).reverse();
  if (suffix === 'in-addr.arpa' && digits.length === 4) return parseIp(digits.join('.'));
  if (suffix !== 'ip6.arpa' || digits.length !== 32) return undefined;
  if (!digits.every((digit) => /^[0-9a-f]$/.test(digit))) return undefined;
  const hex = digits.join('');
  return ipFromBytes(
    Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16)),
  );
}

/** Writes names into one message and points back to suffixes that are already there. */
export class DnsNameWriter {
  readonly #offsets = new Map<string, number>();

  /** Bytes of `name` when written at `offset` of the message; `undefined` if it is no name. */
  write(name: string, offset: number): Uint8Array | undefined {
    const labels = dnsLabels(name);
    if (!labels) return undefined;
    const out: number[] = [];
    for (let i = 0; i < labels.length; i++) {
      const key = suffixKey(labels, i);
      const known = this.#offsets.get(key);
      if (known !== undefined) {
        out.push(0xc0 | (known >> 8), known & 0xff);
        return Uint8Array.from(out);
      }
      if (offset + out.length < 0x4000) this.#offsets.set(key, offset + out.length);
      const label = at(labels, i);
      out.push(label.length, ...label);
    }
    out.push(0);
    return Uint8Array.from(out);
  }

  /** Forgets what was written at or behind `offset`, after a record was taken back. */
  truncate(offset: number): void {
    for (const [key, position] of this.#offsets) {
      if (position >= offset) this.#offsets.delete(key);
    }
  }
}

function suffixKey(labels: readonly Uint8Array[], from: number): string {
  return labels.slice(from).map(labelText).join('.');
}

function labelText(label: Uint8Array): string {
  let text = '';
  for (const byte of label) {
    if (byte === 0x2e || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte > 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\${String(byte).padStart(3, '0')}`;
  }
  return text;
}
