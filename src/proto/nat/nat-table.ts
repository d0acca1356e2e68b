// Hot path. The NAT of one client's DNS resources (data-plane 9.4): one-to-one between *inside* (port or echo identifier, proxy address)
// and *outside* (port or identifier, real address). A session keeps its real address for life. Outside tuples of sessions that are
// over are remembered for a while, so that late replies are not taken for something else. Sessions are rows of typed arrays;
// nothing is allocated but when the table grows.
//
// Beyond the reference: two TCP connections never share a session, nor does one that reuses the ports of an earlier one
// (data-plane 17.10); the number of sessions is limited and expired tuples are forgotten (data-plane 17.4).

import { int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import { type ParsedPacket, SOURCE_WORDS, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import { ExpiredTuples } from './expired-tuples.ts';
import { SessionIndex } from './session-index.ts';
import {
  FIN_BOTH,
  FLAG,
  isTranslatable,
  PORTS,
  portsWord,
  ROW,
  transportOfRow,
} from './session-rows.ts';

// Specification (data-plane 9.4, 1.3; RFC 5382 REQ-5, RFC 4787 REQ-5)
const TCP_LIFETIME_MS = 7_440_000;
const UDP_LIFETIME_MS = 120_000;
const ICMP_LIFETIME_MS = 120_000;
/** Since the last packet to the resource, while it never answered. */
const UNCONFIRMED_LIFETIME_MS = 60_000;
/** Since the last packet, once both sides sent FIN. */
const CLOSED_LIFETIME_MS = 5_000;

// Implementation
/** More flows than one client has; a session costs at most 136 bytes. */
export const MAX_SESSIONS = 16_384;
/** Free ports are first looked for in order, which keeps them near the wanted one, then at random. */
const PROBES_IN_ORDER = 64;
/** With at most `MAX_SESSIONS` of 65,535 ports in use, all of these fail once in 2^128. */
const PROBES_AT_RANDOM = 64;
/** A sweep looks at every session, so it does not follow each deadline exactly; look-ups do. */
const SWEEP_INTERVAL_MS = 1_000;
/** Looking at a session costs 1. */
const REMOVAL_COST = 16;
const INITIAL_CAPACITY = 16;
const MAX_PORT = 65_535;

/** Results that are no session. */
export const NAT = { unknown: -1, expired: -2, unsupported: -3, exhausted: -4 } as const;

const NEVER = -Infinity;

export class NatTable {
  readonly #byInside: SessionIndex;
  readonly #byOutside: SessionIndex;
  readonly #expired: ExpiredTuples;
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  /** When a session is over, unless another packet comes. */
  #endAt = new Float64Array(INITIAL_CAPACITY);
  #used = 0;
  #free = -1;
  #count = 0;
  /** State of the random probes. */
  #chance: number;
  #nextSweep: Instant | undefined;
  #lastSweep = NEVER as Instant;
  /** Where a sweep that is under way goes on; 0: none is. */
  #cursor = 0;
  /** The earliest end that the sweep has seen. */
  #firstEnd = Infinity;

  /** `seed`: unpredictable, against colliding keys. */
  constructor(seed: number) {
    this.#byInside = new SessionIndex(seed, ROW.inside);
    this.#byOutside = new SessionIndex(seed ^ 0x5bd1e995, ROW.outside);
    this.#expired = new ExpiredTuples(seed ^ 0x27d4eb2f);
    this.#chance = seed | 0;
  }

  /** The live session of a packet from the client, or `NAT.unknown` or `NAT.unsupported`. Counts as traffic. */
  findToResource(packet: ParsedPacket, now: Instant): number {
    const { transport, addresses } = packet;
    if (!isTranslatable(transport)) return NAT.unsupported;
    const ports = portsWord(transport, packet.sourcePort, packet.destinationPort);
    const session = this.#byInside.find(this.#rows, addresses, 4, ports, transport);
    if (session < 0) return NAT.unknown;
    if (this.#isOver(session, now) || this.#isReopened(session, packet)) {
      this.#remove(session, now);
      return NAT.unknown;
    }
    this.#noteFlags(session, packet, FLAG.finToResource, now);
    this.#touch(session, now);
    return session;
  }

  /** A new session to the real address at `index` of `real`, or `NAT.unsupported` or `NAT.exhausted`. */
  allocate(packet: ParsedPacket, real: Int32Array, index: number, now: Instant): number {
    const { transport, destinationPort, sourcePort, addresses } = packet;
    if (!isTranslatable(transport)) return NAT.unsupported;
    if (this.#count >= MAX_SESSIONS) return NAT.exhausted;
    const port = this.#freePort(packet, real, index, now);
    if (port < 0) return NAT.exhausted;
    const outsidePorts = portsWord(transport, port, destinationPort);
    const session = this.#takeRow();
    const row = session * ROW.stride;
    const rows = this.#rows;
    for (let i = 0; i < 4; i++) {
      rows[row + ROW.inside + i] = int32At(addresses, 4 + i);
      rows[row + ROW.outside + i] = int32At(real, index + i);
    }
    rows[row + ROW.inside + PORTS] = portsWord(transport, sourcePort, destinationPort);
    rows[row + ROW.outside + PORTS] = outsidePorts;
    rows[row + ROW.state] = transport;
    this.#touch(session, now);
    this.#byInside.add(rows, session);
    this.#byOutside.add(rows, session);
    this.#expired.forget(real, index, outsidePorts, transport);
    this.#count++;
    this.#sweepBy(later(now, UNCONFIRMED_LIFETIME_MS));
    return session;
  }

  /** The live session a packet from the network belongs to, or a `NAT` result. Counts as traffic. */
  findToClient(packet: ParsedPacket, now: Instant): number {
    const { transport } = packet;
    if (!isTranslatable(transport)) return NAT.unsupported;
    const ports = portsWord(transport, packet.destinationPort, packet.sourcePort);
    const session = this.#findOutside(packet.addresses, SOURCE_WORDS, ports, transport, now);
    if (session < 0) return session;
    this.#confirm(session);
    this.#noteFlags(session, packet, FLAG.finToClient, now);
    this.#touch(session, now);
    return session;
  }

  /** The live session an ICMP error from the network is about: one that sent the packet inside it. Counts as traffic. */
  findOfError(about: TupleSource, now: Instant): number {
    const { transport, addresses } = about;
    const ports = portsWord(transport, about.sourcePort, about.destinationPort);
    const session = this.#findOutside(addresses, 4, ports, transport, now);
    if (session >= 0) {
      this.#confirm(session);
      this.#touch(session, now);
    }
    return session;
  }

  /** The live session an ICMP error of the client is about: one whose reply is inside it. Does not keep the session alive. */
  findOfClientError(about: TupleSource, now: Instant): number {
    const { transport, addresses } = about;
    const ports = portsWord(transport, about.destinationPort, about.sourcePort);
    const session = this.#byInside.find(this.#rows, addresses, SOURCE_WORDS, ports, transport);
    return session < 0 || this.#isOver(session, now) ? NAT.unknown : session;
  }

  /**
   * A packet that is not translated uses this tuple now, so a reply to it is none to an expired session (data-plane 17.11).
   */
  noteUntranslated(packet: ParsedPacket): void {
    const { transport } = packet;
    if (this.#expired.count === 0 || !isTranslatable(transport)) return;
    const ports = portsWord(transport, packet.sourcePort, packet.destinationPort);
    this.#expired.forget(packet.addresses, 4, ports, transport);
  }

  /** A whole sweep, if one is due. */
  handleTimeout(now: Instant): void {
    this.sweep(now, Infinity);
  }

  /**
   * Sweeps, if a sweep is due or under way, until about as much as `budget` is spent, where looking at a session costs 1. Returns
   * what is left; with nothing left, more may have to be done.
   */
  sweep(now: Instant, budget: number): number {
    let left = budget - 1;
    left -= REMOVAL_COST * this.#expired.handleTimeout(now, budget / REMOVAL_COST);
    if (this.#cursor === 0) {
      if (this.#nextSweep === undefined || now < this.#nextSweep) return left;
      this.#nextSweep = undefined;
      this.#firstEnd = Infinity;
    }
    const rows = this.#rows;
    for (; this.#cursor < this.#used; this.#cursor++) {
      if (left <= 0) return 0;
      left--;
      const session = this.#cursor;
      const state = int32At(rows, session * ROW.stride + ROW.state);
      if (state === 0) continue;
      const end = this.#endAt[session] ?? NEVER;
      if ((state & FLAG.reset) !== 0 || now >= end) {
        this.#remove(session, now);
        left -= REMOVAL_COST;
      } else if (end < this.#firstEnd) this.#firstEnd = end;
    }
    this.#cursor = 0;
    this.#lastSweep = now;
    if (this.#count > 0) this.#sweepBy(this.#firstEnd as Instant);
    return left;
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
    this.#nextSweep = undefined;
  }

  /** Live sessions. */
  get count(): number {
    return this.#count;
  }

  /** Remembered outside tuples of sessions that are over. */
  get expiredCount(): number {
    return this.#expired.count;
  }

  /** Memory of the sessions, without that of expired tuples. */
  get bytes(): number {
    const rows = this.#rows.byteLength + this.#endAt.byteLength;
    return rows + this.#byInside.bytes + this.#byOutside.bytes;
  }

  /** Where a session's addresses and ports are: `rows` with the offsets of the getters below. Valid until the next `allocate`. */
  get rows(): Int32Array {
    return this.#rows;
  }

  /** Index of the four words of a session's proxy address in `rows`. */
  insideOf(session: number): number {
    return session * ROW.stride + ROW.inside;
  }

  /** Index of the four words of a session's real address in `rows`. */
  outsideOf(session: number): number {
    return session * ROW.stride + ROW.outside;
  }

  /** Whether a session changes nothing: it only keeps its tuple from being given to another (data-plane 17.11). */
  isIdentity(session: number): boolean {
    const row = session * ROW.stride;
    const rows = this.#rows;
    for (let i = 0; i <= PORTS; i++) {
      if (int32At(rows, row + ROW.inside + i) !== int32At(rows, row + ROW.outside + i))
        return false;
    }
    return true;
  }

  insidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.inside + PORTS) >>> 16;
  }

  outsidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.outside + PORTS) >>> 16;
  }

  #findOutside(
    words: Int32Array,
    index: number,
    ports: number,
    transport: number,
    now: Instant,
  ): number {
    const session = this.#byOutside.find(this.#rows, words, index, ports, transport);
    if (session < 0) {
      return this.#expired.has(words, index, ports, transport) ? NAT.expired : NAT.unknown;
    }
    if (!this.#isOver(session, now)) return session;
    this.#remove(session, now);
    return NAT.expired;
  }

  /** First free of `port, port+1, …, 65535, 1, 2, …`, later any; port 0 only for a packet that comes from it. */
  #freePort(packet: ParsedPacket, real: Int32Array, index: number, now: Instant): number {
    const wanted = packet.sourcePort;
    const { transport, destinationPort } = packet;
    for (let i = 0; i < PROBES_IN_ORDER + PROBES_AT_RANDOM; i++) {
      let port = wanted + i <= MAX_PORT ? wanted + i : wanted + i - MAX_PORT;
      if (i >= PROBES_IN_ORDER) port = this.#randomPort();
      const ports = portsWord(transport, port, destinationPort);
      const session = this.#byOutside.find(this.#rows, real, index, ports, transport);
      if (session < 0) return port;
      if (this.#isOver(session, now)) {
        this.#remove(session, now);
        return port;
      }
    }
    return -1;
  }

  /** Never 0. Need not be unpredictable, only spread (Numerical Recipes' generator). */
  #randomPort(): number {
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) | 0;
    return 1 + ((this.#chance >>> 8) % MAX_PORT);
  }

  /**
   * For look-ups: after RST a session still serves until the next sweep. Reads without `at`, because a fraction that a function
   * returns is allocated where the compiler does not inline it (16 bytes a packet, measured in bench/policy).
   */
  #isOver(session: number, now: Instant): boolean {
    const endAt = this.#endAt[session];
    return endAt !== undefined && now >= endAt;
  }

  /** Whether the packet opens another connection with the ports of one that has ended. */
  #isReopened(session: number, packet: ParsedPacket): boolean {
    if ((packet.tcpFlags & (TCP_FLAG.syn | TCP_FLAG.ack)) !== TCP_FLAG.syn) return false;
    const state = int32At(this.#rows, session * ROW.stride + ROW.state);
    return (state & FLAG.reset) !== 0 || (state & FIN_BOTH) === FIN_BOTH;
  }

  #confirm(session: number): void {
    const state = session * ROW.stride + ROW.state;
    this.#rows[state] = int32At(this.#rows, state) | FLAG.confirmed;
  }

  /** A packet of the session passed. */
  #touch(session: number, now: Instant): void {
    const state = int32At(this.#rows, session * ROW.stride + ROW.state);
    let lifetime = UNCONFIRMED_LIFETIME_MS;
    if ((state & FIN_BOTH) === FIN_BOTH) lifetime = CLOSED_LIFETIME_MS;
    else if ((state & FLAG.confirmed) !== 0) lifetime = lifetimeOf(state & 0xff);
    this.#endAt[session] = now + lifetime;
  }

  #noteFlags(session: number, packet: ParsedPacket, fin: number, now: Instant): void {
    if ((packet.tcpFlags & (TCP_FLAG.rst | TCP_FLAG.fin)) === 0) return;
    const state = session * ROW.stride + ROW.state;
    const before = int32At(this.#rows, state);
    let flags = before;
    if ((packet.tcpFlags & TCP_FLAG.rst) !== 0) flags |= FLAG.reset;
    if ((packet.tcpFlags & TCP_FLAG.fin) !== 0) flags |= fin;
    if (flags === before) return;
    this.#rows[state] = flags;
    this.#sweepBy((flags & FLAG.reset) !== 0 ? now : later(now, CLOSED_LIFETIME_MS));
  }

  #sweepBy(deadline: Instant): void {
    const earliest = later(this.#lastSweep, SWEEP_INTERVAL_MS);
    const sweep = deadline < earliest ? earliest : deadline;
    if (this.#nextSweep === undefined || sweep < this.#nextSweep) this.#nextSweep = sweep;
  }

  #takeRow(): number {
    if (this.#free >= 0) {
      const session = this.#free;
      this.#free = int32At(this.#rows, session * ROW.stride);
      return session;
    }
    if (this.#used === this.#capacity) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    const rows = new Int32Array(this.#rows.length * 2);
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
    if (!this.isIdentity(session)) {
      const outside = row + ROW.outside;
      const ports = int32At(rows, outside + PORTS);
      this.#expired.remember(rows, outside, ports, transportOfRow(rows, session), now);
    }
    rows[row + ROW.state] = 0;
    // The next free row, while this one is free.
    rows[row] = this.#free;
    this.#free = session;
    this.#count--;
  }
}

/** What an ICMP error is about. */
export interface TupleSource {
  /** Source (0-3) and destination (4-7). */
  readonly addresses: Int32Array;
  readonly transport: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

function lifetimeOf(transport: number): number {
  if (transport === TRANSPORT.tcp) return TCP_LIFETIME_MS;
  return transport === TRANSPORT.udp ? UDP_LIFETIME_MS : ICMP_LIFETIME_MS;
}
