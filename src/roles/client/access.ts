// Access to resources: asking the portal, taking the grant, telling the gateway which proxy addresses stand for which name, and what waits
// meanwhile (client 7.3, 8, 11.2).

import { type IpNetwork, parseNetwork } from '../../base/address.ts';
import { toBase64 } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import { type PeerId, peerId, type ResourceId, resourceId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import type { Instant } from '../../base/time.ts';
import type { IceCredentials } from '../../proto/ice/binding-messages.ts';
import { parseControlPacket, writeControlPacket } from '../../wire/control/p2p-control.ts';
import type {
  AuthorizationCreated,
  AuthorizationFailed,
  ClientOutbound,
} from '../../wire/portal/client-messages.ts';
import type { IceCredentials as PortalCredentials } from '../../wire/portal/common.ts';
import type { ClientResource } from '../../wire/portal/resources.ts';
import type { PathMtus } from '../path-mtus.ts';
import { type DnsNatKey, DnsNatTable } from './dns-nat.ts';
import type { GatewayPeer, Gateways } from './gateways.ts';
import type { ClientLink } from './link.ts';
import type { PacketBuffer } from './packet-buffer.ts';
import { PendingAccess } from './pending-access.ts';
import type { ProxyAddressTable } from './proxy-addresses.ts';
import type { ResourceTable } from './resource-table.ts';
import { announcedAddresses } from './stub-resolver.ts';
import { WaitingPackets } from './waiting-packets.ts';

// Specification: client 6.3.
const DEFAULT_ROUTES: readonly IpNetwork[] = ['0.0.0.0/0', '::/0'].flatMap(
  (text) => parseNetwork(text) ?? [],
);
/** A grant that a gateway does not honour is asked for again at most this often (client 11.5) ... */
const MIN_RENEW_INTERVAL_MS = 2_000;

// Implementation
/** ... and ever more seldom while that does not help. */
const MAX_RENEW_INTERVAL_MS = 64_000;

/** Where a packet for a resource goes: to a peer, or into a buffer (none: it is dropped and counted). */
export type Passage =
  | { readonly kind: 'go'; readonly peer: PeerId }
  | { readonly kind: 'wait'; readonly packets: Pick<PacketBuffer, 'push'> | undefined };

export type AccessEvent =
  | { readonly kind: 'granted'; readonly resource: ResourceId; readonly peer: PeerId }
  | { readonly kind: 'refused'; readonly resource: ResourceId; readonly reason: string };

type AccessDrop =
  | 'status-for-nothing'
  | 'control-malformed'
  | 'unsolicited-grant'
  | 'unknown-refusal'
  | 'foreign-refusal'
  | 'unknown-grant';

interface AccessDeps {
  readonly mtus: PathMtus;
  readonly node: ClientLink;
  readonly gateways: Gateways;
  readonly resources: ResourceTable;
  readonly addresses: ProxyAddressTable;
  readonly log: Log;
}

export class Access {
  readonly drops: Counters<AccessDrop> = new Counters();
  readonly #node: ClientLink;
  readonly #gateways: Gateways;
  readonly #resources: ResourceTable;
  readonly #addresses: ProxyAddressTable;
  readonly #log: Log;
  readonly #mtus: PathMtus;
  readonly #pending = new PendingAccess();
  readonly #dnsNat = new DnsNatTable();
  readonly #waiting = new WaitingPackets();
  /** Announcements wait apart from packets, so that a burst does not push them out (client 9). */
  readonly #waitingAnnouncements = new WaitingPackets();
  readonly #renewals = new Map<ResourceId, { at: Instant; intervalMs: number }>();
  #messages: ClientOutbound[] = [];
  #events: AccessEvent[] = [];
  /** Packets that may be sent now, through routing again. */
  #ready: Uint8Array[] = [];

  constructor({ node, gateways, resources, addresses, log, mtus }: AccessDeps) {
    this.#mtus = mtus;
    this.#node = node;
    this.#gateways = gateways;
    this.#resources = resources;
    this.#addresses = addresses;
    this.#log = log;
  }

  handleTimeout(now: Instant): void {
    for (const resource of this.#pending.handleTimeout(now)) this.#request(resource);
  }

  handleGrant(grant: AuthorizationCreated, now: Instant): void {
    const resource = this.#resources.find(grant.resourceId);
    if (!resource) return this.drops.add('unknown-grant');
    if (!this.#pending.has(grant.resourceId)) return this.drops.add('unsolicited-grant');
    const peer = peerId(grant.gatewayId);
    const outcome = this.#node.upsertConnection(
      {
        id: peer,
        remotePublicKey: grant.gatewayPublicKey,
        presharedKey: grant.presharedKey,
        localCredentials: iceCredentials(grant.clientIceCredentials),
        remoteCredentials: iceCredentials(grant.gatewayIceCredentials),
        useIceless: grant.useIceless,
      },
      now,
    );
    if (outcome === 'no-relays') {
      // Beyond upstream (client 19): the packets stay; the request is repeated when relays have been sent.
      this.#messages.push({ event: 'no_relays', payload: {} });
      return;
    }
    // A gateway behind a new connection knows nothing of what the one before was told.
    if (outcome !== 'reused') this.forgetGateway(peer);
    const gateway = this.#gateways.upsert(grant.gatewayId, grant.gatewayIpv4, grant.gatewayIpv6);
    this.#log.debug('Access granted', {
      resourceId: grant.resourceId,
      gatewayId: grant.gatewayId,
      gatewayKey: toBase64(grant.gatewayPublicKey),
      connection: outcome,
    });
    const before = this.#gateways.ofResource(resource.id);
    this.#gateways.grant(gateway, { resource: resource.id, networks: networksOf(resource) });
    if (before && before !== gateway) this.#closeIfUnused(before, now);
    this.#events.push({ kind: 'granted', resource: resource.id, peer: gateway.peer });
    this.#announceAll(gateway, now);
    this.#ready.push(...(this.#pending.take(resource.id) ?? []));
  }

  /** Only "offline" ends the wait and what was granted; anything else may change, so traffic asks again (client 7.3 step 5). */
  handleFailure({ resourceId: id, reason }: AuthorizationFailed, now: Instant): void {
    if (!this.#resources.find(id)) return this.drops.add('unknown-refusal');
    this.#events.push({ kind: 'refused', resource: id, reason });
    if (reason !== 'offline') return this.#pending.noteAnswer(id);
    this.forgetResource(id, now);
    this.#pending.coolDown(id, now);
  }

  handleControl(peer: PeerId, packet: Uint8Array, now: Instant): void {
    const event = parseControlPacket(packet);
    switch (event?.kind) {
      case 'domain-status': {
        const { domain, status } = event;
        const key = { gateway: peer, domain, resource: resourceId(event.resource) };
        const released = this.#dnsNat.handleStatus(key, status === 'active');
        if (released) this.#ready.push(...released);
        else this.drops.add('status-for-nothing');
        return;
      }
      case 'goodbye':
        this.#log.info('The gateway said goodbye', { gatewayId: peer });
        this.#node.removeConnection(peer, now);
        this.forgetGateway(peer);
        return;
      case 'mtu-probe': {
        // It arrived, so the path carries it, and we take it.
        const { token, size } = event;
        const answer = writeControlPacket({ kind: 'mtu-probe-answer', token, size });
        this.#node.sendPacket(peer, answer, 0, now);
        return;
      }
      case 'mtu-probe-answer':
        return this.#mtus.handleAnswer(peer, event);
      case 'assigned-ips':
      case undefined:
        this.drops.add('control-malformed');
    }
  }

  /** The connection is there: what waited for it was admitted before and goes as it is. */
  handleEstablished(peer: PeerId, now: Instant): void {
    const announcements = this.#waitingAnnouncements.takeAll(peer);
    for (const packet of [...announcements, ...this.#waiting.takeAll(peer)])
      this.#node.sendPacket(peer, packet, 0, now);
  }

  /** Decides about one packet for `resource`; asks for access or announces a name where that is missing. */
  bufferFor(resource: ResourceId, domain: string | undefined, now: Instant): Passage {
    const gateway = this.#gateways.ofResource(resource);
    if (!gateway) return { kind: 'wait', packets: this.#want(resource, now) };
    if (domain === undefined) return { kind: 'go', peer: gateway.peer };
    const key: DnsNatKey = { gateway: gateway.peer, domain, resource };
    if (this.#dnsNat.announce(key, now)) this.#announce(key, now);
    const buffer = this.#dnsNat.waitingBuffer(key);
    return buffer ? { kind: 'wait', packets: buffer } : { kind: 'go', peer: gateway.peer };
  }

  waitForConnection(peer: PeerId, packet: Uint8Array): boolean {
    return this.#waiting.push(peer, packet);
  }

  /** A name of a resource was answered here: gateways that serve it resolve it (again). */
  refreshName(domain: string, now: Instant): void {
    this.#dnsNat.refresh(domain);
    for (const gateway of this.#gateways.all()) this.#announceName(gateway, domain, now);
  }

  /** The gateway answered "prohibited": what it was told is told again, and the grant is asked for again. */
  renew(peer: PeerId, resource: ResourceId, now: Instant): void {
    if (this.#gateways.ofResource(resource)?.peer !== peer)
      return this.drops.add('foreign-refusal');
    const last = this.#renewals.get(resource);
    const quietMs = last ? now - last.at : Number.POSITIVE_INFINITY;
    if (last && quietMs < last.intervalMs) return;
    const isFresh = !last || quietMs > 2 * MAX_RENEW_INTERVAL_MS;
    const intervalMs = isFresh
      ? MIN_RENEW_INTERVAL_MS
      : Math.min(2 * last.intervalMs, MAX_RENEW_INTERVAL_MS);
    this.#renewals.set(resource, { at: now, intervalMs });
    this.#dnsNat.refreshResource(resource);
    if (this.#pending.want(resource, undefined, now)) this.#request(resource);
  }

  /** The resource is gone or has changed: a connection without any grant left is closed with a goodbye. */
  forgetResource(resource: ResourceId, now: Instant): void {
    this.#pending.take(resource);
    this.#dnsNat.removeResource(resource);
    this.#renewals.delete(resource);
    const gateway = this.#gateways.withdraw(resource);
    if (gateway) this.#closeIfUnused(gateway, now);
  }

  forgetGateway(peer: PeerId): void {
    this.#gateways.remove(peer);
    this.#dnsNat.removeGateway(peer);
    this.#waiting.takeAll(peer);
    this.#waitingAnnouncements.takeAll(peer);
  }

  /**
   * After a change of networks. Beyond upstream: what was in use is asked for at once, so that a flow in which only the resource
   * speaks goes on by itself.
   */
  startOver(now: Instant): void {
    const inUse = [...this.#gateways.all()].flatMap(({ resources }) => [...resources]);
    for (const { peer } of [...this.#gateways.all()]) this.forgetGateway(peer);
    for (const resource of inUse) this.#pending.want(resource, undefined, now);
  }

  /** Requests that were made while the portal was away, or before it knew our present key, are made again. */
  handlePortalConnected(now: Instant): void {
    for (const resource of this.#pending.resume(now)) this.#request(resource);
  }

  /** Until it is back nothing is asked; what waits stays. */
  handlePortalDisconnected(): void {
    this.#pending.pause();
  }

  pollMessage(): ClientOutbound | undefined {
    return this.#messages.shift();
  }

  pollEvent(): AccessEvent | undefined {
    return this.#events.shift();
  }

  takeReady(): readonly Uint8Array[] {
    const ready = this.#ready;
    if (ready.length > 0) this.#ready = [];
    return ready;
  }

  pollTimeout(): Instant | undefined {
    return this.#pending.pollTimeout();
  }

  snapshot(): Readonly<Record<string, unknown>> {
    return {
      pending: this.#pending.count,
      waiting: this.#waiting.count + this.#waitingAnnouncements.count,
      dnsNat: this.#dnsNat.snapshot(),
      drops: this.drops.snapshot(),
    };
  }

  #want(resource: ResourceId, now: Instant): Pick<PacketBuffer, 'push'> {
    if (this.#pending.want(resource, undefined, now)) this.#request(resource);
    return { push: (packet) => void this.#pending.keep(resource, packet) };
  }

  /** A connection without any grant left is closed with a goodbye. */
  #closeIfUnused({ peer, grantCount }: GatewayPeer, now: Instant): void {
    if (grantCount > 0) return;
    this.#node.closeConnection(peer, writeControlPacket({ kind: 'goodbye' }), now);
    this.forgetGateway(peer);
  }

  #request(resource: ResourceId): void {
    this.#messages.push({
      event: 'request_authorization',
      payload: {
        resourceId: resource,
        connectedGatewayIds: this.#gateways.preferred(resource),
        ipv4: null,
        ipv6: null,
      },
    });
  }

  /** Every name known so far, for every resource of it that this gateway serves (data-plane 11.4 step 1). */
  #announceAll(gateway: GatewayPeer, now: Instant): void {
    for (const domain of this.#addresses.names()) this.#announceName(gateway, domain, now);
  }

  #announceName(gateway: GatewayPeer, domain: string, now: Instant): void {
    for (const { resource } of this.#resources.matching(domain)) {
      if (!gateway.holds(resource.id)) continue;
      const key: DnsNatKey = { gateway: gateway.peer, domain, resource: resource.id };
      if (this.#dnsNat.announce(key, now)) this.#announce(key, now);
    }
  }

  #announce({ gateway, domain, resource }: DnsNatKey, now: Instant): void {
    const entry = this.#resources.matching(domain).find((e) => e.resource.id === resource);
    const addresses = this.#addresses.find(domain);
    if (!entry || !addresses) return;
    const proxyIps = announcedAddresses(entry, addresses);
    const packet = writeControlPacket({ kind: 'assigned-ips', resource, domain, proxyIps });
    const outcome = this.#node.sendPacket(gateway, packet, 0, now);
    if (outcome === 'sent' || outcome === 'waiting') return;
    this.#waitingAnnouncements.push(gateway, packet);
  }
}

function iceCredentials({ username, password }: PortalCredentials): IceCredentials {
  return { ufrag: username, password };
}

function networksOf(resource: ClientResource): readonly IpNetwork[] {
  switch (resource.type) {
    case 'cidr':
      return [resource.address];
    case 'internet':
      return DEFAULT_ROUTES;
    case 'dns':
    case 'static_device_pool':
    case 'dynamic_device_pool':
      return [];
  }
}
