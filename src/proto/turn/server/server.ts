// A TURN server as Firezone's relay is one (RFC 8656, relay 5): UDP only, channels as the only way of data, credentials from a stamp
// secret. It owns allocations and channels; `io` opens the sockets it asks for, and sends what `forwarding.ts` finds a way for.
//
//   BINDING: the sender's address, for anybody
//   ALLOCATE, REFRESH, CHANNEL-BIND, CREATE-PERMISSION: authenticated, every answer signed, errors too
//
// Beyond the reference (relay 10): a repeated ALLOCATE gets the answer it got before; success is told once the sockets are open;
// a nonce's use counts after the request was verified; peers on the relay's own host are refused; unproven requests are
// answered at a limited rate; only requests are answered.

import { addressFromWords, type Endpoint, endpoint, familyOf } from '../../../base/address.ts';
import { type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { at } from '../../../base/bytes.ts';
import { Counters } from '../../../base/counters.ts';
import { earliest, type Instant } from '../../../base/time.ts';
import type { Transmit } from '../../../base/transmit.ts';
import type { StunAttribute } from '../../../wire/stun/attributes.ts';
import { STUN_ERROR } from '../../../wire/stun/error-codes.ts';
import {
  findAttribute,
  parseStunAttributes,
  parseStunHeader,
  STUN_METHOD,
  type StunMessage,
  transactionKey,
} from '../../../wire/stun/message.ts';
import { Allocations, type ServerAllocation } from './allocations.ts';
import { Authenticator } from './authenticator.ts';
import { allocationOfSocket, ChannelBindings } from './channel-bindings.ts';
import type { RelayUser } from './credentials.ts';
import { grantFamilies } from './families.ts';
import { type ForwardBatch, Forwarding } from './forwarding.ts';
import { isPeerAllowed } from './peer-policy.ts';
import { allocationAttributes, type RequestId, Responses } from './responses.ts';
import type {
  ServerDrop,
  TurnServerCommand,
  TurnServerConfig,
  TurnServerDeps,
  TurnServerSnapshot,
} from './server-types.ts';
import { SourceLimiter } from './source-limiter.ts';

// Specification
const DEFAULT_LIFETIME_SECONDS = 600; // RFC 8656 §3.2, relay 5.3
const MAX_LIFETIME_SECONDS = 3600; // relay 5.3
const TRANSPORT_UDP = 17; // RFC 8656 §18.7

// Implementation
/** Ports that an allocation tries before it is refused. */
const MAX_PORT_FAILURES = 8;

/** One request and whom to answer. */
interface Exchange {
  readonly request: StunMessage;
  readonly client: Endpoint;
  /** The address of ours that was asked. */
  readonly local: Endpoint;
}

export class TurnServer {
  readonly counters: Counters<ServerDrop> = new Counters();
  readonly channels: ChannelBindings;
  readonly #responsesSent = new Map<string, number>();
  readonly #config: TurnServerConfig;
  readonly #deps: TurnServerDeps;
  readonly #allocations: Allocations;
  readonly #authenticator: Authenticator;
  readonly #responses: Responses;
  readonly #forwarding: Forwarding;
  readonly #limiter = new SourceLimiter();
  readonly #transmits: Transmit[] = [];
  readonly #commands: TurnServerCommand[] = [];

  constructor(config: TurnServerConfig, deps: TurnServerDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#allocations = new Allocations(config.ports, deps.random);
    this.#authenticator = new Authenticator(config.stampSecret, deps.crypto);
    this.#responses = new Responses(config.software, deps.crypto);
    this.channels = new ChannelBindings(Math.floor(deps.random.next() * 2 ** 32));
    this.#forwarding = new Forwarding(this.channels, this.counters);
  }

  /** Hot path. Everything one socket received; the rows of `out` are to be sent before the next call. */
  handleRuns(batch: ReceiveBatch, socket: number, out: ForwardBatch, now: Instant): void {
    out.count = 0;
    const isRelayed = allocationOfSocket(socket) >= 0;
    for (let run = 0; run < batch.runCount; run++) {
      if (isRelayed) {
        this.#forwarding.forwardToClient(batch, run, socket, out);
        continue;
      }
      let other = this.#forwarding.forwardToPeers(batch, run, 0, out);
      while (other >= 0) {
        this.#handleRunDatagram(batch, run, other, now);
        other = this.#forwarding.forwardToPeers(batch, run, other + 1, out);
      }
    }
  }

  /** One datagram that a client sent to a listening socket, and that is not ChannelData. */
  handleDatagram(bytes: Uint8Array, client: Endpoint, local: Endpoint, now: Instant): void {
    const drop = this.#handleMessage(bytes, client, local, now);
    if (drop !== undefined) this.counters.add(drop);
  }

  handleSocketsOpened(index: number, now: Instant): void {
    const allocation = this.#allocations.findByIndex(index);
    if (!allocation || allocation.exchange.response) return;
    const { exchange, client, local, lifetimeSeconds } = allocation;
    const relayed = this.#relayedAddresses(allocation);
    const attributes = allocationAttributes(relayed, client, lifetimeSeconds);
    const response = this.#responses.success(exchange.request, attributes, exchange.key);
    exchange.response = response;
    this.#send(response, client, local);
    this.#count('allocate success');
    this.#allocations.extend(allocation, lifetimeSeconds, now);
  }

  /** The port is somebody else's: another one, or after some of them none. */
  handleSocketsFailed(index: number): void {
    const allocation = this.#allocations.findByIndex(index);
    if (!allocation || allocation.exchange.response) return;
    allocation.portFailureCount += 1;
    const mayRetry = allocation.portFailureCount < MAX_PORT_FAILURES;
    if (mayRetry && this.#allocations.changePort(allocation)) {
      this.#openSockets(allocation);
      return;
    }
    const { exchange, client, local } = allocation;
    this.#allocations.remove(allocation);
    this.#refuse({ ...exchange, client, local }, STUN_ERROR.insufficientCapacity, exchange.key);
  }

  handleTimeout(now: Instant): void {
    this.channels.handleTimeout(now);
    for (;;) {
      const expired = this.#allocations.findExpired(now);
      if (!expired) return;
      this.#delete(expired);
    }
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollCommand(): TurnServerCommand | undefined {
    return this.#commands.shift();
  }

  pollTimeout(): Instant | undefined {
    return earliest(this.#allocations.pollTimeout(), this.channels.pollTimeout());
  }

  get allocationCount(): number {
    return this.#allocations.count;
  }

  snapshot(): TurnServerSnapshot {
    return {
      allocationCount: this.#allocations.count,
      boundChannelCount: this.channels.boundCount,
      totals: { ...this.#forwarding.totals },
      drops: this.counters.snapshot(),
      responses: Object.fromEntries(this.#responsesSent),
    };
  }

  #handleRunDatagram(batch: ReceiveBatch, run: number, index: number, now: Instant): void {
    const { runs, slab } = batch;
    const row = run * RUN.stride;
    const segment = at(runs, row + RUN.segmentLength);
    const end = at(runs, row + RUN.offset) + at(runs, row + RUN.length);
    const offset = at(runs, row + RUN.offset) + index * segment;
    if (at(slab, offset) > 3) {
      this.counters.add('not-turn');
      return;
    }
    const remote = addressFromWords(runs, row + RUN.remote);
    const client = endpoint(remote, at(runs, row + RUN.remotePort));
    const own = addressFromWords(runs, row + RUN.local);
    const local = endpoint(own, at(runs, row + RUN.localPort));
    const bytes = slab.slice(offset, Math.min(end, offset + segment));
    this.handleDatagram(bytes, client, local, now);
  }

  #handleMessage(
    bytes: Uint8Array,
    client: Endpoint,
    local: Endpoint,
    now: Instant,
  ): ServerDrop | undefined {
    const header = parseStunHeader(bytes);
    if (!header) return 'not-turn';
    if (header.class !== 'request') return 'not-a-request';
    if (client.port === 0) return 'port-zero';
    // Who has an allocation is not limited: others could use up the share of its address by pretending to be there.
    const isClient = this.#allocations.findByClient(client) !== undefined;
    if (!isClient && !this.#limiter.take(client.address, now)) return 'rate-limited';
    const request = parseStunAttributes(header);
    if (!request) {
      this.#send(this.#responses.error(header, STUN_ERROR.badRequest, undefined), client, local);
      this.#count(`${methodName(header.method)} error ${STUN_ERROR.badRequest}`);
      return undefined;
    }
    const exchange = { request, client, local };
    switch (request.method) {
      case STUN_METHOD.binding: {
        const mapped: StunAttribute = { kind: 'xor-mapped-address', value: client };
        this.#succeed(exchange, [mapped], undefined);
        return undefined;
      }
      case STUN_METHOD.allocate:
      case STUN_METHOD.refresh:
      case STUN_METHOD.channelBind:
      case STUN_METHOD.createPermission:
        return this.#handleAuthenticated(exchange, now);
      default:
        this.#refuse(exchange, STUN_ERROR.badRequest, undefined);
        return undefined;
    }
  }

  #handleAuthenticated(exchange: Exchange, now: Instant): ServerDrop | undefined {
    const { request, client, local } = exchange;
    if (!hasWhatItNeeds(request)) {
      // Unsigned: raised before anybody is authenticated (relay 5.3).
      this.#refuse(exchange, STUN_ERROR.badRequest, undefined);
      return undefined;
    }
    const unixNow = this.#deps.wallClock.at(now);
    const outcome = this.#authenticator.authenticate(request, client, unixNow);
    switch (outcome.kind) {
      case 'unanswerable':
        return 'unknown-user-name';
      case 'challenged': {
        const nonce = this.#authenticator.nonceFor(client);
        this.#send(
          this.#responses.challenge(request, outcome.code, nonce, outcome.key),
          client,
          local,
        );
        this.#count(`${methodName(request.method)} error ${outcome.code}`);
        return undefined;
      }
      case 'authenticated':
        return this.#handleProven(exchange, outcome.user, now);
    }
  }

  #handleProven(exchange: Exchange, user: RelayUser, now: Instant): ServerDrop | undefined {
    switch (exchange.request.method) {
      case STUN_METHOD.allocate:
        return this.#handleAllocate(exchange, user, now);
      case STUN_METHOD.refresh:
        this.#handleRefresh(exchange, user, now);
        return undefined;
      case STUN_METHOD.channelBind:
        this.#handleChannelBind(exchange, user, now);
        return undefined;
      default:
        // CREATE-PERMISSION: a channel is all the permission there is, so this has no effect (relay 5.1).
        this.#succeed(exchange, [], user.key);
        return undefined;
    }
  }

  /** RFC 8656 §7.2; order of checks as in relay 5.3. */
  #handleAllocate(exchange: Exchange, user: RelayUser, now: Instant): ServerDrop | undefined {
    const { request, client, local } = exchange;
    const transaction = transactionKey(request.transactionId);
    const existing = this.#allocations.findByClient(client);
    if (existing) return this.#handleRepeatedAllocate(exchange, existing, transaction, user);
    if (findAttribute(request, 'requested-transport') !== TRANSPORT_UDP) {
      this.#refuse(exchange, STUN_ERROR.badRequest, user.key);
      return undefined;
    }
    const wish = {
      requested: findAttribute(request, 'requested-address-family'),
      additional: findAttribute(request, 'additional-address-family'),
    };
    const available = this.#config.publicAddresses.map(familyOf);
    const grant = grantFamilies(wish, available);
    if (grant.kind === 'refused') {
      this.#refuse(exchange, grant.code, user.key);
      return undefined;
    }
    // A NAT that changed its mind about our client's port: the user's newest allocation is the one (relay 5.3).
    const former = this.#allocations.findByUsername(user.username);
    if (former) this.#delete(former);
    const allocation = this.#allocations.create(
      {
        client,
        local,
        username: user.username,
        families: grant.families,
        lifetimeSeconds: grantLifetime(request),
        exchange: {
          transaction,
          request: { method: request.method, transactionId: request.transactionId.slice() },
          key: user.key,
          response: undefined,
        },
      },
      now,
    );
    if (allocation) this.#openSockets(allocation);
    else this.#refuse(exchange, STUN_ERROR.insufficientCapacity, user.key);
    return undefined;
  }

  /** RFC 8656 §7.2 step 2: 437, unless it is the very request that made the allocation. */
  #handleRepeatedAllocate(
    exchange: Exchange,
    existing: ServerAllocation,
    transaction: string,
    user: RelayUser,
  ): ServerDrop | undefined {
    if (existing.exchange.transaction !== transaction || existing.username !== user.username) {
      this.#refuse(exchange, STUN_ERROR.allocationMismatch, user.key);
      return undefined;
    }
    if (!existing.exchange.response) return 'allocation-not-ready';
    this.#send(existing.exchange.response, exchange.client, exchange.local);
    return undefined;
  }

  /** RFC 8656 §8.2: no roll-over, the new lifetime counts from now. */
  #handleRefresh(exchange: Exchange, user: RelayUser, now: Instant): void {
    const allocation = this.#findReady(exchange.client);
    if (!allocation) {
      this.#refuse(exchange, STUN_ERROR.allocationMismatch, user.key);
      return;
    }
    const lifetimeSeconds = grantLifetime(exchange.request);
    if (lifetimeSeconds === 0) this.#delete(allocation);
    else this.#allocations.extend(allocation, lifetimeSeconds, now);
    this.#succeed(exchange, [{ kind: 'lifetime', value: lifetimeSeconds }], user.key);
  }

  /** RFC 8656 §12.2. */
  #handleChannelBind(exchange: Exchange, user: RelayUser, now: Instant): void {
    const allocation = this.#findReady(exchange.client);
    const number = findAttribute(exchange.request, 'channel-number') ?? 0;
    const peer = findAttribute(exchange.request, 'xor-peer-address') ?? exchange.client;
    const refuse = (code: number): void => this.#refuse(exchange, code, user.key);
    if (!allocation) return refuse(STUN_ERROR.allocationMismatch);
    if (!allocation.families.includes(familyOf(peer.address))) {
      return refuse(STUN_ERROR.peerAddressFamilyMismatch);
    }
    if (!isPeerAllowed(peer, this.#config.peerPolicy)) return refuse(STUN_ERROR.forbidden);
    switch (this.channels.bind(allocation, number, peer, now)) {
      case 'bound':
        return this.#succeed(exchange, [], user.key);
      case 'number-taken':
      case 'peer-taken':
        return refuse(STUN_ERROR.badRequest);
      case 'too-many':
        return refuse(STUN_ERROR.insufficientCapacity);
    }
  }

  /**
   * Deviates from RFC 8656 §7.2 and §8.2: whoever has valid credentials and receives at the client's socket may use its
   * allocation, as with the reference. A client whose credentials changed can get rid of its old one only so.
   */
  #findReady(client: Endpoint): ServerAllocation | undefined {
    const allocation = this.#allocations.findByClient(client);
    return allocation?.exchange.response ? allocation : undefined;
  }

  #openSockets({ index, port, families }: ServerAllocation): void {
    this.#commands.push({ kind: 'open-sockets', allocation: index, port, families });
  }

  #delete(allocation: ServerAllocation): void {
    const { index, families } = allocation;
    this.channels.removeAllocation(index);
    this.#allocations.remove(allocation);
    this.#commands.push({ kind: 'close-sockets', allocation: index, families });
  }

  #relayedAddresses({ families, port }: ServerAllocation): readonly Endpoint[] {
    return this.#config.publicAddresses
      .filter((address) => families.includes(familyOf(address)))
      .map((address) => endpoint(address, port));
  }

  #succeed(
    { request, client, local }: Exchange,
    attributes: readonly StunAttribute[],
    key: Uint8Array | undefined,
  ): void {
    this.#count(`${methodName(request.method)} success`);
    this.#send(this.#responses.success(request, attributes, key), client, local);
  }

  #refuse(
    { request, client, local }: Omit<Exchange, 'request'> & { readonly request: RequestId },
    code: number,
    key: Uint8Array | undefined,
  ): void {
    this.#count(`${methodName(request.method)} error ${code}`);
    this.#send(this.#responses.error(request, code, key), client, local);
  }

  /** From the address that was asked. */
  #send(payload: Uint8Array, destination: Endpoint, source: Endpoint): void {
    this.#transmits.push({ source, destination, payload, ecn: 0 });
  }

  #count(response: string): void {
    this.#responsesSent.set(response, (this.#responsesSent.get(response) ?? 0) + 1);
  }
}

/** Attributes without which a request is refused before authentication (relay 5.3). */
function hasWhatItNeeds(request: StunMessage): boolean {
  switch (request.method) {
    case STUN_METHOD.allocate:
      return findAttribute(request, 'requested-transport') !== undefined;
    case STUN_METHOD.channelBind:
      return (
        findAttribute(request, 'channel-number') !== undefined &&
        findAttribute(request, 'xor-peer-address') !== undefined
      );
    default:
      return true;
  }
}

function grantLifetime(request: StunMessage): number {
  const requested = findAttribute(request, 'lifetime');
  return Math.min(requested ?? DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS);
}

function methodName(method: number): string {
  switch (method) {
    case STUN_METHOD.binding:
      return 'binding';
    case STUN_METHOD.allocate:
      return 'allocate';
    case STUN_METHOD.refresh:
      return 'refresh';
    case STUN_METHOD.channelBind:
      return 'channel-bind';
    case STUN_METHOD.createPermission:
      return 'create-permission';
    default:
      return 'other';
  }
}
