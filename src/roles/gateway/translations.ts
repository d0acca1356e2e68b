// Which real address each proxy address of one client stands for (data-plane 9.3). A proxy address belongs to one domain and to
// every resource that covers it; it always has an entry, also when the domain has no address of its family.
//
// Beyond the reference: the number of entries is limited; the domain that was set up longest ago makes room (data-plane 17.4).

import { familyOf, type IpAddress, ipBytes, writeAddressWords } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { ResourceId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { WordTable } from '../../base/word-table.ts';

// Implementation
/** Two thousand domains of eight addresses for one client; an entry and its route cost less than a kilobyte. */
export const MAX_TRANSLATIONS = 16_384;
/** Real addresses out of use that are remembered, for sessions that still go there. */
const SPARE_REALS = 1_024;

export interface Translation {
  readonly proxy: IpAddress;
  /** Folded by `dnsKey`. */
  readonly domain: string;
  /** The domain as the client wrote it last. */
  readonly name: string;
  readonly resources: ReadonlySet<ResourceId>;
  /** `undefined`: the domain has no address of this family. */
  readonly real: IpAddress | undefined;
  /** The words of `real`. */
  readonly realWords: Int32Array;
}

/** What a client asked for: `key` is the domain folded by `dnsKey`. */
export interface Mapping {
  readonly resource: ResourceId;
  readonly key: string;
  readonly domain: string;
  readonly proxies: readonly IpAddress[];
  /** Of a client of the earliest generation: a family without addresses takes those of the other (data-plane 9.3). */
  readonly isLegacy?: boolean;
}

interface Domain {
  readonly proxies: Set<IpAddress>;
  setUpAt: Instant;
}

interface MutableTranslation extends Translation {
  name: string;
  readonly resources: Set<ResourceId>;
  real: IpAddress | undefined;
}

export class Translations {
  readonly #byWords: WordTable;
  readonly #entries: (MutableTranslation | undefined)[] = [];
  readonly #freeEntries: number[] = [];
  /** Proxies by domain; the domain set up last is last. */
  readonly #domains = new Map<string, Domain>();
  /** Real addresses that are or were in use; values mean nothing. */
  readonly #reals: WordTable;
  readonly #probe = new Int32Array(4);

  constructor(seed: number) {
    this.#byWords = new WordTable(seed);
    this.#reals = new WordTable(seed ^ 0x165667b1);
  }

  get count(): number {
    return this.#byWords.count;
  }

  get domainCount(): number {
    return this.#domains.size;
  }

  /** Hot: the entry of the four words at `index`. */
  find(words: Int32Array, index: number): Translation | undefined {
    const entry = this.#byWords.get(words, index, 0);
    return entry < 0 ? undefined : this.#entries[entry];
  }

  /** Hot: whether the address at `index` is, or lately was, the real address of some proxy. */
  isReal(words: Int32Array, index: number): boolean {
    return this.#reals.count > 0 && this.#reals.get(words, index, 0) >= 0;
  }

  get(proxy: IpAddress): Translation | undefined {
    writeAddressWords(proxy, this.#probe, 0);
    return this.find(this.#probe, 0);
  }

  *values(): IterableIterator<Translation> {
    for (const entry of this.#entries) if (entry) yield entry;
  }

  /** Whether some of `proxies` stand for another domain: the client has numbered its domains anew. */
  isReassigned(domain: string, proxies: readonly IpAddress[]): boolean {
    return proxies.some((proxy) => {
      const known = this.get(proxy);
      return known !== undefined && known.domain !== domain;
    });
  }

  /** When exactly this was last set up; `undefined`: never. */
  setUpAt({ resource, key, proxies }: Mapping): Instant | undefined {
    const domain = this.#domains.get(key);
    const isSetUp = proxies.every(
      (proxy) => domain?.proxies.has(proxy) && this.get(proxy)?.resources.has(resource),
    );
    return isSetUp ? domain?.setUpAt : undefined;
  }

  /**
   * Maps the proxies of each family, ascending, to the addresses of that family, ascending, again and again. Returns the entries of
   * other domains that had to make room.
   */
  map(
    { resource, key, domain: name, proxies, isLegacy = false }: Mapping,
    addresses: readonly IpAddress[],
    now: Instant,
  ): readonly Translation[] {
    const domain = this.#domains.get(key) ?? { proxies: new Set(), setUpAt: now };
    domain.setUpAt = now;
    this.#domains.delete(key);
    this.#domains.set(key, domain);
    for (const family of [4, 6] as const) {
      const ofFamily = ascending(addresses).filter((address) => familyOf(address) === family);
      const real = isLegacy && ofFamily.length === 0 ? ascending(addresses) : ofFamily;
      const ours = ascending(proxies).filter((proxy) => familyOf(proxy) === family);
      for (const [i, proxy] of ours.entries()) {
        const entry = this.#entryOf(proxy, key);
        entry.resources.add(resource);
        entry.name = name;
        entry.real = real[i % Math.max(1, real.length)];
        if (entry.real !== undefined) this.#noteReal(entry, entry.real);
        domain.proxies.add(proxy);
      }
    }
    return this.#makeRoom(key);
  }

  clear(): void {
    this.#byWords.clear();
    this.#reals.clear();
    this.#entries.length = 0;
    this.#freeEntries.length = 0;
    this.#domains.clear();
  }

  #entryOf(proxy: IpAddress, domain: string): MutableTranslation {
    writeAddressWords(proxy, this.#probe, 0);
    const known = this.#byWords.get(this.#probe, 0, 0);
    const found = known < 0 ? undefined : this.#entries[known];
    if (found) return found;
    const realWords = new Int32Array(4);
    const entry = {
      proxy,
      domain,
      name: domain,
      resources: new Set<ResourceId>(),
      real: undefined,
      realWords,
    };
    const index = this.#freeEntries.pop() ?? this.#entries.length;
    this.#entries[index] = entry;
    this.#byWords.set(this.#probe, 0, 0, index);
    return entry;
  }

  #noteReal(entry: Translation, real: IpAddress): void {
    writeAddressWords(real, entry.realWords, 0);
    if (this.#reals.count > this.count + SPARE_REALS) {
      this.#reals.clear();
      for (const { real: known, realWords } of this.values()) {
        if (known !== undefined) this.#reals.set(realWords, 0, 0, 0);
      }
    }
    this.#reals.set(entry.realWords, 0, 0, 0);
  }

  #makeRoom(keep: string): readonly Translation[] {
    const removed: Translation[] = [];
    for (const [domain, { proxies }] of this.#domains) {
      if (this.count <= MAX_TRANSLATIONS || domain === keep) break;
      for (const proxy of proxies) removed.push(...this.#take(proxy));
      this.#domains.delete(domain);
    }
    return removed;
  }

  /** The entry, which is removed; none if there was none. */
  #take(proxy: IpAddress): Translation[] {
    writeAddressWords(proxy, this.#probe, 0);
    const index = this.#byWords.get(this.#probe, 0, 0);
    const entry = index < 0 ? undefined : this.#entries[index];
    if (!entry) return [];
    this.#byWords.delete(this.#probe, 0, 0);
    this.#entries[index] = undefined;
    this.#freeEntries.push(index);
    return [entry];
  }
}

/** Without duplicates, by the value of the address. */
function ascending(addresses: readonly IpAddress[]): IpAddress[] {
  return [...new Set(addresses)].sort((a, b) => {
    const [left, right] = [ipBytes(a), ipBytes(b)];
    for (let i = 0; i < left.length; i++) {
      if (left[i] !== right[i]) return at(left, i) - (right[i] ?? 0);
    }
    return 0;
  });
}
