// One WireGuard tunnel to one peer: handshakes, sessions, timers (WireGuard, connectivity 7). Handshake messages reach it through
// `HandshakeGate`, which has verified `mac1`. Bulk data is sealed and opened by `TransportAead` in batches; here pass only its
// counters, and single messages of the cold path. It knows no addresses: the owner sends what it yields.
//
//   idle ── startHandshake, timers ──> initiation sent ── handleResponse ──> session, current at once
//     └──── handleInitiation ──> session, waits for its first authentic message ──> current
//
// Hot path: `acceptCounter`, `sendSlot`, `noteSent`.

import type { TransportAead } from '../../base/batch.ts';
import { at, equalBytes } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import { type Instant, instant, later, type WallClock } from '../../base/time.ts';
import { innerPacketLength } from '../../wire/wireguard/inner-packet.ts';
import { parseWireGuard } from '../../wire/wireguard/messages.ts';
import { sessionIndexOf } from './connection-index.ts';
import {
  createInitiation,
  createResponse,
  type OpenedInitiation,
  openInitiationTimestamp,
  openResponse,
  type SentInitiation,
  type StaticKeys,
  staticKeys,
  wipeInitiation,
} from './handshake.ts';
import {
  INITIATOR_SENDS_MS,
  MAX_INNER_LENGTH,
  REJECT_AFTER_MESSAGES,
  REJECT_AFTER_MS,
} from './limits.ts';
import { type CookieDropReason, MacWriter } from './macs.ts';
import type { TransportKeys } from './noise.ts';
import { type Role, Session, Sessions } from './sessions.ts';
import { isLaterTai64n, successorTai64n, TAI64N_LENGTH, tai64n } from './tai64n.ts';
import { type TimerConfig, TunnelTimers } from './timers.ts';
import { WaitingPackets } from './waiting-packets.ts';

// Specification
/** connectivity 7.3: a response may answer the last initiation or the one before. */
const MAX_OUTSTANDING = 2;
const PADDING_MULTIPLE = 16; // WireGuard §5.4.6

// Implementation
const EMPTY = new Uint8Array(0);
/** Of one initiation: a peer that answers nothing but cookies is not asked without end. */
const MAX_RESTAMPS = 2;
const TWO_32 = 0x1_0000_0000;

export interface TunnelConfig extends TimerConfig {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly remotePublicKey: Uint8Array;
  /** 32 bytes, zero if there is none. */
  readonly presharedKey: Uint8Array;
  /** 24 bits, unique among living connections (`ConnectionIndexes`). */
  readonly connectionIndex: number;
  /** Pads single packets to 16 bytes as WireGuard §5.4.6 asks; Firezone does not (connectivity 7.5). */
  readonly padding?: 'none' | 'to-16';
}

export interface TunnelDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly aead: TransportAead;
  readonly wallClock: WallClock;
  readonly log: Log;
}

export type TunnelDropReason =
  | CookieDropReason
  | 'wrong-key'
  | 'weak-key'
  | 'old-timestamp'
  | 'no-slot'
  | 'no-session'
  | 'expired-session'
  | 'replayed'
  | 'too-old'
  | 'not-ip'
  | 'too-large'
  | 'waiting-too-many';

export type TunnelOutcome =
  | { readonly kind: 'reply'; readonly datagram: Uint8Array }
  | { readonly kind: 'accepted' }
  | { readonly kind: 'dropped'; readonly reason: TunnelDropReason };

export type DataOutcome =
  | { readonly kind: 'packet'; readonly bytes: Uint8Array }
  | { readonly kind: 'keepalive' }
  | { readonly kind: 'dropped'; readonly reason: TunnelDropReason };

/** `waiting`: a handshake is under way, the packet is sent when it is complete. */
export type SealOutcome =
  | { readonly kind: 'sealed'; readonly datagram: Uint8Array }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'dropped'; readonly reason: TunnelDropReason };

export type TunnelEvent =
  /** A session can be used for sending, and is. */
  | { readonly kind: 'established'; readonly role: Role; readonly slot: number }
  /** No handshake succeeded; all sessions are gone. `startHandshake` or an initiation of the peer revives the tunnel. */
  | { readonly kind: 'expired' }
  | { readonly kind: 'session-installed'; readonly slot: number; readonly localIndex: number }
  | { readonly kind: 'session-removed'; readonly slot: number; readonly localIndex: number };

export interface TunnelSnapshot {
  readonly connectionIndex: number;
  readonly isInitiating: boolean;
  readonly isExpired: boolean;
  readonly waitingPackets: number;
  readonly sessions: readonly {
    readonly localIndex: number;
    readonly role: Role;
    readonly establishedAt: Instant;
    readonly isCurrent: boolean;
    readonly sent: number;
    readonly received: number;
  }[];
  readonly drops: Readonly<Record<string, number>>;
}

export class Tunnel {
  readonly drops: Counters<TunnelDropReason> = new Counters();
  readonly #config: TunnelConfig;
  readonly #deps: TunnelDeps;
  readonly #keys: StaticKeys | undefined;
  readonly #macs: MacWriter;
  readonly #sessions = new Sessions();
  readonly #timers: TunnelTimers;
  readonly #waiting = new WaitingPackets();
  #outstanding: SentInitiation[] = [];
  /** The last initiation as it was sent, and how often it was stamped anew. */
  #lastInitiation: { readonly message: Uint8Array; readonly senderIndex: number } | undefined;
  #restamps = 0;
  #sessionCounter = 0;
  /** On sessions that are gone. */
  #receivedBefore = 0;
  #sentBefore = 0;
  #keepalivesSent = 0;
  #lastSentTimestamp: Uint8Array = new Uint8Array(TAI64N_LENGTH);
  #lastReceivedTimestamp: Uint8Array = new Uint8Array(TAI64N_LENGTH);
  #datagrams: Uint8Array[] = [];
  #events: TunnelEvent[] = [];
  #now: Instant;

  constructor(config: TunnelConfig, deps: TunnelDeps, now: Instant) {
    this.#config = config;
    this.#deps = deps;
    this.#keys = staticKeys(deps.crypto, config);
    this.#macs = new MacWriter(deps.crypto, config.remotePublicKey);
    this.#timers = new TunnelTimers(config, deps.random, now);
    this.#now = now;
  }

  /** Answers an initiation that `HandshakeGate` admitted and `openInitiationStatic` opened. */
  handleInitiation(opened: OpenedInitiation, now: Instant): TunnelOutcome {
    this.#advance(now);
    if (this.#keys === undefined) return this.#drop('weak-key');
    if (!equalBytes(opened.remotePublicKey, this.#config.remotePublicKey)) {
      return this.#drop('wrong-key');
    }
    const timestamp = openInitiationTimestamp(opened, this.#keys.sharedSecret);
    if (timestamp === undefined) return this.#drop('not-authenticated');
    if (!isLaterTai64n(timestamp, this.#lastReceivedTimestamp)) return this.#drop('old-timestamp');
    this.#lastReceivedTimestamp = timestamp;
    const senderIndex = this.#nextIndex();
    const { crypto } = this.#deps;
    const response = createResponse(crypto, opened, this.#config.presharedKey, senderIndex);
    if (response === undefined) return this.#drop('weak-key');
    const remoteIndex = opened.initiation.senderIndex;
    const session = this.#install(response.keys, 'responder', senderIndex, remoteIndex);
    if (session === undefined) return this.#drop('no-slot');
    this.#timers.noteHandshakeReceived();
    this.#timers.noteSent();
    this.#macs.stamp(response.message, senderIndex, this.#now);
    return { kind: 'reply', datagram: response.message };
  }

  /** Completes our initiation: the session is current at once, and the reply, a keepalive, confirms it to the peer. */
  handleResponse(message: Uint8Array, now: Instant): TunnelOutcome {
    this.#advance(now);
    const response = parseWireGuard(message);
    if (response?.kind !== 'response' || this.#keys === undefined) return this.#drop('malformed');
    const sent = this.#outstanding.find((other) => other.senderIndex === response.receiverIndex);
    if (sent === undefined) return this.#drop('unexpected');
    const keys = openResponse(this.#deps.crypto, sent, this.#keys, response);
    if (keys === undefined) return this.#drop('not-authenticated');
    const session = this.#install(keys, 'initiator', sent.senderIndex, response.senderIndex);
    if (session === undefined) return this.#drop('no-slot');
    this.#timers.noteHandshakeReceived();
    const datagram = this.#sealKeepalive(session.slot);
    this.#promote(session);
    return { kind: 'reply', datagram };
  }

  handleCookieReply(message: Uint8Array, now: Instant): TunnelOutcome {
    this.#advance(now);
    const reason = this.#macs.handleCookieReply(message, this.#now);
    return reason === undefined ? { kind: 'accepted' } : this.#drop(reason);
  }

  /**
   * After a cookie reply: the same initiation with the cookie's mac2. Deviates from connectivity 7.4, where the cookie waits for the next
   * initiation: the peer has looked at none of this one, and five seconds are long.
   */
  restampInitiation(now: Instant): Uint8Array | undefined {
    this.#advance(now);
    const last = this.#lastInitiation;
    const isOutstanding = this.#outstanding.some(
      ({ senderIndex }) => senderIndex === last?.senderIndex,
    );
    if (last === undefined || !isOutstanding || this.#restamps >= MAX_RESTAMPS) return undefined;
    this.#restamps += 1;
    const message = last.message.slice();
    this.#macs.stamp(message, last.senderIndex, this.#now);
    return message;
  }

  /** One data message of the cold path. */
  handleData(message: Uint8Array, now: Instant): DataOutcome {
    this.#advance(now);
    const data = parseWireGuard(message);
    if (data?.kind !== 'data') return this.#drop('malformed');
    const session = this.#sessions.find(data.receiverIndex);
    if (session === undefined) {
      const isVacant = this.#sessions.occupantOf(data.receiverIndex) === undefined;
      return this.#drop(isVacant ? 'no-session' : 'wrong-index');
    }
    const refusal = this.#refusal(session, data.counterLow, data.counterHigh);
    if (refusal !== undefined) return this.#drop(refusal);
    const plaintext = this.#deps.aead.openOne(session.slot, message);
    if (plaintext === undefined) return this.#drop('not-authenticated');
    session.window.mark(data.counterLow, data.counterHigh);
    this.#noteAuthentic(session, plaintext.length);
    if (plaintext.length === 0) return { kind: 'keepalive' };
    const length = innerPacketLength(plaintext);
    if (length === undefined) return this.#drop('not-ip');
    if (length > MAX_INNER_LENGTH) return this.#drop('too-large');
    return { kind: 'packet', bytes: plaintext.subarray(0, length) };
  }

  /**
   * Hot: a data message that the key of `slot` opened; `length` of its plaintext. Counter words as they stand in
   * `DATAGRAM` rows, signed. False: replayed, too old, or too late.
   */
  acceptCounter(
    slot: number,
    counterLow: number,
    counterHigh: number,
    length: number,
    now: Instant,
  ): boolean {
    this.#advance(now);
    const session = this.#sessions.findBySlot(slot);
    if (session === undefined) return this.#refuse('no-session');
    const low = counterLow >>> 0;
    const high = counterHigh >>> 0;
    const refusal = this.#refusal(session, low, high);
    if (refusal !== undefined) return this.#refuse(refusal);
    session.window.mark(low, high);
    this.#noteAuthentic(session, length);
    return true;
  }

  /** connectivity 7.8; may be called early, late or twice. */
  handleTimeout(now: Instant): void {
    this.#advance(now);
    if (this.#timers.isHandshakeScheduled) {
      if (this.#timers.isHandshakeDue(this.#now)) this.#initiate();
      return;
    }
    for (const session of this.#sessions.all()) {
      if (this.#now >= later(session.establishedAt, REJECT_AFTER_MS)) this.#remove(session);
    }
    this.#macs.forgetOldCookie(this.#now);
    switch (this.#timers.judge(this.#sessions.current, this.#sentOnCurrent(), this.#now)) {
      case 'expire':
        this.#expire();
        break;
      case 'send-keepalive':
        this.#sendKeepalive();
        break;
      case 'none':
        break;
    }
  }

  /** Sends an initiation now, unless one is under way. */
  startHandshake(now: Instant): void {
    this.#advance(now);
    if (!this.#timers.isInitiating) this.#initiate();
  }

  /** Seals one packet of the cold path. Without a session nothing is started (connectivity 7.9). */
  sealPacket(packet: Uint8Array, now: Instant): SealOutcome {
    this.#advance(now);
    if (packet.length > MAX_INNER_LENGTH) return this.#drop('too-large');
    const slot = this.sendSlot(now);
    if (slot >= 0) return { kind: 'sealed', datagram: this.#sealData(slot, packet) };
    if (!this.#isHandshakeUnderWay) return this.#drop('no-session');
    if (this.#waiting.push(packet, this.#now)) this.drops.add('waiting-too-many');
    return { kind: 'waiting' };
  }

  /** Seals what answers a packet of the peer: no answer to it is waited for (connectivity 7.8, rule 11). Nothing without a session. */
  sealAnswer(packet: Uint8Array, now: Instant): Uint8Array | undefined {
    const slot = this.sendSlot(now);
    if (slot < 0) return undefined;
    this.#timers.noteSent();
    return this.#deps.aead.sealOne(slot, this.#padded(packet));
  }

  /** Hot: the slot that bulk data may be sealed with now, or -1. */
  sendSlot(now: Instant): number {
    this.#advance(now);
    const session = this.#sessions.current;
    if (session === undefined) return -1;
    const age = this.#now - session.establishedAt;
    const limit = session.role === 'initiator' ? INITIATOR_SENDS_MS : REJECT_AFTER_MS;
    if (age > limit || this.#sentOnCurrent() >= REJECT_AFTER_MESSAGES) return -1;
    return session.slot;
  }

  /** Hot: bulk data went out through `sendSlot`. */
  noteSent(now: Instant): void {
    this.#advance(now);
    const session = this.#sessions.current;
    if (session !== undefined) this.#timers.noteSentData(session, this.#now);
  }

  /** Wipes all keys. Nothing may be called afterwards, and nothing is polled. */
  close(): void {
    this.#wipe();
    this.#keys?.sharedSecret.fill(0);
    this.#datagrams = [];
    this.#events = [];
  }

  pollDatagram(): Uint8Array | undefined {
    return this.#datagrams.shift();
  }

  pollEvent(): TunnelEvent | undefined {
    return this.#events.shift();
  }

  /** Never before the latest `now`. */
  pollTimeout(): Instant | undefined {
    const { current, nextExpiry } = this.#sessions;
    const deadline = this.#timers.nextDeadline(current, this.#sentOnCurrent(), nextExpiry);
    if (deadline === Number.POSITIVE_INFINITY) return undefined;
    return instant(Math.max(deadline, this.#now));
  }

  /** Key slot of a session of ours by the receiver index of a data message, or -1. */
  receiveSlot(receiverIndex: number): number {
    return this.#sessions.find(receiverIndex)?.slot ?? -1;
  }

  /** Rises with every authentic data message that is newer than those before it; never falls. */
  get receivedCount(): number {
    let count = this.#receivedBefore;
    for (const session of this.#sessions.all()) count += session.window.next;
    return count;
  }

  /** Rises with every data message that is sent, keepalives apart; never falls. */
  get sentCount(): number {
    let count = this.#sentBefore - this.#keepalivesSent;
    for (const { slot } of this.#sessions.all()) count += at(this.#deps.aead.sendCounters, slot);
    return count;
  }

  get isInitiating(): boolean {
    return this.#timers.isInitiating;
  }

  get isExpired(): boolean {
    return this.#timers.isExpired;
  }

  snapshot(): TunnelSnapshot {
    return {
      connectionIndex: this.#config.connectionIndex,
      isInitiating: this.isInitiating,
      isExpired: this.isExpired,
      waitingPackets: this.#waiting.count,
      sessions: this.#sessions.all().map((session) => ({
        localIndex: session.localIndex,
        role: session.role,
        establishedAt: session.establishedAt,
        isCurrent: session === this.#sessions.current,
        sent: at(this.#deps.aead.sendCounters, session.slot),
        received: session.window.next,
      })),
      drops: this.drops.snapshot(),
    };
  }

  #initiate(): void {
    if (this.#keys === undefined) return void this.drops.add('weak-key');
    const senderIndex = this.#nextIndex();
    const timestamp = this.#nextTimestamp();
    const made = createInitiation(this.#deps.crypto, this.#keys, senderIndex, timestamp);
    if (made === undefined) return void this.drops.add('weak-key');
    if (this.#outstanding.length === MAX_OUTSTANDING) {
      const superseded = this.#outstanding.shift();
      if (superseded) wipeInitiation(superseded);
    }
    this.#outstanding.push(made.sent);
    this.#macs.stamp(made.message, senderIndex, this.#now);
    this.#lastInitiation = { message: made.message, senderIndex };
    this.#restamps = 0;
    this.#timers.noteInitiation(this.#now);
    this.#datagrams.push(made.message);
    this.#deps.log.debug('sending a handshake initiation', { senderIndex });
  }

  /** Strictly later than the one before, however coarse the clock. */
  #nextTimestamp(): Uint8Array {
    const timestamp = tai64n(this.#deps.wallClock.at(this.#now));
    const last = this.#lastSentTimestamp;
    this.#lastSentTimestamp = isLaterTai64n(timestamp, last) ? timestamp : successorTai64n(last);
    return this.#lastSentTimestamp;
  }

  #nextIndex(): number {
    this.#sessionCounter = (this.#sessionCounter + 1) & 255;
    return sessionIndexOf(this.#config.connectionIndex, this.#sessionCounter);
  }

  #install(
    keys: TransportKeys,
    role: Role,
    localIndex: number,
    remoteIndex: number,
  ): Session | undefined {
    const { initiatorToResponder, responderToInitiator } = keys;
    const occupant = this.#sessions.occupantOf(localIndex);
    if (occupant) this.#remove(occupant);
    const slot =
      role === 'initiator'
        ? this.#deps.aead.install(initiatorToResponder, responderToInitiator, remoteIndex)
        : this.#deps.aead.install(responderToInitiator, initiatorToResponder, remoteIndex);
    initiatorToResponder.fill(0);
    responderToInitiator.fill(0);
    if (slot < 0) return undefined;
    const session = new Session(slot, localIndex, role, this.#now);
    this.#sessions.add(session);
    this.#timers.noteEstablished(role, this.#now);
    this.#events.push({ kind: 'session-installed', slot, localIndex });
    return session;
  }

  #remove(session: Session): void {
    const { slot, localIndex } = session;
    this.#receivedBefore += session.window.next;
    this.#sentBefore += at(this.#deps.aead.sendCounters, slot);
    this.#sessions.remove(session);
    this.#deps.aead.remove(slot);
    this.#events.push({ kind: 'session-removed', slot, localIndex });
  }

  /** Hot: why a counter must not pass on this session. */
  #refusal(session: Session, low: number, high: number): TunnelDropReason | undefined {
    if (this.#now - session.establishedAt > REJECT_AFTER_MS) return 'expired-session';
    if (high * TWO_32 + low >= REJECT_AFTER_MESSAGES) return 'too-old';
    const verdict = session.window.check(low, high);
    if (verdict === 'fresh') return undefined;
    return verdict === 'duplicate' ? 'replayed' : 'too-old';
  }

  /** Hot. */
  #noteAuthentic(session: Session, length: number): void {
    this.#timers.noteReceived(session, length > 0, this.#now);
    if (session !== this.#sessions.current) this.#promote(session);
  }

  #promote(session: Session): void {
    if (!this.#sessions.promote(session)) return;
    for (const sent of this.#outstanding) wipeInitiation(sent);
    this.#outstanding = [];
    this.#timers.noteInitiationEnded();
    this.#events.push({ kind: 'established', role: session.role, slot: session.slot });
    for (const packet of this.#waiting.takeAll(this.#now)) {
      this.#datagrams.push(this.#sealData(session.slot, packet));
    }
  }

  #sealData(slot: number, packet: Uint8Array): Uint8Array {
    const session = this.#sessions.current;
    assert(session?.slot === slot, 'data is sealed on the current session');
    this.#timers.noteSentData(session, this.#now);
    return this.#deps.aead.sealOne(slot, this.#padded(packet));
  }

  #padded(packet: Uint8Array): Uint8Array {
    if (this.#config.padding !== 'to-16') return packet;
    const length = Math.ceil(packet.length / PADDING_MULTIPLE) * PADDING_MULTIPLE;
    const padded = new Uint8Array(Math.min(length, MAX_INNER_LENGTH));
    padded.set(packet);
    return padded;
  }

  /** Without a session it is skipped and starts nothing (connectivity 7.8). */
  #sendKeepalive(): void {
    const slot = this.sendSlot(this.#now);
    if (slot < 0) return;
    this.#datagrams.push(this.#sealKeepalive(slot));
  }

  #sealKeepalive(slot: number): Uint8Array {
    this.#keepalivesSent += 1;
    this.#timers.noteSent();
    return this.#deps.aead.sealOne(slot, EMPTY);
  }

  #expire(): void {
    this.#wipe();
    this.#timers.noteExpired();
    this.#events.push({ kind: 'expired' });
    this.#deps.log.debug('no handshake succeeded in time', {
      connectionIndex: this.#config.connectionIndex,
    });
  }

  #wipe(): void {
    for (const session of this.#sessions.all()) this.#remove(session);
    for (const sent of this.#outstanding) wipeInitiation(sent);
    this.#outstanding = [];
    this.#macs.wipe();
    this.#waiting.takeAll(this.#now);
  }

  get #isHandshakeUnderWay(): boolean {
    return this.#outstanding.length > 0 || this.#sessions.hasUnconfirmed;
  }

  #sentOnCurrent(): number {
    const session = this.#sessions.current;
    return session === undefined ? 0 : at(this.#deps.aead.sendCounters, session.slot);
  }

  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }

  #drop(reason: TunnelDropReason): { readonly kind: 'dropped'; readonly reason: TunnelDropReason } {
    this.drops.add(reason);
    return { kind: 'dropped', reason };
  }

  #refuse(reason: TunnelDropReason): boolean {
    this.drops.add(reason);
    return false;
  }
}
