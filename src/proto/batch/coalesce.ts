// Hot path. Chains opened datagrams of one flow into super-packets, by the rules of the kernel's receive offload
// (operations 6.5): consecutive TCP segments that differ in nothing a receiver could tell, UDP datagrams of equal size.
// Bytes are not moved: `DATAGRAM.next` links the chain, the first segment's header stands for all. The twin of `native/gather.c`;
// both must fill the same rows for the same input.
//
// The kernel gives each segment of a super-packet a new checksum, so only a segment whose checksum is right may be part of one:
// a damaged one stands alone, as it came, for its receiver to refuse. What stands alone is not summed.
//
// Order: within a flow it is kept, because a datagram is only ever added to the flow's most recent super-packet.

import type { ReceiveBatch } from '../../base/batch.ts';
import { DATAGRAM, RUN, SUPER, SUPER_FLAG, VERDICT } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import { fold, sumBytes } from '../../wire/ip/checksum.ts';
import { LARGEST_TUNNEL_MTU } from '../../wire/ip/protocol.ts';

// Specification (RFC 791, 8200, 9293, 768)
const TCP = 6;
const UDP = 17;
const IPV6_HEADER = 40;
const UDP_HEADER = 8;
const PSH = 0x08;
const ACK = 0x10;
const IPV4_DF = 0x4000;
const MAX_IP_LENGTH = 65_535;

// Implementation
/** Flows that may grow at the same time; more interleaved flows than this are rare within one batch. */
const OPEN_FLOWS = 16;
/** UDP_SEGMENT's limit in older kernels, used for TCP as well. */
const MAX_SEGMENTS = 64;

export class Coalescer {
  /** Packets that were not even IP packets of a sane length; they get no row. */
  malformed = 0;
  /** Packets longer than any tunnel's MTU; they get no row either. */
  oversized = 0;
  /** Super-packet rows that may still grow, or -1. */
  readonly #open = new Int32Array(OPEN_FLOWS);
  /** By place in `#open`: last datagram of the chain, and the TCP sequence number that would follow it. */
  readonly #lastDatagram = new Int32Array(OPEN_FLOWS);
  readonly #nextSequence = new Int32Array(OPEN_FLOWS);
  /** 1: the first segment's checksums were looked at and are right. */
  readonly #isIntact = new Uint8Array(OPEN_FLOWS);
  #cursor = 0;

  gather(batch: ReceiveBatch): void {
    const { datagrams } = batch;
    batch.superCount = 0;
    this.#open.fill(-1);
    this.#cursor = 0;
    for (let i = 0; i < batch.datagramCount; i++) {
      const row = i * DATAGRAM.stride;
      datagrams[row + DATAGRAM.next] = -1;
      if (at(datagrams, row + DATAGRAM.accepted) !== 1) continue;
      if (at(datagrams, row + DATAGRAM.length) > 0) this.#add(batch, i);
    }
  }

  #add(batch: ReceiveBatch, datagram: number): void {
    const candidate = batch.superCount;
    if (!describe(batch, candidate, datagram)) {
      this.malformed++;
      return;
    }
    const { superPackets: rows, view } = batch;
    const row = candidate * SUPER.stride;
    if (at(rows, row + SUPER.length) > LARGEST_TUNNEL_MTU) {
      this.oversized++;
      return;
    }
    const transportHeaderLength = at(rows, row + SUPER.transportHeaderLength);
    if (transportHeaderLength === 0) {
      this.#endFlowsBetween(batch, row);
      batch.superCount++;
      return;
    }
    const offset = at(rows, row + SUPER.offset);
    const transport = offset + at(rows, row + SUPER.ipHeaderLength);
    const isTcp = at(rows, row + SUPER.protocol) === TCP;
    const payload = at(rows, row + SUPER.length) - (transport - offset) - transportHeaderLength;
    const mayChain = payload > 0 && isPlain(batch, row, transport);
    const place = this.#find(batch, row);
    if (place >= 0 && mayChain && this.#append(batch, place, datagram, row, payload)) return;

    batch.superCount++;
    const ends = isTcp && (view.getUint8(transport + 13) & PSH) !== 0;
    if (!mayChain || ends) {
      if (place >= 0) this.#open[place] = -1;
      return;
    }
    const target = place >= 0 ? place : this.#cursor++ % OPEN_FLOWS;
    this.#open[target] = candidate;
    this.#lastDatagram[target] = datagram;
    this.#isIntact[target] = 0;
    this.#nextSequence[target] = isTcp ? (view.getInt32(transport + 4) + payload) | 0 : 0;
  }

  /** A packet whose ports are not known (fragment, extension headers, other protocol) may be of any flow between its ends: all end. */
  #endFlowsBetween(batch: ReceiveBatch, row: number): void {
    for (let place = 0; place < OPEN_FLOWS; place++) {
      const open = at(this.#open, place);
      if (open >= 0 && hasSameEnds(batch, open * SUPER.stride, row)) this.#open[place] = -1;
    }
  }

  /** The place of the open super-packet of the same flow, or -1. */
  #find(batch: ReceiveBatch, row: number): number {
    for (let place = 0; place < OPEN_FLOWS; place++) {
      const open = at(this.#open, place);
      if (open >= 0 && isSameFlow(batch, open * SUPER.stride, row)) return place;
    }
    return -1;
  }

  /** Adds the packet described by `row` to an open super-packet; false if it must stand alone. */
  #append(
    batch: ReceiveBatch,
    place: number,
    datagram: number,
    row: number,
    payload: number,
  ): boolean {
    const { superPackets: rows, view } = batch;
    const head = at(this.#open, place) * SUPER.stride;
    const headOffset = at(rows, head + SUPER.offset);
    const headers =
      at(rows, head + SUPER.ipHeaderLength) + at(rows, head + SUPER.transportHeaderLength);
    const length = at(rows, head + SUPER.length);
    const segments = at(rows, head + SUPER.segments);
    const segment = segments === 1 ? length - headers : at(rows, head + SUPER.segmentLength);
    if (payload > segment || segments === MAX_SEGMENTS) return false;
    if (length + payload > MAX_IP_LENGTH || !hasSameHeaders(batch, head, row)) return false;

    const ipHeader = at(rows, head + SUPER.ipHeaderLength);
    const transport = at(rows, row + SUPER.offset) + ipHeader;
    const isTcp = at(rows, head + SUPER.protocol) === TCP;
    if (isTcp && view.getInt32(transport + 4) !== at(this.#nextSequence, place)) return false;
    if (at(this.#isIntact, place) === 0 && !isIntact(batch, head)) return false;
    this.#isIntact[place] = 1;
    if (!isIntact(batch, row)) return false;

    let ends = payload < segment;
    if (isTcp) {
      this.#nextSequence[place] = (view.getInt32(transport + 4) + payload) | 0;
      const push = view.getUint8(transport + 13) & PSH;
      const headFlags = headOffset + ipHeader + 13;
      view.setUint8(headFlags, view.getUint8(headFlags) | push);
      ends ||= push !== 0;
    }
    rows[head + SUPER.segmentLength] = segment;
    rows[head + SUPER.segments] = segments + 1;
    rows[head + SUPER.length] = length + payload;
    rows[head + SUPER.flags] = at(rows, head + SUPER.flags) | SUPER_FLAG.checksumOnWrite;
    batch.datagrams[at(this.#lastDatagram, place) * DATAGRAM.stride + DATAGRAM.next] = datagram;
    this.#lastDatagram[place] = datagram;
    if (ends) this.#open[place] = -1;
    return true;
  }
}

/** Fills super-packet row `index` for one datagram; false if it is not an IP packet whose lengths hold. */
function describe(batch: ReceiveBatch, index: number, datagram: number): boolean {
  const { datagrams, superPackets: rows, view, runs } = batch;
  const source = datagram * DATAGRAM.stride;
  const offset = at(datagrams, source + DATAGRAM.offset);
  const available = at(datagrams, source + DATAGRAM.length);
  const row = index * SUPER.stride;
  if (!describeIp(view, offset, available, rows, row)) return false;
  rows[row + SUPER.offset] = offset;
  rows[row + SUPER.segmentLength] = 0;
  rows[row + SUPER.segments] = 1;
  rows[row + SUPER.slot] = at(datagrams, source + DATAGRAM.slot);
  rows[row + SUPER.ecn] = at(runs, at(datagrams, source + DATAGRAM.run) * RUN.stride + RUN.ecn);
  rows[row + SUPER.verdict] = VERDICT.drop;
  rows[row + SUPER.firstDatagram] = datagram;
  return true;
}

/** IP part of a row: lengths, protocol, flags. IPv6 extension headers are not followed: their number is the protocol. */
function describeIp(
  view: DataView,
  offset: number,
  available: number,
  rows: Int32Array,
  row: number,
): boolean {
  if (available < 20) return false;
  const version = view.getUint8(offset) >> 4;
  let header: number;
  let length: number;
  let protocol: number;
  let isFragment = false;
  if (version === 4) {
    header = (view.getUint8(offset) & 15) * 4;
    length = view.getUint16(offset + 2);
    protocol = view.getUint8(offset + 9);
    isFragment = (view.getUint16(offset + 6) & 0x3fff) !== 0;
    if (header < 20) return false;
  } else if (version === 6 && available >= IPV6_HEADER) {
    header = IPV6_HEADER;
    length = IPV6_HEADER + view.getUint16(offset + 4);
    protocol = view.getUint8(offset + 6);
  } else {
    return false;
  }
  if (length > available || length < header) return false;
  rows[row + SUPER.length] = length;
  rows[row + SUPER.ipHeaderLength] = header;
  rows[row + SUPER.protocol] = protocol;
  rows[row + SUPER.flags] = version === 6 ? SUPER_FLAG.ipv6 : 0;
  rows[row + SUPER.transportHeaderLength] = isFragment
    ? 0
    : transportHeaderLength(view, offset + header, length - header, protocol);
  return true;
}

/** TCP or UDP header length, or 0 where the header is not complete or contradicts the packet's length. */
function transportHeaderLength(
  view: DataView,
  offset: number,
  available: number,
  protocol: number,
): number {
  if (protocol === TCP && available >= 20) {
    const header = (view.getUint8(offset + 12) >> 4) * 4;
    return header >= 20 && header <= available ? header : 0;
  }
  if (protocol === UDP && available >= UDP_HEADER) {
    return view.getUint16(offset + 4) === available ? UDP_HEADER : 0;
  }
  return 0;
}

/** Whether a packet may be chained at all: no IPv4 options; TCP with ACK and perhaps PSH; UDP with a checksum. */
function isPlain(batch: ReceiveBatch, row: number, transport: number): boolean {
  const { superPackets: rows, view } = batch;
  const isIpv6 = (at(rows, row + SUPER.flags) & SUPER_FLAG.ipv6) !== 0;
  if (!isIpv6 && at(rows, row + SUPER.ipHeaderLength) !== 20) return false;
  if (at(rows, row + SUPER.protocol) === UDP) return view.getUint16(transport + 6) !== 0;
  return (view.getUint8(transport + 13) & ~PSH) === ACK;
}

/** Whether the checksums of a plain packet are right. */
function isIntact(batch: ReceiveBatch, row: number): boolean {
  const { superPackets: rows, view } = batch;
  const ip = at(rows, row + SUPER.offset);
  const header = at(rows, row + SUPER.ipHeaderLength);
  const length = at(rows, row + SUPER.length) - header;
  const isIpv6 = (at(rows, row + SUPER.flags) & SUPER_FLAG.ipv6) !== 0;
  if (!isIpv6 && sumBytes(view, ip, header) !== 0xffff) return false;
  const addresses = isIpv6 ? sumBytes(view, ip + 8, 32) : sumBytes(view, ip + 12, 8);
  const pseudo = addresses + at(rows, row + SUPER.protocol) + length;
  return fold(pseudo + sumBytes(view, ip + header, length)) === 0xffff;
}

function hasSameEnds(batch: ReceiveBatch, a: number, b: number): boolean {
  const { superPackets: rows, view } = batch;
  if (at(rows, a + SUPER.slot) !== at(rows, b + SUPER.slot)) return false;
  const ipv6 = at(rows, b + SUPER.flags) & SUPER_FLAG.ipv6;
  if ((at(rows, a + SUPER.flags) & SUPER_FLAG.ipv6) !== ipv6) return false;
  const first = at(rows, a + SUPER.offset);
  const second = at(rows, b + SUPER.offset);
  return ipv6 !== 0
    ? equalWords(view, first + 8, second + 8, 8)
    : equalWords(view, first + 12, second + 12, 2);
}

function isSameFlow(batch: ReceiveBatch, a: number, b: number): boolean {
  const { superPackets: rows, view } = batch;
  if (at(rows, a + SUPER.protocol) !== at(rows, b + SUPER.protocol)) return false;
  const firstPorts = at(rows, a + SUPER.offset) + at(rows, a + SUPER.ipHeaderLength);
  const secondPorts = at(rows, b + SUPER.offset) + at(rows, b + SUPER.ipHeaderLength);
  if (view.getInt32(firstPorts) !== view.getInt32(secondPorts)) return false;
  return hasSameEnds(batch, a, b);
}

/**
 * What a receiver can see besides the flow, its data and, in TCP, PSH must be equal, the outer ECN too. IPv4's identification must
 * count up, unless the packets cannot become fragments (RFC 6864).
 */
function hasSameHeaders(batch: ReceiveBatch, head: number, row: number): boolean {
  const { superPackets: rows, view } = batch;
  const a = at(rows, head + SUPER.offset);
  const b = at(rows, row + SUPER.offset);
  const ipHeader = at(rows, row + SUPER.ipHeaderLength);
  const transportHeader = at(rows, row + SUPER.transportHeaderLength);
  if (at(rows, head + SUPER.ecn) !== at(rows, row + SUPER.ecn)) return false;
  if (at(rows, head + SUPER.ipHeaderLength) !== ipHeader) return false;
  if (at(rows, head + SUPER.transportHeaderLength) !== transportHeader) return false;
  if ((at(rows, row + SUPER.flags) & SUPER_FLAG.ipv6) !== 0) {
    if (view.getInt32(a) !== view.getInt32(b)) return false; // traffic class and flow label
    if (view.getUint8(a + 7) !== view.getUint8(b + 7)) return false; // hop limit
  } else {
    if (view.getUint8(a + 1) !== view.getUint8(b + 1)) return false; // type of service
    if (view.getUint16(a + 6) !== view.getUint16(b + 6)) return false; // DF
    if (view.getUint8(a + 8) !== view.getUint8(b + 8)) return false; // time to live
    const next = (view.getUint16(a + 4) + at(rows, head + SUPER.segments)) & 0xffff;
    if ((view.getUint16(a + 6) & IPV4_DF) === 0 && view.getUint16(b + 4) !== next) return false;
  }
  if (at(rows, row + SUPER.protocol) === UDP) return true;
  const ta = a + ipHeader;
  const tb = b + ipHeader;
  if (view.getInt32(ta + 8) !== view.getInt32(tb + 8)) return false; // acknowledgement
  // Header length, flags and window in one word, PSH apart.
  if (((view.getInt32(ta + 12) ^ view.getInt32(tb + 12)) & ~(PSH << 16)) !== 0) return false;
  if (view.getUint16(ta + 18) !== view.getUint16(tb + 18)) return false; // urgent pointer
  return equalWords(view, ta + 20, tb + 20, (transportHeader - 20) / 4);
}

function equalWords(view: DataView, a: number, b: number, words: number): boolean {
  for (let i = 0; i < words; i++) {
    if (view.getInt32(a + i * 4) !== view.getInt32(b + i * 4)) return false;
  }
  return true;
}
