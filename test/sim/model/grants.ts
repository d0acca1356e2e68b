// What one client may reach on one gateway: data-plane 7.3 to 7.6. An expired authorization may live on until the next sweep, at most a second later, so
// there are moments in which two answers are right; `possible` lists every set of resources that the gateway may go by.

import { type Address, contains, isInternetRejected, isProxy, type Network } from './address.ts';
import type { Kind } from './packet.ts';
import { allows, type Filter } from './rules.ts';

// Specification
/** data-plane 1.3: "on every wake-up, at least every 1 s". */
export const SWEEP_MS = 1_000;

export type Resource =
  | {
      readonly id: string;
      readonly type: 'cidr';
      readonly address: Network;
      readonly filters: readonly Filter[];
    }
  | {
      readonly id: string;
      readonly type: 'dns';
      readonly pattern: string;
      readonly filters: readonly Filter[];
    }
  | { readonly id: string; readonly type: 'internet' };

export type Answer = 'allowed' | 'no-resource' | 'filtered' | 'internet-rejected';

interface Grant {
  readonly resource: Resource;
  readonly expiresAt: number;
}

export class Grants {
  readonly #grants = new Map<string, Grant>();

  /** data-plane 7.6: filters and expiry are replaced, the rest stays; another type is ignored. */
  allow(resource: Resource, expiresAt: number): void {
    const known = this.#grants.get(resource.id)?.resource;
    if (known && known.type !== resource.type) return;
    this.#grants.set(resource.id, { resource: withFilters(known, resource), expiresAt });
  }

  update(resource: Resource): void {
    const known = this.#grants.get(resource.id);
    if (known?.resource.type !== resource.type) return;
    const updated = withFilters(known.resource, resource);
    this.#grants.set(resource.id, { ...known, resource: updated });
  }

  revoke(id: string): void {
    this.#grants.delete(id);
  }

  setExpiry(id: string, expiresAt: number): void {
    const known = this.#grants.get(id);
    if (known) this.#grants.set(id, { ...known, expiresAt });
  }

  /** Those that may live, also if only until the next sweep. */
  ids(now: number): string[] {
    return [...this.#grants.keys()].filter((id) => this.#mayLive(id, now));
  }

  isLive(id: string, now: number): boolean {
    return (this.#grants.get(id)?.expiresAt ?? -1) > now;
  }

  get(id: string, now: number): Resource | undefined {
    return this.#mayLive(id, now) ? this.#grants.get(id)?.resource : undefined;
  }

  /** Every set the gateway may hold now; one, unless something expired within the last second. */
  possible(now: number): Resource[][] {
    let sets: Resource[][] = [[]];
    for (const [id, { resource, expiresAt }] of this.#grants) {
      if (!this.#mayLive(id, now)) continue;
      const withIt = sets.map((set) => [...set, resource]);
      sets = expiresAt > now ? withIt : [...sets, ...withIt];
    }
    return sets;
  }

  forgetExpired(now: number): void {
    for (const id of [...this.#grants.keys()]) if (!this.#mayLive(id, now)) this.revoke(id);
  }

  #mayLive(id: string, now: number): boolean {
    return (this.#grants.get(id)?.expiresAt ?? -Infinity) + SWEEP_MS >= now;
  }
}

function withFilters(known: Resource | undefined, update: Resource): Resource {
  if (known === undefined || known.type === 'internet' || update.type === 'internet') return update;
  return { ...known, filters: update.filters };
}

/** `named`: the resources whose names the address stands for; `relays`: addresses of the portal's. */
export function classify(
  resources: readonly Resource[],
  known: { readonly named: ReadonlySet<string>; readonly relays: readonly Address[] },
  flow: { readonly address: Address; readonly kind: Kind; readonly port: number },
): Answer {
  const { address, kind, port } = flow;
  if (!isProxy(address) && resources.some(({ type }) => type === 'internet')) {
    return isInternetRejected(address, known.relays) ? 'internet-rejected' : 'allowed';
  }
  let answer: Answer = 'no-resource';
  for (const resource of resources) {
    if (resource.type === 'internet') continue;
    const isCovering =
      resource.type === 'cidr' ? contains(resource.address, address) : known.named.has(resource.id);
    if (!isCovering) continue;
    if (allows(resource.filters, kind, port)) return 'allowed';
    answer = 'filtered';
  }
  return answer;
}
