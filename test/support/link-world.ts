// Two nodes, a client and a gateway, on a virtual network, with a portal that derives credentials from the public keys and
// carries candidates, and TURN servers where a test wants them. Every datagram goes through the batch path of the receiver:
// `handleRuns`, `open`, `handleOpened`, `gather`, with the plain twin of the native cipher. Time moves from deadline to deadline.

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  familyOf,
  writeAddressWords,
} from '../../src/base/address.ts';
import { createReceiveBatch, PATH, type ReceiveBatch, RUN, SUPER } from '../../src/base/batch.ts';
import { at, concat, toHex } from '../../src/base/bytes.ts';
import { type PeerId, peerId, type RelayId, relayId } from '../../src/base/ids.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { isStreamAddress } from '../../src/base/stream-endpoint.ts';
import { earliest, type Instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import type { ConnectionTerms } from '../../src/link/connection/connection-types.ts';
import { Node } from '../../src/link/node.ts';
import type { NodeConfig, NodeEvent, UpsertOutcome } from '../../src/link/node-types.ts';
import type { CandidateEvent } from '../../src/link/outbound/signalling.ts';
import type { StreamWay } from '../../src/link/relays/relay-info.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import type { StreamEvent } from '../../src/proto/turn/stream-dialer.ts';
import { writeChannelData } from '../../src/wire/turn/channel-data.ts';
import { RelayMachine } from './relay-machine.ts';
import {
  type Datagram,
  type DatagramNetwork,
  ep,
  type Nat,
  type NatConfig,
  SYMMETRIC,
  VirtualNetwork,
} from './virtual-network.ts';
import { VirtualStreams } from './virtual-streams.ts';

/** What a client is called on the gateway, and the other way round. */
export const CLIENT: PeerId = peerId('client');
export const GATEWAY: PeerId = peerId('gateway');

const MAX_STEPS_PER_INSTANT = 2_000;

export interface PeerOptions extends Partial<NodeConfig> {
  readonly host: string;
  /** In the other family. */
  readonly hostAlso?: string;
  readonly nat?: Nat;
  readonly seed?: number;
  /** Announce the host's address as an interface address; true if absent. */
  readonly knowsHost?: boolean;
}

/** Whatever has deadlines and output: drained after every step. */
export interface Participant {
  drain(now: Instant): void;
  handleTimeout(now: Instant): void;
  pollTimeout(): Instant | undefined;
}

/** The event of that kind; candidate events share one shape. */
export type EventOf<K extends NodeEvent['kind']> = Extract<
  NodeEvent,
  { kind: K extends 'candidates-added' | 'candidates-removed' ? CandidateEvent['kind'] : K }
>;

export class LinkPeer implements Participant {
  readonly node: Node;
  readonly aead: PlainAead;
  readonly events: { readonly at: Instant; readonly event: NodeEvent }[] = [];
  /** Inner packets, by either path. */
  readonly packets: Uint8Array[] = [];
  host: Endpoint;
  readonly #hostAlso: Endpoint | undefined;
  readonly #network: DatagramNetwork;
  readonly #nat: Nat | undefined;
  readonly #streams: VirtualStreams;
  readonly #batch: ReceiveBatch = createReceiveBatch(65_536, 8, 128);

  constructor(
    network: DatagramNetwork,
    role: 'client' | 'gateway',
    options: PeerOptions,
    streams: VirtualStreams = new VirtualStreams(network),
  ) {
    this.#network = network;
    this.#streams = streams;
    this.host = ep(options.host);
    this.#hostAlso = options.hostAlso === undefined ? undefined : ep(options.hostAlso);
    this.#nat = options.nat;
    const crypto = createSeededCrypto(options.seed ?? (role === 'client' ? 1 : 2));
    this.aead = new PlainAead(crypto, 64);
    this.node = new Node(
      {
        role,
        allowNoRelays: options.allowNoRelays ?? false,
        neverProbed: options.neverProbed ?? [],
        streamWays: options.streamWays ?? [],
      },
      {
        crypto,
        random: new SeededRandom(options.seed ?? 3),
        aead: this.aead,
        wallClock: new WallClock(network.now, unixMillis(1_700_000_000_000)),
        log: SILENT_LOG,
      },
      network.now,
    );
    this.#attach();
    if (options.knowsHost ?? true) this.node.setLocalAddresses(this.#hosts, network.now);
  }

  /** New sockets on another port, as after a change of networks. */
  move(host: string): void {
    this.#network.detach(this.host);
    this.host = ep(host);
    this.#attach();
  }

  /** One inner packet by the bulk path, or by the cold one while there is no slot. */
  send(to: PeerId, packet: Uint8Array): string {
    const { now } = this.#network;
    const slot = this.node.sendSlot(to, now);
    if (slot < 0) return this.node.sendPacket(to, packet, 0, now);
    this.#sendSealed(slot, this.aead.sealOne(slot, packet));
    return 'bulk';
  }

  /** Delivers datagrams of one sender and size as one run. */
  receive(datagrams: readonly Datagram[], now: Instant): void {
    const batch = this.#batch;
    const [first] = datagrams;
    if (first === undefined) return;
    const bytes = concat(...datagrams.map(({ payload }) => payload));
    batch.slab.set(bytes);
    batch.runs.fill(0);
    batch.runs.set([0, bytes.length, first.payload.length]);
    writeAddressWords(first.source.address, batch.runs, RUN.remote);
    batch.runs[RUN.remotePort] = first.source.port;
    writeAddressWords(first.destination.address, batch.runs, RUN.local);
    batch.runs[RUN.localPort] = first.destination.port;
    batch.runCount = 1;
    batch.datagramCount = 0;
    batch.superCount = 0;
    this.node.handleRuns(batch, now);
    this.aead.open(batch);
    this.node.handleOpened(batch, now);
    this.aead.gather(batch);
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      const offset = at(batch.superPackets, row + SUPER.offset);
      const length = at(batch.superPackets, row + SUPER.length);
      this.packets.push(batch.slab.slice(offset, offset + length));
    }
  }

  handleTimeout(now: Instant): void {
    this.node.handleTimeout(now);
  }

  pollTimeout(): Instant | undefined {
    return this.node.pollTimeout();
  }

  drain(now: Instant): void {
    const { node } = this;
    for (let out = node.pollTransmit(); out; out = node.pollTransmit()) {
      const { destination, payload } = out;
      const source = out.source ?? this.#sourceTo(destination);
      // A datagram leaves only from an address that the host has.
      const isOwn = this.#hosts.some(({ key }) => key === source.key);
      if (isStreamAddress(destination.address)) this.#streams.send(this, destination, payload);
      else if (isOwn) this.#network.send({ source, destination, payload });
    }
    for (let command = node.pollStreamCommand(); command; command = node.pollStreamCommand()) {
      this.#streams.execute(command, this);
    }
    for (let packet = node.pollPacket(); packet; packet = node.pollPacket()) {
      this.packets.push(packet.bytes);
    }
    for (let event = node.pollEvent(); event; event = node.pollEvent()) {
      this.events.push({ at: now, event });
    }
  }

  handleStream(event: StreamEvent, now: Instant): void {
    this.node.handleStream(event, now);
  }

  kinds(): string[] {
    return this.events.map(({ event }) => event.kind);
  }

  /** Events of one kind, in order. */
  of<K extends NodeEvent['kind']>(kind: K): EventOf<K>[] {
    return this.events
      .map(({ event }) => event)
      .filter((event): event is EventOf<K> => event.kind === kind);
  }

  /** When the event of that kind came first. */
  timeOf(kind: NodeEvent['kind']): Instant | undefined {
    return this.events.find(({ event }) => event.kind === kind)?.at;
  }

  /** What `sealSend` does with the row of the slot. */
  #sendSealed(slot: number, datagram: Uint8Array): void {
    const row = slot * PATH.stride;
    const { paths } = this.aead;
    const destination = endpoint(
      addressFromWords(paths, row + PATH.remote),
      at(paths, row + PATH.remotePort),
    );
    const channel = at(paths, row + PATH.channel);
    const payload = channel === 0 ? datagram : writeChannelData(channel, datagram);
    if (isStreamAddress(destination.address)) this.#streams.send(this, destination, payload);
    else this.#network.send({ source: this.#sourceTo(destination), destination, payload });
  }

  get #hosts(): readonly Endpoint[] {
    return this.#hostAlso ? [this.host, this.#hostAlso] : [this.host];
  }

  #sourceTo({ address }: Endpoint): Endpoint {
    const family = familyOf(address);
    return this.#hosts.find((own) => familyOf(own.address) === family) ?? this.host;
  }

  #attach(): void {
    for (const host of this.#hosts) {
      this.#network.attach(host, this.#nat, (datagram, now) => this.receive([datagram], now));
    }
  }
}

export class LinkWorld<N extends DatagramNetwork = VirtualNetwork> {
  readonly network: N;
  readonly client: LinkPeer;
  readonly gateway: LinkPeer;
  /** TCP; the relays of the world take it at their `streamPorts`. */
  readonly streams: VirtualStreams;
  /** How long the portal takes. */
  signallingMs = 15;
  /** Whose candidates the portal loses. */
  readonly losesCandidatesOf = new Set<'client' | 'gateway'>();
  presharedKey: Uint8Array = new Uint8Array(32).fill(0x5a);
  /** What the portal decides for the pair (iceless 2). */
  useIceless = false;
  readonly #others: Participant[];
  readonly #mail: { readonly at: Instant; readonly deliver: (now: Instant) => void }[] = [];
  #seen = { client: 0, gateway: 0 };

  constructor(network: N, client: PeerOptions, gateway: PeerOptions) {
    this.network = network;
    this.streams = new VirtualStreams(network);
    this.#others = [this.streams];
    this.client = new LinkPeer(network, 'client', client, this.streams);
    this.gateway = new LinkPeer(network, 'gateway', gateway, this.streams);
  }

  add(participant: Participant): void {
    this.#others.push(participant);
    if (participant instanceof RelayMachine) this.streams.addServer(participant);
  }

  /** `init.relays` or `relays_presence` to both sides. */
  announce(relays: readonly RelayMachine[], gone: readonly RelayMachine[] = []): void {
    const idOf = (relay: RelayMachine): RelayId => relayId(relay.listen.key);
    for (const side of ['client', 'gateway'] as const) {
      const infos = relays.map((relay) => relay.info(idOf(relay), side));
      this[side].node.updateRelays(gone.map(idOf), infos, this.network.now);
    }
    this.flush();
  }

  /** One authorization: the gateway is told first, the client when it has agreed (connectivity 4.7). */
  authorize(): UpsertOutcome {
    const outcome = this.gateway.node.upsertConnection(this.terms('gateway'), this.network.now);
    if (outcome !== 'no-relays') {
      const terms = this.terms('client');
      // The reply goes out before the first candidate (connectivity 4.3).
      this.#post((now) => this.client.node.upsertConnection(terms, now));
    }
    this.flush();
    return outcome;
  }

  /** As the portal derives them: stable per pair of public keys (connectivity 4.1). */
  terms(side: 'client' | 'gateway'): ConnectionTerms {
    const client = this.client.node.publicKey;
    const gateway = this.gateway.node.publicKey;
    const text = toHex(client) + toHex(gateway);
    const ofClient = { ufrag: text.slice(0, 4), password: text.slice(4, 26) };
    const ofGateway = { ufrag: text.slice(64, 68), password: text.slice(68, 90) };
    const isClient = side === 'client';
    return {
      id: isClient ? GATEWAY : CLIENT,
      remotePublicKey: isClient ? gateway : client,
      presharedKey: this.presharedKey,
      localCredentials: isClient ? ofClient : ofGateway,
      remoteCredentials: isClient ? ofGateway : ofClient,
      useIceless: this.useIceless,
    };
  }

  run(milliseconds: number): void {
    this.runUntil(() => false, milliseconds);
  }

  /** False if the condition did not hold within `milliseconds`. */
  runUntil(condition: () => boolean, milliseconds: number): boolean {
    const end = later(this.network.now, milliseconds);
    let steps = 0;
    this.flush();
    while (!condition()) {
      const next = this.#nextDeadline();
      if (next === undefined || next > end) {
        this.network.now = end;
        return false;
      }
      steps = next > this.network.now ? 0 : steps + 1;
      if (steps > MAX_STEPS_PER_INSTANT) throw new Error(`no progress at ${this.network.now}`);
      if (next > this.network.now) this.network.now = next;
      this.#step();
    }
    return true;
  }

  /** From now on nothing arrives any more. */
  cut(): void {
    this.network.isDelivered = () => false;
    this.streams.isBlocked = true;
  }

  /** Both sides said that the connection is established, and the gateway can send. */
  connect(withinMs = 5_000): boolean {
    this.authorize();
    return this.runUntil(() => this.isConnected, withinMs);
  }

  get isConnected(): boolean {
    const { client, gateway } = this;
    return (
      client.kinds().includes('connection-established') &&
      gateway.kinds().includes('connection-established')
    );
  }

  /** After the events of a peer were cleared. */
  forgetEvents(): void {
    this.client.events.length = 0;
    this.gateway.events.length = 0;
    this.#seen = { client: 0, gateway: 0 };
  }

  flush(): void {
    const { now } = this.network;
    this.client.drain(now);
    this.gateway.drain(now);
    for (const other of this.#others) other.drain(now);
    this.#carry('client');
    this.#carry('gateway');
  }

  #step(): void {
    const { now } = this.network;
    this.network.deliver();
    for (const mail of this.#mail.splice(0)) {
      if (mail.at <= now) mail.deliver(now);
      else this.#mail.push(mail);
    }
    for (const participant of [this.client, this.gateway, ...this.#others]) {
      const due = participant.pollTimeout();
      if (due !== undefined && due <= now) participant.handleTimeout(now);
    }
    this.flush();
  }

  /** Candidates on their way through the portal. */
  #carry(from: 'client' | 'gateway'): void {
    const sender = this[from];
    const receiver = from === 'client' ? this.gateway : this.client;
    const name = from === 'client' ? CLIENT : GATEWAY;
    for (; this.#seen[from] < sender.events.length; this.#seen[from]++) {
      const event = sender.events[this.#seen[from]]?.event;
      if (event === undefined || this.losesCandidatesOf.has(from)) continue;
      if (event.kind !== 'candidates-added' && event.kind !== 'candidates-removed') continue;
      this.#post((now) => {
        for (const text of event.candidates) {
          if (event.kind === 'candidates-added') receiver.node.addRemoteCandidate(name, text, now);
          else receiver.node.removeRemoteCandidate(name, text, now);
        }
      });
    }
  }

  #post(deliver: (now: Instant) => void): void {
    this.#mail.push({ at: later(this.network.now, this.signallingMs), deliver });
  }

  #nextDeadline(): Instant | undefined {
    return earliest(
      this.network.nextArrival(),
      ...this.#mail.map(({ at }) => at),
      ...[this.client, this.gateway, ...this.#others].map((other) => other.pollTimeout()),
    );
  }
}

/** Client and gateway on the open Internet or behind NATs, without relays. */
export function directWorld(
  nats: { client?: Nat; gateway?: Nat } = {},
  network: VirtualNetwork = new VirtualNetwork(),
): LinkWorld {
  const peer = (host: string, nat: Nat | undefined): PeerOptions => ({
    host,
    allowNoRelays: true,
    ...(nat ? { nat } : {}),
  });
  return new LinkWorld(
    network,
    peer('192.0.2.10:52625', nats.client),
    peer('198.51.100.20:52625', nats.gateway),
  );
}

/** Client and gateway behind NATs, symmetric ones if not said otherwise, with a private address each, and relays. */
export function relayedWorld(
  relayCount: number,
  behaviour: Omit<NatConfig, 'publicAddress'> = SYMMETRIC,
  streamWays: readonly StreamWay[] = [],
): { world: LinkWorld; relays: RelayMachine[] } {
  const network = new VirtualNetwork();
  const nat = (publicAddress: string): Nat => network.addNat({ ...behaviour, publicAddress });
  const world = new LinkWorld(
    network,
    { host: '10.1.0.2:52625', nat: nat('203.0.113.7'), knowsHost: false, streamWays },
    { host: '10.2.0.2:52625', nat: nat('203.0.113.9'), knowsHost: false, streamWays },
  );
  const relays = Array.from({ length: relayCount }, (_, index) => {
    return new RelayMachine(network, `198.51.100.${100 + index}:3478`);
  });
  for (const relay of relays) world.add(relay);
  world.announce(relays);
  return { world, relays };
}
