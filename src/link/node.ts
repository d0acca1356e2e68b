// The node: the local end of all connections. It owns the key pair, the relays and the connections, and routes: datagrams to
// whom they are for (`dispatch.ts`), candidates to the connections they concern, and what a connection wants sent to the wire
// (`egress.ts`). Implements connectivity 1, 4 and 10. It does no protocol arithmetic, no I/O, and knows no policy.
//
//   handleDatagram ─▶ Dispatcher ─▶ Connection ─▶ Egress ─▶ pollTransmit          bulk: handleRuns ─▶ open ─▶ handleOpened
//                            └───▶ Relays (TURN) ─▶ candidates ─▶ Connection ─▶ Signalling ─▶ pollEvent
//
// After any call the owner drains `pollTransmit`, `pollEvent`, `pollPacket`, then asks for `pollTimeout`.

import type { Endpoint } from '../base/address.ts';
import { DATAGRAM, OPEN_FAILURE, type ReceiveBatch, RUN } from '../base/batch.ts';
import { at } from '../base/bytes.ts';
import { Counters } from '../base/counters.ts';
import { assert } from '../base/errors.ts';
import type { PeerId, RelayId } from '../base/ids.ts';
import { earliest, type Instant, later } from '../base/time.ts';
import type { Ecn, Transmit } from '../base/transmit.ts';
import type { IceCredentials } from '../proto/ice/binding-messages.ts';
import { CheckPacer } from '../proto/ice/check-pacer.ts';
import type { StreamCommand, StreamEvent } from '../proto/turn/stream-dialer.ts';
import { PROBE_LENGTH } from '../wire/iceless/probe.ts';
import { Connection } from './connection/connection.ts';
import type { ConnectionState, ConnectionTerms } from './connection/connection-types.ts';
import { Gathering } from './gathering.ts';
import {
  arrivalOfRun,
  datagramsOfRun,
  foreignDatagram,
  type ReceivedDatagram,
} from './inbound/batch-datagrams.ts';
import {
  createIdentity,
  type Delivery,
  Dispatcher,
  deliver,
  type Identity,
} from './inbound/dispatch.ts';
import { RunClassifier } from './inbound/run-classifier.ts';
import type {
  InnerPacket,
  NodeConfig,
  NodeDeps,
  NodeDropReason,
  NodeEvent,
  NodeSnapshot,
  ResetOutcome,
  SendOutcome,
  UpsertOutcome,
} from './node-types.ts';
import { createCredentials, type Offer, Offers } from './offers.ts';
import { Outlet } from './outbound/outlet.ts';
import { Signalling } from './outbound/signalling.ts';
import { Registry } from './registry.ts';
import type { RelayInfo } from './relays/relay-info.ts';
import { Relays } from './relays/relays.ts';

// Specification

const KEY_LENGTH = 32; // WireGuard §5.4

// Implementation

/** Where one datagram in five is lost, one peer in a hundred and twenty misses all of them. */
const GOODBYES_AT_SHUTDOWN = 3;

export class Node {
  readonly drops: Counters<NodeDropReason> = new Counters();
  readonly #config: NodeConfig;
  readonly #deps: NodeDeps;
  readonly #relays: Relays;
  readonly #registry: Registry;
  readonly #outlet: Outlet;
  readonly #dispatcher: Dispatcher;
  readonly #classifier: RunClassifier;
  readonly #signals = new Signalling();
  readonly #pacer = new CheckPacer();
  readonly #gathering: Gathering;
  readonly #offers: Offers;
  #identity: Identity;
  #packets: InnerPacket[] = [];
  #now: Instant;

  constructor(config: NodeConfig, deps: NodeDeps, now: Instant) {
    this.#config = config;
    this.#deps = deps;
    this.#now = now;
    this.#relays = new Relays({
      crypto: deps.crypto,
      random: deps.random,
      log: deps.log.child('link.relays'),
      streamWays: config.streamWays ?? [],
    });
    this.#registry = new Registry(deps.crypto, deps.aead.capacity);
    this.#outlet = new Outlet(deps.aead, this.#registry, this.#relays, config.neverProbed);
    this.#offers = new Offers(deps.crypto);
    this.#identity = createIdentity(deps.crypto, now);
    this.#gathering = new Gathering({
      random: deps.random,
      relays: this.#relays,
      registry: this.#registry,
      signals: this.#signals,
      outlet: this.#outlet,
    });
    const { demux, recent, slots } = this.#registry;
    this.#dispatcher = new Dispatcher({ crypto: deps.crypto, relays: this.#relays, demux, recent });
    this.#classifier = new RunClassifier(slots, this.#relays);
  }

  /** Hot: says which key opens each run of bulk data; everything else is handled here and now. */
  handleRuns(batch: ReceiveBatch, now: Instant): void {
    for (let run = 0; run < batch.runCount; run++) {
      const row = run * RUN.stride;
      if (this.#classifier.classify(batch, row)) continue;
      for (const datagram of datagramsOfRun(batch, row)) this.#handle(datagram, now);
    }
  }

  /** Hot: what `open` made of the runs. Sets `DATAGRAM.accepted` where the counter passes the replay window. */
  handleOpened(batch: ReceiveBatch, now: Instant): void {
    const { datagrams } = batch;
    let touched: Connection | undefined;
    let lastRun = -1;
    for (let index = 0; index < batch.datagramCount; index++) {
      const row = index * DATAGRAM.stride;
      const length = datagrams[row + DATAGRAM.length] ?? 0;
      const slot = datagrams[row + DATAGRAM.slot] ?? 0;
      const owner = length < 0 ? undefined : this.#registry.slots.ownerOf(slot);
      if (owner === undefined) {
        this.#handleUnopened(batch, row, now);
        continue;
      }
      const low = datagrams[row + DATAGRAM.counterLow] ?? 0;
      const high = datagrams[row + DATAGRAM.counterHigh] ?? 0;
      const accepted = owner.acceptData(slot, low, high, length, now);
      datagrams[row + DATAGRAM.accepted] = accepted ? 1 : 0;
      const run = datagrams[row + DATAGRAM.run] ?? 0;
      if (run !== lastRun && accepted) {
        lastRun = run;
        this.#lookAtArrival(owner, slot, batch, run * RUN.stride, now);
      }
      if (length === PROBE_LENGTH && accepted && owner.isIceless) {
        this.#takeProbe(owner, batch, row, now);
      }
      if (touched !== undefined && touched !== owner) this.#outlet.drainOutput(touched, now);
      touched = owner;
    }
    if (touched !== undefined) this.#outlet.drainOutput(touched, now);
  }

  /** One datagram of the cold path. `bytes` are kept. */
  handleDatagram(bytes: Uint8Array, from: Endpoint, local: Endpoint, ecn: Ecn, now: Instant): void {
    this.#handle({ bytes, from, local, ecn }, now);
  }

  /** connectivity 10: allocations, what they report, connections, migration, what expired. */
  handleTimeout(now: Instant): void {
    this.#advance(now);
    this.#relays.handleTimeout(now);
    this.#handleRelayEvents(now);
    for (const connection of this.#registry.all()) {
      if (connection.deadline > now) continue;
      connection.handleTimeout(now);
      this.#outlet.drain(connection, now);
      this.#removeIfFailed(connection, now);
    }
    this.#registry.handleTimeout(now);
    this.#failOffers(now);
  }

  /** connectivity 4.3. The relay is sampled before anything is changed. */
  upsertConnection(terms: ConnectionTerms, now: Instant): UpsertOutcome {
    assert(terms.remotePublicKey.length === KEY_LENGTH, 'a public key has 32 bytes');
    assert(terms.presharedKey.length === KEY_LENGTH, 'a preshared key has 32 bytes');
    this.#advance(now);
    const relay = this.#relays.sample(this.#deps.random);
    if (relay === undefined && !this.#canDoWithoutRelay()) return 'no-relays';
    const existing = this.#registry.get(terms.id);
    if (existing?.matches(terms)) {
      this.#gathering.repeat(existing, now);
      this.#outlet.drainTouched(now);
      return 'reused';
    }
    if (existing) this.#remove(existing, now);
    this.#create(terms, relay, now);
    this.#outlet.drainTouched(now);
    return existing ? 'replaced' : 'created';
  }

  /** A client's side of connectivity 4.2. The terms of an existing connection to that peer are gone with it. */
  createOffer(id: PeerId, now: Instant): Offer | 'no-relays' {
    this.#advance(now);
    const isPossible = this.#relays.sample(this.#deps.random) !== undefined;
    if (!isPossible && !this.#canDoWithoutRelay()) return 'no-relays';
    this.removeConnection(id, now);
    return this.#offers.create(id, now);
  }

  /** `unknown-offer`: nobody waits for it (any more); the answer is ignored (connectivity 11.22). */
  acceptAnswer(
    id: PeerId,
    remotePublicKey: Uint8Array,
    remoteCredentials: IceCredentials,
    now: Instant,
  ): UpsertOutcome | 'unknown-offer' {
    const offer = this.#offers.take(id);
    if (offer === undefined) return 'unknown-offer';
    const { presharedKey, credentials: localCredentials, candidates } = offer;
    const outcome = this.upsertConnection(
      { id, remotePublicKey, presharedKey, localCredentials, remoteCredentials },
      now,
    );
    for (const text of candidates) this.addRemoteCandidate(id, text, now);
    return outcome;
  }

  /** A gateway's side: an existing connection is never reused. The credentials are our answer, to be sent before any candidate. */
  acceptOffer(
    id: PeerId,
    remotePublicKey: Uint8Array,
    { presharedKey, credentials }: Offer,
    now: Instant,
  ): IceCredentials | 'no-relays' {
    const localCredentials = createCredentials(this.#deps.crypto);
    const terms = { id, remotePublicKey, presharedKey, localCredentials };
    const outcome = this.upsertConnection({ ...terms, remoteCredentials: credentials }, now);
    return outcome === 'no-relays' ? outcome : localCredentials;
  }

  /** A candidate string that the peer signalled (connectivity 5.7, node level). */
  addRemoteCandidate(id: PeerId, text: string, now: Instant): void {
    this.#advance(now);
    const connection = this.#registry.get(id);
    if (connection === undefined) {
      if (!this.#offers.holdCandidate(id, text)) this.drops.add('candidate-for-unknown-peer');
      return;
    }
    const candidate = connection.addRemoteCandidate(text, now);
    if (candidate === undefined) return void this.drops.add('malformed-candidate');
    const relay = connection.relay && this.#relays.get(connection.relay);
    const isUsed = candidate.kind !== 'host' && candidate.isIgnored !== true;
    if (relay && isUsed) this.#relays.bindChannel(relay, candidate.address, now);
    this.#outlet.drain(connection, now);
  }

  removeRemoteCandidate(id: PeerId, text: string, now: Instant): void {
    this.#advance(now);
    const connection = this.#registry.get(id);
    if (connection === undefined) return void this.drops.add('candidate-for-unknown-peer');
    if (!connection.removeRemoteCandidate(text, now)) this.drops.add('malformed-candidate');
    this.#outlet.drain(connection, now);
  }

  /** connectivity 4.8: `goodbye` is said where there is a path, as the last packets of the connection. */
  closeConnection(id: PeerId, goodbye: Uint8Array | undefined, now: Instant): void {
    this.#close(id, goodbye, 1, now);
  }

  /** Silently: the peer said goodbye. */
  removeConnection(id: PeerId, now: Instant): void {
    this.#advance(now);
    const connection = this.#registry.get(id);
    if (connection) this.#remove(connection, now);
  }

  /** At shutdown. Nobody will be there to say it again, so that it is said more than once; the peer hears the first. */
  closeAll(goodbye: Uint8Array | undefined, now: Instant): void {
    for (const { id } of this.#registry.all()) this.#close(id, goodbye, GOODBYES_AT_SHUTDOWN, now);
  }

  /** At shutdown, after `closeAll`: gives the allocations back instead of letting them expire (relay 10.2). */
  releaseRelays(now: Instant): void {
    this.#relays.release(now);
    this.#handleRelayEvents(now);
  }

  /** connectivity 4.10: `init.relays` and `relays_presence`. */
  updateRelays(removed: readonly RelayId[], added: readonly RelayInfo[], now: Instant): void {
    this.#advance(now);
    this.#relays.update(removed, added, now);
    this.#handleRelayEvents(now);
  }

  /** All addresses of this host: candidates that no relay has to answer for first (connectivity 14.19). */
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void {
    this.#advance(now);
    this.#gathering.setLocalAddresses(addresses, now);
    this.#handleRelayEvents(now);
    this.#outlet.drainTouched(now);
  }

  /** Another default route, or this host slept: relays are asked and paths are checked at once, not when it is their time. */
  handleNetworkChange(now: Instant): void {
    this.#advance(now);
    this.#relays.relearn(now);
    this.#handleRelayEvents(now);
    for (const connection of this.#registry.all()) {
      connection.recheck(now);
      this.#outlet.drain(connection, now);
    }
  }

  /** What became of a stream that `pollStreamCommand` asked for. */
  handleStream(event: StreamEvent, now: Instant): void {
    this.#advance(now);
    this.#relays.handleStream(event, now);
    this.#handleRelayEvents(now);
  }

  /**
   * A client changed networks. Connections that all do without ICE move: keys, sessions and what was granted stay (iceless 9). Otherwise
   * all are closed, and the key is a new one, so that the portal derives new credentials (connectivity 4.9).
   */
  reset(now: Instant): ResetOutcome {
    this.#advance(now);
    this.#outlet.clear();
    this.#signals.clear();
    this.#packets = [];
    const connections = this.#registry.all();
    const canMove = connections.length > 0 && connections.every(({ isIceless }) => isIceless);
    this.#failOffers(later(now, Number.POSITIVE_INFINITY));
    if (!canMove) this.#replaceIdentity(connections, now);
    else for (const connection of connections) connection.moveAway(now);
    this.#gathering.startOver();
    this.#relays.restart(now);
    this.#handleRelayEvents(now);
    for (const connection of this.#registry.all()) this.#outlet.lose(connection, now);
    return canMove ? 'moved' : 'replaced';
  }

  /** Hot: the key slot to seal bulk data for that peer with. Counts as activity. -1: not now; `sendPacket` may queue a packet. */
  sendSlot(id: PeerId, now: Instant): number {
    const connection = this.#registry.get(id);
    if (connection === undefined) return -1;
    const slot = connection.sendSlot(now);
    connection.carrier?.noteSent(now);
    this.#registry.noteDeadline(connection);
    return slot < 0 || this.#outlet.isUsable(slot, connection, now) ? slot : -1;
  }

  /** One inner packet of the cold path. */
  sendPacket(id: PeerId, packet: Uint8Array, ecn: Ecn, now: Instant): SendOutcome {
    this.#advance(now);
    const connection = this.#registry.get(id);
    if (connection === undefined) return 'unknown-peer';
    const outcome = connection.sendPacket(packet, ecn, now);
    this.#outlet.drain(connection, now);
    return outcome;
  }

  pollPacket(): InnerPacket | undefined {
    return this.#packets.shift();
  }

  pollTransmit(): Transmit | undefined {
    return this.#relays.pollTransmit() ?? this.#outlet.pollTransmit();
  }

  /** Streams to open and to close; to be asked for after `pollTransmit`. */
  pollStreamCommand(): StreamCommand | undefined {
    return this.#relays.pollStreamCommand();
  }

  pollEvent(): NodeEvent | undefined {
    return this.#signals.pollEvent() ?? this.#outlet.pollEvent();
  }

  /** At once while output is queued (connectivity 11.30). */
  pollTimeout(): Instant | undefined {
    const isQueued =
      this.#relays.hasOutput ||
      !this.#outlet.isEmpty ||
      !this.#signals.isEmpty ||
      this.#packets.length > 0;
    if (isQueued) return this.#now;
    return earliest(
      this.#relays.pollTimeout(),
      this.#registry.pollTimeout(),
      this.#offers.pollTimeout(),
    );
  }

  get publicKey(): Uint8Array {
    return this.#identity.publicKey;
  }

  /** Hot. */
  peerOfSlot(slot: number): PeerId | undefined {
    return this.#registry.slots.ownerOf(slot)?.id;
  }

  hasConnection(id: PeerId): boolean {
    return this.#registry.get(id) !== undefined;
  }

  connectionState(id: PeerId): ConnectionState | undefined {
    return this.#registry.get(id)?.state;
  }

  snapshot(): NodeSnapshot {
    return {
      connections: this.#registry.all().map((connection) => connection.snapshot()),
      relays: this.#relays.snapshot(),
      tables: { ...this.#registry.snapshot(), offers: this.#offers.count },
      drops: this.drops.snapshot(),
      notSent: this.#outlet.drops,
      handshakes: this.#identity.gate.counters.snapshot(),
    };
  }

  #handle(datagram: ReceivedDatagram, now: Instant): void {
    this.#advance(now);
    const arrival = this.#dispatcher.find(datagram, this.#identity, now);
    switch (arrival.kind) {
      case 'dropped':
        this.drops.add(arrival.reason);
        return;
      case 'relay':
        this.#relays.handleStun(arrival.relay, datagram.bytes, datagram.from, datagram.local, now);
        this.#handleRelayEvents(now);
        return;
      case 'cookie': {
        const { from, local } = arrival.datagram;
        const payload = arrival.cookieReply;
        this.#outlet.send({ local, remote: from, payload, ecn: 0, isRelayed: false }, now);
        return;
      }
      default:
        this.#deliver(arrival, datagram.ecn, now);
    }
  }

  #deliver(arrival: Delivery, ecn: Ecn, now: Instant): void {
    const { to } = arrival;
    const outcome = deliver(arrival, now);
    if (typeof outcome === 'string') this.drops.add(outcome);
    else if (outcome) this.#packets.push({ peer: to.id, bytes: outcome, ecn });
    this.#outlet.drain(to, now);
  }

  /** Hot, once per run: data that comes another way than ours goes may mean that the peer has moved (connectivity 14.15). */
  #lookAtArrival(
    owner: Connection,
    slot: number,
    batch: ReceiveBatch,
    row: number,
    now: Instant,
  ): void {
    if (this.#outlet.carries(slot, batch, row) || !owner.isDueForLook(now)) return;
    const arrival = arrivalOfRun(batch, row, this.#relays);
    if (arrival) owner.handleAuthentic(arrival, now);
  }

  /** A row that no session takes: foreign to its run, forged, truncated, or its session went meanwhile. */
  #handleUnopened(batch: ReceiveBatch, row: number, now: Instant): void {
    switch (at(batch.datagrams, row + DATAGRAM.length)) {
      case OPEN_FAILURE.foreign:
        this.#handle(foreignDatagram(batch, row), now);
        return;
      case OPEN_FAILURE.notAuthenticated:
        this.drops.add('not-authenticated');
        return;
      case OPEN_FAILURE.truncated:
        this.drops.add('truncated');
        return;
      default:
        this.drops.add('session-gone');
    }
  }

  /** A probe of the peer goes no further (iceless 5.1). */
  #takeProbe(owner: Connection, batch: ReceiveBatch, row: number, now: Instant): void {
    const { datagrams, slab } = batch;
    const arrival = arrivalOfRun(
      batch,
      at(datagrams, row + DATAGRAM.run) * RUN.stride,
      this.#relays,
    );
    const offset = at(datagrams, row + DATAGRAM.offset);
    const packet = slab.slice(offset, offset + PROBE_LENGTH);
    if (arrival && owner.handleInner(packet, arrival, now)) datagrams[row + DATAGRAM.accepted] = 0;
  }

  #handleRelayEvents(now: Instant): void {
    if (!this.#gathering.handleRelayEvents(now)) return;
    this.#outlet.refreshPaths(now);
    this.#outlet.drainTouched(now);
  }

  #replaceIdentity(connections: readonly Connection[], now: Instant): void {
    for (const connection of connections) {
      this.#remove(connection, now);
      this.#outlet.report({ kind: 'connection-closed', peer: connection.id });
    }
    this.#identity.privateKey.fill(0);
    this.#identity = createIdentity(this.#deps.crypto, now);
  }

  #create(terms: ConnectionTerms, relay: RelayId | undefined, now: Instant): void {
    const { role, allowLoopback = false } = this.#config;
    const { privateKey, publicKey } = this.#identity;
    const index = this.#registry.takeIndex();
    const connection = new Connection(
      { ...terms, role, index, privateKey, publicKey, relay, allowLoopback },
      { ...this.#deps, pacer: this.#pacer },
      now,
    );
    this.#registry.add(connection);
    this.#gathering.seed(connection, now);
  }

  #failOffers(until: Instant): void {
    for (const peer of this.#offers.takeExpired(until)) {
      this.#outlet.report({ kind: 'connection-failed', peer, reason: 'no-answer' });
    }
  }

  #removeIfFailed(connection: Connection, now: Instant): void {
    const { id, failure } = connection;
    if (failure === undefined) return;
    this.#remove(connection, now);
    this.#outlet.report({ kind: 'connection-failed', peer: id, reason: failure });
  }

  #close(id: PeerId, goodbye: Uint8Array | undefined, copies: number, now: Instant): void {
    this.#advance(now);
    const connection = this.#registry.get(id);
    if (connection === undefined) return;
    const isOpen = connection.path !== undefined;
    if (isOpen && goodbye) {
      for (let copy = 0; copy < copies; copy++) connection.sendPacket(goodbye, 0, now);
    }
    this.#outlet.drain(connection, now);
    this.#remove(connection, now);
    if (isOpen) this.#outlet.report({ kind: 'connection-closed', peer: id });
  }

  #remove(connection: Connection, now: Instant): void {
    this.#registry.remove(connection, now);
    this.#signals.forget(connection.id);
    this.#outlet.forget(connection);
  }

  #canDoWithoutRelay(): boolean {
    return this.#config.allowNoRelays === true && this.#gathering.hasLocalAddresses;
  }

  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }
}
