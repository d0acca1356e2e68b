// IP addresses, endpoints and networks. Cold code carries an address as its canonical text (dotted quad, RFC 5952), so that
// equality is `===` and any `Map` can be keyed by it. Hot code carries words: four 32-bit words in network order, IPv4 as
// `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2); `writeAddressWords` and `addressFromWords` are the border between the two.

import { at } from './bytes.ts';
import type { Brand } from './time.ts';

/** Canonical text of an IPv4 or IPv6 address, without zone. An IPv4-mapped IPv6 address is not the IPv4 address. */
export type IpAddress = Brand<string, 'IpAddress'>;

export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
  /** `1.2.3.4:80` or `[2001:db8::1]:80`; equal endpoints have equal keys. */
  readonly key: string;
}

export interface IpNetwork {
  /** The base address; host bits are zero. */
  readonly address: IpAddress;
  readonly prefixLength: number;
}

export type IpFamily = 4 | 6;

export function familyOf(address: IpAddress): IpFamily {
  return address.includes(':') ? 6 : 4;
}

export function endpoint(address: IpAddress, port: number): Endpoint {
  const key = familyOf(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
  return { address, port, key };
}

/** Parses `1.2.3.4:80` or `[2001:db8::1]:80`. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text);
  if (!match) return undefined;
  const address = parseIp(match[1] ?? match[2] ?? '');
  const port = Number(match[3]);
  if (address === undefined || port > 65535) return undefined;
  if ((match[1] !== undefined) !== (familyOf(address) === 6)) return undefined;
  return endpoint(address, port);
}

/** Parses any valid text form to the canonical one; `undefined` if it is not an address (zones are refused). */
export function parseIp(text: string): IpAddress | undefined {
  const bytes = text.includes(':') ? parseIpv6Bytes(text) : parseIpv4Bytes(text);
  return bytes && ipFromBytes(bytes);
}

/** 4 or 16 bytes in network order. */
export function ipBytes(address: IpAddress): Uint8Array {
  const bytes = address.includes(':') ? parseIpv6Bytes(address) : parseIpv4Bytes(address);
  return bytes as Uint8Array;
}

export function ipFromBytes(bytes: Uint8Array): IpAddress {
  return (bytes.length === 4 ? bytes.join('.') : formatIpv6(bytes)) as IpAddress;
}

/** Parses `10.0.0.0/8`; a bare address is a host network; host bits are cleared. */
export function parseNetwork(text: string): IpNetwork | undefined {
  const [addressText = '', lengthText, ...rest] = text.split('/');
  const address = parseIp(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const max = familyOf(address) === 4 ? 32 : 128;
  if (lengthText !== undefined && !/^[0-9]{1,3}$/.test(lengthText)) return undefined;
  const prefixLength = lengthText === undefined ? max : Number(lengthText);
  return prefixLength > max ? undefined : network(address, prefixLength);
}

export function network(address: IpAddress, prefixLength: number): IpNetwork {
  const bytes = ipBytes(address);
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, prefixLength - i * 8));
    bytes[i] = at(bytes, i) & (0xff << (8 - keep));
  }
  return { address: ipFromBytes(bytes), prefixLength };
}

export function formatNetwork(value: IpNetwork): string {
  return `${value.address}/${value.prefixLength}`;
}

export function networkContains(outer: IpNetwork, address: IpAddress): boolean {
  if (familyOf(outer.address) !== familyOf(address)) return false;
  return network(address, outer.prefixLength).address === outer.address;
}

/** Writes the four words of an address at `index` of `target` (IPv4 as `::ffff:a.b.c.d`). */
export function writeAddressWords(address: IpAddress, target: Int32Array, index: number): void {
  const bytes = ipBytes(address);
  if (bytes.length === 4) {
    target[index] = 0;
    target[index + 1] = 0;
    target[index + 2] = 0xffff;
    target[index + 3] = wordAt(bytes, 0);
    return;
  }
  for (let i = 0; i < 4; i++) target[index + i] = wordAt(bytes, i * 4);
}

export function addressFromWords(source: Int32Array, index: number): IpAddress {
  const bytes = new Uint8Array(16);
  for (let i = 0; i < 16; i++) bytes[i] = at(source, index + (i >> 2)) >>> (24 - (i & 3) * 8);
  const mapped =
    at(source, index) === 0 && at(source, index + 1) === 0 && at(source, index + 2) === 0xffff;
  return ipFromBytes(mapped ? bytes.subarray(12) : bytes);
}

function wordAt(bytes: Uint8Array, offset: number): number {
  return (
    (at(bytes, offset) << 24) |
    (at(bytes, offset + 1) << 16) |
    (at(bytes, offset + 2) << 8) |
    at(bytes, offset + 3)
  );
}

function parseIpv4Bytes(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = match[i + 1] ?? '';
    const value = Number(part);
    if (value > 255 || (part.length > 1 && part.startsWith('0'))) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

function parseIpv6Bytes(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? '', true) : [];
  if (!head || !tail) return undefined;
  const length = head.length + tail.length;
  if (halves.length === 2 ? length > 14 : length !== 16) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head, 0);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** Bytes of colon-separated groups; a dotted quad is allowed as the very last group of the address. */
function parseGroups(text: string, isEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const out: number[] = [];
  const groups = text.split(':');
  for (const [i, group] of groups.entries()) {
    if (isEnd && i === groups.length - 1 && group.includes('.')) {
      const quad = parseIpv4Bytes(group);
      if (!quad) return undefined;
      out.push(...quad);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const value = Number.parseInt(group, 16);
      out.push(value >> 8, value & 255);
    }
  }
  return out;
}

/** RFC 5952 §4: lower case, no leading zeros, the longest run of two or more zero groups (the first of equals) shortened. */
function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((at(bytes, i) << 8) | at(bytes, i + 1));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12).join('.')}`; // RFC 5952 §5
  }
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
  }
  const text = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(':');
  if (bestStart < 0) return text(groups);
  return `${text(groups.slice(0, bestStart))}::${text(groups.slice(bestStart + bestLength))}`;
}
