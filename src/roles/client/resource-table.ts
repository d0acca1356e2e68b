// The resources that the portal lets this client see (client 5.2, 5.4), and the order in which the patterns of DNS resources are asked.

import type { ResourceId } from '../../base/ids.ts';
import { compareSpecificity, DomainPattern } from '../../wire/dns/pattern.ts';
import type { ClientDnsResource, ClientResource } from '../../wire/portal/resources.ts';

export interface PatternEntry {
  readonly pattern: DomainPattern;
  readonly resource: ClientDnsResource;
}

/** What an update changes for running flows: nothing, or as if the resource were removed and added again (client 5.4). */
export type UpdateEffect = 'added' | 'display-only' | 'replaced';

export class ResourceTable {
  readonly #byId = new Map<ResourceId, ClientResource>();
  #patterns: readonly PatternEntry[] = [];

  upsert(resource: ClientResource): UpdateEffect {
    const known = this.#byId.get(resource.id);
    this.#byId.set(resource.id, resource);
    this.#sortPatterns();
    if (!known) return 'added';
    return relevantText(known) === relevantText(resource) ? 'display-only' : 'replaced';
  }

  remove(id: ResourceId): boolean {
    const wasThere = this.#byId.delete(id);
    if (wasThere) this.#sortPatterns();
    return wasThere;
  }

  find(id: ResourceId): ClientResource | undefined {
    return this.#byId.get(id);
  }

  all(): Iterable<ClientResource> {
    return this.#byId.values();
  }

  get count(): number {
    return this.#byId.size;
  }

  /** DNS resources that cover `name`, the most specific pattern first; of equal patterns the greater id. */
  matching(name: string): readonly PatternEntry[] {
    return this.#patterns.filter(({ pattern }) => pattern.matches(name));
  }

  #sortPatterns(): void {
    const entries: PatternEntry[] = [];
    for (const resource of this.#byId.values()) {
      if (resource.type !== 'dns') continue;
      const pattern = DomainPattern.parse(resource.address);
      if (pattern) entries.push({ pattern, resource });
    }
    this.#patterns = entries.sort(
      (a, b) =>
        compareSpecificity(a.pattern, b.pattern) || (a.resource.id > b.resource.id ? -1 : 1),
    );
  }
}

/** The members that decide about access; name and description are for display. */
function relevantText(resource: ClientResource): string {
  const { name: _name, ...rest } = resource;
  const sites = 'sites' in rest ? rest.sites.map(({ id }) => id).sort() : [];
  return JSON.stringify({ ...rest, addressDescription: undefined, sites });
}
