// Hot path. The sessions of a NAT table as rows of typed arrays: where they are, how they are found by either of their tuples, and how
// long they live (data-plane 9.4). Nothing is allocated but when the table grows; a session costs at most 160 bytes with its two
// index entries. A translated session that is over stays in its row as an *expired tuple* for a while: it is no longer found by what
// the client sees, only by what the resource sees, so that late replies are known for what they are.
//
// Which packets belong to a session, and which port a new one gets, is `nat-table.ts`.

import { int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import { isMappedWords } from '../../wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../wire/ip/protocol.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import type { FlowKey } from './flow-key.ts';
import { TupleIndex } from './tuple-index.ts';

// Specification (data-plane 9.4, 1.3; RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2)
const TCP_LIFETIME_MS = 7_440_000;
const UDP_LIFETIME_MS = 120_000;
const ICMP_LIFETIME_MS = 120_000;
/** Since the last packet to the resource, while it never answered. */
export const UNCONFIRMED_LIFETIME_MS = 60_000;
/** Since the last packet, once both sides sent FIN. */
const CLOSED_LIFETIME_MS = 5_000;

// Implementation
/**
 * Of protocols without a clause of their own, and of UDP where nothing is translated, so that a server's rare news still arrive: what
 * Linux gives them, longer than any keepalive of SCTP or a tunnel.
 */
const OTHER_LIFETIME_MS = 600_000;
const INITIAL_CAPACITY = 16;
/** TCP gives up retransmitting after about this long (RFC 9293 §3.8.3 asks for at least 100 s, Linux takes 15 min). */
const MEMORY_MS = 900_000;

/** In the word `ROW.state`, above the protocol. */
const FLAG = {
  finToResource: 0x100,
  finToClient: 0x200,
  reset: 0x400,
  confirmed: 0x800,
  used: 0x1000,
  translated: 0x2000,
  expired: 0x4000,
  /** The client sees an address of one family, the resource has one of the other. */
  crossFamily: 0x8000,
} as const;
const FIN_BOTH: number = FLAG.finToResource | FLAG.finToClient;
const PROTOCOL_MASK = 0xff;

/** Row of `#rows`. Each address has its word of ports behind it, as `TupleIndex` wants it. */
const ROW = {
  stride: 12,
  /** Address as the client sees it, four words. */
  inside: 0,
  insidePorts: 4,
  /** Address of the resource, four words. */
  outside: 5,
  outsidePorts: 9,
  /** Protocol, and `FLAG`. */
  state: 10,
  /** For the owner: under which policy the connection was last allowed. While the row is free: the next free one. */
  epoch: 11,
} as const;
const INSIDE = { stride: ROW.stride, address: ROW.inside, protocol: ROW.state } as const;
const OUTSIDE = { stride: ROW.stride, address: ROW.outside, protocol: ROW.state } as const;

/** Four words of an address. */
export interface WordsAt {
  readonly words: Int32Array;
  readonly index: number;
}

export class Sessions {
  readonly #byInside: TupleIndex;
  readonly #byOutside: TupleIndex;
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  /** When a session is over, unless another packet comes. */
  #endAt = new Float64Array(INITIAL_CAPACITY);
  #used = 0;
  #free = -1;

  constructor(seed: number) {
    this.#byInside = new TupleIndex(seed, INSIDE);
    this.#byOutside = new TupleIndex(seed ^ 0x5bd1e995, OUTSIDE);
  }

  /** Live sessions. */
  get count(): number {
    return this.#byInside.count;
  }

  get expiredCount(): number {
    return this.#byOutside.count - this.#byInside.count;
  }

  /** Rows that are or were in use. */
  get rowCount(): number {
    return this.#used;
  }

  get bytes(): number {
    const indexes = this.#byInside.bytes + this.#byOutside.bytes;
    return this.#rows.byteLength + this.#endAt.byteLength + indexes;
  }

  get rows(): Int32Array {
    return this.#rows;
  }

  /** The session, also if it is over, or -1. */
  findInside(words: Int32Array, index: number, ports: number, protocol: number): number {
    return this.#byInside.find(this.#rows, words, index, ports, protocol);
  }

  /** The session or the expired tuple, or -1. */
  findOutside(words: Int32Array, index: number, ports: number, protocol: number): number {
    return this.#byOutside.find(this.#rows, words, index, ports, protocol);
  }

  /** A session that no packet came back to yet. Neither tuple may be taken. */
  add(key: FlowKey, inside: WordsAt, outside: WordsAt, outsidePorts: number, now: Instant): number {
    const { ports, protocol } = key;
    const session = this.#takeRow();
    const row = session * ROW.stride;
    const rows = this.#rows;
    let isTranslated = ports !== outsidePorts;
    for (let i = 0; i < 4; i++) {
      const word = int32At(outside.words, outside.index + i);
      if (word !== int32At(inside.words, inside.index + i)) isTranslated = true;
      rows[row + ROW.inside + i] = int32At(inside.words, inside.index + i);
      rows[row + ROW.outside + i] = word;
    }
    rows[row + ROW.insidePorts] = ports;
    rows[row + ROW.outsidePorts] = outsidePorts;
    const isCross =
      isMappedWords(rows, row + ROW.inside) !== isMappedWords(rows, row + ROW.outside);
    rows[row + ROW.state] =
      protocol |
      FLAG.used |
      (isTranslated ? FLAG.translated : 0) |
      (isCross ? FLAG.crossFamily : 0);
    rows[row + ROW.epoch] = 0;
    this.touch(session, now);
    this.#byInside.add(rows, session);
    this.#byOutside.add(rows, session);
    return session;
  }

  /** The session is over; what is left of it is remembered. */
  expire(session: number, now: Instant): void {
    this.#byInside.remove(this.#rows, session);
    this.#rows[session * ROW.stride + ROW.state] = this.protocolOf(session) | FLAG.expired;
    this.#endAt[session] = now + MEMORY_MS;
  }

  /** Nothing is left of a session or an expired tuple. */
  remove(session: number): void {
    const rows = this.#rows;
    if (this.isUsed(session)) this.#byInside.remove(rows, session);
    this.#byOutside.remove(rows, session);
    rows[session * ROW.stride + ROW.state] = 0;
    rows[session * ROW.stride + ROW.epoch] = this.#free;
    this.#free = session;
  }

  clear(): void {
    this.#byInside.clear();
    this.#byOutside.clear();
    this.#rows.fill(0);
    this.#used = 0;
    this.#free = -1;
  }

  insideOf(session: number): number {
    return session * ROW.stride + ROW.inside;
  }

  outsideOf(session: number): number {
    return session * ROW.stride + ROW.outside;
  }

  insidePortsOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.insidePorts);
  }

  outsidePortsOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.outsidePorts);
  }

  protocolOf(session: number): number {
    return this.#stateOf(session) & PROTOCOL_MASK;
  }

  epochOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.epoch);
  }

  setEpoch(session: number, epoch: number): void {
    this.#rows[session * ROW.stride + ROW.epoch] = epoch;
  }

  isUsed(row: number): boolean {
    return (this.#stateOf(row) & FLAG.used) !== 0;
  }

  isExpired(row: number): boolean {
    return (this.#stateOf(row) & FLAG.expired) !== 0;
  }

  isTranslated(session: number): boolean {
    return (this.#stateOf(session) & FLAG.translated) !== 0;
  }

  isCrossFamily(session: number): boolean {
    return (this.#stateOf(session) & FLAG.crossFamily) !== 0;
  }

  isReset(session: number): boolean {
    return (this.#stateOf(session) & FLAG.reset) !== 0;
  }

  /** Whether it had an answer. */
  isConfirmed(session: number): boolean {
    return (this.#stateOf(session) & FLAG.confirmed) !== 0;
  }

  /** Ended by one side with RST or by both with FIN. */
  isClosed(session: number): boolean {
    const state = this.#stateOf(session);
    return (state & FLAG.reset) !== 0 || (state & FIN_BOTH) === FIN_BOTH;
  }

  /**
   * For look-ups: after RST a session still serves until the next sweep. Reads without `at`, because a fraction that a function
   * returns is allocated where the compiler does not inline it (16 bytes a packet, measured in bench/policy).
   */
  isOver(session: number, now: Instant): boolean {
    const endAt = this.#endAt[session];
    return endAt !== undefined && now >= endAt;
  }

  /** The earlier of its end and another. */
  earlierEnd(row: number, other: number): number {
    const end = this.#endAt[row] ?? other;
    return Math.min(end, other);
  }

  confirm(session: number): void {
    this.#rows[session * ROW.stride + ROW.state] = this.#stateOf(session) | FLAG.confirmed;
  }

  /** FIN or RST in a packet of the session; when the session will be over because of it. */
  close(session: number, tcpFlags: number, isToClient: boolean, now: Instant): Instant {
    const isReset = (tcpFlags & TCP_FLAG.rst) !== 0;
    const fin = isToClient ? FLAG.finToClient : FLAG.finToResource;
    const state = this.#stateOf(session) | (isReset ? FLAG.reset : fin);
    this.#rows[session * ROW.stride + ROW.state] = state;
    return isReset ? now : later(now, CLOSED_LIFETIME_MS);
  }

  /** A packet of the session passed. */
  touch(session: number, now: Instant): void {
    const state = this.#stateOf(session);
    let lifetime = UNCONFIRMED_LIFETIME_MS;
    if ((state & FIN_BOTH) === FIN_BOTH) lifetime = CLOSED_LIFETIME_MS;
    else if ((state & FLAG.confirmed) !== 0) lifetime = lifetimeOf(state);
    this.#endAt[session] = now + lifetime;
  }

  #stateOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.state);
  }

  #takeRow(): number {
    if (this.#free >= 0) {
      const session = this.#free;
      this.#free = this.epochOf(session);
      return session;
    }
    if (this.#used === this.#capacity) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const { length } = this.#rows;
    const rows = new Int32Array(length * 2);
    rows.set(this.#rows);
    this.#rows = rows;
    const endAt = new Float64Array(this.#capacity * 2);
    endAt.set(this.#endAt);
    this.#endAt = endAt;
    this.#capacity *= 2;
  }
}

function lifetimeOf(state: number): number {
  switch (state & PROTOCOL_MASK) {
    case IP_PROTOCOL.tcp:
      return TCP_LIFETIME_MS;
    case IP_PROTOCOL.udp:
      return (state & FLAG.translated) !== 0 ? UDP_LIFETIME_MS : OTHER_LIFETIME_MS;
    case IP_PROTOCOL.icmp:
      return ICMP_LIFETIME_MS;
    default:
      return OTHER_LIFETIME_MS;
  }
}
