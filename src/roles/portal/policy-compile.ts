// From the policy file's data to the policy in force: shapes by the schema, then names to ids, addresses, filters and tokens.
// The faults of one stage are collected, each with the path to where it stands, so that an operator mends many in one go.

import type { z } from 'zod';
import { type IpAddress, type IpNetwork, parseIp, parseNetwork } from '../../base/address.ts';
import { toHex, utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { type ResourceId, resourceId, siteId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';
import { randomUuid } from './credentials.ts';
import type { Actor, Location, Policy, Resource, Rule, Site, TokenGrant } from './policy.ts';
import {
  type LocationEntry,
  type PolicyFile,
  policyFileSchema,
  type ResourceEntry,
  type TokenEntry,
} from './policy-schema.ts';
import { type Checked, checkDnsPattern, checkFilters, checkNetwork } from './resource-rules.ts';
import type { NamedKind } from './store.ts';
import { parseTimestamp } from './wall-time.ts';

export type Path = readonly (string | number)[];

export interface PolicyFault {
  readonly path: Path;
  /** What is wrong and what is allowed, one sentence. */
  readonly problem: string;
}

export type CompiledPolicy =
  | { readonly kind: 'policy'; readonly policy: Policy }
  | { readonly kind: 'faults'; readonly faults: readonly PolicyFault[] };

export interface CompileDeps {
  readonly crypto: CryptoProvider;
  readonly ids: { idOf(kind: NamedKind, name: string, make: () => string): string };
}

export function compilePolicy(data: unknown, deps: CompileDeps): CompiledPolicy {
  const parsed = policyFileSchema.safeParse(data ?? {}, { error: plainWords });
  if (!parsed.success) return { kind: 'faults', faults: parsed.error.issues.flatMap(faultsOf) };
  return new Compiler(parsed.data, deps).compile();
}

/** An unknown key is a fault of its own, where it stands. */
function faultsOf(issue: z.core.$ZodIssue): PolicyFault[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  const problem = issue.message;
  if (issue.code !== 'unrecognized_keys') return [{ path, problem }];
  return issue.keys.map((key) => ({ path: [...path, key], problem }));
}

/** What the schema itself does not word, for readers who do not know it. */
function plainWords(issue: z.core.$ZodRawIssue): string | undefined {
  const found = issue.input === undefined ? 'nothing' : JSON.stringify(issue.input)?.slice(0, 40);
  if (issue.code === 'invalid_type') {
    const expected = issue.expected === 'array' ? 'list' : issue.expected;
    return `expected a ${expected}, found ${found}`;
  }
  if (issue.code === 'invalid_value')
    return `found ${found}; allowed: ${issue.values.map(String).join(', ')}`;
  return undefined;
}

/** Hex text of a token's SHA-256: all the portal ever keeps of it. */
export function tokenHash(crypto: CryptoProvider, token: string): string {
  return toHex(crypto.sha256(utf8Encode(token)));
}

class Compiler {
  readonly #file: PolicyFile;
  readonly #deps: CompileDeps;
  readonly #faults: PolicyFault[] = [];
  readonly #tokens = new Map<string, TokenGrant>();
  readonly #usedIds = new Set<string>();

  constructor(file: PolicyFile, deps: CompileDeps) {
    this.#file = file;
    this.#deps = deps;
  }

  compile(): CompiledPolicy {
    const sites = this.#sites();
    const relays = this.#relays();
    const actors = this.#actors();
    const resources = this.#resources(sites);
    const rules = this.#rules(resources);
    const dns = this.#dns();
    if (this.#faults.length > 0) return { kind: 'faults', faults: this.#faults };
    const lifetime = this.#file.settings.authorization_lifetime;
    const policy: Policy = {
      account: this.#file.account,
      accountId: this.#idOf('account', this.#file.account, undefined, ['account']),
      sites,
      relays,
      actors,
      resources: new Map([...resources.values()].map((resource) => [resource.id, resource])),
      rules,
      tokens: this.#tokens,
      dns,
      authorizationLifetimeMs: lifetime === undefined ? undefined : durationMs(lifetime),
      iceless: this.#file.settings.iceless === true,
    };
    return { kind: 'policy', policy };
  }

  #fault(path: Path, problem: string): void {
    this.#faults.push({ path, problem });
  }

  #sites(): Map<string, Site> {
    const sites = new Map<string, Site>();
    for (const [i, entry] of this.#file.sites.entries()) {
      const path = ['sites', i];
      if (!this.#isNew(sites, entry.name, [...path, 'name'])) continue;
      const id = siteId(this.#idOf('site', entry.name, entry.id, [...path, 'id']));
      sites.set(entry.name, { id, name: entry.name, location: locationOf(entry.location) });
      this.#addTokens(entry.gateway_tokens, 'gateway', entry.name, [...path, 'gateway_tokens']);
    }
    return sites;
  }

  #relays(): Map<string, Location | undefined> {
    const relays = new Map<string, Location | undefined>();
    for (const [i, entry] of this.#file.relays.entries()) {
      if (!this.#isNew(relays, entry.name, ['relays', i, 'name'])) continue;
      relays.set(entry.name, locationOf(entry.location));
      this.#addTokens(entry.tokens, 'relay', entry.name, ['relays', i, 'tokens']);
    }
    return relays;
  }

  #actors(): Map<string, Actor> {
    const actors = new Map<string, Actor>();
    for (const [i, entry] of this.#file.actors.entries()) {
      const path = ['actors', i];
      if (!this.#isNew(actors, entry.name, [...path, 'name'])) continue;
      for (const [k, group] of entry.groups.entries())
        this.#requireGroup(group, [...path, 'groups', k]);
      actors.set(entry.name, {
        id: this.#idOf('actor', entry.name, entry.id, [...path, 'id']),
        name: entry.name,
        email: entry.email,
        groups: new Set(entry.groups),
        location: locationOf(entry.location),
      });
      this.#addTokens(entry.tokens, 'client', entry.name, [...path, 'tokens']);
    }
    return actors;
  }

  /** By name. */
  #resources(sites: ReadonlyMap<string, Site>): Map<string, Resource> {
    const resources = new Map<string, Resource>();
    for (const [i, entry] of this.#file.resources.entries()) {
      const path = ['resources', i];
      if (!this.#isNew(resources, entry.name, [...path, 'name'])) continue;
      const site = sites.get(entry.site);
      if (!site) {
        this.#fault([...path, 'site'], unknownName('site', entry.site, [...sites.keys()]));
        continue;
      }
      const id = resourceId(this.#idOf('resource', entry.name, entry.id, [...path, 'id']));
      const resource = this.#resource(entry, id, site, path);
      if (resource) resources.set(entry.name, resource);
    }
    return resources;
  }

  #resource(entry: ResourceEntry, id: ResourceId, site: Site, path: Path): Resource | undefined {
    const common = { id, name: entry.name, description: entry.description, site };
    if (entry.type === 'internet') return { ...common, type: 'internet' };
    const filters = this.#checked(checkFilters(entry.filters), [...path, 'filters']);
    if (entry.type === 'cidr') {
      const address = this.#checked(checkNetwork(entry.address), [...path, 'address']);
      return address && filters && { ...common, type: 'cidr', address, filters };
    }
    const address = this.#checked(checkDnsPattern(entry.address), [...path, 'address']);
    if (address === undefined || !filters) return undefined;
    return { ...common, type: 'dns', address, filters, ipStack: entry.ip_stack };
  }

  #checked<T>(result: Checked<T>, path: Path): T | undefined {
    if (result.ok) return result.value;
    this.#fault(path, result.problem);
    return undefined;
  }

  #rules(resources: ReadonlyMap<string, Resource>): Rule[] {
    const rules: Rule[] = [];
    for (const [i, entry] of this.#file.policies.entries()) {
      const path = ['policies', i];
      this.#requireGroup(entry.group, [...path, 'group']);
      const resource = resources.get(entry.resource);
      if (!resource) {
        const isFaulty = this.#file.resources.some((it) => it.name === entry.resource);
        const names = this.#file.resources.map((it) => it.name);
        if (!isFaulty)
          this.#fault([...path, 'resource'], unknownName('resource', entry.resource, names));
        continue;
      }
      const { remote_ip, remote_ip_not } = entry.conditions;
      const remoteIpIn = this.#networks(remote_ip, [...path, 'conditions', 'remote_ip']);
      const remoteIpNotIn = this.#networks(remote_ip_not, [...path, 'conditions', 'remote_ip_not']);
      if (!entry.enabled) continue;
      const nth = rules.filter(
        (it) => it.group === entry.group && it.resource === resource.id,
      ).length;
      rules.push({
        id: this.#idOf('rule', JSON.stringify([entry.group, entry.resource, nth]), undefined, path),
        group: entry.group,
        resource: resource.id,
        expiresAt: timeOf(entry.expires),
        remoteIpIn,
        remoteIpNotIn,
      });
    }
    return rules;
  }

  #networks(texts: readonly string[] | undefined, path: Path): IpNetwork[] | undefined {
    return texts?.flatMap((text, i) => {
      const network = parseNetwork(text);
      if (!network)
        this.#fault([...path, i], `"${text}" is not a network; allowed: 10.0.0.0/8, 2001:db8::/32`);
      return network ?? [];
    });
  }

  #dns(): Policy['dns'] {
    const upstream: IpAddress[] = [];
    for (const [i, text] of this.#file.dns.upstream.entries()) {
      const address = parseIp(text);
      if (address === undefined)
        this.#fault(['dns', 'upstream', i], `"${text}" is not an IP address; allowed: 9.9.9.9`);
      else upstream.push(address);
    }
    return { upstream, doh: this.#file.dns.doh, searchDomain: this.#file.dns.search_domain };
  }

  #addTokens(
    entries: readonly TokenEntry[],
    kind: TokenGrant['kind'],
    owner: string,
    path: Path,
  ): void {
    for (const [i, entry] of entries.entries()) {
      const { token, hash, name, expires } =
        typeof entry === 'string'
          ? { token: entry, hash: undefined, name: undefined, expires: undefined }
          : entry;
      const secret = hash ?? token ?? '';
      const digest = /^sha256:[0-9a-f]{64}$/.test(secret)
        ? secret.slice('sha256:'.length)
        : tokenHash(this.#deps.crypto, secret);
      const other = this.#tokens.get(digest);
      if (other)
        this.#fault([...path, i], `this token already belongs to ${other.kind} "${other.owner}"`);
      else this.#tokens.set(digest, { kind, owner, name: name ?? '', expiresAt: timeOf(expires) });
    }
  }

  #isNew(seen: ReadonlyMap<string, unknown>, name: string, path: Path): boolean {
    if (seen.has(name)) this.#fault(path, `the name "${name}" is used twice`);
    return !seen.has(name);
  }

  #requireGroup(group: string, path: Path): void {
    if (!this.#file.groups.includes(group))
      this.#fault(path, unknownName('group', group, this.#file.groups));
  }

  #idOf(kind: NamedKind, name: string, written: string | undefined, path: Path): string {
    const id =
      written?.toLowerCase() ??
      this.#deps.ids.idOf(kind, name, () => randomUuid(this.#deps.crypto));
    if (this.#usedIds.has(id)) this.#fault(path, `the id ${id} is used twice`);
    this.#usedIds.add(id);
    return id;
  }
}

function unknownName(kind: string, name: string, known: readonly string[]): string {
  const names = known.length > 0 ? known.join(', ') : '(none is defined)';
  return `unknown ${kind} "${name}"; allowed: ${names}`;
}

function locationOf(entry: LocationEntry | undefined): Location | undefined {
  return entry && { latitude: entry.latitude, longitude: entry.longitude };
}

function timeOf(text: string | undefined): UnixMillis | undefined {
  return text === undefined ? undefined : parseTimestamp(text);
}

/** `90s`, `15m`, `8h`, `30d`; the form is checked before. */
export function durationMs(text: string): number {
  const unit = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }[text.slice(-1)] ?? 0;
  return Number(text.slice(0, -1)) * unit;
}
