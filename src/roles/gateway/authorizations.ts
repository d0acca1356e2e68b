// What one client may reach: its resources with their expiry, and the routing table made of them (data-plane 7). Every change
// is effective for the next packet in both directions, and costs what the changed resource has, whatever else there is.

import {
  familyOf,
  type IpAddress,
  type IpFamily,
  type IpNetwork,
  network,
} from '../../base/address.ts';
import { ExpiringMap } from '../../base/expiring-map.ts';
import type { ResourceId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { InternetRejectList } from '../../proto/filter/reject-list.ts';
import { RoutingTable } from '../../proto/filter/routing-table.ts';
import { type Rules, RulesPool } from '../../proto/filter/rules.ts';
import { isProxyWords } from '../../wire/control/address-plan.ts';
import { DomainPattern } from '../../wire/dns/pattern.ts';
import type { IngestToken } from '../../wire/portal/ingest-token.ts';
import type { GatewayResource } from '../../wire/portal/resources.ts';
import type { Translation, Translations } from './translations.ts';

export type PolicyAnswer = 'allowed' | 'no-resource' | 'filtered' | 'internet-rejected';

export interface Authorization {
  readonly resource: GatewayResource;
  readonly rules: Rules;
  /** Of a DNS resource; `undefined` if the pattern is invalid: it covers nothing. */
  readonly pattern: DomainPattern | undefined;
  /** What the portal wants to be told with flows of this authorization. */
  readonly token: IngestToken | undefined;
}

export class Authorizations {
  readonly #resources = new ExpiringMap<ResourceId, Authorization>();
  readonly #routes: RoutingTable;
  readonly #translations: Translations;
  readonly #rules: RulesPool;
  /** Internet resources among them: one is enough. */
  #internetCount = 0;

  /** `seed`: unpredictable, because clients choose proxy addresses. */
  constructor(translations: Translations, seed = 0, rules: RulesPool = new RulesPool()) {
    this.#rules = rules;
    this.#routes = new RoutingTable(seed);
    this.#translations = translations;
  }

  get isEmpty(): boolean {
    return this.#resources.size === 0;
  }

  get(id: ResourceId): Authorization | undefined {
    return this.#resources.get(id);
  }

  entries(): IterableIterator<[ResourceId, Authorization]> {
    return this.#resources.entries();
  }

  expiryOf(id: ResourceId): Instant | undefined {
    return this.#resources.expiryOf(id);
  }

  /** Filters and expiry of a known resource are replaced; a resource never changes its type (data-plane 7.6). */
  allow(
    resource: GatewayResource,
    expiresAt: Instant | undefined,
    token?: IngestToken,
  ): 'created' | 'updated' | 'type-changed' {
    const known = this.#resources.get(resource.id);
    if (known && known.resource.type !== resource.type) return 'type-changed';
    const authorization = {
      ...(known ? this.#withFilters(known, resource) : this.#newAuthorization(resource)),
      token,
    };
    this.#resources.set(resource.id, authorization, expiresAt);
    this.#route(resource.id, authorization);
    if (!known && resource.type === 'internet') this.#internetCount++;
    return known ? 'updated' : 'created';
  }

  /** Takes over the filters; unknown resources are not ours. */
  update(resource: GatewayResource): 'updated' | 'unknown' | 'type-changed' {
    const known = this.#resources.get(resource.id);
    if (!known) return 'unknown';
    if (known.resource.type !== resource.type) return 'type-changed';
    const expiresAt = this.#resources.expiryOf(resource.id);
    const authorization = this.#withFilters(known, resource);
    this.#resources.set(resource.id, authorization, expiresAt);
    this.#route(resource.id, authorization);
    return 'updated';
  }

  revoke(id: ResourceId): boolean {
    const known = this.#resources.take(id);
    if (known) this.#unroute(id, known);
    return known !== undefined;
  }

  /** False if the resource is unknown. */
  setExpiry(id: ResourceId, expiresAt: Instant | undefined): boolean {
    return this.#resources.setExpiry(id, expiresAt);
  }

  /** Revokes and returns what is over. */
  takeExpired(now: Instant): ResourceId[] {
    const expired = this.#resources.takeExpired(now);
    for (const [id, authorization] of expired) this.#unroute(id, authorization);
    return expired.map(([id]) => id);
  }

  get nextExpiry(): Instant | undefined {
    return this.#resources.nextExpiry;
  }

  /** Adds routes for translations that are new or belong to one more resource. */
  addRoutes(translations: Iterable<Translation>): void {
    for (const { proxy, resources } of translations) {
      for (const resourceId of resources) {
        const known = this.#resources.get(resourceId);
        if (known?.resource.type !== 'dns') continue;
        this.#routes.add(hostNetwork(proxy), { resourceId, rules: known.rules });
      }
    }
  }

  /** Removes the routes of translations that are gone. */
  removeRoutes(translations: Iterable<Translation>): void {
    for (const { proxy, resources } of translations) {
      for (const resourceId of resources) {
        if (this.#resources.get(resourceId)?.resource.type !== 'dns') continue;
        this.#routes.removeFrom(hostNetwork(proxy), resourceId);
      }
    }
  }

  /** Data-plane 3.3 step 9, for the resource's address at `index` and the resource's port. */
  classify(
    address: { readonly family: IpFamily; readonly words: Int32Array; readonly index: number },
    flow: { readonly transport: number; readonly port: number },
    rejectList: InternetRejectList,
  ): PolicyAnswer {
    const { family, words, index } = address;
    if (this.#internetCount > 0 && !isProxyWords(words, index)) {
      return rejectList.rejects(family, words, index) ? 'internet-rejected' : 'allowed';
    }
    const route = this.#routes.find(address, flow.transport, flow.port);
    if (!route) return 'no-resource';
    return route.rules.allows(flow.transport, flow.port) ? 'allowed' : 'filtered';
  }

  /** What allows a packet that `classify` allows. Cold. */
  findOwner(
    address: { readonly family: IpFamily; readonly words: Int32Array; readonly index: number },
    flow: { readonly transport: number; readonly port: number },
  ): { readonly id: ResourceId; readonly authorization: Authorization } | undefined {
    if (this.#internetCount > 0 && !isProxyWords(address.words, address.index)) {
      for (const [id, authorization] of this.#resources.entries())
        if (authorization.resource.type === 'internet') return { id, authorization };
    }
    const id = this.#routes.find(address, flow.transport, flow.port)?.resourceId;
    const authorization = id === undefined ? undefined : this.#resources.get(id);
    return id === undefined || !authorization ? undefined : { id, authorization };
  }

  #newAuthorization(resource: GatewayResource): Authorization {
    return {
      resource,
      rules: this.#rules.rulesOf(resource.type === 'internet' ? [] : resource.filters),
      pattern: resource.type === 'dns' ? DomainPattern.parse(resource.address) : undefined,
      token: undefined,
    };
  }

  #withFilters(known: Authorization, from: GatewayResource): Authorization {
    if (known.resource.type === 'internet' || from.type === 'internet') return known;
    const resource = { ...known.resource, filters: from.filters };
    return { ...known, resource, rules: this.#rules.rulesOf(from.filters) };
  }

  /** Adds or replaces the routes of one resource. */
  #route(resourceId: ResourceId, authorization: Authorization): void {
    const { rules } = authorization;
    for (const network of this.#networksOf(resourceId, authorization))
      this.#routes.add(network, { resourceId, rules });
  }

  #unroute(resourceId: ResourceId, authorization: Authorization): void {
    for (const network of this.#networksOf(resourceId, authorization))
      this.#routes.removeFrom(network, resourceId);
    if (authorization.resource.type === 'internet') this.#internetCount--;
  }

  /** An Internet resource has no route: it is asked before the table (data-plane 3.3 step 9). */
  *#networksOf(id: ResourceId, { resource }: Authorization): IterableIterator<IpNetwork> {
    if (resource.type === 'cidr') yield resource.address;
    if (resource.type !== 'dns') return;
    for (const { proxy, resources } of this.#translations.values())
      if (resources.has(id)) yield hostNetwork(proxy);
  }
}

function hostNetwork(address: IpAddress): IpNetwork {
  return network(address, familyOf(address) === 4 ? 32 : 128);
}
