// A TURN server as Firezone's relay is one (RFC 8656, relay 5), for UDP between relay and peers: credentials come from a stamp secret.
// It owns allocations and channels; `io` opens the sockets it asks for, and sends what `forwarding.ts` finds a way for.
//
//   BINDING: the sender's address, for anybody
//   ALLOCATE, REFRESH, CHANNEL-BIND, CREATE-PERMISSION: authenticated, every answer signed, errors too
//   Send and Data indications (`indications.ts`): for clients that asked for permissions
//
// Beyond the reference (relay 10): a repeated ALLOCATE gets the answer it got before; success is told once the sockets are open;
// a nonce's use counts after the request was verified; peers on the relay's own host are refused; requests are answered at a
// limited rate; only requests are answered; clients may come by TCP or TLS (`stream-clients.ts`).

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  familyOf,
  type IpAddress,
} from '../../../base/address.ts';
import { type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { at } from '../../../base/bytes.ts';
import { Counters } from '../../../base/counters.ts';
import { isStreamAddress } from '../../../base/stream-endpoint.ts';
import { earliest, type Instant } from '../../../base/time.ts';
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
import { allocationOfSocket, ChannelBindings, clientSocket } from './channel-bindings.ts';
import type { RelayUser } from './credentials.ts';
import { grantFamilies } from './families.ts';
import { datagramCount, type ForwardBatch, Forwarding } from './forwarding.ts';
import { Indications } from './indications.ts';
import { isAddressAllowed, isPeerAllowed } from './peer-policy.ts';
import { Permissions } from './permissions.ts';
import { RequestLimiter } from './request-limiter.ts';
import { allocationAttributes, type RequestId, Responses } from './responses.ts';
import { grantLifetime, hasWhatItNeeds, methodName } from './server-requests.ts';
import type {
  ServerDrop,
  ServerTransmit,
  TurnServerCommand,
  TurnServerConfig,
  TurnServerDeps,
  TurnServerSnapshot,
} from './server-types.ts';
import { StreamClients } from './stream-clients.ts';

// Specification
const TRANSPORT_UDP = 17; // RFC 8656 §18.7

// Implementation
/** Ports that an allocation tries before it is refused. */
const MAX_PORT_FAILURES = 8;
/** Of those who have no allocation: a site with a thousand clients behind one address asks some 40 times a second. */
const SOURCE_LIMITS = { perSecond: 100, burst: 500, maxKeys: 8192 };
/** Of one client with an allocation: a gateway binds a channel for each client, all at once after a restart. */
const CLIENT_LIMITS = { perSecond: 1000, burst: 5000, maxKeys: 65_536 };
/** Behind one address; the portal gives each client or gateway one user name, and each user name has one allocation. */
const MAX_ALLOCATIONS_PER_SOURCE = 1024;

/** One request and whom to answer. */
interface Exchange {
  readonly request: StunMessage;
  readonly client: Endpoint;
  /** The address of ours that was asked. */
  readonly local: Endpoint;
  /** What the client looks like from here: `client`, unless that is a stream. */
  readonly seen: Endpoint;
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
  readonly #permissions: Permissions;
  readonly #indications: Indications;
  readonly #streams = new StreamClients();
  readonly #sourceLimiter = new RequestLimiter(SOURCE_LIMITS);
  readonly #clientLimiter = new RequestLimiter(CLIENT_LIMITS);
  readonly #transmits: ServerTransmit[] = [];
  readonly #commands: TurnServerCommand[] = [];
  #isDraining = false;

  constructor(config: TurnServerConfig, deps: TurnServerDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#allocations = new Allocations(config.ports, deps.random);
    this.#authenticator = new Authenticator(config.stampSecret, deps.crypto);
    this.#responses = new Responses(config.software, deps.crypto);
    const seed = Math.floor(deps.random.next() * 2 ** 32);
    this.channels = new ChannelBindings(seed);
    this.#permissions = new Permissions(seed);
    this.#forwarding = new Forwarding(this.channels, this.counters);
    this.#indications = new Indications({
      peerPolicy: config.peerPolicy,
      permissions: this.#permissions,
      responses: this.#responses,
      totals: this.#forwarding.totals,
    });
  }

  /** Hot path. Everything one socket received; the rows of `out` are to be sent before the next call. */
  handleRuns(batch: ReceiveBatch, socket: number, out: ForwardBatch, now: Instant): void {
    out.count = 0;
    const isRelayed = allocationOfSocket(socket) >= 0;
    for (let run = 0; run < batch.runCount; run++) {
      if (isRelayed) {
        const isBound = this.#forwarding.forwardToClient(batch, run, socket, out);
        if (!isBound) this.#handleUnbound(batch, run, allocationOfSocket(socket), now);
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

  /** A connection was accepted. False: it is to be closed, there are too many. */
  handleStreamOpened(stream: Endpoint, seen: Endpoint, now: Instant): boolean {
    return this.#streams.add(stream, seen, now);
  }

  /** The allocation goes with the connection: nobody else can use it. */
  handleStreamClosed(stream: Endpoint): void {
    this.#streams.remove(stream);
    const allocation = this.#allocations.findByClient(stream);
    if (allocation) this.#delete(allocation);
  }

  /** From now on no allocation is made: the process wants to end. */
  drain(): void {
    this.#isDraining = true;
  }

  handleSocketsOpened(index: number, now: Instant): void {
    const allocation = this.#allocations.findByIndex(index);
    if (!allocation || allocation.exchange.response) return;
    const { exchange, client, local } = allocation;
    const response = this.#responses.success(
      exchange.request,
      this.#allocationAttributes(allocation),
      exchange.key,
    );
    exchange.response = response;
    this.#send(response, client, local);
    this.#count('allocate success');
    this.#allocations.extend(allocation, allocation.lifetimeSeconds, now);
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
      if (!expired) break;
      this.#delete(expired);
    }
    this.#closeIdleStreams(now);
  }

  pollTransmit(): ServerTransmit | undefined {
    return this.#transmits.shift();
  }

  pollCommand(): TurnServerCommand | undefined {
    return this.#commands.shift();
  }

  pollTimeout(): Instant | undefined {
    return earliest(
      this.#allocations.pollTimeout(),
      this.channels.pollTimeout(),
      this.#streams.pollTimeout(),
    );
  }

  get allocationCount(): number {
    return this.#allocations.count;
  }

  /** Of the tables that anybody can write to. */
  tableSizes(): { readonly sources: number; readonly clients: number; readonly nonces: number } {
    return {
      sources: this.#sourceLimiter.count,
      clients: this.#clientLimiter.count,
      nonces: this.#authenticator.nonceCount,
    };
  }

  snapshot(): TurnServerSnapshot {
    return {
      allocationCount: this.#allocations.count,
      boundChannelCount: this.channels.boundCount,
      permissionCount: this.#permissions.count,
      streamCount: this.#streams.count,
      isDraining: this.#isDraining,
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
    if (client.port === 0) return 'port-zero';
    const seen = this.#seenOf(client, now);
    if (!seen) return 'unknown-stream';
    if (header.class === 'indication' && header.method === STUN_METHOD.send) {
      return this.#handleSend(parseStunAttributes(header), client, now);
    }
    if (header.class !== 'request') return 'not-a-request';
    // Who has an allocation has a limit of its own: others could use up the share of its address by pretending to be there.
    const isClient = this.#allocations.findByClient(client) !== undefined;
    const isAdmitted = isClient
      ? this.#clientLimiter.take(client.key, now)
      : this.#sourceLimiter.take(seen.address, now);
    if (!isAdmitted) return 'rate-limited';
    const request = parseStunAttributes(header);
    if (!request) {
      this.#refuse({ request: header, client, local }, STUN_ERROR.badRequest, undefined);
      return undefined;
    }
    return this.#handleRequest({ request, client, local, seen }, now);
  }

  #handleRequest(exchange: Exchange, now: Instant): ServerDrop | undefined {
    switch (exchange.request.method) {
      case STUN_METHOD.binding: {
        const mapped: StunAttribute = { kind: 'xor-mapped-address', value: exchange.seen };
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

  /** `undefined`: a stream that we do not know. */
  #seenOf(client: Endpoint, now: Instant): Endpoint | undefined {
    return isStreamAddress(client.address) ? this.#streams.touch(client, now)?.seen : client;
  }

  #handleSend(
    indication: StunMessage | undefined,
    client: Endpoint,
    now: Instant,
  ): ServerDrop | undefined {
    const allocation = this.#findReady(client);
    if (!indication) return 'malformed-indication';
    if (!allocation) return 'no-permission';
    const outcome = this.#indications.toPeer(indication, allocation, now);
    if (typeof outcome === 'string') return outcome;
    this.#transmits.push(outcome);
    return undefined;
  }

  /** A run of a peer without channel: Data indications if its address has a permission (RFC 8656 §11.3). */
  #handleUnbound(batch: ReceiveBatch, run: number, index: number, now: Instant): void {
    const remote = run * RUN.stride + RUN.remote;
    const isGranted = this.#permissions.isGranted(index, batch.runs, remote, now);
    const allocation = isGranted ? this.#allocations.findByIndex(index) : undefined;
    if (!allocation) {
      this.counters.add('no-peer', datagramCount(batch.runs, run * RUN.stride));
      return;
    }
    this.#transmits.push(...this.#indications.toClient(batch, run, allocation));
  }

  #closeIdleStreams(now: Instant): void {
    for (;;) {
      const idle = this.#streams.findIdle(now);
      if (!idle) return;
      if (this.#allocations.findByClient(idle.stream)) {
        this.#streams.touch(idle.stream, now);
        continue;
      }
      this.#streams.remove(idle.stream);
      this.#commands.push({ kind: 'close-stream', stream: idle.stream });
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
        const challenge = this.#responses.challenge(request, outcome.code, nonce, outcome.key);
        this.#send(challenge, client, local);
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
        this.#handleCreatePermission(exchange, user, now);
        return undefined;
    }
  }

  /** RFC 8656 §7.2; order of checks as in relay 5.3. */
  #handleAllocate(exchange: Exchange, user: RelayUser, now: Instant): ServerDrop | undefined {
    const { request, client, local, seen } = exchange;
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
    const refusal = this.#refusalOf(seen.address);
    if (refusal !== undefined) {
      this.#refuse(exchange, refusal, user.key);
      return undefined;
    }
    const allocation = this.#allocations.create(
      {
        client,
        local,
        source: seen.address,
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

  /** Why no allocation is made for somebody at this address, whoever it is. */
  #refusalOf(source: IpAddress): number | undefined {
    if (this.#isDraining) return STUN_ERROR.insufficientCapacity;
    return this.#allocations.countFrom(source) >= MAX_ALLOCATIONS_PER_SOURCE
      ? STUN_ERROR.allocationQuotaReached
      : undefined;
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

  /** RFC 8656 §10.2. Without allocation or peers it succeeds and does nothing, as with the reference (relay 5.1). */
  #handleCreatePermission(exchange: Exchange, user: RelayUser, now: Instant): void {
    const allocation = this.#findReady(exchange.client);
    const peers = exchange.request.attributes.flatMap(({ kind, value }) =>
      kind === 'xor-peer-address' ? [value] : [],
    );
    const refuse = (code: number): void => this.#refuse(exchange, code, user.key);
    if (allocation) {
      if (peers.some(({ address }) => !allocation.families.includes(familyOf(address)))) {
        return refuse(STUN_ERROR.peerAddressFamilyMismatch);
      }
      // The port of a permission does not count, and may be 0.
      if (!peers.every(({ address }) => isAddressAllowed(address, this.#config.peerPolicy))) {
        return refuse(STUN_ERROR.forbidden);
      }
      if (!peers.every(({ address }) => this.#permissions.add(allocation.index, address, now))) {
        return refuse(STUN_ERROR.insufficientCapacity);
      }
    }
    this.#succeed(exchange, [], user.key);
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
    this.#permissions.removeAllocation(index);
    this.#allocations.remove(allocation);
    this.#commands.push({ kind: 'close-sockets', allocation: index, families });
  }

  #allocationAttributes(allocation: ServerAllocation): readonly StunAttribute[] {
    const { families, port, client, lifetimeSeconds, source } = allocation;
    const relayed = this.#config.publicAddresses
      .filter((address) => families.includes(familyOf(address)))
      .map((address) => endpoint(address, port));
    const seen = isStreamAddress(client.address) ? endpoint(source, client.port) : client;
    return allocationAttributes(relayed, seen, lifetimeSeconds);
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
    {
      request,
      client,
      local,
    }: Pick<Exchange, 'client' | 'local'> & { readonly request: RequestId },
    code: number,
    key: Uint8Array | undefined,
  ): void {
    this.#count(`${methodName(request.method)} error ${code}`);
    this.#send(this.#responses.error(request, code, key), client, local);
  }

  /** From the address that was asked. */
  #send(payload: Uint8Array, destination: Endpoint, source: Endpoint): void {
    const socket = clientSocket(destination);
    this.#transmits.push({ source, destination, payload, ecn: 0, socket });
  }

  #count(response: string): void {
    this.#responsesSent.set(response, (this.#responsesSent.get(response) ?? 0) + 1);
  }
}
