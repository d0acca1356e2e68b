// Two ICE agents on a virtual network: each has a host address, perhaps behind a NAT, perhaps an address at a relay. Candidates
// are gathered as a node would do it and signalled after a delay. Time moves from deadline to deadline.

import type { Endpoint } from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { earliest, type Instant, instant, later } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { IceAgent } from '../../src/proto/ice/agent.ts';
import type { IceEvent } from '../../src/proto/ice/agent-types.ts';
import {
  formatCandidate,
  type IceCandidate,
  parseCandidate,
} from '../../src/proto/ice/candidate.ts';
import type { IceRole } from '../../src/proto/ice/candidate-pair.ts';
import type { CheckPacer } from '../../src/proto/ice/check-pacer.ts';
import type { LocalCandidateInfo } from '../../src/proto/ice/local-candidates.ts';
import type { IceState } from '../../src/proto/ice/nomination.ts';
import { CLIENT_TIMING, GATEWAY_TIMING, type IceTiming } from '../../src/proto/ice/timing.ts';
import { parseStun } from '../../src/wire/stun/message.ts';
import { ep, type Nat, type VirtualNetwork } from './virtual-network.ts';

/** A server that everybody asks for the own address. */
const STUN_SERVER = ep('192.0.2.53:3478');

export const CLIENT_CREDENTIALS = { ufrag: 'cluf', password: 'clientpassword01234567' };
export const GATEWAY_CREDENTIALS = { ufrag: 'gwuf', password: 'gatewaypassword0123456' };

export interface PeerOptions {
  readonly host: string;
  readonly nat?: Nat;
  readonly relay?: string;
  readonly relayVia?: 4 | 6;
  readonly role?: IceRole;
  readonly timing?: IceTiming;
  readonly knowsRemote?: boolean;
  readonly pacer?: CheckPacer;
  readonly seed?: number;
}

export class IcePeer {
  readonly agent: IceAgent;
  readonly host: Endpoint;
  /** Whether the agent has the other's credentials; they are set once. */
  knowsRemote: boolean;
  readonly events: (IceEvent & { at: Instant })[] = [];
  /** When checks (requests) left, by `local>remote`. */
  readonly checks: { at: Instant; path: string }[] = [];
  readonly #network: VirtualNetwork;
  readonly #relays = new Set<string>();

  constructor(network: VirtualNetwork, isClient: boolean, options: PeerOptions) {
    this.#network = network;
    this.host = ep(options.host);
    this.knowsRemote = options.knowsRemote !== false;
    const [local, remote] = isClient
      ? [CLIENT_CREDENTIALS, GATEWAY_CREDENTIALS]
      : [GATEWAY_CREDENTIALS, CLIENT_CREDENTIALS];
    this.agent = new IceAgent(
      {
        role: options.role ?? (isClient ? 'controlling' : 'controlled'),
        localCredentials: local,
        ...(options.knowsRemote === false ? {} : { remoteCredentials: remote }),
        timing: options.timing ?? (isClient ? CLIENT_TIMING : GATEWAY_TIMING),
      },
      {
        crypto: createSeededCrypto(options.seed ?? (isClient ? 1 : 2)),
        log: SILENT_LOG,
        ...(options.pacer ? { pacer: options.pacer } : {}),
      },
      network.now,
    );
    network.attach(this.host, options.nat, (datagram, now) => {
      const message = parseStun(datagram.payload);
      if (!message) return;
      this.agent.handleStun(message, { source: datagram.source, local: datagram.destination }, now);
    });
  }

  /** Host, server-reflexive and relayed candidates, as far as there are any. */
  gather(options: PeerOptions): IceCandidate[] {
    const infos: LocalCandidateInfo[] = [{ kind: 'host', address: this.host, base: this.host }];
    if (options.nat) {
      const mapped = options.nat.translateOut(this.host, STUN_SERVER);
      infos.push({ kind: 'srflx', address: mapped, base: this.host });
    }
    if (options.relay) infos.push(this.allocate(options.relay, options.relayVia));
    return infos.flatMap((info) => this.agent.addLocalCandidate(info, this.#network.now) ?? []);
  }

  allocate(relayed: string, viaFamily: 4 | 6 = 4): LocalCandidateInfo {
    const address = ep(relayed);
    this.#relays.add(address.key);
    this.#network.attach(address, undefined, (datagram, now) => {
      const message = parseStun(datagram.payload);
      if (message) this.agent.handleStun(message, { source: datagram.source, local: address }, now);
    });
    return { kind: 'relayed', address, base: address, viaFamily };
  }

  drain(): void {
    const now = this.#network.now;
    for (let event = this.agent.pollEvent(); event; event = this.agent.pollEvent()) {
      this.events.push({ ...event, at: now });
    }
    for (let out = this.agent.pollTransmit(); out; out = this.agent.pollTransmit()) {
      if (out.transactionId !== undefined) {
        this.checks.push({ at: now, path: `${out.local.key}>${out.remote.key}` });
      }
      this.#network.send({ source: out.local, destination: out.remote, payload: out.payload });
    }
  }

  signalTo(other: IcePeer, candidates: readonly IceCandidate[]): void {
    for (const candidate of candidates) {
      const parsed = parseCandidate(formatCandidate(candidate));
      if (parsed) other.agent.addRemoteCandidate(parsed, this.#network.now);
    }
  }

  get path(): string | undefined {
    const event = this.events.findLast(({ kind }) => kind === 'nominated');
    return event?.kind === 'nominated' ? `${event.local.key}>${event.remote.key}` : undefined;
  }

  get kinds(): string | undefined {
    const event = this.events.findLast(({ kind }) => kind === 'nominated');
    return event?.kind === 'nominated' ? `${event.localKind}-${event.remoteKind}` : undefined;
  }

  get states(): IceState[] {
    return this.events.flatMap((event) => (event.kind === 'state' ? [event.state] : []));
  }
}

export class IceWorld {
  readonly network: VirtualNetwork;
  /** May be replaced: a client that lost its connection begins anew. */
  client: IcePeer;
  readonly gateway: IcePeer;

  constructor(network: VirtualNetwork, client: PeerOptions, gateway: PeerOptions) {
    this.network = network;
    this.client = new IcePeer(network, true, client);
    this.gateway = new IcePeer(network, false, gateway);
  }

  /** Gathers and signals both sides' candidates at once. */
  static connect(network: VirtualNetwork, client: PeerOptions, gateway: PeerOptions): IceWorld {
    const world = new IceWorld(network, client, gateway);
    const ours = world.client.gather(client);
    const theirs = world.gateway.gather(gateway);
    world.client.signalTo(world.gateway, ours);
    world.gateway.signalTo(world.client, theirs);
    return world;
  }

  get now(): Instant {
    return this.network.now;
  }

  runFor(milliseconds: number): void {
    this.runUntil(later(this.now, milliseconds));
  }

  /** Everything up to and including that instant. */
  runUntil(end: Instant): void {
    const { client, gateway, network } = this;
    for (let turns = 0; turns < 1_000_000; turns++) {
      this.#drain();
      const next = earliest(
        network.nextArrival(),
        client.agent.pollTimeout(),
        gateway.agent.pollTimeout(),
      );
      if (next === undefined || next > end) break;
      network.now = instant(Math.max(network.now, next));
      network.deliver();
      this.#drain();
      for (const { agent } of [client, gateway]) {
        const due = agent.pollTimeout();
        if (due !== undefined && due <= network.now) agent.handleTimeout(network.now);
      }
    }
    network.now = end;
    this.#drain();
  }

  #drain(): void {
    this.client.drain();
    this.gateway.drain();
  }
}
