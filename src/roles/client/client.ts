// The headless client as one pure machine (client 1): the owner of the node, the resources and the stub resolver. It routes inputs to the parts that
// compute and collects what they have to say; sockets, the TUN device and the portal's WebSocket are the loop's and the app's.
//
//   portal messages ─▶ resources, access, node        TUN packets ─▶ traffic ─▶ access (ask, announce, wait)
//   DNS queries     ─▶ stub resolver ─▶ access        UDP runs    ─▶ node ─▶ traffic

import { type Endpoint, endpoint, type IpAddress, type IpNetwork } from '../../base/address.ts';
import type { ReceiveBatch, TunBatch } from '../../base/batch.ts';
import { gatewayId, peerId, type ResourceId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import { earliest, type Instant } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import { CandidateOutbox } from '../../link/candidate-outbox.ts';
import type { NodeEvent } from '../../link/node-types.ts';
import type { StreamCommand, StreamEvent } from '../../proto/turn/stream-dialer.ts';
import {
  GATEWAY_DNS_PORT,
  PROXY_NETWORK_IPV4,
  PROXY_NETWORK_IPV6,
  TUNNEL_NETWORK_IPV4,
  TUNNEL_NETWORK_IPV6,
} from '../../wire/control/address-plan.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import type { DnsMessage } from '../../wire/dns/message.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import type {
  ClientInbound,
  ClientInit,
  ClientInterface,
  ClientOutbound,
} from '../../wire/portal/client-messages.ts';
import { mergeRelays, type RelaysPresence } from '../../wire/portal/common.ts';
import type { ClientResource } from '../../wire/portal/resources.ts';
import { PathMtus } from '../path-mtus.ts';
import { Access, type AccessEvent } from './access.ts';
import { Gateways } from './gateways.ts';
import type { ClientLink } from './link.ts';
import { ProxyAddressTable } from './proxy-addresses.ts';
import { ResourceTable } from './resource-table.ts';
import { Routing } from './routing.ts';
import { type Sentinel, Sentinels } from './sentinels.ts';
import { StubResolver } from './stub-resolver.ts';
import { Traffic } from './traffic.ts';

/** What the TUN device and the host's routing have to look like now. */
export interface InterfaceSettings {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
  readonly networks: readonly IpNetwork[];
  readonly isInternetActive: boolean;
  readonly sentinels: readonly Sentinel[];
  readonly searchDomain: string | undefined;
}

export type ClientEvent =
  | { readonly kind: 'send-to-portal'; readonly message: ClientOutbound }
  | { readonly kind: 'interface-changed'; readonly settings: InterfaceSettings }
  | Exclude<NodeEvent, { kind: 'candidates-added' | 'candidates-removed' | 'no-relays' }>
  | AccessEvent;

export type DnsDecision =
  | { readonly kind: 'answer'; readonly response: DnsMessage }
  /** Ask `upstream`: a server of the portal or of the host, or a gateway about names of its site. */
  | { readonly kind: 'forward'; readonly query: DnsMessage; readonly upstream: Endpoint }
  /** `site-not-ready`: access is being asked for; resolvers ask again. */
  | {
      readonly kind: 'drop';
      readonly reason: 'dns-malformed' | 'unassigned-sentinel' | 'site-not-ready';
    };

export interface ClientDeps {
  /** Ours alone from here on. */
  readonly link: ClientLink;
  readonly log: Log;
  /** Whether the Internet resource is used when the portal offers it (client 2.1). */
  readonly activatesInternetResource: boolean;
  /** Whether connections without ICE are offered to the portal; yes if absent (iceless 2). */
  readonly iceless?: boolean;
  /** MTU of the TUN device; packets longer than the standard are sent only where a gateway's path carries them. */
  readonly tunMtu?: number;
}

export class Client {
  readonly #log: Log;
  readonly #activatesInternet: boolean;
  readonly #iceless: boolean;
  readonly #node: ClientLink;
  readonly #resources = new ResourceTable();
  readonly #addresses = new ProxyAddressTable();
  readonly #gateways = new Gateways();
  readonly #sentinels = new Sentinels();
  readonly #candidates = new CandidateOutbox();
  readonly #stub: StubResolver;
  readonly #routing: Routing;
  readonly #access: Access;
  readonly #traffic: Traffic;
  readonly #mtus: PathMtus;
  #interface: ClientInterface | undefined;
  #systemServers: readonly IpAddress[] = [];
  #events: ClientEvent[] = [];

  constructor(deps: ClientDeps) {
    this.#log = deps.log;
    this.#activatesInternet = deps.activatesInternetResource;
    this.#iceless = deps.iceless ?? true;
    this.#node = deps.link;
    this.#stub = new StubResolver(this.#resources, this.#addresses);
    this.#routing = new Routing(this.#resources, this.#addresses, this.#gateways);
    this.#mtus = new PathMtus(deps.tunMtu ?? MAX_PACKET_LENGTH);
    this.#access = new Access({
      mtus: this.#mtus,
      node: this.#node,
      gateways: this.#gateways,
      resources: this.#resources,
      addresses: this.#addresses,
      log: deps.log,
    });
    this.#traffic = new Traffic({
      node: this.#node,
      gateways: this.#gateways,
      routing: this.#routing,
      access: this.#access,
      mtus: this.#mtus,
    });
  }

  /** Changes with each reset. */
  get publicKey(): Uint8Array {
    return this.#node.publicKey;
  }

  handleRuns(batch: ReceiveBatch, now: Instant): void {
    this.#node.handleRuns(batch, now);
    this.#settle(now);
  }

  handleOpened(batch: ReceiveBatch, now: Instant): void {
    this.#node.handleOpened(batch, now);
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    this.#traffic.handleSuperPackets(batch, now);
    this.#settle(now);
  }

  handleTunPackets(batch: TunBatch, now: Instant): void {
    this.#traffic.handleTunPackets(batch, now);
    this.#settle(now);
  }

  /** A query that was sent to the sentinel address `server`. */
  handleDnsQuery(bytes: Uint8Array, server: IpAddress, now: Instant): DnsDecision {
    const sentinel = this.#sentinels.find(server);
    if (!sentinel) return { kind: 'drop', reason: 'unassigned-sentinel' };
    const decision = this.#stub.decide(bytes);
    if (decision.kind === 'forward') {
      const { query, site } = decision;
      const upstream = site === undefined ? sentinel.upstream : this.#siteServer(site, now);
      if (upstream) return { kind: 'forward', query, upstream };
      return { kind: 'drop', reason: 'site-not-ready' };
    }
    if (decision.kind === 'answer' && decision.refreshedName !== undefined) {
      this.#routing.forget();
      this.#access.refreshName(decision.refreshedName, now);
      this.#settle(now);
    }
    return decision;
  }

  /** The DNS server of the gateway that serves `resource`; without one, access is asked for. */
  #siteServer(resource: ResourceId, now: Instant): Endpoint | undefined {
    const gateway = this.#gateways.ofResource(resource);
    if (gateway) return endpoint(gateway.ipv4, GATEWAY_DNS_PORT);
    this.#access.bufferFor(resource, undefined, now);
    this.#settle(now);
    return undefined;
  }

  handlePortalConnected(now: Instant): void {
    this.#send({ event: 'set_snownet_capabilities', payload: { iceless: this.#iceless } });
    for (const event of this.#candidates.connect()) this.#sendCandidates(event);
    this.#access.handlePortalConnected(now);
    this.#settle(now);
  }

  handlePortalDisconnected(): void {
    this.#candidates.disconnect();
    this.#access.handlePortalDisconnected();
  }

  handlePortalMessage(message: ClientInbound, now: Instant): void {
    this.#applyMessage(message, now);
    this.#settle(now);
  }

  handleTimeout(now: Instant): void {
    this.#node.handleTimeout(now);
    this.#access.handleTimeout(now);
    this.#traffic.handleTimeout(now);
    this.#mtus.handleTimeout(now);
    this.#settle(now);
  }

  /** Servers that the host itself uses; they stand in where the portal sets none. */
  setSystemResolvers(servers: readonly IpAddress[]): void {
    if (servers.join() === this.#systemServers.join()) return;
    this.#systemServers = servers;
    if (this.#interface) this.#applyInterface(this.#interface);
  }

  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void {
    this.#node.setLocalAddresses(addresses, now);
    this.#settle(now);
  }

  /**
   * The network changed (client 13): the caller binds new sockets and connects to the portal anew, with the key as it is then. Connections
   * that can move keep what was granted (iceless 9).
   */
  reset(now: Instant): void {
    const outcome = this.#node.reset(now);
    // The channel says nothing when it is made to connect anew.
    this.handlePortalDisconnected();
    this.#candidates.clear();
    if (outcome === 'replaced') {
      this.#access.startOver(now);
      this.#routing.forget();
    }
    this.#settle(now);
  }

  shutdown(now: Instant): void {
    this.#node.closeAll(writeControlPacket({ kind: 'goodbye' }), now);
    this.#node.releaseRelays(now);
  }

  pollTransmit(): Transmit | undefined {
    return this.#node.pollTransmit();
  }

  handleStream(event: StreamEvent, now: Instant): void {
    this.#node.handleStream(event, now);
    this.#settle(now);
  }

  pollStreamCommand(): StreamCommand | undefined {
    return this.#node.pollStreamCommand();
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#traffic.pollTunPacket();
  }

  pollEvent(): ClientEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    return earliest(this.#node.pollTimeout(), this.#access.pollTimeout(), this.#mtus.pollTimeout());
  }

  snapshot(): Readonly<Record<string, unknown>> {
    return {
      node: this.#node.snapshot(),
      resources: [...this.#resources.all()],
      gateways: [...this.#gateways.all()].map(({ id, resources }) => ({
        id,
        resources: [...resources],
      })),
      names: this.#addresses.count,
      access: this.#access.snapshot(),
      drops: this.#traffic.drops.snapshot(),
    };
  }

  /** Ends every input: what arrived and what became possible is worked off. */
  #settle(now: Instant): void {
    for (let packet = this.#node.pollPacket(); packet; packet = this.#node.pollPacket()) {
      this.#traffic.handlePacket(packet.peer, packet.bytes, now);
    }
    for (let event = this.#node.pollEvent(); event; event = this.#node.pollEvent()) {
      this.#handleNodeEvent(event, now);
    }
    for (let probe = this.#mtus.pollProbe(); probe; probe = this.#mtus.pollProbe()) {
      const packet = writeControlPacket({ kind: 'mtu-probe', ...probe });
      this.#node.sendPacket(probe.peer, packet, 0, now);
    }
    const ready = this.#access.takeReady();
    if (ready.length > 0) this.#traffic.resend(ready, now);
    for (let message = this.#access.pollMessage(); message; message = this.#access.pollMessage()) {
      this.#send(message);
    }
    for (let event = this.#access.pollEvent(); event; event = this.#access.pollEvent()) {
      this.#events.push(event);
    }
  }

  #applyMessage(message: ClientInbound, now: Instant): void {
    switch (message.event) {
      case 'init':
        return this.#handleInit(message.payload, now);
      case 'config_changed':
        return this.#applyInterface(message.payload.interface);
      case 'resource_created_or_updated':
        this.#upsertResource(message.payload, now);
        return this.#publishInterface();
      case 'resource_deleted':
        this.#removeResource(message.payload, now);
        return this.#publishInterface();
      case 'relays_presence':
        return this.#handleRelays(message.payload, now);
      case 'ice_candidates':
      case 'invalidate_ice_candidates':
        return this.#handleCandidates(message, now);
      case 'authorization_created':
        this.#access.handleGrant(message.payload, now);
        return this.#routing.forget();
      case 'authorization_creation_failed':
        return this.#access.handleFailure(message.payload, now);
      default:
        // Client to client, device pools: not offered by this client yet.
        this.#log.debug('Ignored a message of the portal', { event: message.event });
    }
  }

  #handleInit(init: ClientInit, now: Instant): void {
    const listed = new Set(init.resources.map(({ id }) => id));
    for (const { id } of [...this.#resources.all()])
      if (!listed.has(id)) this.#removeResource(id, now);
    for (const resource of init.resources) this.#upsertResource(resource, now);
    this.#node.updateRelays([], mergeRelays(init.relays), now);
    this.#applyInterface(init.interface);
  }

  #handleRelays({ disconnectedIds, connected }: RelaysPresence, now: Instant): void {
    this.#node.updateRelays(disconnectedIds, mergeRelays(connected), now);
  }

  #handleCandidates(
    message: Extract<ClientInbound, { event: 'ice_candidates' | 'invalidate_ice_candidates' }>,
    now: Instant,
  ): void {
    const { gatewayId: gateway, candidates } = message.payload;
    for (const text of candidates) {
      if (message.event === 'ice_candidates')
        this.#node.addRemoteCandidate(peerId(gateway), text, now);
      else this.#node.removeRemoteCandidate(peerId(gateway), text, now);
    }
  }

  #upsertResource(resource: ClientResource, now: Instant): void {
    if (resource.type === 'internet' && !this.#activatesInternet) return;
    const effect = this.#resources.upsert(resource);
    if (effect === 'display-only') return;
    if (effect === 'replaced') this.#access.forgetResource(resource.id, now);
    this.#routing.forget();
  }

  #removeResource(id: ResourceId, now: Instant): void {
    if (!this.#resources.remove(id)) return;
    this.#access.forgetResource(id, now);
    this.#routing.forget();
  }

  #applyInterface(settings: ClientInterface): void {
    this.#interface = settings;
    this.#sentinels.update(settings, this.#systemServers);
    this.#traffic.setOwnAddresses(settings.ipv4, settings.ipv6);
    this.#publishInterface();
  }

  #publishInterface(): void {
    if (!this.#interface) return;
    const { ipv4, ipv6, searchDomain } = this.#interface;
    const resources = [...this.#resources.all()];
    const networks = resources.flatMap((resource) =>
      resource.type === 'cidr' ? [resource.address] : [],
    );
    this.#events.push({
      kind: 'interface-changed',
      settings: {
        ipv4,
        ipv6,
        networks: [
          TUNNEL_NETWORK_IPV4,
          TUNNEL_NETWORK_IPV6,
          PROXY_NETWORK_IPV4,
          PROXY_NETWORK_IPV6,
          ...networks,
        ],
        isInternetActive: resources.some(({ type }) => type === 'internet'),
        sentinels: this.#sentinels.all,
        searchDomain: searchDomain ?? undefined,
      },
    });
  }

  #handleNodeEvent(event: NodeEvent, now: Instant): void {
    switch (event.kind) {
      case 'candidates-added':
      case 'candidates-removed': {
        const sendable = this.#candidates.handle(event);
        if (sendable) this.#sendCandidates(sendable);
        return;
      }
      case 'no-relays':
        return this.#send({ event: 'no_relays', payload: {} });
      case 'connection-established':
        this.#access.handleEstablished(event.peer, now);
        break;
      case 'connection-failed':
      case 'connection-closed':
        this.#candidates.forget(event.peer);
        this.#access.forgetGateway(event.peer);
        this.#mtus.forget(event.peer);
        this.#routing.forget();
        break;
      case 'path-changed':
        this.#mtus.handlePath(event.peer, now);
        break;
    }
    this.#events.push(event);
  }

  #sendCandidates(
    event: Extract<NodeEvent, { kind: 'candidates-added' | 'candidates-removed' }>,
  ): void {
    const payload = { gatewayId: gatewayId(event.peer), candidates: event.candidates };
    this.#send(
      event.kind === 'candidates-added'
        ? { event: 'new_gateway_ice_candidates', payload }
        : { event: 'invalidate_gateway_ice_candidates', payload },
    );
  }

  #send(message: ClientOutbound): void {
    this.#events.push({ kind: 'send-to-portal', message });
  }
}
