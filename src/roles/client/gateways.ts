// The gateways that the portal chose for resources, and what may come from each (client 6.3): packets whose source is the gateway itself or lies in
// a resource that was granted through it.

import {
  addressFromWords,
  type IpAddress,
  type IpNetwork,
  networkContains,
} from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import { type GatewayId, type PeerId, peerId, type ResourceId } from '../../base/ids.ts';
import { isProxyAddress, isTunnelAddress } from '../../wire/control/address-plan.ts';

export interface Grant {
  readonly resource: ResourceId;
  /** A CIDR network; the default routes of the Internet resource; none for a DNS resource (its proxy addresses are asked for by name). */
  readonly networks: readonly IpNetwork[];
}

export class GatewayPeer {
  readonly id: GatewayId;
  readonly peer: PeerId;
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
  readonly #grants = new Map<ResourceId, Grant>();
  /** The last source that was allowed: a bulk flow asks for the same one again and again. */
  readonly #lastAllowed = new Int32Array(4);
  #hasLastAllowed = false;

  constructor(id: GatewayId, ipv4: IpAddress, ipv6: IpAddress) {
    this.id = id;
    this.peer = peerId(id);
    this.ipv4 = ipv4;
    this.ipv6 = ipv6;
  }

  grant(grant: Grant): void {
    this.#grants.set(grant.resource, grant);
    this.#hasLastAllowed = false;
  }

  withdraw(resource: ResourceId): void {
    this.#grants.delete(resource);
    this.#hasLastAllowed = false;
  }

  holds(resource: ResourceId): boolean {
    return this.#grants.has(resource);
  }

  get resources(): Iterable<ResourceId> {
    return this.#grants.keys();
  }

  get grantCount(): number {
    return this.#grants.size;
  }

  /** Hot: whether a packet from the address at `index` of `words` may come from here. `isGrantedName` decides about proxy addresses. */
  allowsSource(
    words: Int32Array,
    index: number,
    resourcesOfProxy: (address: IpAddress) => readonly ResourceId[],
  ): boolean {
    if (this.#hasLastAllowed && this.#isLast(words, index)) return true;
    const address = addressFromWords(words, index);
    const isAllowed =
      address === this.ipv4 ||
      address === this.ipv6 ||
      this.#isInNetwork(address) ||
      resourcesOfProxy(address).some((resource) => this.#grants.has(resource));
    if (isAllowed) {
      for (let i = 0; i < 4; i++) this.#lastAllowed[i] = at(words, index + i);
      this.#hasLastAllowed = true;
    }
    return isAllowed;
  }

  #isLast(words: Int32Array, index: number): boolean {
    const last = this.#lastAllowed;
    return (
      at(last, 3) === at(words, index + 3) &&
      at(last, 2) === at(words, index + 2) &&
      at(last, 1) === at(words, index + 1) &&
      at(last, 0) === at(words, index)
    );
  }

  #isInNetwork(address: IpAddress): boolean {
    // Peers and names are no part of the Internet (client 6.1 step 10), so nothing comes from there by a default route.
    const isOurs = isTunnelAddress(address) || isProxyAddress(address);
    for (const { networks } of this.#grants.values()) {
      for (const network of networks) {
        if (networkContains(network, address) && !(isOurs && network.prefixLength === 0))
          return true;
      }
    }
    return false;
  }
}

export class Gateways {
  readonly #byPeer = new Map<PeerId, GatewayPeer>();
  readonly #byAddress = new Map<IpAddress, GatewayPeer>();
  readonly #byResource = new Map<ResourceId, GatewayPeer>();

  /** The gateway that a grant names; one whose tunnel addresses changed is a new one. */
  upsert(id: GatewayId, ipv4: IpAddress, ipv6: IpAddress): GatewayPeer {
    const known = this.#byPeer.get(peerId(id));
    if (known && known.ipv4 === ipv4 && known.ipv6 === ipv6) return known;
    if (known) this.remove(known.peer);
    const gateway = new GatewayPeer(id, ipv4, ipv6);
    this.#byPeer.set(gateway.peer, gateway);
    this.#byAddress.set(ipv4, gateway);
    this.#byAddress.set(ipv6, gateway);
    return gateway;
  }

  grant(gateway: GatewayPeer, grant: Grant): void {
    const before = this.#byResource.get(grant.resource);
    if (before && before !== gateway) before.withdraw(grant.resource);
    this.#byResource.set(grant.resource, gateway);
    gateway.grant(grant);
  }

  /** Forgets who serves `resource`; returns the gateway that did. */
  withdraw(resource: ResourceId): GatewayPeer | undefined {
    const gateway = this.#byResource.get(resource);
    this.#byResource.delete(resource);
    gateway?.withdraw(resource);
    return gateway;
  }

  remove(peer: PeerId): void {
    const gateway = this.#byPeer.get(peer);
    if (!gateway) return;
    this.#byPeer.delete(peer);
    this.#byAddress.delete(gateway.ipv4);
    this.#byAddress.delete(gateway.ipv6);
    for (const resource of gateway.resources) {
      if (this.#byResource.get(resource) === gateway) this.#byResource.delete(resource);
    }
  }

  find(peer: PeerId): GatewayPeer | undefined {
    return this.#byPeer.get(peer);
  }

  findByAddress(address: IpAddress): GatewayPeer | undefined {
    return this.#byAddress.get(address);
  }

  ofResource(resource: ResourceId): GatewayPeer | undefined {
    return this.#byResource.get(resource);
  }

  /** For a request: the one that serves the resource now, then the connected ones, by id (client 7.3). */
  preferred(resource: ResourceId): readonly GatewayId[] {
    const current = this.#byResource.get(resource);
    const others = [...this.#byPeer.values()].filter((gateway) => gateway !== current);
    const ids = others.map(({ id }) => id).sort();
    return current ? [current.id, ...ids] : ids;
  }

  all(): Iterable<GatewayPeer> {
    return this.#byPeer.values();
  }
}
