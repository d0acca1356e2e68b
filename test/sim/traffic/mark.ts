// How a packet of an application is known again: by a mark in its payload, or in its TCP sequence number, which survive NAT. Also the reading of packets
// with plain arithmetic, so that an observer needs nothing of the product for it.
//
//   UDP, echo   payload: "FZSM", exchange (32 bit), sequence (16 bit), 1 for an answer
//   TCP         the exchange is the upper half of all sequence numbers of both sides

export interface Mark {
  readonly exchange: number;
  readonly sequence: number;
  readonly isAnswer: boolean;
}

export const MARK_LENGTH = 11;
const MAGIC = 0x465a534d;
const TCP = 6;
const UDP = 17;

export function writeMark({ exchange, sequence, isAnswer }: Mark, bytes: number): Uint8Array {
  const payload = new Uint8Array(Math.max(MARK_LENGTH, bytes));
  const view = new DataView(payload.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, exchange);
  view.setUint16(8, sequence);
  payload[10] = isAnswer ? 1 : 0;
  // Something that is not zero, so that a mix-up shows.
  for (let i = MARK_LENGTH; i < payload.length; i++) payload[i] = (exchange + i) & 255;
  return payload;
}

/** The headers of a whole IP packet; `undefined` where it is not one, or a fragment. */
export interface PacketFacts {
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** Of TCP and UDP; 0 else. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of ICMP; -1 else. */
  readonly icmpType: number;
  readonly icmpCode: number;
  readonly tcpFlags: number;
  readonly transportOffset: number;
  readonly payloadOffset: number;
}

export function factsOf(packet: Uint8Array): PacketFacts | undefined {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  if (packet.length < 20) return undefined;
  const version = view.getUint8(0) >> 4;
  if (version !== 4 && version !== 6) return undefined;
  if (version === 6 && packet.length < 40) return undefined;
  const at = version === 4 ? (view.getUint8(0) & 15) * 4 : 40;
  const protocol = view.getUint8(version === 4 ? 9 : 6);
  const isIcmp = protocol === 1 || protocol === 58;
  const hasPorts = (protocol === TCP || protocol === UDP) && packet.length >= at + 8;
  const tcpHeader =
    protocol === TCP && packet.length >= at + 20 ? (view.getUint8(at + 12) >> 4) * 4 : 8;
  return {
    version,
    protocol,
    source: addressText(packet, version === 4 ? 12 : 8, version),
    destination: addressText(packet, version === 4 ? 16 : 24, version),
    sourcePort: hasPorts ? view.getUint16(at) : 0,
    destinationPort: hasPorts ? view.getUint16(at + 2) : 0,
    icmpType: isIcmp && packet.length > at + 1 ? view.getUint8(at) : -1,
    icmpCode: isIcmp && packet.length > at + 1 ? view.getUint8(at + 1) : -1,
    tcpFlags: protocol === TCP && packet.length >= at + 20 ? view.getUint8(at + 13) : 0,
    transportOffset: at,
    payloadOffset: at + tcpHeader,
  };
}

/** The mark of a packet, or of the packet that an ICMP error quotes. */
export function markOf(packet: Uint8Array): Mark | undefined {
  const facts = factsOf(packet);
  if (facts === undefined) return undefined;
  if (isIcmpError(facts)) {
    const quoted = markOf(packet.subarray(facts.transportOffset + 8));
    return quoted;
  }
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  if (facts.protocol === TCP) {
    if (packet.length < facts.transportOffset + 8) return undefined;
    const sequence = view.getUint32(facts.transportOffset + 4);
    return { exchange: sequence >>> 16, sequence: sequence & 0xffff, isAnswer: false };
  }
  const at = facts.payloadOffset;
  if (packet.length < at + MARK_LENGTH || view.getUint32(at) !== MAGIC) return undefined;
  return {
    exchange: view.getUint32(at + 4),
    sequence: view.getUint16(at + 8),
    isAnswer: view.getUint8(at + 10) === 1,
  };
}

export function isIcmpError({ protocol, icmpType }: PacketFacts): boolean {
  if (protocol === 1) return [3, 4, 5, 11, 12].includes(icmpType);
  return protocol === 58 && icmpType >= 0 && icmpType < 128;
}

function addressText(packet: Uint8Array, at: number, version: 4 | 6): string {
  if (version === 4) return packet.subarray(at, at + 4).join('.');
  const groups: number[] = [];
  for (let i = at; i < at + 16; i += 2) {
    groups.push(((packet[i] ?? 0) << 8) | (packet[i + 1] ?? 0));
  }
  return shortened(groups);
}

/** RFC 5952 §4: the longest run of two or more zero groups, the first of equals, is left out. */
function shortened(groups: readonly number[]): string {
  let [best, length] = [-1, 1];
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - start > length) [best, length] = [start, end - start];
  }
  const text = (part: readonly number[]): string => part.map((g) => g.toString(16)).join(':');
  if (best < 0) return text(groups);
  return `${text(groups.slice(0, best))}::${text(groups.slice(best + length))}`;
}
