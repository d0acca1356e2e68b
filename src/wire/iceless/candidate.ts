// Candidates of ICE-less connections and their strings (iceless 3.1 and 3.2). They look like those of ICE and mean the same addresses, but
// reflexive and relayed ones name their base, and nothing is negotiated with foundation or priority. Whether an address makes sense is
// judged elsewhere.

import {
  type Endpoint,
  endpoint,
  familyOf,
  type IpAddress,
  ipBytes,
  parseIp,
} from '../../base/address.ts';
import { concat } from '../../base/bytes.ts';

/** From the best to the worst (iceless 3.1). */
export type PathCandidateKind = 'host' | 'srflx' | 'relayed';

export interface PathCandidate {
  readonly kind: PathCandidateKind;
  /** What the peer sends to. */
  readonly address: Endpoint;
  /** Our socket; of a relayed candidate the one that the relay is spoken to from. */
  readonly base: Endpoint;
}

export type CandidateRefusal =
  | 'malformed'
  | 'unsupported-transport'
  | 'invalid-address'
  | 'missing-base'
  | 'unknown-type';

// Specification

/** iceless 3.2: `type << 24 | 0xffff << 8 | 255`. */
const PRIORITY: Readonly<Record<PathCandidateKind, number>> = {
  host: 2_130_706_431,
  srflx: 1_694_498_815,
  relayed: 16_777_215,
};
const KIND_BYTE: Readonly<Record<PathCandidateKind, number>> = { host: 0, srflx: 1, relayed: 2 };
const KIND_NAMES: ReadonlyMap<string, PathCandidateKind> = new Map([
  ['host', 'host'],
  ['srflx', 'srflx'],
  ['relay', 'relayed'],
]);
const PREFIX = 'candidate:';
const MAX_UINT32 = 0xffff_ffff;
/** FNV-1a with 64 bits. */
const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

// Implementation

/** Longest string looked at; a real one has at most some 200 characters. */
const MAX_LENGTH = 1024;

export function candidatePriorityOf(kind: PathCandidateKind): number {
  return PRIORITY[kind];
}

/** Left half of the pairs of a local candidate (iceless 3.1): where its datagrams leave from. */
export function sendAddressOf(candidate: PathCandidate): Endpoint {
  return candidate.kind === 'relayed' ? candidate.address : candidate.base;
}

/** False for a relayed address of another family than the way to its relay. */
export function isFamilyMatched({ kind, address, base }: PathCandidate): boolean {
  return kind !== 'relayed' || familyOf(address.address) === familyOf(base.address);
}

/** Equal in kind, address and base. */
export function pathCandidateKey({ kind, address, base }: PathCandidate): string {
  return `${kind} ${address.key} ${base.key}`;
}

export function formatPathCandidate(candidate: PathCandidate): string {
  const { kind, address, base } = candidate;
  const own = `${address.address} ${address.port}`;
  const head = `${PREFIX}${foundationOf(candidate)} 1 udp ${PRIORITY[kind]} ${own} typ`;
  if (kind === 'host') return `${head} host`;
  const name = kind === 'relayed' ? 'relay' : kind;
  return `${head} ${name} raddr ${base.address} rport ${base.port}`;
}

/** In the order of iceless 3.2. The priority must be a number, as the messages demand it, and means nothing. */
export function parsePathCandidate(text: string): PathCandidate | CandidateRefusal {
  if (text.length > MAX_LENGTH || !text.startsWith(PREFIX)) return 'malformed';
  const words = text.slice(PREFIX.length).split(/[\t\n\f\r ]+/);
  const [foundation, component, transport, priority, ip, port, typ, type, ...rest] = words;
  if (!foundation || component === undefined || transport === undefined) return 'malformed';
  if (transport.toLowerCase() !== 'udp') return 'unsupported-transport';
  if (parseUint(priority, MAX_UINT32) === undefined) return 'malformed';
  if (ip === undefined || port === undefined || typ !== 'typ' || !type) return 'malformed';
  const address = parseSocketAddress(ip, port);
  if (address === undefined) return 'invalid-address';
  const kind = KIND_NAMES.get(type);
  if (kind === undefined) return 'unknown-type';
  if (kind === 'host') return { kind, address, base: address };
  const baseIp = wordBehind(rest, 'raddr');
  const basePort = wordBehind(rest, 'rport');
  if (baseIp === undefined || basePort === undefined) return 'missing-base';
  const base = parseSocketAddress(baseIp, basePort);
  return base ? { kind, address, base } : 'invalid-address';
}

/** iceless 3.2: the same candidate always has the same. */
export function foundationOf({ kind, address, base }: PathCandidate): bigint {
  const ends = kind === 'host' ? [address] : [address, base];
  let hash = FNV_OFFSET;
  for (const byte of concat(Uint8Array.of(KIND_BYTE[kind]), ...ends.map(octetsOf))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME);
  }
  return hash;
}

function octetsOf({ address, port }: Endpoint): Uint8Array {
  return concat(ipBytes(address), Uint8Array.of(port >> 8, port & 255));
}

function parseSocketAddress(ip: string, port: string): Endpoint | undefined {
  const address: IpAddress | undefined = parseIp(ip);
  const number = parseUint(port, 0xffff);
  return address === undefined || number === undefined ? undefined : endpoint(address, number);
}

/** The word behind `key`. */
function wordBehind(words: readonly string[], key: string): string | undefined {
  const index = words.indexOf(key);
  return index < 0 ? undefined : words[index + 1];
}

function parseUint(text: string | undefined, max: number): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}
