// Addresses of domains as the gateway's host sees them (data-plane 9.7, operations 10.1): the hosts file first, then the name servers of
// resolv.conf, A and AAAA at the same time. Both files are read again when they change. Answers are cached for their TTL. A family
// that fails counts as empty, and one that is silent is not waited for once the other has addresses; only silence of both is a failure.
//
// Deviates from data-plane 9.7: a domain is an absolute name. Only a single label is looked up in the search list, so that `api.partner.test`
// is never delivered to whatever `*.corp.test` stands for. `ndots` does not matter then.
//
// Does not look at mDNS, LLMNR or NSS modules; a host that needs these runs a local resolver and names it in resolv.conf.

import { Resolver } from 'node:dns/promises';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { dnsKey } from '../../wire/dns/name.ts';
import { HostFiles } from './host-files.ts';

// Specification (data-plane 1.3, 9.7)
const TIMEOUT_MS = 10_000;
const MAX_RUNNING = 1_000;
const CACHE_ENTRIES = 512;

// Implementation
/** Of one try; with two tries both fit into the whole. */
const QUERY_TIMEOUT_MS = 2_500;
const QUERY_TRIES = 2;
/** How long the second family is waited for when the first has addresses; it comes with the next look-up. */
const SECOND_FAMILY_MS = 400;
/** The resolver library does not tell the SOA's minimum; long enough for a burst, short enough for a name that appears. */
const NEGATIVE_TTL_MS = 2_000;
const MAX_TTL_MS = 3_600_000;
/** Answers that say there is nothing; other codes are no answers and are not cached. */
const NEGATIVE_CODES: ReadonlySet<unknown> = new Set(['ENODATA', 'ENOTFOUND']);

export type ResolveOutcome =
  | { readonly kind: 'resolved'; readonly addresses: readonly IpAddress[] }
  | { readonly kind: 'failed'; readonly reason: 'timeout' | 'too-many' | 'no-name-servers' };

export interface ResolverOptions {
  readonly hostsPath?: string;
  readonly resolvConfPath?: string;
  /** Of all name servers. */
  readonly port?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

interface CacheEntry {
  readonly addresses: readonly IpAddress[];
  readonly expiresAt: number;
}

export class SystemResolver {
  readonly #files: HostFiles;
  readonly #port: number;
  readonly #now: () => number;
  readonly #cache = new Map<string, CacheEntry>();
  readonly #running = new Map<string, Promise<ResolveOutcome>>();
  #resolver: Resolver | undefined;
  #servers = '';

  constructor(options: ResolverOptions = {}) {
    this.#files = new HostFiles(
      options.hostsPath ?? '/etc/hosts',
      options.resolvConfPath ?? '/etc/resolv.conf',
    );
    this.#port = options.port ?? 53;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Never rejects. Equal names that are asked for at the same time share one look-up. */
  resolve(domain: string): Promise<ResolveOutcome> {
    const name = dnsKey(domain);
    const running = this.#running.get(name);
    if (running) return running;
    if (this.#running.size >= MAX_RUNNING) {
      return Promise.resolve({ kind: 'failed', reason: 'too-many' });
    }
    const outcome = this.#resolveInTime(name).finally(() => this.#running.delete(name));
    this.#running.set(name, outcome);
    return outcome;
  }

  /** Ends what is under way. */
  close(): void {
    this.#resolver?.cancel();
    this.#cache.clear();
  }

  async #resolveInTime(name: string): Promise<ResolveOutcome> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<ResolveOutcome>((resolve) => {
      timer = setTimeout(() => resolve({ kind: 'failed', reason: 'timeout' }), TIMEOUT_MS);
    });
    try {
      return await Promise.race([this.#look(name), silence]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #look(name: string): Promise<ResolveOutcome> {
    const { hosts, servers, search } = await this.#files.read();
    const listed = hosts.get(name);
    if (listed) return { kind: 'resolved', addresses: listed };
    if (servers.length === 0) return { kind: 'failed', reason: 'no-name-servers' };
    this.#useServers(servers);
    const suffixed = name.includes('.') ? [] : search.map((suffix) => `${name}.${suffix}`);
    for (const candidate of [...suffixed, name]) {
      const addresses = await this.#askBoth(candidate);
      if (addresses.length > 0) return { kind: 'resolved', addresses };
    }
    return { kind: 'resolved', addresses: [] };
  }

  /** Addresses of both families, IPv4 first. */
  async #askBoth(name: string): Promise<readonly IpAddress[]> {
    const ipv4 = this.#ask(name, 4);
    const ipv6 = this.#ask(name, 6);
    const first = await Promise.race([ipv4, ipv6]);
    if (first.length === 0) return (await Promise.all([ipv4, ipv6])).flat();
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<readonly IpAddress[]>((resolve) => {
      timer = setTimeout(() => resolve(first), SECOND_FAMILY_MS);
    });
    const both = Promise.all([ipv4, ipv6]).then((families) => families.flat());
    const addresses = await Promise.race([both, enough]);
    clearTimeout(timer);
    return addresses;
  }

  /** Addresses of one family, from the cache or a name server. */
  async #ask(name: string, family: 4 | 6): Promise<readonly IpAddress[]> {
    const key = `${family} ${name}`;
    const cached = this.#cache.get(key);
    if (cached && this.#now() < cached.expiresAt) return cached.addresses;
    this.#cache.delete(key);
    const resolver = this.#resolver;
    if (!resolver) return [];
    try {
      const records =
        family === 4
          ? await resolver.resolve4(name, { ttl: true })
          : await resolver.resolve6(name, { ttl: true });
      const addresses = records.flatMap(({ address }) => parseIp(address) ?? []);
      const seconds = Math.min(...records.map(({ ttl }) => ttl));
      this.#remember(key, addresses, Math.min(MAX_TTL_MS, seconds * 1_000));
      return addresses;
    } catch (error) {
      // One family that fails is no failure of the look-up (data-plane 9.7).
      if (NEGATIVE_CODES.has(codeOf(error))) this.#remember(key, [], NEGATIVE_TTL_MS);
      return [];
    }
  }

  #remember(key: string, addresses: readonly IpAddress[], ttlMs: number): void {
    if (!(ttlMs > 0)) return;
    this.#cache.set(key, { addresses, expiresAt: this.#now() + ttlMs });
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > CACHE_ENTRIES && oldest !== undefined) this.#cache.delete(oldest);
  }

  #useServers(servers: readonly string[]): void {
    const text = servers.join();
    if (this.#resolver && text === this.#servers) return;
    this.#resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
    this.#resolver.setServers(
      servers.map((ip) => (ip.includes(':') ? `[${ip}]:${this.#port}` : `${ip}:${this.#port}`)),
    );
    this.#servers = text;
    this.#cache.clear();
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
