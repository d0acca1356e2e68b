// Hot path. The connections of one client, and the NAT of its DNS resources (data-plane 9.4): one-to-one between *inside* (protocol,
// ports, address as the client sees it) and *outside* (the same as the resource sees it). A session keeps its real address for
// life. A session to a network resource changes nothing; it makes the connection known, so that replies can be told from what
// nobody asked for, and keeps its tuple from being given to another. Outside tuples of translated sessions that are over are
// remembered for a while, so that late replies are not taken for something else. The sessions themselves are in `sessions.ts`.
//
// Beyond the reference: the key of TCP has both ports, so that no two connections share a session; plain connections are tracked in
// the same table, so that no reply can belong to two; all protocols are known; the number of sessions is limited, expired tuples
// are forgotten, and a sweep can be done in slices (data-plane 17.4, 17.8, 17.10 to 17.12).

import { type Instant, later } from '../../base/time.ts';
import type { EmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import {
  DESTINATION_WORDS,
  type ParsedPacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import { FlowKey } from './flow-key.ts';
import { Sessions, UNCONFIRMED_LIFETIME_MS, type WordsAt } from './sessions.ts';

// Implementation
/** More flows than one client has; `npm run bench -- policy` tells what a session costs. */
export const MAX_SESSIONS = 16_384;
/** As many as there can be sessions; then some of them make room. */
const MAX_EXPIRED = 16_384;
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
const MAX_PORT = 65_535;

/** Results that are no session. */
export const NAT = { unknown: -1, expired: -2, unsupported: -3, exhausted: -4 } as const;

const NEVER = Number.NEGATIVE_INFINITY;
const FIN_OR_RST: number = TCP_FLAG.rst | TCP_FLAG.fin;

export class NatTable {
  readonly #sessions: Sessions;
  readonly #key = new FlowKey();
  #nextSweep: Instant | undefined;
  #lastSweep = NEVER as Instant;
  /** Where a sweep goes on, and the first end it has seen so far. */
  #cursor = 0;
  #firstEnd = Number.POSITIVE_INFINITY;
  #victimCursor = 0;
  #forgetCursor = 0;
  /** When something that is remembered may be forgotten. */
  #nextForget = Number.POSITIVE_INFINITY;
  /** State of the random probes, never 0. */
  #chance: number;

  /** `seed`: unpredictable, against colliding keys. */
  constructor(seed: number) {
    this.#sessions = new Sessions(seed);
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
    if (
      !this.#sessions.isOver(session, now) &&
      !(isOpening(packet) && this.#sessions.isClosed(session))
    )
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
    return session >= 0 && !this.#sessions.isOver(session, now) ? session : NAT.unknown;
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
    const inside = { words: packet.addresses, index: DESTINATION_WORDS };
    return this.#add(inside, { words: real, index }, ports, now);
  }

  /** A new session that a packet from the resource begins, or `NAT.unsupported` or `NAT.exhausted`. */
  admit(packet: ParsedPacket, now: Instant): number {
    const key = this.#key;
    if (!key.readToClient(packet)) return NAT.unsupported;
    const { addresses } = packet;
    const isTaken = this.#findInside(addresses, SOURCE_WORDS) >= 0;
    if (isTaken || !this.#hasRoom(now)) return NAT.exhausted;
    const resource = { words: addresses, index: SOURCE_WORDS };
    return this.#add(resource, resource, key.ports, now);
  }

  /** A packet of the session went to the resource. */
  noteToResource(session: number, packet: ParsedPacket, now: Instant): void {
    this.#note(session, packet.tcpFlags, false, now);
  }

  /** A packet of the session went to the client, or a translated error about it (`tcpFlags` 0). */
  noteToClient(session: number, tcpFlags: number, now: Instant): void {
    this.#sessions.confirm(session);
    this.#note(session, tcpFlags, true, now);
  }

  /**
   * Removes what is over, as far as `budget` rows go: a removal counts for several. What is left of it. `pollTimeout` stays due until
   * all rows have been looked at.
   */
  sweep(now: Instant, budget: number): number {
    let left = budget;
    const isDue = this.#nextSweep !== undefined && now >= this.#nextSweep;
    if (!isDue && this.#cursor === 0 && now < this.#nextForget) return left;
    const sessions = this.#sessions;
    if (this.#cursor === 0) this.#nextForget = Number.POSITIVE_INFINITY;
    for (; this.#cursor < sessions.rowCount && left > 0; this.#cursor++) {
      left--;
      const row = this.#cursor;
      const isOver = sessions.isReset(row) || sessions.isOver(row, now);
      if (sessions.isUsed(row)) {
        if (isOver) this.#remove(row, now);
        else this.#firstEnd = sessions.earlierEnd(row, this.#firstEnd);
      } else if (sessions.isExpired(row)) {
        if (isOver) sessions.remove(row);
        else this.#nextForget = sessions.earlierEnd(row, this.#nextForget);
      } else continue;
      if (isOver) left -= REMOVAL_COST;
    }
    if (this.#cursor < sessions.rowCount) return left;
    const first = this.#firstEnd as Instant;
    this.#cursor = 0;
    this.#firstEnd = Number.POSITIVE_INFINITY;
    this.#lastSweep = now;
    this.#nextSweep = undefined;
    if (sessions.count > 0) this.#sweepBy(first);
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
    this.#sessions.clear();
    this.#cursor = 0;
    this.#nextForget = Number.POSITIVE_INFINITY;
    this.#firstEnd = Number.POSITIVE_INFINITY;
    this.#nextSweep = undefined;
  }

  /** Live sessions. */
  get count(): number {
    return this.#sessions.count;
  }

  /** Memory of the sessions and of what is remembered of others. */
  get bytes(): number {
    return this.#sessions.bytes;
  }

  /** Remembered outside tuples of sessions that are over. */
  get expiredCount(): number {
    return this.#sessions.expiredCount;
  }

  /** Where a session's addresses are: `rows` with the offsets of the getters below. Valid until the next session is added. */
  get rows(): Int32Array {
    return this.#sessions.rows;
  }

  /** Index of the four words of a session's address, as the client sees it, in `rows`. */
  insideOf(session: number): number {
    return this.#sessions.insideOf(session);
  }

  /** Index of the four words of a session's real address in `rows`. */
  outsideOf(session: number): number {
    return this.#sessions.outsideOf(session);
  }

  /** Whether address or port change. */
  isTranslated(session: number): boolean {
    return this.#sessions.isTranslated(session);
  }

  /** Whether client and resource have addresses of different families (data-plane 13). */
  isCrossFamily(session: number): boolean {
    return this.#sessions.isCrossFamily(session);
  }

  /** The client's port, or the identifier of its echo. */
  insidePortOf(session: number): number {
    return this.#sessions.insidePortsOf(session) >>> 16;
  }

  /** What the resource sees instead. */
  outsidePortOf(session: number): number {
    return this.#sessions.outsidePortsOf(session) >>> 16;
  }

  epochOf(session: number): number {
    return this.#sessions.epochOf(session);
  }

  setEpoch(session: number, epoch: number): void {
    this.#sessions.setEpoch(session, epoch);
  }

  #findInside(words: Int32Array, index: number): number {
    return this.#sessions.findInside(words, index, this.#key.ports, this.#key.protocol);
  }

  #findOutside(words: Int32Array, index: number, now: Instant): number {
    const { ports, protocol } = this.#key;
    const session = this.#sessions.findOutside(words, index, ports, protocol);
    if (session < 0) return NAT.unknown;
    if (this.#sessions.isExpired(session)) return NAT.expired;
    if (!this.#sessions.isOver(session, now)) return session;
    const wasTranslated = this.isTranslated(session);
    this.#remove(session, now);
    return wasTranslated ? NAT.expired : NAT.unknown;
  }

  /** `inside`: as the client sees it; the key holds its ports and protocol. */
  #add(inside: WordsAt, outside: WordsAt, outsidePorts: number, now: Instant): number {
    const { protocol } = this.#key;
    const { words, index } = outside;
    const before = this.#sessions.findOutside(words, index, outsidePorts, protocol);
    if (before >= 0) this.#sessions.remove(before);
    const session = this.#sessions.add(this.#key, inside, outside, outsidePorts, now);
    this.#sweepBy(later(now, UNCONFIRMED_LIFETIME_MS));
    return session;
  }

  /**
   * Ports with the first free of the client's `port, port+1, …, 65535, 1, 2, …`; 0 only for a packet that comes from it. Without
   * ports there is nothing to choose.
   */
  #freePorts(real: Int32Array, index: number, now: Instant): number {
    const { ports, protocol, hasClientPort } = this.#key;
    const sessions = this.#sessions;
    const wanted = ports >>> 16;
    const probes = hasClientPort ? PROBES_IN_ORDER + PROBES_AT_RANDOM : 1;
    for (let i = 0; i < probes; i++) {
      let port = wanted + i <= MAX_PORT ? wanted + i : wanted + i - MAX_PORT;
      if (i >= PROBES_IN_ORDER) port = 1 + (this.#nextChance() % MAX_PORT);
      const candidate = (port << 16) | (ports & 0xffff);
      const session = sessions.findOutside(real, index, candidate, protocol);
      // What is over makes room; `#add` clears it away.
      if (session < 0 || sessions.isExpired(session)) return candidate;
      if (sessions.isOver(session, now)) {
        this.#remove(session, now);
        return candidate;
      }
    }
    return NAT.exhausted;
  }

  /** When the table is full, a session makes room that never had an answer or is closed: nobody misses it soon. */
  #hasRoom(now: Instant): boolean {
    const sessions = this.#sessions;
    if (sessions.count < MAX_SESSIONS) return true;
    for (let i = 0; i < MAX_VICTIM_PROBES; i++) {
      const session = this.#victimCursor;
      this.#victimCursor = (session + 1) % sessions.rowCount;
      if (!sessions.isUsed(session)) continue;
      const isMissed =
        sessions.isConfirmed(session) &&
        !sessions.isClosed(session) &&
        !sessions.isOver(session, now);
      if (isMissed) continue;
      this.#remove(session, now);
      return true;
    }
    return false;
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

  #note(session: number, tcpFlags: number, isToClient: boolean, now: Instant): void {
    if ((tcpFlags & FIN_OR_RST) !== 0)
      this.#sweepBy(this.#sessions.close(session, tcpFlags, isToClient, now));
    this.#sessions.touch(session, now);
  }

  #sweepBy(deadline: Instant): void {
    // A sweep under way may be past its row.
    if (this.#cursor > 0 && deadline < this.#firstEnd) this.#firstEnd = deadline;
    const earliest = later(this.#lastSweep, SWEEP_INTERVAL_MS);
    const sweep = deadline < earliest ? earliest : deadline;
    if (this.#nextSweep === undefined || sweep < this.#nextSweep) this.#nextSweep = sweep;
  }

  #remove(session: number, now: Instant): void {
    const sessions = this.#sessions;
    // Without translation there is nothing that a late reply could reveal.
    if (!sessions.isTranslated(session)) {
      sessions.remove(session);
      return;
    }
    if (sessions.expiredCount >= MAX_EXPIRED) this.#forgetOne();
    sessions.expire(session, now);
    this.#nextForget = sessions.earlierEnd(session, this.#nextForget);
  }

  /** In the order of their rows, which is that of their sessions, by and large. */
  #forgetOne(): void {
    const sessions = this.#sessions;
    for (let i = 0; i < sessions.rowCount; i++) {
      const row = this.#forgetCursor;
      this.#forgetCursor = (row + 1) % sessions.rowCount;
      if (!sessions.isExpired(row)) continue;
      sessions.remove(row);
      return;
    }
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
