// Safety by the policy file alone, without a look into any machine: no packet of a client reaches a resource unless a rule gives it to that client. A gateway
// that has been in contact with the portal goes by a change within seconds; an expiry needs no contact. (The model of the gateway judges more finely, from
// what each gateway heard.)

import type { Instant } from '../../../src/base/time.ts';
import type { PolicyFile, ResourceEntry } from '../../../src/roles/portal/policy-schema.ts';
import type { Fault, Observer, PortalFact, ResourcePacket } from '../oracle.ts';
import { isRuleLive } from '../policy-view.ts';
import { factsOf, markOf, type PacketFacts } from '../traffic/mark.ts';
import { isCovered } from '../traffic/traffic.ts';
import type { World } from '../world.ts';

const RULE = 'no packet reaches a resource that no rule gives to its client';
/** One second (data-plane 7.6), and all ways from the portal. */
const CONTACT_MS = 3_000;
const GRACE_MS = 1_500;
const PROXIES = /^(100\.(9[6-9]|1[01]\d|12[0-7])\.|fd00:2021:1111:8000:)/;
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 58: 'icmp', 6: 'tcp', 17: 'udp' };

interface Age {
  readonly policy: PolicyFile;
  /** When the next one came. */
  until: number;
}

export class PolicySafety implements Observer {
  readonly #world: World;
  readonly #ages: Age[] = [];
  /** By gateway: what was over before then does not count any more. */
  readonly #settled = new Map<string, number>();
  /** By gateway: how often its portal connection came or went. */
  readonly #sessions = new Map<string, number>();
  #faults: Fault[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  portal(fact: PortalFact, at: Instant): void {
    if (fact.kind === 'joined' || fact.kind === 'gone') {
      this.#sessions.set(fact.actor, (this.#sessions.get(fact.actor) ?? 0) + 1);
    }
    if (fact.kind !== 'policy') return;
    const last = this.#ages.at(-1);
    if (last) last.until = at;
    this.#ages.push({ policy: fact.policy, until: Infinity });
    if (last) for (const { name } of this.#world.gateways) this.#await(name, at);
  }

  delivered({ gateway, site, packet, at }: ResourcePacket): void {
    const facts = factsOf(packet);
    const exchange = this.#world.traffic.exchanges.get(markOf(packet)?.exchange ?? -1);
    if (!facts || !exchange) {
      return this.#complain(at, 'a packet of an application', `${gateway} delivers another`);
    }
    const { client, destination } = exchange.options;
    const settled = this.#settled.get(gateway) ?? 0;
    const possible = this.#ages.filter(({ until }) => until >= settled);
    const isAllowed = possible.some(({ policy }) =>
      policy.resources.some(
        (resource) =>
          (resource.site === site || settled === 0 || possible.length > 1) &&
          covers(resource, destination) &&
          passes(resource, facts) &&
          this.#isGiven(policy, resource, client.actor, at),
      ),
    );
    if (isAllowed) return;
    const { protocol, destinationPort } = facts;
    const what = `${client.name} to ${facts.destination} (${destination}) protocol ${protocol} port ${destinationPort}`;
    this.#complain(at, 'a rule for it', `${gateway} of ${site} delivers ${what}`);
  }

  takeFaults(): readonly Fault[] {
    const taken = this.#faults;
    if (taken.length > 0) this.#faults = [];
    return taken;
  }

  #isGiven(policy: PolicyFile, { name }: ResourceEntry, actor: string, at: Instant): boolean {
    const wall = this.#world.wallNow - GRACE_MS + (at - this.#world.now);
    return policy.policies.some((rule) => isRuleLive(policy, rule, actor, name, wall));
  }

  /** From when on a change counts for a gateway: once it was in contact for a while. */
  #await(gateway: string, changedAt: number): void {
    const { scheduler } = this.#world;
    const before = this.#contact(gateway);
    scheduler.call(CONTACT_MS, () => {
      if (before === undefined || this.#contact(gateway) !== before) {
        return this.#await(gateway, changedAt);
      }
      const settled = this.#settled.get(gateway) ?? 0;
      this.#settled.set(gateway, Math.max(settled, changedAt + 1));
    });
  }

  /** Which of its portal connections it is that works now, if one does. */
  #contact(name: string): number | undefined {
    const { gateways, portal } = this.#world;
    const gateway = gateways.find((it) => it.name === name);
    const [address] = gateway?.host.addresses ?? [];
    const isGood =
      gateway?.isConnectedToPortal === true &&
      address !== undefined &&
      portal.isUp &&
      portal.isOpen(gateway.host, address) &&
      portal.extraLatencyMs === 0 &&
      !portal.losesReplies;
    return isGood ? this.#sessions.get(name) : undefined;
  }

  #complain(at: Instant, expected: string, found: string): void {
    this.#faults.push({ at, rule: RULE, expected, found });
  }
}

function covers(resource: ResourceEntry, destination: string): boolean {
  return PROXIES.test(destination) ? resource.type === 'dns' : isCovered(resource, destination);
}

function passes(resource: ResourceEntry, { protocol, destinationPort }: PacketFacts): boolean {
  if (resource.type === 'internet' || resource.filters.length === 0) return true;
  const wanted = PROTOCOLS[protocol];
  return resource.filters.some((filter) => {
    if (typeof filter !== 'string') return false;
    const [name, ports] = filter.split(' ');
    if (name !== wanted) return false;
    const [low = '', high = low] = ports?.split('-') ?? [];
    return (
      ports === undefined || (Number(low) <= destinationPort && destinationPort <= Number(high))
    );
  });
}
