// Hot path. The NAT of one client's DNS resources (data-plane 9.4): one-to-one between *inside* (protocol and source port or echo
// identifier, proxy address) and *outside* (protocol and outside port or identifier, real address). A session keeps its real
// address for life. Outside tuples of sessions that are over are remembered for a while, so that late replies are not taken
// for something else. Sessions are rows of typed arrays; nothing is allocated but when the table grows.
//
// Beyond the reference: the number of sessions is limited, expired tuples are forgotten, and RST or FIN of one of several
// connections that share a session does not end the others (data-plane 17.4, 17.10).

import { int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import { WordTable } from '../../base/word-table.ts';
import { type ParsedPacket, SOURCE_WORDS, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import { ExpiredTuples } from './expired-tuples.ts';

// Specification (data-plane 9.4, 1.3; RFC 5382 REQ-5, RFC 4787 REQ-5)
const TCP_LIFETIME_MS = 7_440_000;
const UDP_LIFETIME_MS = 120_000;
const ICMP_LIFETIME_MS = 120_000;
/** Since the last packet to the resource, while it never answered. */
const UNCONFIRMED_LIFETIME_MS = 60_000;
/** Since the last packet, once both sides sent FIN. */
const CLOSED_LIFETIME_MS = 5_000;

// Implementation
/** More flows than one client has; a session costs about 200 bytes. */
export const MAX_SESSIONS = 16_384;
/** Bounds the work of one packet when a client fills the ports of one address. */
const MAX_PORT_PROBES = 4_096;
/** A sweep looks at every session, so it does not follow each deadline exactly; look-ups do. */
const SWEEP_INTERVAL_MS = 1_000;
const INITIAL_CAPACITY = 32;
const MAX_PORT = 65_535;

/** Results that are no session. */
export const NAT = { unknown: -1, expired: -2, unsupported: -3, exhausted: -4 } as const;

const FLAG = { finToResource: 1, finToClient: 2, reset: 4, shared: 8, confirmed: 16 } as const;
const FIN_BOTH: number = FLAG.finToResource | FLAG.finToClient;

/** Row of `#rows`. */
const ROW = {
  stride: 14,
  /** Proxy address, four words. */
  inside: 0,
  insidePort: 4,
  /** Real address, four words. */
  outside: 5,
  outsidePort: 9,
  /** `TRANSPORT`. */
  transport: 10,
  flags: 11,
  /** Destination port of the first packet. */
  remotePort: 12,
  /** Next free row, while this one is free. */
  nextFree: 13,
} as const;

const NEVER = -Infinity;

export class NatTable {
  readonly #byInside: WordTable;
  readonly #byOutside: WordTable;
  readonly #expired: ExpiredTuples;
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  /** When a session is over, unless another packet comes. */
  #endAt = new Float64Array(INITIAL_CAPACITY);
  #used = 0;
  #free = -1;
  #count = 0;
  #nextSweep: Instant | undefined;
  #lastSweep = NEVER as Instant;

  /** `seed`: unpredictable, against colliding keys. */
  constructor(seed: number) {
    this.#byInside = new WordTable(seed);
    this.#byOutside = new WordTable(seed ^ 0x5bd1e995);
    this.#expired = new ExpiredTuples(seed ^ 0x27d4eb2f);
  }

  /** The live session of a packet from the client, or `NAT.unknown` or `NAT.unsupported`. Counts as traffic. */
  findToResource(packet: ParsedPacket, now: Instant): number {
    if (!isTranslatable(packet)) return NAT.unsupported;
    const session = this.#byInside.get(packet.addresses, 4, keyOf(packet, packet.sourcePort));
    if (session < 0) return NAT.unknown;
    if (this.#isOver(session, now)) {
      this.#remove(session, now);
      return NAT.unknown;
    }
    this.#noteFlags(session, packet, packet.destinationPort, FLAG.finToResource, now);
    this.#touch(session, now);
    return session;
  }

  /** A new session to the real address at `index` of `real`, or `NAT.unsupported` or `NAT.exhausted`. */
  allocate(packet: ParsedPacket, real: Int32Array, index: number, now: Instant): number {
    if (!isTranslatable(packet)) return NAT.unsupported;
    if (this.#count >= MAX_SESSIONS) return NAT.exhausted;
    const port = this.#freePort(packet, real, index, now);
    if (port < 0) return NAT.exhausted;
    const session = this.#takeRow();
    const row = session * ROW.stride;
    const rows = this.#rows;
    for (let i = 0; i < 4; i++) {
      rows[row + ROW.inside + i] = int32At(packet.addresses, 4 + i);
      rows[row + ROW.outside + i] = int32At(real, index + i);
    }
    rows[row + ROW.insidePort] = packet.sourcePort;
    rows[row + ROW.outsidePort] = port;
    rows[row + ROW.transport] = packet.transport;
    rows[row + ROW.flags] = 0;
    rows[row + ROW.remotePort] = packet.destinationPort;
    this.#touch(session, now);
    this.#byInside.set(packet.addresses, 4, keyOf(packet, packet.sourcePort), session);
    this.#byOutside.set(real, index, keyOf(packet, port), session);
    this.#expired.forget(real, index, keyOf(packet, port));
    this.#count++;
    this.#sweepBy(later(now, UNCONFIRMED_LIFETIME_MS));
    return session;
  }

  /** The live session a packet from the network belongs to, or a `NAT` result. Counts as traffic. */
  findToClient(packet: ParsedPacket, now: Instant): number {
    if (!isTranslatable(packet)) return NAT.unsupported;
    const key = keyOf(packet, packet.destinationPort);
    const session = this.#findOutside(packet.addresses, SOURCE_WORDS, key, now);
    if (session < 0) return session;
    this.#confirm(session);
    this.#noteFlags(session, packet, packet.sourcePort, FLAG.finToClient, now);
    this.#touch(session, now);
    return session;
  }

  /** The live session an ICMP error is about: one whose packet went to the address at `index`. Counts as traffic. */
  findOfError(
    about: { readonly addresses: Int32Array; readonly transport: number },
    sourcePort: number,
    now: Instant,
  ): number {
    const key = tupleKey(about.transport, sourcePort);
    const session = this.#findOutside(about.addresses, 4, key, now);
    if (session >= 0) {
      this.#confirm(session);
      this.#touch(session, now);
    }
    return session;
  }

  /**
   * A packet that is not translated uses this tuple now, so a reply to it is none to an expired session (data-plane 17.11).
   */
  noteUntranslated(packet: ParsedPacket): void {
    if (this.#expired.count === 0 || !isTranslatable(packet)) return;
    this.#expired.forget(packet.addresses, 4, keyOf(packet, packet.sourcePort));
  }

  handleTimeout(now: Instant): void {
    this.#expired.handleTimeout(now);
    if (this.#nextSweep === undefined || now < this.#nextSweep) return;
    let next = Infinity;
    for (let session = 0; session < this.#used; session++) {
      if (int32At(this.#rows, session * ROW.stride + ROW.transport) === 0) continue;
      const isReset = (int32At(this.#rows, session * ROW.stride + ROW.flags) & FLAG.reset) !== 0;
      const end = this.#endAt[session] ?? NEVER;
      if (isReset || now >= end) this.#remove(session, now);
      else if (end < next) next = end;
    }
    this.#lastSweep = now;
    this.#nextSweep = undefined;
    if (this.#count > 0) this.#sweepBy(next as Instant);
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
    for (let i = 0; i < 5; i++) {
      if (int32At(rows, row + ROW.inside + i) !== int32At(rows, row + ROW.outside + i))
        return false;
    }
    return true;
  }

  insidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.insidePort);
  }

  outsidePortOf(session: number): number {
    return int32At(this.#rows, session * ROW.stride + ROW.outsidePort);
  }

  #findOutside(words: Int32Array, index: number, key: number, now: Instant): number {
    const session = this.#byOutside.get(words, index, key);
    if (session < 0) {
      return this.#expired.has(words, index, key) ? NAT.expired : NAT.unknown;
    }
    if (!this.#isOver(session, now)) return session;
    this.#remove(session, now);
    return NAT.expired;
  }

  /** First free of `port, port+1, …, 65535, 1, 2, …`; port 0 only for a packet that comes from it. */
  #freePort(packet: ParsedPacket, real: Int32Array, index: number, now: Instant): number {
    const wanted = packet.sourcePort;
    for (let i = 0; i < MAX_PORT_PROBES; i++) {
      const port = wanted + i <= MAX_PORT ? wanted + i : wanted + i - MAX_PORT;
      const session = this.#byOutside.get(real, index, keyOf(packet, port));
      if (session < 0) return port;
      if (this.#isOver(session, now)) {
        this.#remove(session, now);
        return port;
      }
    }
    return -1;
  }

  /**
   * For look-ups: after RST a session still serves until the next sweep. Reads without `at`, because a fraction that a function
   * returns is allocated where the compiler does not inline it (16 bytes a packet, measured in bench/policy).
   */
  #isOver(session: number, now: Instant): boolean {
    const endAt = this.#endAt[session];
    return endAt !== undefined && now >= endAt;
  }

  #confirm(session: number): void {
    const flags = session * ROW.stride + ROW.flags;
    this.#rows[flags] = int32At(this.#rows, flags) | FLAG.confirmed;
  }

  /** A packet of the session passed. */
  #touch(session: number, now: Instant): void {
    const row = session * ROW.stride;
    const flags = int32At(this.#rows, row + ROW.flags);
    let lifetime = UNCONFIRMED_LIFETIME_MS;
    if ((flags & FIN_BOTH) === FIN_BOTH) lifetime = CLOSED_LIFETIME_MS;
    else if ((flags & FLAG.confirmed) !== 0) {
      lifetime = lifetimeOf(int32At(this.#rows, row + ROW.transport));
    }
    this.#endAt[session] = now + lifetime;
  }

  #noteFlags(
    session: number,
    packet: ParsedPacket,
    remotePort: number,
    fin: number,
    now: Instant,
  ): void {
    const row = session * ROW.stride;
    const rows = this.#rows;
    let flags = int32At(rows, row + ROW.flags);
    if (remotePort !== int32At(rows, row + ROW.remotePort)) flags |= FLAG.shared;
    if ((flags & FLAG.shared) !== 0) {
      rows[row + ROW.flags] = FLAG.shared | (flags & FLAG.confirmed);
      return;
    }
    if (packet.tcpFlags === 0) return;
    if ((packet.tcpFlags & TCP_FLAG.rst) !== 0) flags |= FLAG.reset;
    if ((packet.tcpFlags & TCP_FLAG.fin) !== 0) flags |= fin;
    if (flags === int32At(rows, row + ROW.flags)) return;
    rows[row + ROW.flags] = flags;
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
      this.#free = int32At(this.#rows, session * ROW.stride + ROW.nextFree);
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
    const transport = int32At(rows, row + ROW.transport);
    const outsideKey = tupleKey(transport, int32At(rows, row + ROW.outsidePort));
    const insideKey = tupleKey(transport, int32At(rows, row + ROW.insidePort));
    this.#byInside.delete(rows, row + ROW.inside, insideKey);
    this.#byOutside.delete(rows, row + ROW.outside, outsideKey);
    // Without translation there is nothing that a late reply could reveal.
    if (!this.isIdentity(session)) {
      this.#expired.remember(rows, row + ROW.outside, outsideKey, now);
    }
    rows[row + ROW.transport] = 0;
    rows[row + ROW.nextFree] = this.#free;
    this.#free = session;
    this.#count--;
  }
}

function isTranslatable(packet: ParsedPacket): boolean {
  const { transport } = packet;
  return transport === TRANSPORT.tcp || transport === TRANSPORT.udp || transport === TRANSPORT.echo;
}

function keyOf(packet: ParsedPacket, port: number): number {
  return tupleKey(packet.transport, port);
}

function tupleKey(transport: number, port: number): number {
  return (transport << 16) | port;
}

function lifetimeOf(transport: number): number {
  if (transport === TRANSPORT.tcp) return TCP_LIFETIME_MS;
  return transport === TRANSPORT.udp ? UDP_LIFETIME_MS : ICMP_LIFETIME_MS;
}
