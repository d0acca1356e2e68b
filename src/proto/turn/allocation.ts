// A TURN client's dealings with one relay (RFC 8656, relay 4 and 7.2): finds out over which address family it answers, makes an
// allocation, keeps it, binds channels, and reports our candidates. It works with Firezone's relay and with coturn, on any port.
//
//   probing --BINDING answered--> allocating --success--> ready --expired--> suspended --> allocating
//      |                           |      ^                 |
//      v nothing                   v 437  | deleted         v silence
//   failed                        deleting                 the other family, else failed
//
// Bulk data does not pass through here: its owner asks for the channel of a peer and the peer of a channel. Permissions are not
// requested: a channel implies one (RFC 8656 §12.1). Which relay a connection uses is decided above.
//
// Beyond connlib (relay 10): retransmission keeps the transaction id, Karn's rule, fail-over to the other address family, timed
// retries when suspended, bounded answers to 437 and 438, release by REFRESH with lifetime 0.

import { type Endpoint, familyOf, type IpFamily } from '../../base/address.ts';
import { Counters } from '../../base/counters.ts';
import { isStreamAddress } from '../../base/stream-endpoint.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import type { Ecn, Transmit } from '../../base/transmit.ts';
import { findAttribute, parseStun, type StunMessage } from '../../wire/stun/message.ts';
import { writeChannelData } from '../../wire/turn/channel-data.ts';
import type {
  AllocationConfig,
  AllocationDeps,
  AllocationDrop,
  AllocationEvent,
  AllocationFailure,
  AllocationSnapshot,
} from './allocation-types.ts';
import { relayedAddresses, type TurnCandidate, TurnCandidates } from './candidates.ts';
import { CHANNEL_LIFETIME_MS, type ChannelPeer, Channels } from './channels.ts';
import { actionFor } from './errors.ts';
import { Liveness } from './liveness.ts';
import { MismatchPacing, SuspensionPacing } from './pacing.ts';
import type { TurnRequest } from './requests.ts';
import { type RoundTrip, type TransactionOutcome, Transactions } from './transactions.ts';
import { Upkeep } from './upkeep.ts';
import { ChannelWishes } from './wishes.ts';

// Specification
const PROBE_GIVE_UP_MS = 1000; // relay 4.14
const SRTT_WEIGHT = 8; // relay 4.13

// Implementation
/** A path with a long round trip needs more than the second of the specification (relay 10). */
const PROBE_ROUND_TRIPS = 4;
/** A peer whose channel was refused is not asked for at the pace of its packets. */
const CHANNEL_RETRY_MS = 5000;

const EXTEND: TurnRequest = { kind: 'refresh', purpose: 'extend' };
const DELETE: TurnRequest = { kind: 'refresh', purpose: 'delete' };

export class Allocation {
  readonly counters: Counters<AllocationDrop> = new Counters();
  readonly #config: AllocationConfig;
  readonly #deps: AllocationDeps;
  readonly #data: Transmit[] = [];
  readonly #events: AllocationEvent[] = [];
  readonly #suspension = new SuspensionPacing();
  readonly #mismatch = new MismatchPacing();
  readonly #wishes = new ChannelWishes();
  #transactions: Transactions;
  #candidates = new TurnCandidates();
  #channels = new Channels();
  #liveness = new Liveness();
  /** Server sockets that answered a BINDING, by key. */
  readonly #answering = new Map<string, Endpoint>();
  #active: Endpoint | undefined;
  /** While there is an allocation. */
  #upkeep: Upkeep | undefined;
  #allocateAt: Instant | undefined;
  #srtt: number | undefined;
  /** Of an answer that may be to any of several transmissions. */
  #longestRtt: number | undefined;
  #hasFailedOver = false;
  #state: 'working' | 'failed' | 'released' = 'working';

  constructor(config: AllocationConfig, deps: AllocationDeps, now: Instant) {
    this.#config = config;
    this.#deps = deps;
    this.#transactions = new Transactions(config.credentials, config.software, deps);
    this.#probe(config.addresses, now);
  }

  /** `true`: it was a STUN message of this relay, whatever became of it. */
  handleDatagram(bytes: Uint8Array, from: Endpoint, local: Endpoint, now: Instant): boolean {
    const message = this.matches(from) ? parseStun(bytes) : undefined;
    if (!message) return false;
    if (this.#state !== 'working') {
      this.counters.add('not-active');
      return true;
    }
    const outcome = this.#transactions.handleResponse(message, now);
    if (outcome.kind !== 'dropped' && from.key === this.#active?.key) this.#liveness.noteHeard();
    this.#addRoundTrip(this.#transactions.takeRoundTrip());
    if (outcome.kind === 'answered') this.#handleSuccess(outcome, message, local, now);
    else this.#handleOutcome(outcome, now);
    this.#settle(now);
    return true;
  }

  /** ChannelData arrived: who sent it, and to which of our addresses. `undefined`: to be dropped. */
  handleChannelData(channel: number): ChannelPeer | undefined {
    const ends = this.#channels.receive(channel);
    if (ends) this.#liveness.noteHeard();
    else this.counters.add('unknown-channel');
    return ends;
  }

  handleTimeout(now: Instant): void {
    if (this.#state !== 'working') return;
    for (;;) {
      const outcome = this.#transactions.pollGivenUp(now);
      if (!outcome) break;
      this.#handleOutcome(outcome, now);
    }
    if (isDue(this.#upkeep?.expiresAt, now)) this.#invalidate();
    if (isDue(this.#allocateAt, now)) this.#allocate(now);
    if (isDue(this.#refreshAt(), now)) this.#send(EXTEND, now);
    if (isDue(this.#keepAliveAt(), now)) this.#keepAlive(now);
    if (isDue(this.#askAt(), now)) this.#askWhetherAlive(now);
    this.#refreshChannels(now);
    this.#settle(now);
  }

  /** Asks for a channel to the peer, now or once there is an allocation; to ask twice does no harm. */
  bindChannel(peer: Endpoint, now: Instant): void {
    if (this.#state !== 'working' || this.isSuspended) return;
    if (this.#channels.isConnectedTo(peer, now) || this.#channels.isBindingTo(peer)) return;
    if (!this.#upkeep) {
      this.#wishes.add(peer);
      return;
    }
    const relayed = this.#candidates.relayed(familyOf(peer.address));
    if (!relayed || this.#wishes.isForbidden(peer, now)) return;
    const channel = this.#channels.reserve({ peer, relayed }, now);
    if (channel) this.#send({ kind: 'channel-bind', channel: channel.number, peer }, now);
    else this.#deps.log.warn('all channels of the relay are in use');
  }

  /** One datagram to a peer from our relayed address, cold. A channel that is not there yet is asked for and used at once. */
  sendToPeer(peer: Endpoint, payload: Uint8Array, ecn: Ecn, now: Instant): 'sent' | 'no-channel' {
    if (this.channelTo(peer, now) === undefined) this.bindChannel(peer, now);
    const channel = this.channelTo(peer, now);
    if (channel === undefined || !this.#active) {
      this.counters.add('no-channel');
      return 'no-channel';
    }
    this.#data.push({
      destination: this.#active,
      payload: writeChannelData(channel, payload),
      ecn,
    });
    this.noteSent(now);
    return 'sent';
  }

  /** Hot: data went out through a channel. It keeps the NAT's mapping as a keep-alive does, and should not stay unanswered. */
  noteSent(now: Instant): void {
    this.#upkeep?.noteSent(now);
    this.#liveness.noteSent(now);
  }

  /** Looks whether the relay still knows us (relay 4.14): cheap, and quick to notice that it does not. */
  refresh(now: Instant): void {
    if (this.#state !== 'working') return;
    if (this.isSuspended) {
      this.#active = undefined;
      this.#allocateAt = undefined;
      this.#suspension.reset();
      this.#probe(this.#config.addresses, now);
    } else if (this.#active && this.#upkeep && !this.#transactions.isInFlight('refresh')) {
      const giveUpMs = Math.max(PROBE_GIVE_UP_MS, (this.rtt ?? 0) * PROBE_ROUND_TRIPS);
      const schedule = { firstIntervalMs: giveUpMs, multiplier: 1, giveUpMs };
      this.#transactions.send(EXTEND, this.#active, now, schedule);
    }
  }

  /** The way to the relay may be another one now: asks how it sees us, and whether it still knows us. */
  relearn(now: Instant): void {
    if (this.#state !== 'working') return;
    if (!this.#transactions.isInFlight('binding')) this.#send({ kind: 'binding' }, now);
    this.refresh(now);
  }

  /**
   * Forgets everything but the relay and starts again (relay 4.17). The owner has new local ports by now, and has dropped
   * what it knew of this allocation's candidates and channels: no events tell it.
   */
  restart(now: Instant): void {
    const { credentials, software, addresses } = this.#config;
    this.#transactions = new Transactions(credentials, software, this.#deps);
    this.#data.length = 0;
    this.#events.length = 0;
    this.#wishes.clear();
    this.#suspension.reset();
    this.#mismatch.reset();
    this.#candidates = new TurnCandidates();
    this.#channels = new Channels();
    this.#liveness = new Liveness();
    this.#answering.clear();
    this.#active = undefined;
    this.#upkeep = undefined;
    this.#allocateAt = undefined;
    this.#srtt = undefined;
    this.#longestRtt = undefined;
    this.#hasFailedOver = false;
    this.#state = 'working';
    this.#probe(addresses, now);
  }

  /** Gives the allocation back by one REFRESH with lifetime 0 and does nothing any more (relay 7.2 rule 13). */
  release(now: Instant): void {
    if (this.#state !== 'working') return;
    const mayHold = this.#upkeep !== undefined || this.#transactions.isInFlight('allocate');
    if (mayHold && this.#transactions.isAuthenticated) this.#send(DELETE, now);
    this.#invalidate();
    this.#allocateAt = undefined;
    this.#state = 'released';
  }

  pollTransmit(): Transmit | undefined {
    return this.#transactions.pollTransmit() ?? this.#data.shift();
  }

  pollEvent(): AllocationEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    if (this.#state !== 'working') return undefined;
    return earliest(
      this.#transactions.pollTimeout(),
      this.#allocateAt,
      this.#upkeep?.expiresAt,
      this.#refreshAt(),
      this.#keepAliveAt(),
      this.#askAt(),
      this.#channels.pollTimeout(),
    );
  }

  /** Whether a datagram from there is the relay's own. */
  matches(from: Endpoint): boolean {
    return this.#config.addresses.some(({ key }) => key === from.key);
  }

  /** The channel to send with, confirmed or still asked for. */
  channelTo(peer: Endpoint, now: Instant): number | undefined {
    return this.#active && this.#channels.numberTo(peer, now);
  }

  peerOfChannel(channel: number): ChannelPeer | undefined {
    return this.#channels.endsOf(channel);
  }

  /** Our relayed address of that family. */
  relayedAddress(family: IpFamily): Endpoint | undefined {
    return this.#candidates.relayed(family);
  }

  /** The server socket in use. */
  get activeEndpoint(): Endpoint | undefined {
    return this.#active;
  }

  get hasAllocation(): boolean {
    return this.#upkeep !== undefined;
  }

  /** No allocation, and nothing under way to get one but a retry some time later. */
  get isSuspended(): boolean {
    return !this.#upkeep && !this.#isUnderWay && !this.#mismatch.isPending;
  }

  /**
   * Smoothed round trip time in milliseconds, once the relay has answered. Where every answer so far was to a request that had been repeated,
   * as where datagrams are lost or round trips are longer than the first interval: what it is at most (relay 4.13 has none then).
   */
  get rtt(): number | undefined {
    return this.#srtt ?? this.#longestRtt;
  }

  snapshot(): AllocationSnapshot {
    return {
      addresses: this.#config.addresses.map(({ key }) => key),
      active: this.#active?.key,
      state: this.#state,
      hasAllocation: this.hasAllocation,
      isSuspended: this.isSuspended,
      candidates: this.#candidates.all().map(({ kind, address }) => `${kind} ${address.key}`),
      channelCount: this.#channels.count,
      inFlightCount: this.#transactions.inFlightCount,
      rttMs: this.rtt,
      drops: this.counters.snapshot(),
    };
  }

  /** relay 4.6: all server sockets are asked at once, each for itself. */
  #probe(addresses: readonly Endpoint[], now: Instant): void {
    for (const address of addresses) this.#transactions.send({ kind: 'binding' }, address, now);
  }

  #send(request: TurnRequest, now: Instant): void {
    if (this.#active) this.#transactions.send(request, this.#active, now);
  }

  #allocate(now: Instant): void {
    this.#allocateAt = undefined;
    if (!this.#upkeep && !this.#transactions.isInFlight('allocate')) {
      this.#send({ kind: 'allocate' }, now);
    }
  }

  #handleSuccess(
    { request, destination }: Pick<Answered, 'request' | 'destination'>,
    message: StunMessage,
    local: Endpoint,
    now: Instant,
  ): void {
    switch (request.kind) {
      case 'binding':
        this.#handleBindingSuccess(message, destination, local, now);
        break;
      case 'allocate':
        this.#handleAllocateSuccess(message, now);
        break;
      case 'refresh':
        this.#handleRefreshSuccess(message, request.purpose, now);
        break;
      case 'channel-bind':
        this.#handleChannelBindSuccess(request.channel, now);
        break;
    }
  }

  /** relay 4.6 and 4.9: our addresses, and the first answer decides which server socket is used. */
  #handleBindingSuccess(
    message: StunMessage,
    destination: Endpoint,
    local: Endpoint,
    now: Instant,
  ): void {
    // What a stream leaves from, nobody can send a datagram to.
    if (!isStreamAddress(destination.address)) {
      this.#addCandidate({ kind: 'host', address: local, base: local });
      const mapped = findAttribute(message, 'xor-mapped-address');
      if (mapped) this.#addCandidate({ kind: 'srflx', address: mapped, base: local });
    }
    this.#answering.set(destination.key, destination);
    if (this.#active) return;
    this.#active = destination;
    this.#allocate(now);
  }

  #handleAllocateSuccess(message: StunMessage, now: Instant): void {
    const lifetimeSeconds = findAttribute(message, 'lifetime') ?? 0;
    const relayed = relayedAddresses(message);
    if (lifetimeSeconds === 0 || relayed.length === 0 || !this.#active) {
      this.#deps.log.warn('the relay made an allocation without address or lifetime');
      return;
    }
    const viaFamily = this.#config.viaFamily ?? familyOf(this.#active.address);
    this.#upkeep = new Upkeep(lifetimeSeconds, now);
    this.#mismatch.reset();
    this.#suspension.reset();
    this.#hasFailedOver = false;
    for (const address of relayed) {
      this.#addCandidate({ kind: 'relayed', address, base: address, viaFamily });
    }
    for (const peer of this.#wishes.take()) this.bindChannel(peer, now);
  }

  #handleRefreshSuccess(message: StunMessage, purpose: 'extend' | 'delete', now: Instant): void {
    const lifetimeSeconds = purpose === 'delete' ? 0 : findAttribute(message, 'lifetime');
    if (lifetimeSeconds === undefined) {
      this.#deps.log.warn('the relay refreshed an allocation without lifetime');
      this.#upkeep?.noteRefreshError(now);
    } else if (lifetimeSeconds === 0) {
      this.#invalidate();
      this.#allocateAt = later(now, this.#mismatch.waitMs);
      if (isDue(this.#allocateAt, now)) this.#allocate(now);
    } else if (this.#upkeep) {
      this.#upkeep.extend(lifetimeSeconds, now);
      this.#wishes.take();
    }
  }

  #handleChannelBindSuccess(number: number, now: Instant): void {
    const wasBound = this.#channels.endsOf(number) !== undefined;
    const channel = this.#channels.confirm(number, now);
    if (!channel || wasBound) return;
    this.#events.push({ kind: 'channel-bound', peer: channel.ends.peer, channel: number });
  }

  #handleOutcome(outcome: TransactionOutcome, now: Instant): void {
    switch (outcome.kind) {
      case 'dropped':
        this.counters.add(outcome.reason);
        break;
      case 'answered':
      case 'repeated':
        break;
      case 'refused':
        this.#handleError(outcome, now);
        break;
      case 'gave-up':
        // A relay whose data arrives is not silent, even if it is too busy to answer.
        if (outcome.request.kind !== 'binding' || !this.#active || this.#liveness.isSilent) {
          this.#handleSilence(outcome.destination, now);
        }
        break;
      case 'failed':
        this.#fail(outcome.reason);
        break;
    }
  }

  #handleError({ request, code, isSigned }: Refused, now: Instant): void {
    const action = actionFor(code, request.kind);
    this.#deps.log.warn('the relay refuses a request', { request: request.kind, code, action });
    switch (action) {
      case 'resolve-mismatch':
        this.#resolveMismatch(request, isSigned, now);
        break;
      case 'wait-for-other-user':
        this.#invalidate();
        if (this.#mismatch.beginForOtherUser(now) === 'exhausted') {
          this.#fail('allocation-mismatch');
        } else {
          this.#allocateAt = later(now, this.#mismatch.waitMs);
        }
        break;
      case 'suspend':
        this.#wishes.take();
        break;
      case 'forget-channel-and-probe':
        this.#forgetChannel(request, CHANNEL_RETRY_MS, now);
        // A wish, because the answer to the probe may be that the allocation is gone.
        if (request.kind === 'channel-bind') this.#wishes.add(request.peer);
        if (!this.#transactions.isInFlight('refresh')) this.#send(EXTEND, now);
        break;
      case 'forget-channel':
        this.#forgetChannel(request, CHANNEL_RETRY_MS, now);
        break;
      case 'forbid-peer':
        this.#forgetChannel(request, CHANNEL_LIFETIME_MS, now);
        break;
      case 'wait':
        this.#upkeep?.noteRefreshError(now);
        break;
    }
  }

  /** 437 (relay 4.8, 7.2 rule 7): either the relay forgot our allocation, or we do not know of the one it has. */
  #resolveMismatch(request: TurnRequest, isSigned: boolean, now: Instant): void {
    for (const peer of this.#channels.connectedPeers(now)) this.#wishes.add(peer);
    if (request.kind === 'channel-bind') this.#wishes.add(request.peer);
    this.#invalidate();
    if (request.kind === 'allocate') {
      if (this.#mismatch.begin(isSigned, now) === 'exhausted') this.#fail('allocation-mismatch');
      else this.#send(DELETE, now);
    } else {
      this.#allocateAt = later(now, this.#mismatch.waitMs);
      if (isDue(this.#allocateAt, now)) this.#allocate(now);
    }
  }

  #forgetChannel(request: TurnRequest, retryMs: number, now: Instant): void {
    if (request.kind !== 'channel-bind') return;
    this.#channels.remove(request.channel);
    this.#wishes.forbid(request.peer, retryMs, now);
    this.#events.push({ kind: 'channel-lost', peer: request.peer, channel: request.channel });
  }

  /** relay 4.5 rule 3: silence of the address family in use ends the allocation; then the other family gets its turn. */
  #handleSilence(destination: Endpoint, now: Instant): void {
    const active = this.#active;
    if (!active || familyOf(active.address) !== familyOf(destination.address)) return;
    this.#active = undefined;
    this.#allocateAt = undefined;
    this.#answering.delete(active.key);
    this.#invalidate();
    if (this.#hasFailedOver) return;
    this.#hasFailedOver = true;
    const others = this.#config.addresses.filter(({ key }) => key !== active.key);
    this.#probe(others, now);
  }

  /** relay 4.10: relayed candidates, channels, lifetime and what is in flight go; credentials and the path to the relay stay. */
  #invalidate(): void {
    for (const candidate of this.#candidates.takeRelayed()) {
      this.#events.push({ kind: 'candidate-removed', candidate });
    }
    for (const { number, ends, isBound } of this.#channels.all()) {
      if (isBound) this.#events.push({ kind: 'channel-lost', peer: ends.peer, channel: number });
    }
    this.#channels.clear();
    this.#liveness = new Liveness();
    this.#upkeep = undefined;
    this.#transactions.clear();
  }

  #fail(reason: AllocationFailure): void {
    this.#invalidate();
    this.#wishes.clear();
    this.#allocateAt = undefined;
    this.#state = 'failed';
    this.#events.push({ kind: 'failed', reason });
  }

  /** After every input: nobody waits for something that will not come. */
  #settle(now: Instant): void {
    if (this.#state !== 'working' || this.#isUnderWay) return;
    if (!this.#active) this.#fail('no-response');
    else if (!this.#upkeep) this.#allocateAt ??= later(now, this.#suspension.nextWaitMs());
  }

  /** An answer is due that leads to an allocation. Once a server socket is chosen, one to a BINDING does not. */
  get #isUnderWay(): boolean {
    const { inFlightCount } = this.#transactions;
    if (!this.#active || inFlightCount === 0) return inFlightCount > 0;
    return this.#transactions.isInFlight('allocate') || this.#transactions.isInFlight('refresh');
  }

  /** The other family's mapping is kept too: its reflexive candidate may be in use (relay 10). */
  #keepAlive(now: Instant): void {
    this.#upkeep?.noteKeepAlive(now);
    this.#liveness.noteAsked();
    this.#probe([...this.#answering.values()], now);
  }

  /** A BINDING of its own, whatever is in flight: those are patient. */
  #askWhetherAlive(now: Instant): void {
    if (!this.#active) return;
    this.#liveness.noteAsked();
    const isStream = isStreamAddress(this.#active.address);
    const schedule = this.#liveness.schedule(isStream, this.rtt ?? 0);
    this.#transactions.send({ kind: 'binding' }, this.#active, now, schedule);
  }

  #refreshChannels(now: Instant): void {
    this.#channels.expire(now);
    for (;;) {
      const channel = this.#channels.pollRefresh(now);
      if (!channel) return;
      this.#send({ kind: 'channel-bind', channel: channel.number, peer: channel.ends.peer }, now);
    }
  }

  /** Never two at once. */
  #refreshAt(): Instant | undefined {
    return this.#transactions.isInFlight('refresh') ? undefined : this.#upkeep?.refreshAt;
  }

  #keepAliveAt(): Instant | undefined {
    return this.#transactions.isInFlight('binding') ? undefined : this.#upkeep?.keepAliveAt;
  }

  #askAt(): Instant | undefined {
    return this.#upkeep && this.#liveness.askAt;
  }

  #addRoundTrip(trip: RoundTrip | undefined): void {
    if (trip === undefined) return;
    const { exactMs, longestMs } = trip;
    const old = this.#srtt;
    if (exactMs === undefined)
      this.#longestRtt = Math.min(this.#longestRtt ?? longestMs, longestMs);
    else this.#srtt = old === undefined ? exactMs : old + (exactMs - old) / SRTT_WEIGHT;
  }

  #addCandidate(candidate: TurnCandidate): void {
    const added = this.#candidates.add(candidate);
    if (added) this.#events.push({ kind: 'candidate-added', candidate: added });
  }
}

type Answered = Extract<TransactionOutcome, { kind: 'answered' }>;
type Refused = Extract<TransactionOutcome, { kind: 'refused' }>;

function isDue(deadline: Instant | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline <= now;
}
