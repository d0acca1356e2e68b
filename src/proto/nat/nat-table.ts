// Hot path. The connections of one client, and the NAT of its DNS resources (data-plane 9.4): one-to-one between *inside* (protocol,
// ports, address as the client sees it) and *outside* (the same as the resource sees it). A session keeps its real address for
// life. A session to a network resource changes nothing; it makes the connection known, so that replies can be told from what
// nobody asked for, and keeps its tuple from being given to another. Outside tuples of translated sessions that are over are
// remembered for a while, so that late replies are not taken for something else. Sessions are rows of typed arrays; nothing is
// allocated but when the table grows.
//
// Beyond the reference: the key of TCP has both ports, so that no two connections share a session; plain connections are tracked in
// the same table, so that no reply can belong to two; all protocols are known; the number of sessions is limited, expired tuples
// are forgotten, and a sweep can be done in slices (data-plane 17.4, 17.8, 17.10 to 17.12).

import { int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import type { EmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import {
  DESTINATION_WORDS,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { IP_PROTOCOL } from '../../wire/ip/protocol.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import { ExpiredTuples } from './expired-tuples.ts';
import { FlowKey } from './flow-key.ts';
import { TupleIndex } from './tuple-index.ts';

// Specification (data-plane 9.4, 1.3; RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2)
const TCP_LIFETIME_MS = 7_440_000;
const UDP_LIFETIME_MS = 120_000;
const ICMP_LIFETIME_MS = 120_000;
/** Since the last packet to the resource, while it never answered. */
const UNCONFIRMED_LIFETIME_MS = 60_000;
/** Since the last packet, once both sides sent FIN. */
const CLOSED_LIFETIME_MS = 5_000;

// Implementation
/** More flows than one client has; see `bench/policy` for what a session costs. */
export const MAX_SESSIONS = 16_384;
/**
 * Of protocols without a clause of their own, and of UDP where nothing is translated, so that a server's rare news still arrive: what
 * Linux gives them, longer than any keepalive of SCTP or a tunnel.
 */
const OTHER_LIFETIME_MS = 600_000;
/** Free ports are first looked for in order, which keeps them near the wanted one, then at random. */
const PROBES_IN_ORDER = 64;
/** With at most `MAX_SESSIONS` of 65,535 ports in use, all of these fail once in 2^128. */
const PROBES_AT_RANDOM = 64;
/** Bounds the search for a session that may make room. */
const MAX_VICTIM_PROBES = 64;
/** A sweep looks at every session, so it does not follow each deadline exactly; look-ups do. */
const SWEEP_INTERVAL_MS = 1_000;
/** What the removal of a session costs in rows that are only looked at. */
const REMOVAL_COST = 16;
const INITIAL_CAPACITY = 16;
const MAX_PORT = 65_535;

/** Results that are no session. */
export const NAT = { unknown: -1, expired: -2, unsupported: -3, exhausted: -4 } as const;

/** In the word `ROW.state`, above the protocol. */
const FLAG = {
  finToResource: 0x100,
  finToClient: 0x200,
  reset: 0x400,
  confirmed: 0x800,
  used: 0x1000,
  translated: 0x2000,
} as const;
const FIN_BOTH: number = FLAG.finToResource | FLAG.finToClient;

/** Row of `#rows`. Each address has its word of ports behind it, as `TupleIndex` wants it. */
const ROW = {
  stride: 13,
  /** Address as the client sees it, four words. */
  inside: 0,
  insidePorts: 4,
  /** Address of the resource, four words. */
  outside: 5,
  outsidePorts: 9,
  /** Protocol, and `FLAG`. */
  state: 10,
  /** For the owner: under which policy the connection was last allowed. */
  epoch: 11,
  /** For the owner: what else belongs to the connection, -1: nothing. While the row is free: the next free one. */
  record: 12,
} as const;
const INSIDE = { stride: ROW.stride, address: ROW.inside, protocol: ROW.state } as const;
const OUTSIDE = { stride: ROW.stride, address: ROW.outside, protocol: ROW.state } as const;
const NEVER = -Infinity;

export class NatTable {
  readonly #byInside: TupleIndex;
  readonly #byOutside: TupleIndex;
  readonly #expired: ExpiredTuples;
  readonly #key = new FlowKey();
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  /** When a session is over, unless another packet comes. */
  #endAt = new Float64Array(INITIAL_CAPACITY);
  #used = 0;
  #free = -1;
  #count = 0;
  #nextSweep: Instant | undefined;
  #lastSweep = NEVER as Instant;
  /** Where a sweep goes on, and the first end it has seen so far. */
  #cursor = 0;
  #firstEnd = Infinity;
  #victimCursor = 0;
  /** State of the random probes, never 0. */
  #chance: number;

  /** `seed`: unpredictable, against colliding keys. */
  constructor(seed: number) {
    this.#byInside = new TupleIndex(seed, INSIDE);
    this.#byOutside = new TupleIndex(seed ^ 0x5bd1e995, OUTSIDE);
    this.#expired = new ExpiredTuples(seed ^ 0x27d4eb2f);
    this.#chance = seed | 1;
  }

  /**
   * The live session of a packet from the client, `NAT.unknown`, or `NAT.unsupported` if nothing can come back that belongs to it. A
   * SYN behind the end of a connection is unknown: it begins another.
   */
  findToResource(packet: ParsedPacket, now: Instant): number {
    const key = this.#key;
    if (!key.readToResource(packet)) return NAT.unsupported;
    const session = this.#findInside(packet.addresses, DESTINATION_WORDS);
    if (session < 0) return NAT.unknown;
    if (!this.#isOver(session, now) && !(isOpening(packet) && this.#isClosed(session)))
      return session;
    this.#remove(session, now);
    return NAT.unknown;
  }

  /** The live session a packet from the network belongs to, or a `NAT` result. */
  findToClient(packet: ParsedPacket, now: Instant): number {
    if (!this.#key.readToClient(packet)) return NAT.unsupported;
    return this.#findOutside(packet.addresses, SOURCE_WORDS, now);
  }

  /** The live session whose packet an ICMP error from the network is about, or a `NAT` result. */
  findOfError(about: EmbeddedPacket, now: Instant): number {
    this.#key.readErrorToClient(about);
    return this.#findOutside(about.addresses, DESTINATION_WORDS, now);
  }

  /** The live session whose packet an ICMP error of the client is about, or `NAT.unknown`. */
  findOfClientError(about: EmbeddedPacket, now: Instant): number {
    this.#key.readErrorOfClient(about);
    const session = this.#findInside(about.addresses, SOURCE_WORDS);
    return session >= 0 && !this.#isOver(session, now) ? session : NAT.unknown;
  }

  /**
   * A new session of a packet from the client to the real address at `index` of `real`: its destination, or what that stands for. Or
   * `NAT.unsupported` or `NAT.exhausted`.
   */
  allocate(packet: ParsedPacket, real: Int32Array, index: number, now: Instant): number {
    const key = this.#key;
    if (!key.readToResource(packet)) return NAT.unsupported;
    if (!this.#hasRoom(now)) return NAT.exhausted;
    const ports = this.#freePorts(real, index, now);
    if (ports === NAT.exhausted) return NAT.exhausted;
    return this.#add(packet.addresses, DESTINATION_WORDS, real, index, ports, now);
  }

  /** A new session that a packet from the resource begins, or `NAT.unsupported` or `NAT.exhausted`. */
  admit(packet: ParsedPacket, now: Instant): number {
    const key = this.#key;
    if (!key.readToClient(packet)) return NAT.unsupported;
    const { addresses } = packet;
    const isTaken = this.#findInside(addresses, SOURCE_WORDS) >= 0;
    if (isTaken || !this.#hasRoom(now)) return NAT.exhausted;
    return this.#add(addresses, SOURCE_WORDS, addresses, SOURCE_WORDS, key.ports, now);
  }

  /** A packet of the session went to the resource. */
  noteToResource(session: number, packet: ParsedPacket, now: Instant): void {
    this.#note(session, packet.tcpFlags, FLAG.finToResource, now);
  }

  /** A packet of the session went to the client, or a translated error about it (`tcpFlags` 0). */
  noteToClient(session: number, tcpFlags: number, now: Instant): void {
    const state = session * ROW.stride + ROW.state;
    this.#rows[state] = int32At(this.#rows, state) | FLAG.confirmed;
    this.#note(session, tcpFlags, FLAG.finToClient, now);
  }

  /**
   * Removes what is over, as far as `budget` rows go: a removal counts for several. What is left of it. `pollTimeout` stays due until
   * all rows have been looked at.
   */
  sweep(now: Instant, budget: number): number {
    let left = budget - this.#expired.handleTimeout(now, budget) * REMOVAL_COST;
    if (this.#nextSweep === undefined || now < this.#nextSweep) return left;
    const { stride, state } = ROW;
    for (; this.#cursor < this.#used && left > 0; this.#cursor++) {
      left--;
      const session = this.#cursor;
      const flags = int32At(this.#rows, session * stride + state);
      if ((flags & FLAG.used) === 0) continue;
      const end = this.#endAt[session] ?? NEVER;
      if ((flags & FLAG.reset) !== 0 || now >= end) {
        this.#remove(session, now);
        left -= REMOVAL_COST;
      } else if (end < this.#firstEnd) this.#firstEnd = end;
    }
    if (this.#cursor < this.#used) return left;
    const first = this.#firstEnd as Instant;
    this.#cursor = 0;
    this.#firstEnd = Infinity;
    this.#lastSweep = now;
    this.#nextSweep = undefined;
    if (this.#count > 0) this.#sweepBy(first);
    return left;
  }

  /** A whole sweep, if one is due. */
  handleTimeout(now: Instant): void {
    this.sweep(now, Number.POSITIVE_INFINITY);
  }

  pollTimeout(): Instant | undefined {
    return this.#nextSweep;
  }

  /** Forgets all sessions and expired tuples. */
  clear(): void {
    this.#byInside.clear();
    this.#byOutside.clear();
    this.#expired.clear();
    this.#rows.fill(0);
    this.#used = 0;
    this.#free = -1;
    this.#count = 0;
    this.#cursor = 0;
    this.#firstEnd = Infinity;
    this.#nextSweep = undefined;
  }

  /** Live sessions. */
  get count(): number {
    return this.#count;
  }

  /** Memory of the live sessions, without what is remembered of others. */
  get bytes(): number {
    const indexes = this.#byInside.bytes + this.#byOutside.bytes;
    return this.#rows.byteLength + this.#endAt.byteLength + indexes;
  }

  /** Remembered outside tuples of sessions that are over. */
  get expiredCount(): number {
    return this.#expired.count;
  }

  /** Where a session's addresses are: `rows` with the offsets of the getters below. Valid until the next session is added. */
  get rows(): Int32Array {
    return this.#rows;
  }

  /** Index of the four words of a session's address, as the client sees it, in `rows`. */
  insideOf(session: number): number {
    return session * ROW.stride + ROW.inside;
  }

  /** Index of the four words of a session's real address in `rows`. */
  outsideOf(session: number): number {
    return session * ROW.stride + ROW.outside;
  }

  /** Whether address or port change. */
  isTranslated(session: number): boolean {
    return (int32At(this.#rows, session * ROW.stride + ROW.state) & FLAG.translated) !== 0;
  }

  /** The client's port, or the identifier of its echo. */
  insidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.insidePorts) >>> 16;
  }

  /** What the resource sees instead. */
  outsidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.outsidePorts) >>> 16;
  }

  epochOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.epoch);
  }

  setEpoch(session: number, epoch: number): void {
    this.#rows[session * ROW.stride + ROW.epoch] = epoch;
  }

  /** What the owner keeps about the connection, -1: nothing. */
  recordOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.record);
  }

  setRecord(session: number, record: number): void {
    this.#rows[session * ROW.stride + ROW.record] = record;
  }

  #findInside(words: Int32Array, index: number): number {
    return this.#byInside.find(this.#rows, words, index, this.#key.ports, this.#key.protocol);
  }

  #findOutside(words: Int32Array, index: number, now: Instant): number {
    const { ports, protocol } = this.#key;
    const session = this.#byOutside.find(this.#rows, words, index, ports, protocol);
    if (session < 0) {
      return this.#expired.has(words, index, ports, protocol) ? NAT.expired : NAT.unknown;
    }
    if (!this.#isOver(session, now)) return session;
    const wasTranslated = this.isTranslated(session);
    this.#remove(session, now);
    return wasTranslated ? NAT.expired : NAT.unknown;
  }

  /** `inside`: as the client sees it; the key holds its ports and protocol. */
  #add(
    inside: Int32Array,
    insideIndex: number,
    outside: Int32Array,
    outsideIndex: number,
    outsidePorts: number,
    now: Instant,
  ): number {
    const { ports, protocol } = this.#key;
    const session = this.#takeRow();
    const row = session * ROW.stride;
    const rows = this.#rows;
    let isTranslated = ports !== outsidePorts;
    for (let i = 0; i < 4; i++) {
      const word = int32At(outside, outsideIndex + i);
      if (word !== int32At(inside, insideIndex + i)) isTranslated = true;
      rows[row + ROW.inside + i] = int32At(inside, insideIndex + i);
      rows[row + ROW.outside + i] = word;
    }
    rows[row + ROW.insidePorts] = ports;
    rows[row + ROW.outsidePorts] = outsidePorts;
    rows[row + ROW.state] = protocol | FLAG.used | (isTranslated ? FLAG.translated : 0);
    rows[row + ROW.epoch] = 0;
    rows[row + ROW.record] = -1;
    this.#touch(session, now);
    this.#byInside.add(rows, session);
    this.#byOutside.add(rows, session);
    this.#expired.forget(outside, outsideIndex, outsidePorts, protocol);
    this.#count++;
    this.#sweepBy(later(now, UNCONFIRMED_LIFETIME_MS));
    return session;
  }

  /**
   * Ports with the first free of the client's `port, port+1, …, 65535, 1, 2, …`; 0 only for a packet that comes from it. Without
   * ports there is nothing to choose.
   */
  #freePorts(real: Int32Array, index: number, now: Instant): number {
    const { ports, protocol, hasClientPort } = this.#key;
    const wanted = ports >>> 16;
    const probes = hasClientPort ? PROBES_IN_ORDER + PROBES_AT_RANDOM : 1;
    for (let i = 0; i < probes; i++) {
      let port = wanted + i <= MAX_PORT ? wanted + i : wanted + i - MAX_PORT;
      if (i >= PROBES_IN_ORDER) port = 1 + (this.#nextChance() % MAX_PORT);
      const candidate = (port << 16) | (ports & 0xffff);
      const session = this.#byOutside.find(this.#rows, real, index, candidate, protocol);
      if (session < 0) return candidate;
      if (this.#isOver(session, now)) {
        this.#remove(session, now);
        return candidate;
      }
    }
    return NAT.exhausted;
  }

  /** When the table is full, a session makes room that never had an answer or is closed: nobody misses it soon. */
  #hasRoom(now: Instant): boolean {
    if (this.#count < MAX_SESSIONS) return true;
    for (let i = 0; i < MAX_VICTIM_PROBES; i++) {
      const session = this.#victimCursor;
      this.#victimCursor = (session + 1) % this.#used;
      const flags = int32At(this.#rows, session * ROW.stride + ROW.state);
      if ((flags & FLAG.used) === 0) continue;
      if ((flags & FLAG.confirmed) === 0 || this.#isClosed(session) || this.#isOver(session, now)) {
        this.#remove(session, now);
        return true;
      }
    }
    return false;
  }

  /**
   * For look-ups: after RST a session still serves until the next sweep. Reads without `at`, because a fraction that a function
   * returns is allocated where the compiler does not inline it (16 bytes a packet, measured in bench/policy).
   */
  #isOver(session: number, now: Instant): boolean {
    const endAt = this.#endAt[session];
    return endAt !== undefined && now >= endAt;
  }

  /** Marsaglia's xorshift: spreads, and keeps no secret. */
  #nextChance(): number {
    let chance = this.#chance;
    chance ^= chance << 13;
    chance ^= chance >>> 17;
    chance ^= chance << 5;
    this.#chance = chance;
    return chance >>> 0;
  }

  #isClosed(session: number): boolean {
    const flags = int32At(this.#rows, session * ROW.stride + ROW.state);
    return (flags & FLAG.reset) !== 0 || (flags & FIN_BOTH) === FIN_BOTH;
  }

  #note(session: number, tcpFlags: number, fin: number, now: Instant): void {
    if ((tcpFlags & (TCP_FLAG.rst | TCP_FLAG.fin)) !== 0) {
      const state = session * ROW.stride + ROW.state;
      const isReset = (tcpFlags & TCP_FLAG.rst) !== 0;
      this.#rows[state] = int32At(this.#rows, state) | (isReset ? FLAG.reset : fin);
      this.#sweepBy(isReset ? now : later(now, CLOSED_LIFETIME_MS));
    }
    this.#touch(session, now);
  }

  /** A packet of the session passed. */
  #touch(session: number, now: Instant): void {
    const state = int32At(this.#rows, session * ROW.stride + ROW.state);
    let lifetime = UNCONFIRMED_LIFETIME_MS;
    if ((state & FIN_BOTH) === FIN_BOTH) lifetime = CLOSED_LIFETIME_MS;
    else if ((state & FLAG.confirmed) !== 0) lifetime = lifetimeOf(state);
    this.#endAt[session] = now + lifetime;
  }

  #sweepBy(deadline: Instant): void {
    const earliest = later(this.#lastSweep, SWEEP_INTERVAL_MS);
    const sweep = deadline < earliest ? earliest : deadline;
    if (this.#nextSweep === undefined || sweep < this.#nextSweep) this.#nextSweep = sweep;
  }

  #takeRow(): number {
    if (this.#free >= 0) {
      const session = this.#free;
      this.#free = int32At(this.#rows, session * ROW.stride + ROW.record);
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

  #remove(session: number, now: Instant): void {
    const row = session * ROW.stride;
    const rows = this.#rows;
    this.#byInside.remove(rows, session);
    this.#byOutside.remove(rows, session);
    // Without translation there is nothing that a late reply could reveal.
    if (this.isTranslated(session)) {
      const protocol = int32At(rows, row + ROW.state) & 0xff;
      const ports = int32At(rows, row + ROW.outsidePorts);
      this.#expired.remember(rows, row + ROW.outside, ports, protocol, now);
    }
    rows[row + ROW.state] = 0;
    rows[row + ROW.record] = this.#free;
    this.#free = session;
    this.#count--;
  }
}

/** The first packet of a TCP connection. */
function isOpening(packet: ParsedPacket): boolean {
  return (packet.tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
}

/** Whether data-plane 9.4 has a NAT for such packets: TCP, UDP and echo. */
export function isTranslatable({ transport }: ParsedPacket): boolean {
  return transport === TRANSPORT.tcp || transport === TRANSPORT.udp || transport === TRANSPORT.echo;
}

function lifetimeOf(state: number): number {
  switch (state & 0xff) {
    case IP_PROTOCOL.tcp:
      return TCP_LIFETIME_MS;
    case IP_PROTOCOL.udp:
      return (state & FLAG.translated) !== 0 ? UDP_LIFETIME_MS : OTHER_LIFETIME_MS;
    case IP_PROTOCOL.icmp:
    case IP_PROTOCOL.icmpv6:
      return ICMP_LIFETIME_MS;
    default:
      return OTHER_LIFETIME_MS;
  }
}
