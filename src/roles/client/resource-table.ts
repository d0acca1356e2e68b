// The resources that the portal lets this client see (client 5.2, 5.4), and the order in which the patterns of DNS resources are asked.

import type { ResourceId } from '../../base/ids.ts';
import { compareSpecificity, DomainPattern } from '../../wire/dns/pattern.ts';
import type { ClientDnsResource, ClientResource } from '../../wire/portal/resources.ts';

export interface PatternEntry {
  readonly pattern: DomainPattern;
  readonly resource: ClientDnsResource;
}

// Implementation
/** Applications ask for few names at a time; a web page may ask for many. */
const MAX_REMEMBERED_NAMES = 4_096;

/** What an update changes for running flows: nothing, or as if the resource were removed and added again (client 5.4). */
export type UpdateEffect = 'added' | 'display-only' | 'replaced';

export class ResourceTable {
  readonly #byId = new Map<ResourceId, ClientResource>();
  /** Sorted when it is next asked for: an `init` brings many resources at once. */
  #patterns: readonly PatternEntry[] | undefined;
  /** What was found for names before; every grant asks for all names. */
  readonly #matching = new Map<string, readonly PatternEntry[]>();

  upsert(resource: ClientResource): UpdateEffect {
    const known = this.#byId.get(resource.id);
    this.#byId.set(resource.id, resource);
    this.#forgetPatterns();
    if (!known) return 'added';
    return relevantText(known) === relevantText(resource) ? 'display-only' : 'replaced';
  }

  remove(id: ResourceId): boolean {
    const wasThere = this.#byId.delete(id);
    if (wasThere) this.#forgetPatterns();
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
    const known = this.#matching.get(name);
    if (known) return known;
    this.#patterns ??= sortedPatterns(this.#byId.values());
    const found = this.#patterns.filter(({ pattern }) => pattern.matches(name));
    if (this.#matching.size >= MAX_REMEMBERED_NAMES) this.#matching.clear();
    this.#matching.set(name, found);
    return found;
  }

  #forgetPatterns(): void {
    this.#patterns = undefined;
    this.#matching.clear();
  }
}

function sortedPatterns(resources: Iterable<ClientResource>): readonly PatternEntry[] {
  const entries: PatternEntry[] = [];
  for (const resource of resources) {
    if (resource.type !== 'dns') continue;
    const pattern = DomainPattern.parse(resource.address);
    if (pattern) entries.push({ pattern, resource });
  }
  return entries.sort(
    (a, b) => compareSpecificity(a.pattern, b.pattern) || (a.resource.id > b.resource.id ? -1 : 1),
  );
}

/** The members that decide about access; name and description are for display. */
function relevantText(resource: ClientResource): string {
  const { name: _name, ...rest } = resource;
  const sites = 'sites' in rest ? rest.sites.map(({ id }) => id).sort() : [];
  return JSON.stringify({ ...rest, addressDescription: undefined, sites });
}
