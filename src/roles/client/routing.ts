// Where an outbound packet belongs (client 6.1 steps 4 to 12): a connected gateway itself, a DNS resource by its proxy address, a CIDR resource, the
// Internet resource, or nowhere. Decisions are remembered per (destination, protocol, port) until anything they depend on changes.

import { addressFromWords, familyOf, type IpAddress, networkContains } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { ResourceId } from '../../base/ids.ts';
import {
  isProxyAddress,
  isSentinelAddress,
  isTunnelAddress,
} from '../../wire/control/address-plan.ts';
import { DESTINATION_WORDS, type ParsedPacket, TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import type { Filter } from '../../wire/portal/common.ts';
import type { GatewayPeer, Gateways } from './gateways.ts';
import type { ProxyAddressTable } from './proxy-addresses.ts';
import type { ResourceTable } from './resource-table.ts';

// Specification: client 6.1.
const MAX_REMEMBERED = 1_024;

export type Route =
  | { readonly kind: 'gateway'; readonly gateway: GatewayPeer }
  | {
      readonly kind: 'resource';
      readonly resource: ResourceId;
      /** The name behind a proxy address. */
      readonly domain: string | undefined;
      /** False: the resource's filters refuse the packet; it is answered here and nothing is asked. */
      readonly isAllowed: boolean;
    }
  | { readonly kind: 'nowhere' };

const NOWHERE: Route = { kind: 'nowhere' };

interface Candidate {
  readonly resource: ResourceId;
  readonly domain: string | undefined;
  readonly isAllowed: boolean;
  readonly prefixLength: number;
}

export class Routing {
  readonly #resources: ResourceTable;
  readonly #addresses: ProxyAddressTable;
  readonly #gateways: Gateways;
  /** By the last word of the destination, then a list of the few entries that share it. */
  readonly #remembered = new Map<number, RememberedRoute[]>();
  #rememberedCount = 0;

  constructor(resources: ResourceTable, addresses: ProxyAddressTable, gateways: Gateways) {
    this.#resources = resources;
    this.#addresses = addresses;
    this.#gateways = gateways;
  }

  /** Hot for remembered destinations. */
  route(packet: ParsedPacket): Route {
    const bucket = this.#remembered.get(at(packet.addresses, DESTINATION_WORDS + 3));
    if (bucket) {
      for (const entry of bucket) if (entry.isOf(packet)) return entry.route;
    }
    const route = this.#decide(packet);
    // Gateways come and go; few packets are for one itself.
    if (route.kind !== 'gateway') this.#remember(packet, route);
    return route;
  }

  /** Everything is decided anew: resources, gateways or names changed. */
  forget(): void {
    this.#remembered.clear();
    this.#rememberedCount = 0;
  }

  /** Resources whose names own the proxy address. */
  resourcesOfProxy(address: IpAddress): readonly ResourceId[] {
    const name = this.#addresses.nameOf(address);
    return name === undefined
      ? []
      : this.#resources.matching(name).map(({ resource }) => resource.id);
  }

  #decide(packet: ParsedPacket): Route {
    const address = addressFromWords(packet.addresses, DESTINATION_WORDS);
    const gateway = this.#gateways.findByAddress(address);
    if (gateway) return { kind: 'gateway', gateway };
    const candidates = isProxyAddress(address)
      ? this.#namedCandidates(address, packet)
      : this.#networkCandidates(address, packet);
    const [best] = candidates.sort(preferred);
    if (best) return { kind: 'resource', ...best };
    const isOurs =
      isTunnelAddress(address) || isProxyAddress(address) || isSentinelAddress(address);
    if (isOurs) return NOWHERE;
    return this.#internet();
  }

  #namedCandidates(address: IpAddress, packet: ParsedPacket): Candidate[] {
    const domain = this.#addresses.nameOf(address);
    if (domain === undefined) return [];
    // Already in the order of the patterns; the sort keeps it among equals.
    return this.#resources.matching(domain).map(({ resource }) => ({
      resource: resource.id,
      domain,
      isAllowed: allows(resource.filters, packet),
      prefixLength: familyOf(address) === 4 ? 32 : 128,
    }));
  }

  #networkCandidates(address: IpAddress, packet: ParsedPacket): Candidate[] {
    const candidates: Candidate[] = [];
    for (const resource of this.#resources.all()) {
      if (resource.type !== 'cidr' || !networkContains(resource.address, address)) continue;
      candidates.push({
        resource: resource.id,
        domain: undefined,
        isAllowed: allows(resource.filters, packet),
        prefixLength: resource.address.prefixLength,
      });
    }
    return candidates.sort((a, b) => (a.resource > b.resource ? -1 : 1));
  }

  #internet(): Route {
    for (const resource of this.#resources.all()) {
      if (resource.type !== 'internet') continue;
      return { kind: 'resource', resource: resource.id, domain: undefined, isAllowed: true };
    }
    return NOWHERE;
  }

  #remember(packet: ParsedPacket, route: Route): void {
    if (this.#rememberedCount >= MAX_REMEMBERED) this.forget();
    const key = at(packet.addresses, DESTINATION_WORDS + 3);
    const bucket = this.#remembered.get(key);
    const entry = new RememberedRoute(packet, route);
    if (bucket) bucket.push(entry);
    else this.#remembered.set(key, [entry]);
    this.#rememberedCount++;
  }
}

/** Allowing before refusing, then the longer prefix (data-plane 7.4). */
function preferred(a: Candidate, b: Candidate): number {
  if (a.isAllowed !== b.isAllowed) return a.isAllowed ? -1 : 1;
  return b.prefixLength - a.prefixLength;
}

/** No filter allows everything; otherwise one has to name the protocol and port (data-plane 7.2). */
function allows(filters: readonly Filter[], packet: ParsedPacket): boolean {
  if (filters.length === 0) return true;
  return filters.some((filter) => {
    if (filter.protocol === 'icmp') {
      return packet.transport === TRANSPORT.echo || packet.transport === TRANSPORT.icmp;
    }
    const transport = filter.protocol === 'tcp' ? TRANSPORT.tcp : TRANSPORT.udp;
    const port = packet.destinationPort;
    return (
      packet.transport === transport && filter.portRangeStart <= port && port <= filter.portRangeEnd
    );
  });
}

class RememberedRoute {
  readonly route: Route;
  readonly #words: Int32Array;
  readonly #transport: number;
  readonly #port: number;

  constructor(packet: ParsedPacket, route: Route) {
    this.route = route;
    this.#words = packet.addresses.slice(DESTINATION_WORDS, DESTINATION_WORDS + 4);
    this.#transport = packet.transport;
    this.#port = packet.destinationPort;
  }

  isOf(packet: ParsedPacket): boolean {
    const { addresses } = packet;
    return (
      this.#port === packet.destinationPort &&
      this.#transport === packet.transport &&
      at(this.#words, 3) === at(addresses, DESTINATION_WORDS + 3) &&
      at(this.#words, 2) === at(addresses, DESTINATION_WORDS + 2) &&
      at(this.#words, 1) === at(addresses, DESTINATION_WORDS + 1) &&
      at(this.#words, 0) === at(addresses, DESTINATION_WORDS)
    );
  }
}
