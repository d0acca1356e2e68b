// Addresses of domains as the gateway's host sees them (data-plane 9.7, operations 10.1): the hosts file first, then the name servers of
// resolv.conf, A and AAAA at the same time. Both files are read again when they change. Answers are cached for exactly their TTL, by
// family. A family that fails counts as empty, and one that is silent is not waited for once the other has addresses; only silence
// of both is a failure. While no server can say anything, the last answer goes on to count for a while (RFC 8767).
//
// Deviates from data-plane 9.7: a domain is an absolute name. Only a single label is looked up in the search list, so that `api.partner.test`
// is never delivered to whatever `*.corp.test` stands for. `ndots` does not matter then.
//
// Does not look at mDNS, LLMNR or NSS modules; a host that needs these runs a local resolver and names it in resolv.conf.

import type { IpAddress } from '../../base/address.ts';
import type { Log } from '../../base/log.ts';
import { findingOf, MAX_ALIASES } from '../../wire/dns/answer.ts';
import { dnsQuery, parseDnsMessage, writeDnsMessage } from '../../wire/dns/message.ts';
import { dnsKey } from '../../wire/dns/name.ts';
import { DNS_CLASS, DNS_TYPE } from '../../wire/dns/records.ts';
import type { HostFiles } from './host-files.ts';
import type { Upstreams } from './upstreams.ts';

// Specification (data-plane 1.3, 9.7)
const TIMEOUT_MS = 10_000;
const MAX_RUNNING = 1_000;
const CACHE_ENTRIES = 512;
/** RFC 6761 §6.3: never a matter of name servers. */
const LOCALHOST = /(^|\.)localhost$/;

// Implementation
/** How long the second family is waited for when the first has addresses; it comes with the next look-up. */
const SECOND_FAMILY_MS = 400;
/** How long after its end an answer counts while no server can say anything. */
const STALE_MS = 3_600_000;

export type ResolveOutcome =
  | { readonly kind: 'resolved'; readonly addresses: readonly IpAddress[] }
  | { readonly kind: 'failed'; readonly reason: 'timeout' | 'too-many' | 'no-name-servers' };

export interface ResolverOptions {
  readonly files: HostFiles;
  readonly upstreams: Upstreams;
  readonly log: Log;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

interface CacheEntry {
  readonly addresses: readonly IpAddress[];
  readonly expiresAt: number;
}

type Answer =
  | { readonly kind: 'answer'; readonly addresses: readonly IpAddress[] }
  | { readonly kind: 'silence' | 'no-name-servers' };

export class SystemResolver {
  readonly #files: HostFiles;
  readonly #upstreams: Upstreams;
  readonly #now: () => number;
  readonly #log: Log;
  /** By family and name; the one used last is last. */
  readonly #cache = new Map<string, CacheEntry>();
  readonly #running = new Map<string, Promise<ResolveOutcome>>();
  #isClosed = false;

  constructor(options: ResolverOptions) {
    this.#files = options.files;
    this.#upstreams = options.upstreams;
    this.#log = options.log;
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
    const outcome = this.#look(name).finally(() => this.#running.delete(name));
    this.#running.set(name, outcome);
    return outcome;
  }

  /** What is under way ends by itself. */
  close(): void {
    this.#isClosed = true;
    this.#cache.clear();
  }

  async #look(name: string): Promise<ResolveOutcome> {
    const listed = (await this.#files.readHosts()).get(name);
    if (listed) return { kind: 'resolved', addresses: listed };
    if (LOCALHOST.test(name)) return { kind: 'resolved', addresses: [] };
    const { search } = await this.#files.readResolvConf();
    const suffixed = name.includes('.') ? [] : search.map((suffix) => `${name}.${suffix}`);
    const endsAt = this.#now() + TIMEOUT_MS;
    let answer: Answer = { kind: 'silence' };
    for (const candidate of [...suffixed, name]) {
      answer = await this.#askBoth(candidate, endsAt);
      if (answer.kind !== 'answer') break;
      if (answer.addresses.length === 0) continue;
      if (candidate !== name) this.#log.debug('A name of the search list', { name: candidate });
      return { kind: 'resolved', addresses: answer.addresses };
    }
    if (answer.kind === 'answer') return { kind: 'resolved', addresses: [] };
    const { servers } = await this.#files.readResolvConf();
    const from = this.#files.resolvConfPath;
    this.#log.debug('A name could not be resolved', { name, servers, from });
    const isSilent = answer.kind === 'silence';
    return { kind: 'failed', reason: isSilent ? 'timeout' : 'no-name-servers' };
  }

  /** Addresses of both families, IPv4 first. */
  async #askBoth(name: string, endsAt: number): Promise<Answer> {
    const both = ([4, 6] as const).map((family) => this.#askOrStale(name, family, endsAt));
    const first = await Promise.race(both);
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<readonly Answer[]>((resolve) => {
      // Silence or an empty answer of one family says nothing about the other.
      if (first.kind === 'answer' && first.addresses.length > 0)
        timer = setTimeout(() => resolve([first]), SECOND_FAMILY_MS);
    });
    const answers = await Promise.race([Promise.all(both), enough]);
    clearTimeout(timer);
    const addresses = answers.flatMap((answer) =>
      answer.kind === 'answer' ? answer.addresses : [],
    );
    const isAnswered = answers.some(({ kind }) => kind === 'answer');
    return isAnswered ? { kind: 'answer', addresses } : (answers[0] ?? { kind: 'silence' });
  }

  async #askOrStale(name: string, family: 4 | 6, endsAt: number): Promise<Answer> {
    const key = `${family} ${name}`;
    const cached = this.#cache.get(key);
    if (cached && this.#now() < cached.expiresAt) {
      this.#cache.delete(key);
      this.#cache.set(key, cached);
      return { kind: 'answer', addresses: cached.addresses };
    }
    const { answer, ttlSeconds } = await this.#ask(name, family, endsAt);
    if (answer.kind === 'answer' && ttlSeconds !== undefined) {
      this.#remember(key, answer.addresses, ttlSeconds * 1_000);
      return answer;
    }
    const isStale = cached !== undefined && this.#now() < cached.expiresAt + STALE_MS;
    return isStale ? { kind: 'answer', addresses: cached.addresses } : answer;
  }

  /** Addresses of one family; without a TTL the servers could not say. */
  async #ask(
    name: string,
    family: 4 | 6,
    endsAt: number,
  ): Promise<{ readonly answer: Answer; readonly ttlSeconds?: number }> {
    const type = family === 4 ? DNS_TYPE.a : DNS_TYPE.aaaa;
    let [current, ttlSeconds] = [name, Infinity];
    for (let aliases = 0; aliases <= MAX_ALIASES; ) {
      const question = { name: current, type, class: DNS_CLASS.internet };
      const query = writeDnsMessage(dnsQuery(0, question));
      const withinMs = endsAt - this.#now();
      if (!query) return { answer: { kind: 'answer', addresses: [] } };
      if (this.#isClosed || withinMs <= 0) return { answer: { kind: 'silence' } };
      const outcome = await this.#upstreams.ask(query, 'either', withinMs);
      if (outcome.kind === 'failed') {
        const isSilent = outcome.reason === 'timeout';
        return { answer: { kind: isSilent ? 'silence' : 'no-name-servers' } };
      }
      const message = parseDnsMessage(outcome.answer);
      const finding = message ? findingOf(message, question) : ({ kind: 'failed' } as const);
      if (finding.kind === 'failed') break;
      ttlSeconds = Math.min(ttlSeconds, finding.ttlSeconds);
      if (finding.kind !== 'alias') {
        const addresses = finding.kind === 'addresses' ? finding.addresses : [];
        return { answer: { kind: 'answer', addresses }, ttlSeconds };
      }
      current = finding.name;
      aliases += finding.aliases;
    }
    // One family that fails is no failure of the look-up (data-plane 9.7).
    return { answer: { kind: 'answer', addresses: [] } };
  }

  #remember(key: string, addresses: readonly IpAddress[], ttlMs: number): void {
    this.#cache.delete(key);
    if (!(ttlMs > 0) || this.#isClosed) return;
    this.#cache.set(key, { addresses, expiresAt: this.#now() + ttlMs });
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > CACHE_ENTRIES && oldest !== undefined) this.#cache.delete(oldest);
  }
}
