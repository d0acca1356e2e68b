// ICE candidates: what one is, and its string (connectivity 5.5, RFC 8839 §5.1). The parser is liberal and total, the
// writer exact. Whether a parsed candidate is used is decided by remote-candidates.ts, not here.

import {
  type Endpoint,
  endpoint,
  familyOf,
  type IpAddress,
  ipBytes,
  parseIp,
} from '../../base/address.ts';
import { at, utf8Encode } from '../../base/bytes.ts';
import type { CandidateKind } from './priority.ts';

export interface IceCandidate {
  readonly kind: CandidateKind;
  readonly foundation: string;
  readonly component: number;
  readonly priority: number;
  readonly address: Endpoint;
  /** Where checks leave from. A parsed candidate has none of its own: it is the address itself. */
  readonly base: Endpoint;
  /** User name fragment of its owner, if the string said it. */
  readonly ufrag?: string;
}

// Specification

const KIND_NAMES: ReadonlyMap<string, CandidateKind> = new Map([
  ['host', 'host'],
  ['srflx', 'srflx'],
  ['prflx', 'prflx'],
  ['relay', 'relayed'],
]);
const MAX_UINT32 = 0xffff_ffff;

// Implementation

/** Longest string looked at; a real one has at most some 250 characters. */
const MAX_CANDIDATE_LENGTH = 1024;
/** RFC 8839 says 32; others are taken as they are, within reason. */
const MAX_FOUNDATION_LENGTH = 128;

/** `undefined` for whatever is not a UDP candidate with an IP address. Unknown extensions are skipped. */
export function parseCandidate(text: string): IceCandidate | undefined {
  if (text.length > MAX_CANDIDATE_LENGTH || !text.startsWith('candidate:')) return undefined;
  // RFC 8839 §5.1: words are of visible ASCII. What else is white space would be lost when the string is passed on.
  if (!/^[\x20-\x7e]*$/.test(text)) return undefined;
  const words = text.slice('candidate:'.length).trim().split(/ +/);
  const [foundation = '', componentText, protocol, priorityText, addressText, portText] = words;
  const component = parseUint(componentText, 0xffff);
  const priority = parseUint(priorityText, MAX_UINT32);
  const address = parseIp(addressText ?? '');
  const port = parseUint(portText, 0xffff);
  const kind = words[6] === 'typ' ? KIND_NAMES.get(words[7] ?? '') : undefined;
  if (foundation === '' || foundation.length > MAX_FOUNDATION_LENGTH) return undefined;
  if (protocol?.toLowerCase() !== 'udp') return undefined;
  if (component === undefined || priority === undefined || port === undefined) return undefined;
  if (address === undefined || kind === undefined) return undefined;

  const own = endpoint(address, port);
  const candidate = { kind, foundation, component, priority, address: own, base: own };
  const ufrag = findExtension(words, 'ufrag');
  return ufrag === undefined ? candidate : { ...candidate, ufrag };
}

/**
 * The string that is signalled. Server-reflexive and relayed candidates carry a dummy related address (RFC 8839 §5.1:
 * for privacy), because the real one is of no use to the peer.
 */
export function formatCandidate(candidate: IceCandidate): string {
  const { kind, foundation, component, priority, address, ufrag } = candidate;
  const name = kind === 'relayed' ? 'relay' : kind;
  const dummy = familyOf(address.address) === 6 ? '::' : '0.0.0.0';
  const related = kind === 'srflx' || kind === 'relayed' ? ` raddr ${dummy} rport 0` : '';
  const owner = ufrag === undefined ? '' : ` ufrag ${ufrag}`;
  return `candidate:${foundation} ${component} udp ${priority} ${address.address} ${address.port} typ ${name}${related}${owner}`;
}

/**
 * RFC 8445 §5.1.1.3, as connectivity 5.4 writes it: the priority with its bytes swapped, so that strings sort relay, srflx,
 * host, and a hash of kind and base address.
 */
export function computeFoundation(kind: CandidateKind, base: IpAddress, priority: number): string {
  const swapped = [priority, priority / 2 ** 8, priority / 2 ** 16, priority / 2 ** 24];
  const prefix = swapped.map((byte) => hex(Math.floor(byte) % 256, 2)).join('');
  return prefix + hex(fnv1a(utf8Encode(`${kind} ${base}`)), 8);
}

export function isSameCandidate(a: IceCandidate, b: IceCandidate): boolean {
  return a.kind === b.kind && a.address.key === b.address.key && a.base.key === b.base.key;
}

export type AddressRefusal =
  | 'loopback'
  | 'unspecified'
  | 'multicast'
  | 'link-local'
  | 'ipv4-mapped'
  | 'port-zero';

/**
 * Why an address is no candidate's (connectivity 5.2, 14.11). Private, shared, unique-local addresses and IPv6 link-local
 * ones are fine; loopback is left to the caller.
 */
export function addressRefusal(of: Endpoint): AddressRefusal | undefined {
  if (of.port === 0) return 'port-zero';
  const bytes = ipBytes(of.address);
  return bytes.length === 4 ? ipv4Refusal(bytes) : ipv6Refusal(bytes);
}

/** RFC 4291 §2.5.6: fe80::/10. Only on one link does it mean anything. */
export function isIpv6LinkLocal(of: Endpoint): boolean {
  return /^fe[89ab][0-9a-f]:/.test(of.address);
}

function ipv4Refusal(bytes: Uint8Array): AddressRefusal | undefined {
  const first = at(bytes, 0);
  if (first === 127) return 'loopback';
  if (first === 0) return 'unspecified'; // RFC 1122 §3.2.1.3: the whole 0.0.0.0/8
  if (first === 169 && bytes[1] === 254) return 'link-local';
  if (first >= 224 && first < 240) return 'multicast';
  return bytes.every((byte) => byte === 255) ? 'multicast' : undefined;
}

function ipv6Refusal(bytes: Uint8Array): AddressRefusal | undefined {
  if (bytes[0] === 0xff) return 'multicast';
  if (bytes.subarray(0, 15).every((byte) => byte === 0)) {
    if (bytes[15] === 0) return 'unspecified';
    if (bytes[15] === 1) return 'loopback';
  }
  // RFC 4291 §2.5.5.2: it would reach an IPv4 address past the checks for those.
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return isMapped ? 'ipv4-mapped' : undefined;
}

/** Value of a key behind the fixed part; keys and values alternate (RFC 8839 §5.1, `cand-extension`). */
function findExtension(words: readonly string[], key: string): string | undefined {
  for (let i = 8; i + 1 < words.length; i += 2) if (words[i] === key) return words[i + 1];
  return undefined;
}

function parseUint(text: string | undefined, max: number): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

/** 32-bit FNV-1a: only has to tell candidates of one agent apart. */
function fnv1a(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
