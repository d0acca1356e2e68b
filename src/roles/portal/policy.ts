// The policy in force: what the file means once its names are resolved. Sites, resources, actors and rules carry ids; plain
// tokens are already hashed. Also the questions the portal asks of it: what an actor may see, what a request is granted,
// what changed between two policies. Compilation is in `policy-compile.ts`.

import {
  formatNetwork,
  type IpAddress,
  type IpNetwork,
  networkContains,
} from '../../base/address.ts';
import type { ResourceId, SiteId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';
import type { Filter } from '../../wire/portal/common.ts';
import type { IpStack } from './policy-schema.ts';

export interface Location {
  readonly latitude: number;
  readonly longitude: number;
}

export interface Site {
  readonly id: SiteId;
  readonly name: string;
  readonly location: Location | undefined;
}

export interface Actor {
  readonly id: string;
  readonly name: string;
  readonly email: string | undefined;
  readonly groups: ReadonlySet<string>;
  readonly location: Location | undefined;
}

interface ResourceCommon {
  readonly id: ResourceId;
  readonly name: string;
  readonly description: string | undefined;
  readonly site: Site;
}

export type Resource =
  | (ResourceCommon & {
      readonly type: 'cidr';
      readonly address: IpNetwork;
      readonly filters: readonly Filter[];
    })
  | (ResourceCommon & {
      readonly type: 'dns';
      readonly address: string;
      readonly ipStack: IpStack | undefined;
      readonly filters: readonly Filter[];
    })
  | (ResourceCommon & { readonly type: 'internet' });

export interface Rule {
  readonly id: string;
  readonly group: string;
  readonly resource: ResourceId;
  readonly expiresAt: UnixMillis | undefined;
  readonly remoteIpIn: readonly IpNetwork[] | undefined;
  readonly remoteIpNotIn: readonly IpNetwork[] | undefined;
}

/** Whom a token admits. `owner` is the site's, actor's or relay's name. */
export interface TokenGrant {
  readonly kind: 'gateway' | 'client' | 'relay';
  readonly owner: string;
  /** What the operator calls the token. */
  readonly name: string;
  readonly expiresAt: UnixMillis | undefined;
}

export interface DnsSettings {
  readonly upstream: readonly IpAddress[];
  readonly doh: readonly string[];
  readonly searchDomain: string | undefined;
}

export interface Policy {
  readonly account: string;
  readonly accountId: string;
  readonly sites: ReadonlyMap<string, Site>;
  readonly relays: ReadonlyMap<string, Location | undefined>;
  readonly actors: ReadonlyMap<string, Actor>;
  readonly resources: ReadonlyMap<ResourceId, Resource>;
  /** Only those that are enabled. */
  readonly rules: readonly Rule[];
  /** By the hex text of the token's SHA-256. */
  readonly tokens: ReadonlyMap<string, TokenGrant>;
  readonly dns: DnsSettings;
  readonly authorizationLifetimeMs: number | undefined;
  /** Clients and gateways that can do without ICE do (iceless 2). */
  readonly iceless: boolean;
}

export const EMPTY_POLICY: Policy = {
  account: 'default',
  accountId: '00000000-0000-4000-8000-000000000000',
  sites: new Map(),
  relays: new Map(),
  actors: new Map(),
  resources: new Map(),
  rules: [],
  tokens: new Map(),
  dns: { upstream: [], doh: [], searchDomain: undefined },
  authorizationLifetimeMs: undefined,
  iceless: false,
};

/** What a rule may look at besides the actor (portal 10.7.4). */
export interface RequestContext {
  readonly remoteIp: IpAddress | undefined;
}

/** Resources that some rule gives to the actor, whether or not its conditions hold now; expired rules give nothing. */
export function visibleResources(policy: Policy, actor: Actor, at: UnixMillis): Resource[] {
  const visible = new Set<ResourceId>();
  for (const rule of rulesFor(policy, actor, at)) visible.add(rule.resource);
  return [...policy.resources.values()].filter((resource) => visible.has(resource.id));
}

export type Evaluation =
  | { readonly kind: 'granted'; readonly rule: Rule; readonly resource: Resource }
  | { readonly kind: 'not-found' }
  | { readonly kind: 'forbidden'; readonly violatedProperties: readonly string[] };

/** portal 10.7.4: the conforming rule that lasts longest; none conforms: every violated property. */
export function evaluate(
  policy: Policy,
  actor: Actor,
  resourceId: ResourceId,
  context: RequestContext,
  at: UnixMillis,
): Evaluation {
  const resource = policy.resources.get(resourceId);
  if (!resource) return { kind: 'not-found' };
  let best: Rule | undefined;
  let matched = false;
  const violated = new Set<string>();
  for (const rule of rulesFor(policy, actor, at)) {
    if (rule.resource !== resourceId) continue;
    matched = true;
    const property = violatedProperty(rule, context);
    if (property !== undefined) violated.add(property);
    else if (!best || endOf(rule) > endOf(best)) best = rule;
  }
  if (best) return { kind: 'granted', rule: best, resource };
  if (!matched) return { kind: 'not-found' };
  return { kind: 'forbidden', violatedProperties: [...violated] };
}

function rulesFor(policy: Policy, actor: Actor, at: UnixMillis): Rule[] {
  return policy.rules.filter((rule) => actor.groups.has(rule.group) && endOf(rule) > at);
}

const endOf = (rule: Rule): number => rule.expiresAt ?? Number.POSITIVE_INFINITY;

function violatedProperty(rule: Rule, context: RequestContext): string | undefined {
  const { remoteIp } = context;
  const within = (networks: readonly IpNetwork[]): boolean =>
    remoteIp !== undefined && networks.some((network) => networkContains(network, remoteIp));
  if (rule.remoteIpIn && !within(rule.remoteIpIn)) return 'remote_ip';
  if (rule.remoteIpNotIn && within(rule.remoteIpNotIn)) return 'remote_ip';
  return undefined;
}

/** The earliest end of a rule after `at`: then what is visible may change. */
export function nextRuleEnd(policy: Policy, at: UnixMillis): UnixMillis | undefined {
  let next: UnixMillis | undefined;
  for (const { expiresAt } of policy.rules) {
    if (expiresAt !== undefined && expiresAt > at && (next === undefined || expiresAt < next))
      next = expiresAt;
  }
  return next;
}

export interface ResourceChanges {
  /** Gone, or so changed that every authorization for it ends (portal 10.8.2). */
  readonly ended: ReadonlySet<ResourceId>;
  /** Same place, other filters: gateways get `resource_updated`. */
  readonly refiltered: readonly Resource[];
}

export function diffResources(before: Policy, after: Policy): ResourceChanges {
  const ended = new Set<ResourceId>();
  const refiltered: Resource[] = [];
  for (const [id, old] of before.resources) {
    const now = after.resources.get(id);
    if (!now || placeOf(old) !== placeOf(now)) ended.add(id);
    else if (filtersOf(old) !== filtersOf(now)) refiltered.push(now);
  }
  return { ended, refiltered };
}

/** portal 10.8.2: a change of any of these revokes; the same text means the same resource for a gateway. */
export function placeOf(resource: Resource): string {
  const address = addressText(resource);
  const ipStack = resource.type === 'dns' ? (resource.ipStack ?? 'dual') : '';
  return JSON.stringify([resource.type, address, ipStack, resource.site.id]);
}

function addressText(resource: Resource): string {
  if (resource.type === 'internet') return '';
  return resource.type === 'cidr' ? formatNetwork(resource.address) : resource.address;
}

function filtersOf(resource: Resource): string {
  return resource.type === 'internet' ? '' : JSON.stringify(resource.filters);
}
