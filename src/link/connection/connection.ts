// One connection to one peer: a finder of the path, a WireGuard tunnel that seals what goes over it, and the life
// cycle that binds them (connectivity 4.5 to 4.8). It knows neither relays nor other connections; the node routes datagrams
// and addresses.
//
//   connecting ── nominated ──▶ connected ⇄ idle          any ── failure ──▶ failed
//
// A client is controlling and starts all handshakes that a nomination calls for, a gateway is controlled and starts none
// (connectivity 7.9).

import { equalBytes, equalSecrets } from '../../base/bytes.ts';
import type { PeerId, RelayId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import { earliest, type Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import type { IceCredentials } from '../../proto/ice/binding-messages.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import type { OpenedInitiation } from '../../proto/wireguard/handshake.ts';
import { Tunnel, type TunnelDropReason, type TunnelOutcome } from '../../proto/wireguard/tunnel.ts';
import type { StunMessage } from '../../wire/stun/message.ts';
import type { Addressee } from '../inbound/demux.ts';
import type { Path } from '../outbound/path.ts';
import type {
  ConnectionConfig,
  ConnectionDeps,
  ConnectionEvent,
  ConnectionSnapshot,
  ConnectionState,
  ConnectionTerms,
  Outgoing,
  PacketOutcome,
} from './connection-types.ts';
import { IceFinder } from './ice-finder.ts';
import { IcelessFinder } from './iceless-finder.ts';
import { type FailureReason, LifeCycle } from './life-cycle.ts';
import type {
  Arrival,
  Datagram,
  OwnCandidate,
  PathFinder,
  RemoteCandidate,
} from './path-finder.ts';
import { silenceLimitMs, tunnelTimingOf } from './timing.ts';

// Specification

/** connectivity 3, proactive handshake debounce. */
const PROACTIVE_HANDSHAKE_DEBOUNCE_MS = 20_000;

// Implementation

/** How long after bulk data its timers (10 s and more) are looked at; saves doing so for each batch. */
const MAX_DEADLINE_LAG_MS = 100;
/** How often data that comes another way than ours goes is looked at. */
const LOOK_INTERVAL_MS = 100;

export class Connection implements Addressee {
  readonly id: PeerId;
  readonly index: number;
  readonly remotePublicKey: Uint8Array;
  readonly username: string;
  /** Changes when the connection migrates (connectivity 4.10). */
  relay: RelayId | undefined;
  /** Whoever carries its bulk data to the peer on our side, if that is not the network itself. */
  carrier: { noteSent(now: Instant): void } | undefined;
  /** When it wants `handleTimeout`, as its owner last learnt from `pollTimeout`; never if infinite. */
  deadline: number = Number.POSITIVE_INFINITY;
  readonly #config: ConnectionConfig;
  readonly #log: Log;
  readonly #finder: PathFinder;
  readonly #tunnel: Tunnel;
  readonly #createdAt: Instant;
  readonly #life: LifeCycle;
  readonly #slots = new Set<number>();
  #lastProactiveHandshakeAt: Instant | undefined;
  #nextLookAt: number = Number.NEGATIVE_INFINITY;
  /** Packets of the finder's that were sealed. */
  #innerSent = 0;
  #hasSession = false;
  #wasEstablished = false;
  #outgoing: Outgoing[] = [];
  #events: ConnectionEvent[] = [];
  #now: Instant;

  constructor(config: ConnectionConfig, deps: ConnectionDeps, now: Instant) {
    this.id = config.id;
    this.index = config.index;
    this.remotePublicKey = config.remotePublicKey;
    this.username = `${config.localCredentials.ufrag}:${config.remoteCredentials.ufrag}`;
    this.relay = config.relay;
    this.#config = { ...config, presharedKey: config.presharedKey.slice() };
    this.#log = deps.log.child('link.connection', { peer: config.id, index: config.index });
    this.#createdAt = now;
    this.#now = now;
    this.#life = new LifeCycle(now, silenceLimitMs(config.role));
    const useIceless = config.useIceless === true;
    this.#finder = useIceless
      ? new IcelessFinder(config, now)
      : new IceFinder(config, { ...deps, log: this.#log }, now);
    this.#tunnel = new Tunnel(
      { ...tunnelTimingOf(useIceless), ...this.#config, connectionIndex: config.index },
      { ...deps, log: this.#log },
      now,
    );
    this.#log.info('connection created', { relay: config.relay, useIceless });
    if (this.#finder.startsWithHandshake && config.role === 'client') {
      this.#tunnel.startHandshake(now);
      this.#drainTunnel();
    }
  }

  /** A Binding request, or a response to one of our requests, that came from `from` to `local`. */
  handleStun(message: StunMessage, arrival: Arrival, now: Instant): boolean {
    this.#advance(now);
    const accepted = this.#finder.handleStun(message, arrival, now);
    if (accepted) this.#life.noteHeard(now);
    this.#settle();
    return accepted;
  }

  /** The answer goes back the way the initiation came, nominated or not (connectivity 14.10). */
  handleInitiation(
    opened: OpenedInitiation,
    datagram: Datagram,
    now: Instant,
  ): TunnelDropReason | undefined {
    this.#advance(now);
    if (this.#finder.recallHandshake(datagram, now)) return this.#settle();
    this.#noteTraffic();
    const outcome = this.#tunnel.handleInitiation(opened, now);
    if (outcome.kind === 'reply') this.#finder.noteInitiation(datagram, outcome.datagram, now);
    return this.#finish(outcome, datagram);
  }

  handleResponse(datagram: Datagram, now: Instant): TunnelDropReason | undefined {
    this.#advance(now);
    if (this.#finder.recallHandshake(datagram, now)) return this.#settle();
    const outcome = this.#tunnel.handleResponse(datagram.bytes, now);
    if (outcome.kind === 'reply') this.#finder.noteResponse(datagram, now);
    return this.#finish(outcome, datagram);
  }

  handleCookieReply(datagram: Datagram, now: Instant): TunnelDropReason | undefined {
    this.#advance(now);
    const outcome = this.#tunnel.handleCookieReply(datagram.bytes, now);
    const again = outcome.kind === 'accepted' ? this.#tunnel.restampInitiation(now) : undefined;
    if (again !== undefined) {
      this.#finder.takeInitiation(again, now);
      // The cookie is bound to the address that the peer saw on this way.
      const { from, local } = datagram;
      this.#outgoing.push({ local, remote: from, payload: again, ecn: 0, isRelayed: false });
    }
    return this.#finish(outcome, datagram);
  }

  /** One data message of the cold path: its packet, `undefined` for a keepalive, or why it was dropped. */
  handleData(datagram: Datagram, now: Instant): Uint8Array | TunnelDropReason | undefined {
    this.#advance(now);
    const outcome = this.#tunnel.handleData(datagram.bytes, now);
    const isTaken = outcome.kind === 'packet' && this.handleInner(outcome.bytes, datagram, now);
    if (outcome.kind === 'packet' && !isTaken) this.#noteActivity();
    if (outcome.kind !== 'dropped') this.handleAuthentic(datagram, now);
    this.#settle();
    if (outcome.kind === 'dropped') return outcome.reason;
    return outcome.kind === 'packet' && !isTaken ? outcome.bytes : undefined;
  }

  /** An inner packet that may be a probe; true if it was one. The owner calls `settle`. */
  handleInner(packet: Uint8Array, arrival: Arrival, now: Instant): boolean {
    this.#advance(now);
    return this.#finder.handleInner(packet, arrival, now);
  }

  /** Hot: a data message that was opened in a batch. The owner calls `settle` once per batch. */
  acceptData(slot: number, low: number, high: number, length: number, now: Instant): boolean {
    if (!this.#tunnel.acceptCounter(slot, low, high, length, now)) return false;
    this.#life.noteHeard(now);
    if (length > 0) this.#noteBulk(now);
    return true;
  }

  /** Hot: whether bulk data that came another way than ours goes is to be looked at; not with each run. */
  isDueForLook(now: Instant): boolean {
    if (now < this.#nextLookAt) return false;
    this.#nextLookAt = now + LOOK_INTERVAL_MS;
    return true;
  }

  /** Something only the peer can have sealed came this way, which need not be the way that ours goes (connectivity 14.15). */
  handleAuthentic({ from, local }: Arrival, now: Instant): void {
    this.#advance(now);
    this.#life.noteHeard(now);
    const { path } = this.#life;
    if (path === undefined && this.#finder.startsWithHandshake) return;
    if (path?.remote.key === from.key && path.local.key === local.key) return;
    this.#finder.handleAuthentic({ from, local }, now);
  }

  /** In the order of connectivity 10. */
  handleTimeout(now: Instant): void {
    this.#advance(now);
    if (this.#life.kind === 'failed') return;
    this.#noteTraffic();
    this.#finder.handleTimeout(now);
    this.#handleFinderEvents();
    if (this.#life.goIdle(now)) this.#finder.setIdle(true, now);
    if (this.#life.hasNoCandidates(now)) return this.#fail('no-candidates');
    if (this.#life.isDisconnected(now)) return this.#fail('ice-disconnected');
    if (this.#life.isSilent(now)) return this.#fail('peer-silent');
    this.#tunnel.handleTimeout(now);
    this.#settle();
  }

  /** The candidate to signal if it is new to the agent. */
  addLocalCandidate(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    this.#advance(now);
    const added = this.#finder.addLocal(info, now);
    if (added) this.#noteActivity();
    this.#settle();
    return added;
  }

  /** The candidate to signal as invalid if the agent knew it. */
  removeLocalCandidate(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined {
    this.#advance(now);
    const removed = this.#finder.removeLocal(info, now);
    if (removed) this.#noteActivity();
    this.#settle();
    return removed;
  }

  /** A signalled candidate (connectivity 5.7, node level); `undefined` if it is malformed. */
  addRemoteCandidate(text: string, now: Instant): RemoteCandidate | undefined {
    this.#advance(now);
    const candidate = this.#finder.addRemote(text, now);
    if (candidate === undefined) return undefined;
    this.#life.noteRemoteCandidate();
    this.#noteActivity();
    this.#settle();
    return candidate;
  }

  /** False if it is malformed. */
  removeRemoteCandidate(text: string, now: Instant): boolean {
    this.#advance(now);
    if (!this.#finder.removeRemote(text, now)) return false;
    this.#noteActivity();
    this.#settle();
    return true;
  }

  /** Its paths may have changed: they are checked at once. */
  recheck(now: Instant): void {
    this.#advance(now);
    this.#finder.recheck(now);
    this.#settle();
  }

  /** The portal authorized another resource over this connection (connectivity 4.3, on reuse). */
  reuse(now: Instant): readonly OwnCandidate[] {
    this.#advance(now);
    this.#log.info('connection reused', { state: this.state });
    this.#life.noteHeard(now);
    this.#noteActivity();
    this.#startProactiveHandshake();
    this.#settle();
    return this.#finder.ownCandidates();
  }

  /** Hot: the key slot for bulk data or -1. Counts as activity and as something sent. */
  sendSlot(now: Instant): number {
    this.#noteBulk(now);
    const slot = this.#tunnel.sendSlot(now);
    if (slot >= 0) this.#tunnel.noteSent(now);
    return slot;
  }

  /** One inner packet of the cold path. */
  sendPacket(packet: Uint8Array, ecn: Ecn, now: Instant): PacketOutcome {
    this.#advance(now);
    // On the move to another network packets wait for a path here, sealed.
    if (this.#life.kind === 'connecting' && !this.#wasEstablished) return 'still-connecting';
    if (this.#life.kind === 'failed') return 'failed';
    this.#noteActivity();
    // Deviates from connectivity 7.9: a client does not wait up to 10 s for the renewal of a session that it may no longer use.
    const mayInitiate = this.#config.role === 'client' && this.#hasSession;
    if (mayInitiate && this.#tunnel.sendSlot(now) < 0) this.#tunnel.startHandshake(now);
    const outcome = this.#tunnel.sealPacket(packet, now);
    if (outcome.kind === 'sealed') this.#send(outcome.datagram, ecn);
    this.#noteTraffic();
    this.#settle();
    if (outcome.kind === 'dropped') return outcome.reason;
    return outcome.kind === 'sealed' ? 'sent' : 'waiting';
  }

  /** Brings the events and datagrams of the machines inside to the queues below; after a batch of hot calls. */
  settle(now: Instant): void {
    this.#advance(now);
    this.#settle();
  }

  /** Our addresses are gone, key and peer are the same; false: this connection cannot go on (iceless 9). */
  moveAway(now: Instant): boolean {
    this.#advance(now);
    if (this.#life.kind === 'failed' || !this.#finder.moveAway(now)) return false;
    this.#life.losePath();
    this.relay = undefined;
    return true;
  }

  /** Wipes all keys. Nothing is called afterwards. */
  close(): void {
    this.#tunnel.close();
    this.#config.presharedKey.fill(0);
  }

  pollEvent(): ConnectionEvent | undefined {
    return this.#events.shift();
  }

  pollOutgoing(): Outgoing | undefined {
    return this.#outgoing.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#life.kind === 'failed') return this.#now;
    return earliest(
      this.#finder.pollTimeout(),
      this.#tunnel.pollTimeout(),
      this.#life.pollTimeout(),
    );
  }

  /** connectivity 4.3: the same terms in every byte; without ICE the credentials do not count (iceless 6.1). */
  matches(terms: ConnectionTerms): boolean {
    const own = this.#config;
    const useIceless = own.useIceless === true;
    return (
      this.#life.kind !== 'failed' &&
      useIceless === (terms.useIceless === true) &&
      (useIceless || hasSameCredentials(own, terms)) &&
      equalBytes(own.remotePublicKey, terms.remotePublicKey) &&
      equalSecrets(own.presharedKey, terms.presharedKey)
    );
  }

  get state(): ConnectionState {
    return this.#life.kind;
  }

  get failure(): FailureReason | undefined {
    return this.#life.failure;
  }

  /** Its peer sends probes inside the tunnel. */
  get isIceless(): boolean {
    return this.#config.useIceless === true;
  }

  get path(): Path | undefined {
    return this.#life.path;
  }

  /** Key slots of its sessions. */
  get slots(): Iterable<number> {
    return this.#slots;
  }

  snapshot(): ConnectionSnapshot {
    return {
      peer: this.id,
      state: this.state,
      index: this.index,
      relay: this.relay,
      path: this.path,
      ageMs: this.#now - this.#createdAt,
      ...this.#finder.snapshot(),
      tunnel: this.#tunnel.snapshot(),
    };
  }

  /** Finder first: a nomination starts the handshake, whose initiation goes out before the nominating check (connectivity 4.7). */
  #settle(): undefined {
    if (this.#life.kind === 'failed') return;
    this.#handleFinderEvents();
    this.#handleTunnelEvents();
    this.#drainTunnel();
    for (let out = this.#finder.pollTransmit(); out; out = this.#finder.pollTransmit()) {
      const payload = out.inner ? this.#sealInner(out.payload, out.inner) : out.payload;
      if (payload) this.#outgoing.push({ ...out, payload, ecn: 0, isRelayed: false });
    }
  }

  /** Of several paths in one turn the last one counts. */
  #handleFinderEvents(): void {
    let path: Path | undefined;
    for (let event = this.#finder.pollEvent(); event; event = this.#finder.pollEvent()) {
      switch (event.kind) {
        case 'path':
          path = event.path;
          break;
        case 'opening':
          this.#startProactiveHandshake();
          break;
        case 'path-identified':
          if (path === undefined) this.#redescribe(event.path);
          else path = event.path;
          break;
        case 'ice-state':
          this.#life.noteIceState(event.state, this.#now);
          break;
      }
    }
    if (path !== undefined) this.#adoptPath(path);
  }

  #redescribe(path: Path): void {
    this.#life.redescribePath(path);
    this.#events.push({ kind: 'path-changed', path });
  }

  #adoptPath(path: Path): void {
    const waiting = this.#life.adoptPath(path, this.#now);
    if (waiting === undefined) return;
    this.#log.info('path changed', { kind: path.kind, sinceSetUpMs: this.#now - this.#createdAt });
    this.#events.push({ kind: 'path-changed', path });
    for (const datagram of waiting) this.#send(datagram, 0);
    this.#announce();
    this.#startProactiveHandshake();
    // The nominating check goes before the first data: an official gateway refuses to send until it has come.
    this.#finder.handleTimeout(this.#now);
  }

  #handleTunnelEvents(): void {
    for (let event = this.#tunnel.pollEvent(); event; event = this.#tunnel.pollEvent()) {
      switch (event.kind) {
        case 'established':
          this.#hasSession = true;
          this.#finder.noteSession(this.#now);
          this.#announce();
          break;
        case 'session-installed':
          this.#slots.add(event.slot);
          this.#events.push(event);
          break;
        case 'session-removed':
          this.#slots.delete(event.slot);
          this.#events.push(event);
          break;
        case 'expired':
          // It went with checks that reached nobody yet: ICE knows how long to try (connectivity 4.6).
          if (this.#isWaitingForChecks) break;
          this.#fail('wireguard-expired');
          return;
      }
    }
  }

  get #isWaitingForChecks(): boolean {
    const { role } = this.#config;
    return role === 'client' && this.path === undefined && !this.#finder.startsWithHandshake;
  }

  /** Established means both: a handshake is complete and a path is nominated (connectivity 1). Said once. */
  #announce(): void {
    if (this.#wasEstablished || !this.#hasSession || this.path === undefined) return;
    this.#wasEstablished = true;
    this.#events.push({ kind: 'established' });
  }

  #drainTunnel(): void {
    const tunnel = this.#tunnel;
    for (let bytes = tunnel.pollDatagram(); bytes; bytes = tunnel.pollDatagram()) {
      if (!this.#finder.takeInitiation(bytes, this.#now)) this.#send(bytes, 0);
    }
  }

  /** A probe is worth nothing later. */
  #sealInner(packet: Uint8Array, kind: 'request' | 'reply'): Uint8Array | undefined {
    if (this.#tunnel.sendSlot(this.#now) < 0) return undefined;
    this.#innerSent += 1;
    if (kind === 'reply') return this.#tunnel.sealAnswer(packet, this.#now);
    const outcome = this.#tunnel.sealPacket(packet, this.#now);
    return outcome.kind === 'sealed' ? outcome.datagram : undefined;
  }

  #noteTraffic(): void {
    const { receivedCount, sentCount } = this.#tunnel;
    const sent = sentCount - this.#innerSent;
    this.#finder.noteTraffic({ received: receivedCount, sent }, this.#now);
  }

  /** To the nominated path, or kept until there is one (connectivity 4.11). */
  #send(payload: Uint8Array, ecn: Ecn): void {
    const { path } = this.#life;
    if (path === undefined) {
      this.#life.buffer(payload);
      return;
    }
    const isRelayed = path.localKind === 'relayed';
    this.#outgoing.push({ local: path.local, remote: path.remote, payload, ecn, isRelayed });
  }

  /** What the tunnel answers goes back the way the message came (connectivity 14.10). */
  #finish(outcome: TunnelOutcome, { from, local }: Arrival): TunnelDropReason | undefined {
    if (outcome.kind === 'reply') {
      const payload = outcome.datagram;
      this.#outgoing.push({ local, remote: from, payload, ecn: 0, isRelayed: false });
      // Before there is a path, a handshake says nothing about it: it went with checks everywhere.
      if (this.path !== undefined) this.handleAuthentic({ from, local }, this.#now);
    }
    this.#settle();
    return outcome.kind === 'dropped' ? outcome.reason : undefined;
  }

  /** Only of a client with ICE: unless one is under way or one was started a moment ago (connectivity 4.5). */
  #startProactiveHandshake(): void {
    if (this.#config.role !== 'client' || this.#finder.startsWithHandshake) return;
    const last = this.#lastProactiveHandshakeAt;
    if (last !== undefined && this.#now - last < PROACTIVE_HANDSHAKE_DEBOUNCE_MS) return;
    this.#lastProactiveHandshakeAt = this.#now;
    this.#tunnel.startHandshake(this.#now);
  }

  /** Hot: bulk data moves timers without telling; its exact deadline is computed soon, and only then. */
  #noteBulk(now: Instant): void {
    if (this.#life.noteActivity(now)) this.#wake(now);
    if (this.deadline > now + MAX_DEADLINE_LAG_MS) this.deadline = now + MAX_DEADLINE_LAG_MS;
  }

  #noteActivity(): void {
    if (this.#life.noteActivity(this.#now)) this.#wake(this.#now);
  }

  #wake(now: Instant): void {
    this.#finder.setIdle(false, now);
  }

  #fail(reason: FailureReason): void {
    this.#log.info('connection failed', { reason, state: this.state });
    this.#life.fail(reason);
  }

  #advance(now: Instant): void {
    if (now > this.#now) this.#now = now;
  }
}

function hasSameCredentials(a: ConnectionTerms, b: ConnectionTerms): boolean {
  return (
    isSameCredentials(a.localCredentials, b.localCredentials) &&
    isSameCredentials(a.remoteCredentials, b.remoteCredentials)
  );
}

function isSameCredentials(a: IceCredentials, b: IceCredentials): boolean {
  return a.ufrag === b.ufrag && a.password === b.password;
}
