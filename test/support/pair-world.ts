// Clients, gateways, relays and the portal in one process: the real machines of all roles over a virtual network and a virtual clock. Resources
// are answered at the gateways: each UDP packet comes back with its text in capitals.

import { addressFromWords } from '../../src/base/address.ts';
import { toBase64, utf8Encode } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { earliest, type Instant, instant, later, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { Client } from '../../src/roles/client/client.ts';
import { Gateway } from '../../src/roles/gateway/gateway.ts';
import { dnsQuery, writeDnsMessage } from '../../src/wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE } from '../../src/wire/dns/records.ts';
import { DESTINATION_WORDS, SOURCE_WORDS } from '../../src/wire/ip/parsed-packet.ts';
import { writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import { CLIENT_INBOUND, CLIENT_OUTBOUND } from '../../src/wire/portal/client-messages.ts';
import { GATEWAY_INBOUND, GATEWAY_OUTBOUND } from '../../src/wire/portal/gateway-messages.ts';
import type { Participant } from './link-world.ts';
import { checksumsAreRight, ip, parsed } from './packets.ts';
import { type Message, type Party, PortalBench, START } from './portal-bench.ts';
import { RelayMachine } from './relay-machine.ts';
import { type HostedRole, type HostOptions, TunnelHost } from './tunnel-host.ts';
import { VirtualNetwork } from './virtual-network.ts';

const PORTAL_LATENCY_MS = 15;
const MAX_STEPS_PER_INSTANT = 2_000;

export interface Arrival {
  readonly source: string;
  readonly destination: string;
  readonly text: string;
}

/** One text over UDP, read back. */
function arrivalOf(bytes: Uint8Array): Arrival {
  const packet = parsed(bytes);
  if (!checksumsAreRight(bytes)) throw new Error('a packet came with a wrong checksum');
  return {
    source: addressFromWords(packet.addresses, SOURCE_WORDS),
    destination: addressFromWords(packet.addresses, DESTINATION_WORDS),
    text: new TextDecoder().decode(bytes.slice(packet.headerLength + 8)),
  };
}

abstract class Member<Role extends HostedRole> implements Participant {
  readonly world: PairWorld;
  readonly name: string;
  readonly host: TunnelHost<Role>;
  party: Party | undefined;
  /** What the portal sent, by event. */
  readonly heard: string[] = [];

  constructor(world: PairWorld, name: string, host: TunnelHost<Role>) {
    this.world = world;
    this.name = name;
    this.host = host;
  }

  abstract get publicKey(): Uint8Array;
  protected abstract readonly path: string;
  protected abstract readonly agent: string;
  protected abstract onConnected(now: Instant): void;
  protected abstract onDisconnected(now: Instant): void;
  protected abstract onMessage(message: Message, now: Instant): void;
  protected abstract drainEvents(now: Instant): void;

  /** Connects to the portal with the key of the moment, or anew. */
  connect(token: string): void {
    const { bench } = this.world;
    if (this.party) bench.leave(this.party);
    const key = toBase64(this.publicKey);
    const query = { external_id: this.name, name: this.name, public_key: key };
    this.party = bench.join(bench.connect(this.path, token, query, { agent: this.agent }));
    this.onConnected(this.world.network.now);
  }

  /** The portal is out of reach. */
  disconnect(): void {
    if (this.party) this.world.bench.leave(this.party);
    this.party = undefined;
    this.onDisconnected(this.world.network.now);
  }

  handleTimeout(now: Instant): void {
    this.host.handleTimeout(now);
  }

  pollTimeout(): Instant | undefined {
    return this.host.pollTimeout();
  }

  drain(now: Instant): void {
    this.host.drain(now);
    this.drainEvents(now);
    const { party } = this;
    if (!party) return;
    for (const sent of party.inbox.splice(0)) {
      const message = this.world.onTheWay(sent);
      this.heard.push(message.event);
      this.world.post((at) => {
        if (this.party === party) this.onMessage(message, at);
      });
    }
    if (party.ended) this.disconnect();
  }

  protected tellPortal({ event, payload }: { event: string; payload: unknown }): void {
    const { party, world } = this;
    if (party)
      world.post(
        () => world.bench.parties.has(party.session) && world.bench.send(party, event, payload),
      );
  }
}

export class ClientMember extends Member<Client> {
  protected readonly path = '/client/v2/websocket';
  protected readonly agent = 'Debian/12.0.0 headless-client/1.5.11 (x86_64)';
  ipv4 = '';
  ipv6 = '';
  readonly states: string[] = [];

  get publicKey(): Uint8Array {
    return this.host.role.publicKey;
  }

  send(destination: string, text: string, source?: string): void {
    const own = destination.includes(':') ? this.ipv6 : this.ipv4;
    const packet = udp(source ?? own, destination, text);
    this.host.fromTun(packet);
  }

  /** Texts that came back. */
  texts(): string[] {
    return this.arrivals().map(({ text }) => text);
  }

  arrivals(): Arrival[] {
    return this.host.tun.filter((bytes) => parsed(bytes).protocol === 17).map(arrivalOf);
  }

  /** Asks the own stub; the addresses. */
  resolve(name: string, type: number = DNS_TYPE.a): string[] {
    const bytes = writeDnsMessage(dnsQuery(1, { name, type, class: DNS_CLASS.internet }));
    const now = this.world.network.now;
    const sentinel = ip('100.100.111.1');
    const decision = this.host.role.handleDnsQuery(bytes ?? new Uint8Array(), sentinel, now);
    if (decision.kind !== 'answer') return [];
    return decision.response.answers.flatMap(({ data }) =>
      data.kind === 'address' ? [data.address] : [],
    );
  }

  /** Another network: new address, key and portal connection. */
  roam(host: string, token: string): void {
    this.host.role.reset(this.world.network.now);
    this.host.move(host);
    this.host.announceAddress();
    this.connect(token);
  }

  protected onConnected(now: Instant): void {
    this.host.role.handlePortalConnected(now);
  }

  protected onDisconnected(): void {
    this.host.role.handlePortalDisconnected();
  }

  protected onMessage({ event, payload }: Message, now: Instant): void {
    const read = CLIENT_INBOUND.parse(event, payload);
    if (read.kind !== 'message') throw new Error(`client cannot read ${event}`);
    this.host.role.handlePortalMessage(read.message, now);
  }

  protected drainEvents(): void {
    const { role } = this.host;
    for (let event = role.pollEvent(); event; event = role.pollEvent()) {
      if (event.kind === 'send-to-portal') this.tellPortal(CLIENT_OUTBOUND.write(event.message));
      else if (event.kind === 'interface-changed') {
        this.ipv4 = event.settings.ipv4;
        this.ipv6 = event.settings.ipv6;
      } else this.states.push(event.kind);
    }
  }
}

export class GatewayMember extends Member<Gateway> {
  protected readonly path = '/gateway/v2/websocket';
  protected readonly agent = 'Debian/12.0.0 gateway/1.6.0 (x86_64)';
  /** What arrived at resources. */
  readonly delivered: Arrival[] = [];
  /** Names that the gateway's host knows. */
  readonly names = new Map<string, readonly string[]>();
  readonly states: string[] = [];
  readonly #keyOf: () => Uint8Array;

  constructor(world: PairWorld, name: string, host: TunnelHost<Gateway>, keyOf: () => Uint8Array) {
    super(world, name, host);
    this.#keyOf = keyOf;
    host.onTunPacket = (packet) => this.#answer(packet);
  }

  get publicKey(): Uint8Array {
    return this.#keyOf();
  }

  protected onConnected(now: Instant): void {
    this.host.role.handlePortalConnected(now);
  }

  protected onDisconnected(now: Instant): void {
    this.host.role.handlePortalDisconnected(now);
  }

  protected onMessage({ event, payload }: Message, now: Instant): void {
    const read = GATEWAY_INBOUND.parse(event, payload);
    if (read.kind !== 'message') throw new Error(`gateway cannot read ${event}`);
    this.host.role.handlePortalMessage(read.message, now);
  }

  protected drainEvents(now: Instant): void {
    const { role } = this.host;
    for (let event = role.pollEvent(); event; event = role.pollEvent()) {
      if (event.kind === 'send-to-portal') this.tellPortal(GATEWAY_OUTBOUND.write(event.message));
      else if (event.kind === 'resolve') {
        const addresses = (this.names.get(event.domain) ?? []).map(ip);
        role.handleResolved(event.queryId, { kind: 'resolved', addresses }, now);
      } else this.states.push(event.kind);
    }
  }

  /** The resource: what comes back goes into the gateway's TUN device. */
  #answer(bytes: Uint8Array): void {
    const arrival = arrivalOf(bytes);
    this.delivered.push(arrival);
    const { source, destination, text } = arrival;
    this.host.fromTun(udp(destination, source, text.toUpperCase(), 4_000, 40_000));
  }
}

export class PairWorld {
  readonly network = new VirtualNetwork();
  readonly bench: PortalBench;
  /** Sees, and may change, what the portal sends. */
  onTheWay: (message: Message) => Message = (message) => message;
  readonly #wallClock: WallClock;
  readonly #participants: Participant[] = [];
  readonly #mail: { readonly at: Instant; readonly deliver: (now: Instant) => void }[] = [];
  #seed = 100;

  constructor(policy: unknown) {
    this.network.now = instant(5_000);
    this.#wallClock = new WallClock(this.network.now, START);
    this.bench = new PortalBench(policy);
  }

  addRelay(listen: string): RelayMachine {
    const relay = new RelayMachine(this.network, listen);
    this.#participants.push(relay);
    this.bench.relay(undefined, relay.listen.address);
    return relay;
  }

  addClient(
    name: string,
    options: Omit<HostOptions, 'seed'>,
    token = 'client-token',
  ): ClientMember {
    const seed = this.#seed++;
    const all = { ...options, seed };
    const host = new TunnelHost(this.network, this.#wallClock, 'client', all, (link) => {
      return new Client({ link, log: SILENT_LOG, activatesInternetResource: true });
    });
    const member = new ClientMember(this, name, host);
    this.#participants.push(member);
    member.connect(token);
    this.run(200);
    return member;
  }

  addGateway(
    name: string,
    options: Omit<HostOptions, 'seed'>,
    token = 'gateway-token',
  ): GatewayMember {
    const seed = this.#seed++;
    const all = { ...options, seed };
    let keyOf = (): Uint8Array => new Uint8Array();
    const host = new TunnelHost(this.network, this.#wallClock, 'gateway', all, (link) => {
      keyOf = () => link.publicKey;
      const deps = { link, crypto: createSeededCrypto(seed), wallClock: this.#wallClock };
      return new Gateway({ ...deps, log: SILENT_LOG }, this.network.now);
    });
    const member = new GatewayMember(this, name, host, keyOf);
    this.#participants.push(member);
    member.connect(token);
    this.run(200);
    return member;
  }

  /** The process is gone without a word. */
  kill(member: ClientMember | GatewayMember): void {
    this.#participants.splice(this.#participants.indexOf(member), 1);
    this.network.detach(member.host.address);
    if (member.party) this.bench.leave(member.party);
  }

  setPolicy(policy: unknown): void {
    this.bench.now = this.network.now;
    this.bench.setPolicy(policy);
    this.#flush();
  }

  post(deliver: (now: Instant) => void): void {
    this.#mail.push({ at: later(this.network.now, PORTAL_LATENCY_MS), deliver });
  }

  run(milliseconds: number): void {
    this.runUntil(() => false, milliseconds);
  }

  /** False if the condition did not hold within `milliseconds`. */
  runUntil(condition: () => boolean, milliseconds: number): boolean {
    const end = later(this.network.now, milliseconds);
    let steps = 0;
    this.#flush();
    while (!condition()) {
      const next = this.#nextDeadline();
      if (next === undefined || next > end) {
        this.network.now = end;
        this.bench.now = end;
        return false;
      }
      steps = next > this.network.now ? 0 : steps + 1;
      if (steps > MAX_STEPS_PER_INSTANT) throw new Error(`no progress at ${this.network.now}`);
      if (next > this.network.now) this.network.now = next;
      this.#step();
    }
    return true;
  }

  #step(): void {
    const { now } = this.network;
    this.bench.now = now;
    this.network.deliver();
    for (const mail of this.#mail.splice(0)) {
      if (mail.at <= now) mail.deliver(now);
      else this.#mail.push(mail);
    }
    for (const participant of this.#participants) {
      const due = participant.pollTimeout();
      if (due !== undefined && due <= now) participant.handleTimeout(now);
    }
    const due = this.bench.portal.pollTimeout();
    if (due !== undefined && due <= now) this.bench.portal.handleTimeout(now);
    this.#flush();
  }

  #flush(): void {
    this.bench.drain();
    for (const participant of this.#participants) participant.drain(this.network.now);
  }

  #nextDeadline(): Instant | undefined {
    return earliest(
      this.network.nextArrival(),
      ...this.#mail.map(({ at }) => at),
      ...this.#participants.map((participant) => participant.pollTimeout()),
      this.bench.portal.pollTimeout(),
    );
  }
}

function udp(
  source: string,
  destination: string,
  text: string,
  sourcePort = 40_000,
  destinationPort = 4_000,
): Uint8Array {
  const payload = utf8Encode(text);
  return writeUdpPacket({
    source: ip(source),
    destination: ip(destination),
    hopLimit: 64,
    sourcePort,
    destinationPort,
    payload,
  });
}
