// A world's plan from its seed: how many of each kind, what their networks are like, what there is to reach and who may.

import type { PolicyFile, ResourceEntry, RuleEntry } from '../../src/roles/portal/policy-schema.ts';
import { Dice } from './dice.ts';
import { GOOD_LINK, type LinkConditions } from './network/link.ts';
import {
  ADDRESS_RESTRICTED,
  FULL_CONE,
  type NatBehaviour,
  PORT_RESTRICTED,
  SYMMETRIC,
} from './network/nat-table.ts';
import type { NameAnswer } from './steps/step.ts';
import { Streams } from './streams.ts';
import type {
  AccessPlan,
  ClientPlan,
  GatewayPlan,
  NamePlan,
  RelayPlan,
  ResourceHostPlan,
  WorldPlan,
} from './world-plan.ts';

/** The Internet resource has a site of its own (data-plane 7.5, note). */
export const WEB_SITE = 'web';
const INTERNET_ADDRESSES = ['1.1.1.1', '8.8.4.4', '2606:4700::1111'];
const INTERNET_HOSTS: ResourceHostPlan = {
  site: WEB_SITE,
  addresses: INTERNET_ADDRESSES,
  behaviour: 'answers',
  latencyMs: 8,
};
const GROUPS = ['staff', 'guests', 'night'];

export function drawPlan(seed: number): WorldPlan {
  const dice = new Dice(new Streams(seed).number('plan'));
  const sites = dice.weighted<number>([
    [6, 1],
    [3, 2],
    [1, 3],
  ]);
  const hasWeb = dice.chance(0.4);
  const gatewayCount = Math.max(sites, dice.pick([1, 1, 2, hasWeb ? 3 : 4]));
  const clientCount = dice.weighted<number>([
    [12, 1],
    [10, 2],
    [8, 3],
    [1, 5],
    [1, 8],
  ]);
  const relayCount = dice.weighted<number>([
    [6, 1],
    [3, 2],
    [1, 4],
  ]);
  const clients = range(clientCount).map((index) => drawClient(dice, index));
  const resources = range(sites).flatMap((site) => drawResources(dice, site));
  const siteOf = range(gatewayCount).map((index) => `site${index % sites}`);
  if (hasWeb) {
    resources.push({ name: 'internet', type: 'internet', site: WEB_SITE });
    siteOf.push(WEB_SITE);
  }
  const siteNames = [...new Set(siteOf)];
  return {
    seed,
    clients,
    gateways: siteOf.map((site, index) => drawGateway(dice, index, site)),
    relays: range(relayCount).map((index) => drawRelay(dice, index)),
    resources,
    policy: drawPolicy(dice, { siteNames, clients, resources }),
    resourceHosts: [...range(sites).flatMap((site) => drawHosts(dice, site)), INTERNET_HOSTS],
    names: range(sites).flatMap((site) => drawNames(dice, site)),
    portalLatencyMs: dice.pick([5, 20, 120]),
  };
}

export function drawAccess(dice: Dice): AccessPlan {
  const families = dice.weighted<AccessPlan['families']>([
    [5, 'dual'],
    [4, 'ipv4'],
    [2, 'ipv6'],
  ]);
  const ipv4 = dice.weighted<AccessPlan['ipv4']>([
    [2, 'public'],
    [6, 'nat'],
    [2, 'cgnat'],
  ]);
  return {
    families,
    ipv4: families === 'ipv6' ? 'nat64' : ipv4,
    nat: drawNat(dice),
    ipv6Firewall: dice.chance(0.6) ? 'stateful' : 'open',
    outboundRule: dice.chance(0.1) ? { ports: [3478] } : 'everything',
    link: drawLink(dice),
  };
}

export function drawLink(dice: Dice): LinkConditions {
  const latencyMs = dice.pick([2, 10, 10, 30, 90]);
  if (dice.chance(0.6)) return { ...GOOD_LINK, latencyMs };
  return {
    ...GOOD_LINK,
    latencyMs,
    jitterMs: dice.pick([0, 5, 40]),
    loss: dice.pick([0, 0, 0.01, 0.05]),
    reorder: dice.pick([0, 0.02]),
    reorderMs: 30,
    duplicate: dice.pick([0, 0.02]),
    corrupt: dice.pick([0, 0, 0.01]),
  };
}

function drawNat(dice: Dice): NatBehaviour {
  const base = dice.pick([
    FULL_CONE,
    ADDRESS_RESTRICTED,
    PORT_RESTRICTED,
    PORT_RESTRICTED,
    SYMMETRIC,
  ]);
  return {
    ...base,
    ports: dice.pick(['preserve', 'sequential', 'random']),
    hairpin: dice.chance(0.5),
    mappingMs: dice.pick([30_000, 120_000, 300_000]),
    inboundRefresh: dice.chance(0.7),
  };
}

function drawClient(dice: Dice, index: number): ClientPlan {
  return {
    name: `client${index}`,
    actor: `actor${index}`,
    token: `client-token-${index}`,
    access: drawAccess(dice),
    otherAccess: [drawAccess(dice), drawAccess(dice)],
    countsSleep: false,
    activatesInternetResource: dice.chance(0.5),
  };
}

function drawGateway(dice: Dice, index: number, site: string): GatewayPlan {
  return {
    name: `gateway${index}`,
    site,
    token: `gateway-token-${site}`,
    access: drawAccess(dice),
    // `io/clock.ts`: the gateway's clock is that of the boot, which goes on.
    countsSleep: true,
  };
}

/** The first one speaks both families, so that it can be a way for everybody. */
function drawRelay(dice: Dice, index: number): RelayPlan {
  const onlyOne = index > 0 && dice.chance(0.4);
  const family = dice.chance(0.5);
  return {
    name: `relay${index}`,
    token: 'relay-token',
    ipv4: !onlyOne || family,
    ipv6: !onlyOne || !family,
    access: { ...PUBLIC_ACCESS, link: { ...GOOD_LINK, latencyMs: dice.pick([5, 15, 60]) } },
    countsSleep: false,
  };
}

export const PUBLIC_ACCESS: AccessPlan = {
  families: 'dual',
  ipv4: 'public',
  nat: FULL_CONE,
  ipv6Firewall: 'open',
  outboundRule: 'everything',
  link: GOOD_LINK,
};

function drawResources(dice: Dice, site: number): ResourceEntry[] {
  const common = { site: `site${site}`, filters: [] };
  const filtered = { ...common, filters: drawFilters(dice) };
  return [
    { ...common, name: `net${site}`, type: 'cidr', address: `10.${site}.0.0/24` },
    { ...filtered, name: `one${site}`, type: 'cidr', address: `10.${site}.0.1/32` },
    { ...common, name: `six${site}`, type: 'cidr', address: `fd5${site}::/64` },
    { ...common, name: `app${site}`, type: 'dns', address: `app.s${site}.test` },
    { ...filtered, name: `wild${site}`, type: 'dns', address: `*.s${site}.test` },
    { ...common, name: `deep${site}`, type: 'dns', address: `**.deep.s${site}.test` },
  ];
}

export function drawFilters(dice: Dice): string[] {
  return dice.pick([[], ['icmp'], ['tcp 80', 'icmp'], ['udp 53'], ['tcp', 'udp 5000-6000']]);
}

interface Drawn {
  readonly siteNames: readonly string[];
  readonly clients: readonly ClientPlan[];
  readonly resources: readonly ResourceEntry[];
}

function drawPolicy(dice: Dice, { siteNames, clients, resources }: Drawn): PolicyFile {
  const policies: RuleEntry[] = [];
  for (const { name } of resources) {
    for (const group of GROUPS) {
      if (dice.chance(group === 'staff' ? 0.7 : 0.25)) policies.push(rule(group, name));
    }
  }
  return {
    account: 'lab',
    sites: siteNames.map((name) => ({ name, gateway_tokens: [`gateway-token-${name}`] })),
    relays: [{ name: 'relays', tokens: ['relay-token'] }],
    groups: GROUPS,
    actors: clients.map(({ actor, token }) => ({
      name: actor,
      groups: dice.pick([['staff'], ['staff', 'night'], ['guests'], GROUPS]),
      tokens: [token],
    })),
    resources: resources.filter(() => dice.chance(0.8)),
    policies,
    dns: { upstream: ['9.9.9.9'], doh: [] },
    settings: dice.chance(0.2) ? { authorization_lifetime: dice.pick(['20s', '5m']) } : {},
  };
}

export function rule(group: string, resource: string): RuleEntry {
  return { group, resource, enabled: true, conditions: {} };
}

/** What stands behind each site: the first IPv4 and IPv6 machine always answers. */
function drawHosts(dice: Dice, site: number): ResourceHostPlan[] {
  const common = { site: `site${site}`, latencyMs: dice.pick([0.5, 3, 20]) };
  const other = (address: string): ResourceHostPlan => ({
    ...common,
    addresses: [address],
    behaviour: dice.pick(['answers', 'refuses', 'silent', 'unreachable'] as const),
  });
  return [
    { ...common, addresses: [`10.${site}.0.1`, `fd5${site}::1`], behaviour: 'answers' },
    { ...common, addresses: [`10.${site}.0.2`], behaviour: 'answers', mtu: 600 },
    { ...common, addresses: [`fd5${site}::2`], behaviour: 'answers', mtu: 1_280 },
    other(`10.${site}.0.3`),
    other(`fd5${site}::3`),
  ];
}

function drawNames(dice: Dice, site: number): NamePlan[] {
  const names = [`app.s${site}.test`, `www.s${site}.test`, `a.b.deep.s${site}.test`];
  return names.map((name) => ({ name, site: `site${site}`, answer: drawAnswer(dice) }));
}

export function drawAnswer(dice: Dice): NameAnswer {
  const kind = dice.weighted<NameAnswer['kind']>([
    [10, 'addresses'],
    [1, 'empty'],
    [1, 'nxdomain'],
    [1, 'time-out'],
  ]);
  if (kind !== 'addresses') return { kind };
  const [ipv4, ipv6] = dice.pick([
    [[0], [0]],
    [[0, 1], [0]],
    [[0], []],
    [[], [0, 1]],
    [[2, 0], [2]],
  ]);
  return {
    kind,
    ipv4,
    ipv6,
    ttlSeconds: dice.pick([0, 5, 300]),
    chain: dice.pick([0, 0, 1, 3]),
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
