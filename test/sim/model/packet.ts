// An inner packet as the model reads it (data-plane 12.1, 12.3, 12.5). Written from the rule table, for clarity and not for speed; it shares no code
// with the product. Checksums are not looked at here; `areChecksumsRight` does, for packets that somebody built or rewrote.

import { type Address, addressOfBytes, isMapped } from './address.ts';

export type Kind = 'tcp' | 'udp' | 'echo' | 'icmp' | 'other';

export interface Flow {
  readonly source: Address;
  readonly destination: Address;
  readonly kind: Kind;
  /** Of TCP and UDP; the identifier of an echo, in both fields; otherwise 0. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

export interface Packet extends Flow {
  readonly bytes: Uint8Array;
  readonly protocol: number;
  /** Where the transport header begins. */
  readonly transport: number;
  readonly tcpFlags: number;
  readonly icmpType: number;
  readonly icmpCode: number;
  /** The packet an ICMP error is about; absent if it is no error, or quotes something that nobody can look up. */
  readonly about: Flow | undefined;
  readonly payload: Uint8Array;
}

export type Reading =
  | { readonly kind: 'packet'; readonly packet: Packet }
  | { readonly kind: 'malformed' | 'fragment' | 'too-large' };

const MAX_LENGTH = 1280;
const TCP = 6;
const UDP = 17;
const ICMP = { 4: 1, 6: 58 } as const;
const EXTENSIONS = [0, 43, 60, 135, 139, 140, 253, 254];
const FRAGMENT_HEADER = 44;

interface Header {
  readonly version: 4 | 6;
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: number;
  readonly length: number;
  readonly isFragment: boolean;
}

export function read(bytes: Uint8Array): Reading {
  if (bytes.length === 0) return { kind: 'malformed' };
  if (bytes.length > MAX_LENGTH) return { kind: 'too-large' };
  const header = readHeader(bytes, true);
  if (!header) return { kind: 'malformed' };
  if (header.isFragment) return { kind: 'fragment' };
  if (header.version === 6 && (isMapped(header.source) || isMapped(header.destination))) {
    return { kind: 'malformed' };
  }
  const packet = readTransport(bytes, header);
  return packet ? { kind: 'packet', packet } : { kind: 'malformed' };
}

/** The only next step for whoever has a packet for sure. */
export function mustRead(bytes: Uint8Array): Packet {
  const reading = read(bytes);
  if (reading.kind !== 'packet') throw new Error(`the model cannot read this: ${reading.kind}`);
  return reading.packet;
}

function readHeader(bytes: Uint8Array, isWhole: boolean): Header | undefined {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4) return readIpv4(bytes, isWhole);
  return version === 6 ? readIpv6(bytes, isWhole) : undefined;
}

function readIpv4(bytes: Uint8Array, isWhole: boolean): Header | undefined {
  const length = (byte(bytes, 0) & 15) * 4;
  if (bytes.length < 20 || length < 20 || bytes.length < length) return undefined;
  if (isWhole && word(bytes, 2) !== bytes.length) return undefined;
  return {
    version: 4,
    source: addressOfBytes(bytes.subarray(12, 16)),
    destination: addressOfBytes(bytes.subarray(16, 20)),
    protocol: byte(bytes, 9),
    length,
    isFragment: isWhole && (word(bytes, 6) & 0x3fff) !== 0,
  };
}

function readIpv6(bytes: Uint8Array, isWhole: boolean): Header | undefined {
  if (bytes.length < 40) return undefined;
  if (isWhole && word(bytes, 4) + 40 !== bytes.length) return undefined;
  let [protocol, length, isFragment] = [byte(bytes, 6), 40, false];
  for (;;) {
    const isExtension = EXTENSIONS.includes(protocol);
    if (!isExtension && protocol !== FRAGMENT_HEADER) break;
    if (bytes.length < length + 8) return undefined;
    if (!isExtension) isFragment ||= (word(bytes, length + 2) & 0xfff9) !== 0;
    protocol = byte(bytes, length);
    length += isExtension ? 8 + 8 * byte(bytes, length + 1) : 8;
    if (bytes.length < length) return undefined;
  }
  const source = addressOfBytes(bytes.subarray(8, 24));
  const destination = addressOfBytes(bytes.subarray(24, 40));
  return { version: 6, source, destination, protocol, length, isFragment };
}

function readTransport(bytes: Uint8Array, header: Header): Packet | undefined {
  const { protocol, version, source, destination, length: transport } = header;
  const rest = bytes.subarray(transport);
  const base = { bytes, protocol, transport, source, destination, about: undefined };
  const bare = {
    ...base,
    tcpFlags: 0,
    icmpType: 0,
    icmpCode: 0,
    sourcePort: 0,
    destinationPort: 0,
  };
  if (protocol === TCP || protocol === UDP) {
    const headerLength = protocol === UDP ? 8 : (byte(rest, 12) >> 4) * 4;
    if (rest.length < (protocol === UDP ? 8 : 20)) return undefined;
    if (protocol === UDP ? word(rest, 4) !== rest.length : headerLength < 20) return undefined;
    if (rest.length < headerLength) return undefined;
    return {
      ...bare,
      kind: protocol === UDP ? 'udp' : 'tcp',
      sourcePort: word(rest, 0),
      destinationPort: word(rest, 2),
      tcpFlags: protocol === TCP ? byte(rest, 13) : 0,
      payload: rest.subarray(headerLength),
    };
  }
  if (protocol === ICMP[version]) {
    if (rest.length < 8) return undefined;
    const [icmpType, icmpCode] = [byte(rest, 0), byte(rest, 1)];
    const isEcho = icmpCode === 0 && (version === 4 ? [0, 8] : [128, 129]).includes(icmpType);
    const identifier = isEcho ? word(rest, 4) : 0;
    const ports = { sourcePort: identifier, destinationPort: identifier };
    const isError = isErrorType(version, icmpType, icmpCode);
    const about = isError ? readQuoted(rest.subarray(8), version) : undefined;
    const kind = isEcho ? 'echo' : 'icmp';
    return { ...bare, ...ports, kind, icmpType, icmpCode, about, payload: rest.subarray(8) };
  }
  if (protocol === ICMP[version === 4 ? 6 : 4]) return undefined;
  return { ...bare, kind: 'other', payload: rest };
}

/** data-plane 12.5, first table. */
function isErrorType(version: 4 | 6, type: number, code: number): boolean {
  if (version === 4) return type === 3 || type === 11;
  return type === 1 || type === 3 || (type === 2 && code === 0);
}

/** data-plane 12.5: what is left of the packet that an error quotes. */
function readQuoted(bytes: Uint8Array, version: 4 | 6): Flow | undefined {
  const header = readHeader(bytes, false);
  if (header?.version !== version) return undefined;
  const { source, destination, protocol, length } = header;
  const rest = bytes.subarray(length);
  if ((protocol === TCP || protocol === UDP) && rest.length >= 4) {
    const kind = protocol === TCP ? 'tcp' : 'udp';
    return { source, destination, kind, sourcePort: word(rest, 0), destinationPort: word(rest, 2) };
  }
  const isRequest = byte(rest, 0) === (version === 4 ? 8 : 128) && byte(rest, 1) === 0;
  if (protocol !== ICMP[version] || rest.length < 8 || !isRequest) return undefined;
  const identifier = word(rest, 4);
  const ports = { sourcePort: identifier, destinationPort: identifier };
  return { source, destination, kind: 'echo', ...ports };
}

/** `prohibited` and `unreachable` as in data-plane 5; `undefined` for everything else. */
export function refusal(packet: Packet): 'prohibited' | 'unreachable' | undefined {
  if (packet.kind !== 'icmp') return undefined;
  const key = `${packet.protocol} ${packet.icmpType} ${packet.icmpCode}`;
  if (key === '1 3 13' || key === '58 1 1') return 'prohibited';
  return key === '1 3 0' || key === '58 1 3' ? 'unreachable' : undefined;
}

/** RFC 1071 over header and transport with its pseudo header; UDP over IPv4 may have none. */
export function areChecksumsRight(bytes: Uint8Array): boolean {
  const header = readHeader(bytes, true);
  if (!header) return false;
  const { version, length, protocol } = header;
  if (version === 4 && sum(bytes.subarray(0, length)) !== 0xffff) return false;
  const rest = bytes.subarray(length);
  if (header.isFragment || ![TCP, UDP, ICMP[4], ICMP[6]].includes(protocol)) return true;
  if (protocol === UDP && word(rest, 6) === 0) return true;
  const addresses = version === 4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  const start = protocol === ICMP[4] ? 0 : sum(addresses) + protocol + rest.length;
  return sum(rest, start) === 0xffff;
}

function sum(bytes: Uint8Array, start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i += 2) total += (byte(bytes, i) << 8) | byte(bytes, i + 1);
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return total;
}

function byte(bytes: Uint8Array, offset: number): number {
  return bytes[offset] ?? 0;
}

function word(bytes: Uint8Array, offset: number): number {
  return (byte(bytes, offset) << 8) | byte(bytes, offset + 1);
}
