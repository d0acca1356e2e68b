// The relays of a node: one TURN allocation on each, which of them is offered to a connection, and what they report
// (connectivity 4.4 and 4.10, relay 4.13 to 4.17). Sockets of relays we left are remembered, so that their late traffic is
// swallowed instead of being taken for a peer's (connectivity 11.29).

import { type Endpoint, familyOf } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { RelayId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import { streamEndpoint } from '../../base/stream-endpoint.ts';
import { earliest, type Instant } from '../../base/time.ts';
import type { Ecn, Transmit } from '../../base/transmit.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import type { Allocation } from '../../proto/turn/allocation.ts';
import type { AllocationFailure, AllocationSnapshot } from '../../proto/turn/allocation-types.ts';
import type { StreamCommand, StreamEvent } from '../../proto/turn/stream-dialer.ts';
import { RelayAddresses } from './relay-addresses.ts';
import type { RelayInfo, StreamWay } from './relay-info.ts';
import { sampleRelay } from './relay-sampling.ts';
import { RelayWays } from './relay-ways.ts';

// Specification

/** connectivity 3, remembered relays after a disconnect. */
const MAX_LEFT_SOCKETS = 64;

// Implementation

/** The portal hands out two (relay 4.14). */
const MAX_RELAYS = 16;
const MAX_SOCKETS_PER_RELAY = 2;
/** And a stream. */
const MAX_ENDPOINTS = MAX_RELAYS * (MAX_SOCKETS_PER_RELAY + 1);
const MAX_STREAM_ID = 2 ** 31 - 1;

export interface Relay {
  readonly info: RelayInfo;
  readonly ways: RelayWays;
  /** The one in use. */
  readonly allocation: Allocation;
  /** What it reported last: per kind and family one candidate (connectivity 5.2). */
  readonly candidates: Map<string, LocalCandidateInfo>;
  /** Deviates from relay 4.13: one that refuses an allocation is not offered to connections (relay 10.5). */
  readonly rtt: number | undefined;
}

export interface RelaySnapshot extends AllocationSnapshot {
  readonly id: RelayId;
  readonly transport: 'udp' | 'stream';
}

export interface RelaysDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly log: Log;
  /** What to try where UDP is blocked. */
  readonly streamWays: readonly StreamWay[];
}

export type RelaysEvent =
  | {
      readonly kind: 'candidate-added';
      readonly relay: RelayId;
      readonly candidate: LocalCandidateInfo;
    }
  | { readonly kind: 'candidate-removed'; readonly candidate: LocalCandidateInfo }
  /** Some path through a relay may be written differently now. */
  | { readonly kind: 'channels-changed' }
  /** The relay is no longer there, or silent: connections that used it must migrate. */
  | { readonly kind: 'relay-gone'; readonly relay: RelayId }
  /** The last one gave up by itself. */
  | { readonly kind: 'no-relays' };

export class Relays {
  readonly #deps: RelaysDeps;
  readonly #relays = new Map<RelayId, Relay>();
  readonly #addresses = new RelayAddresses<Relay>(MAX_ENDPOINTS);
  /** By server socket, and by stream. */
  readonly #byServer = new Map<string, Relay>();
  readonly #byRelayed = new Map<string, Relay>();
  /** Sockets of relays we left; the oldest are forgotten. */
  readonly #left = new Set<string>();
  #transmits: Transmit[] = [];
  #events: RelaysEvent[] = [];
  readonly #commands: StreamCommand[] = [];
  #lastStreamId = 0;
  /** Since something was heard of a relay. */
  #hasSaidNoRelays = false;

  constructor(deps: RelaysDeps) {
    this.#deps = deps;
  }

  handleTimeout(now: Instant): void {
    for (const relay of this.#relays.values()) {
      relay.ways.handleTimeout(now);
      this.#settle(relay, now);
    }
  }

  /** A stream that one of the relays asked for. */
  handleStream(event: StreamEvent, now: Instant): void {
    const { kind, stream } = event;
    const relay = this.#byServer.get(stream.key);
    if (!relay) return;
    if (kind === 'stream-opened') this.#addresses.add(stream, relay);
    else this.#forgetStream(stream);
    relay.ways.handleStream(event, now);
    this.#settle(relay, now);
  }

  /** A STUN message from one of the relay's sockets. */
  handleStun(
    relay: Relay,
    bytes: Uint8Array,
    from: Endpoint,
    local: Endpoint,
    now: Instant,
  ): boolean {
    const accepted = relay.ways.handleDatagram(bytes, from, local, now);
    this.#settle(relay, now);
    return accepted;
  }

  /** connectivity 4.10, steps 1 to 3. */
  update(removed: readonly RelayId[], added: readonly RelayInfo[], now: Instant): void {
    const given = new Set(added.map(({ id }) => id));
    for (const id of removed) if (!given.has(id)) this.#leave(id, 'removed', now);
    for (const info of added) this.#add(info, now);
    for (const relay of this.#relays.values()) {
      if (given.has(relay.info.id)) continue;
      relay.ways.refresh(now);
      this.#settle(relay, now);
    }
  }

  /** One datagram through the relay; a missing channel is asked for and used at once (connectivity 8.2). */
  send(
    relay: Relay,
    peer: Endpoint,
    out: { payload: Uint8Array; ecn: Ecn },
    now: Instant,
  ): boolean {
    const outcome = relay.allocation.sendToPeer(peer, out.payload, out.ecn, now);
    relay.ways.settle(now);
    this.#settle(relay, now);
    return outcome === 'sent';
  }

  bindChannel(relay: Relay, peer: Endpoint, now: Instant): void {
    relay.allocation.bindChannel(peer, now);
    relay.ways.settle(now);
    this.#settle(relay, now);
  }

  /** Every allocation from scratch, with the credentials kept (relay 4.17). */
  restart(now: Instant): void {
    this.#transmits = [];
    this.#events = [];
    for (const relay of this.#relays.values()) {
      relay.candidates.clear();
      relay.ways.restart(now);
      this.#settle(relay, now);
    }
    this.#byRelayed.clear();
    this.#events = [];
  }

  /** Addresses of this host are gone: what was asked or allocated from there starts again from another one. */
  handleAddressesGone(gone: ReadonlySet<string>, now: Instant): void {
    for (const relay of this.#relays.values()) {
      const candidates = [...relay.candidates.values()];
      if (!candidates.some(({ base }) => gone.has(base.key))) continue;
      for (const candidate of candidates) {
        if (candidate.kind === 'relayed') this.#removeRelayed(relay, candidate);
        else if (gone.has(candidate.base.key))
          this.#events.push({ kind: 'candidate-removed', candidate });
      }
      relay.candidates.clear();
      relay.ways.restart(now);
      this.#settle(relay, now);
    }
  }

  /** The way to the relays may be another one now. */
  relearn(now: Instant): void {
    for (const relay of this.#relays.values()) {
      relay.ways.relearn(now);
      this.#settle(relay, now);
    }
  }

  /** Gives all allocations back (relay 10.2). */
  release(now: Instant): void {
    for (const id of [...this.#relays.keys()]) this.#leave(id, 'released', now);
  }

  /** connectivity 4.4; one that has an allocation is better than one that may get one (relay 10.5). */
  sample(random: Random): RelayId | undefined {
    const all = [...this.#relays.values()];
    const ready = all.filter(({ allocation }) => allocation.hasAllocation);
    return sampleRelay(ready.length > 0 ? ready : all, random)?.info.id;
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): RelaysEvent | undefined {
    return this.#events.shift();
  }

  pollStreamCommand(): StreamCommand | undefined {
    return this.#commands.shift();
  }

  pollTimeout(): Instant | undefined {
    let first: Instant | undefined;
    for (const { ways } of this.#relays.values()) first = earliest(first, ways.pollTimeout());
    return first;
  }

  get(id: RelayId): Relay | undefined {
    return this.#relays.get(id);
  }

  /** The relay that has this server socket. */
  findByServer(server: Endpoint): Relay | undefined {
    return this.#byServer.get(server.key);
  }

  /** Hot: the same by words, as in a row of a batch. */
  findByWords(words: Int32Array, offset: number): Relay | undefined {
    return this.#addresses.find(words, offset);
  }

  /** The relay that allocated this address for us. */
  findByRelayed(relayed: Endpoint): Relay | undefined {
    return this.#byRelayed.get(relayed.key);
  }

  /** Whether it is a socket of a relay that we left. */
  isLeft(server: Endpoint): boolean {
    return this.#left.has(server.key);
  }

  all(): Iterable<Relay> {
    return this.#relays.values();
  }

  get count(): number {
    return this.#relays.size;
  }

  /** Something for the wire, or for whoever opens streams. */
  get hasOutput(): boolean {
    return this.#transmits.length > 0 || this.#commands.length > 0;
  }

  snapshot(): readonly RelaySnapshot[] {
    return [...this.#relays.values()].map(({ info, ways }) => ({
      id: info.id,
      transport: ways.transport,
      ...ways.allocation.snapshot(),
    }));
  }

  #add(info: RelayInfo, now: Instant): void {
    const known = this.#relays.get(info.id);
    if (known && isSameRelay(known.info, info)) return this.#retry(known, now);
    if (known) this.#leave(info.id, 'replaced', now);
    if (this.#relays.size >= MAX_RELAYS) {
      this.#deps.log.warn('ignored a relay: there are too many', { relay: info.id });
      return;
    }
    const addresses = info.addresses.slice(0, MAX_SOCKETS_PER_RELAY);
    const { crypto, log, streamWays } = this.#deps;
    const ways = new RelayWays(
      { ...info, addresses },
      {
        crypto,
        log,
        streamWays,
        nameStream: (port) => this.#nameStream(port),
        isUdpAlive: () => [...this.#relays.values()].some((relay) => relay.ways.isUdpAlive),
      },
      now,
    );
    const relay: Relay = {
      info,
      ways,
      candidates: new Map(),
      get allocation() {
        return ways.allocation;
      },
      get rtt() {
        const { isSuspended, activeEndpoint, rtt } = ways.allocation;
        return isSuspended || !activeEndpoint ? undefined : rtt;
      },
    };
    this.#relays.set(info.id, relay);
    for (const address of addresses) {
      this.#addresses.add(address, relay);
      this.#byServer.set(address.key, relay);
      this.#left.delete(address.key);
    }
    this.#deps.log.info('relay added', { relay: info.id });
    this.#settle(relay, now);
  }

  #leave(id: RelayId, reason: string, now: Instant): void {
    const relay = this.#relays.get(id);
    if (relay === undefined) return;
    relay.ways.release(now);
    this.#drain(relay);
    this.#forget(relay, reason);
  }

  #forget(relay: Relay, reason: string): void {
    this.#relays.delete(relay.info.id);
    this.#addresses.remove(relay);
    for (const { key } of relay.info.addresses) {
      if (this.#byServer.get(key) === relay) this.#byServer.delete(key);
      this.#rememberLeft(key);
    }
    for (const candidate of relay.candidates.values()) {
      if (candidate.kind === 'relayed') this.#removeRelayed(relay, candidate);
    }
    this.#events.push({ kind: 'relay-gone', relay: relay.info.id });
    this.#deps.log.info('disconnected from relay', { relay: relay.info.id, reason });
  }

  /** Drains what a relay was asked or told; one that gave up is forgotten. */
  #settle(relay: Relay, now: Instant): void {
    const { ways, info } = relay;
    this.#drain(relay);
    for (let event = ways.pollEvent(); event; event = ways.pollEvent()) {
      switch (event.kind) {
        case 'candidate-added':
          this.#hasSaidNoRelays = false;
          relay.candidates.set(slotOf(event.candidate), event.candidate);
          if (event.candidate.kind === 'relayed') {
            this.#byRelayed.set(event.candidate.address.key, relay);
          }
          this.#events.push({ ...event, relay: info.id });
          break;
        case 'candidate-removed':
          if (event.candidate.kind === 'relayed') this.#removeRelayed(relay, event.candidate);
          break;
        case 'channel-bound':
        case 'channel-lost':
          this.#events.push({ kind: 'channels-changed' });
          break;
        case 'silent':
          this.#events.push({ kind: 'relay-gone', relay: info.id });
          break;
        case 'failed':
          return this.#handleFailure(relay, event.reason, now);
      }
    }
  }

  /** The last one that worked is kept and asked again: what is gone may be our network, and the portal with it. */
  #handleFailure(relay: Relay, reason: AllocationFailure, now: Instant): void {
    this.#drain(relay);
    const isLast = this.#relays.size === 1;
    const isKept = isLast && relay.ways.retryLater(reason, now);
    if (isKept) this.#events.push({ kind: 'relay-gone', relay: relay.info.id });
    else this.#forget(relay, reason);
    if (isLast && !this.#hasSaidNoRelays) this.#events.push({ kind: 'no-relays' });
    this.#hasSaidNoRelays = isKept;
  }

  #retry(relay: Relay, now: Instant): void {
    relay.ways.retryNow(now);
    this.#settle(relay, now);
  }

  /** Datagrams first: they may be the last of a stream. */
  #drain(relay: Relay): void {
    const { ways } = relay;
    for (let out = ways.pollTransmit(); out; out = ways.pollTransmit()) this.#transmits.push(out);
    for (let command = ways.pollCommand(); command; command = ways.pollCommand()) {
      this.#commands.push(command);
      const { stream } = command;
      if (command.kind === 'open-stream') this.#byServer.set(stream.key, relay);
      else this.#forgetStream(stream);
    }
  }

  #nameStream(port: number): Endpoint {
    this.#lastStreamId = (this.#lastStreamId % MAX_STREAM_ID) + 1;
    return streamEndpoint(this.#lastStreamId, port);
  }

  #forgetStream(stream: Endpoint): void {
    this.#byServer.delete(stream.key);
    this.#addresses.removeSocket(stream);
  }
  /** Only relayed candidates are ever invalidated (connectivity 5.3). */
  #removeRelayed(relay: Relay, candidate: LocalCandidateInfo): void {
    const { key } = candidate.address;
    const slot = slotOf(candidate);
    if (relay.candidates.get(slot)?.address.key === key) relay.candidates.delete(slot);
    if (this.#byRelayed.get(key) === relay) this.#byRelayed.delete(key);
    this.#events.push({ kind: 'candidate-removed', candidate });
  }

  #rememberLeft(key: string): void {
    this.#left.delete(key);
    this.#left.add(key);
    if (this.#left.size <= MAX_LEFT_SOCKETS) return;
    for (const oldest of this.#left) {
      this.#left.delete(oldest);
      return;
    }
  }
}

function isSameRelay(a: RelayInfo, b: RelayInfo): boolean {
  const sockets = (info: RelayInfo): string =>
    info.addresses
      .map(({ key }) => key)
      .sort()
      .join();
  return a.username === b.username && a.password === b.password && sockets(a) === sockets(b);
}

function slotOf({ kind, address }: LocalCandidateInfo): string {
  return `${kind} ${familyOf(address.address)}`;
}
