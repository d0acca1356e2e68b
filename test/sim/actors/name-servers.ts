// The name servers of the sites, and those of the Internet: answers that change, chains, one family, nothing, no such name, silence. A gateway's own
// resolver asks both families and keeps an answer for its TTL (`io/dns/resolver.ts`).

import type { IpAddress } from '../../../src/base/address.ts';
import type { Instant } from '../../../src/base/time.ts';
import type { ResolveResult } from '../../../src/roles/gateway/events.ts';
import {
  DNS_RCODE,
  type DnsMessage,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../../src/wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE, type DnsRecord } from '../../../src/wire/dns/records.ts';
import type { NameAnswer } from '../steps/step.ts';
import type { NamePlan, WorldPlan } from '../world-plan.ts';

// Specification: data-plane 9.7.
const TIME_OUT_MS = 10_000;
// Implementation
const ANSWER_MS = 12;

export interface NameOutcome {
  readonly result: ResolveResult;
  readonly delayMs: number;
  readonly ttlMs: number;
}

export class NameServers {
  readonly #plans: readonly NamePlan[];
  readonly #answers = new Map<string, NameAnswer>();
  readonly #changed = new Map<string, Instant>();
  /** Addresses of each site, which answers count. */
  readonly #ipv4 = new Map<string, string[]>();
  readonly #ipv6 = new Map<string, string[]>();

  constructor(plan: WorldPlan) {
    this.#plans = plan.names;
    for (const { name, answer } of plan.names) this.#answers.set(name, answer);
    for (const { site, addresses } of plan.resourceHosts) {
      for (const address of addresses) {
        const list = address.includes(':') ? this.#ipv6 : this.#ipv4;
        list.set(site, [...(list.get(site) ?? []), address]);
      }
    }
  }

  get names(): readonly NamePlan[] {
    return this.#plans;
  }

  answerOf(name: string): NameAnswer | undefined {
    return this.#answers.get(name.toLowerCase());
  }

  set(name: string, answer: NameAnswer, now: Instant): void {
    this.#answers.set(name, answer);
    this.#changed.set(name, now);
  }

  /** When the answer became what it is. */
  changedAt(name: string): number {
    return this.#changed.get(name) ?? -Infinity;
  }

  /** What a name stands for in a site now. */
  addressesOf(name: string, site: string): string[] {
    const answer = this.answerOf(name);
    if (answer?.kind !== 'addresses') return [];
    const pick = (list: readonly string[] | undefined, indices: readonly number[]): string[] =>
      list && list.length > 0 ? indices.map((index) => list[index % list.length] ?? '') : [];
    return [...pick(this.#ipv4.get(site), answer.ipv4), ...pick(this.#ipv6.get(site), answer.ipv6)];
  }

  /** As the resolver of a gateway of that site gets it. */
  resolve(name: string, site: string): NameOutcome {
    const answer = this.answerOf(name);
    if (answer?.kind === 'time-out') {
      return { result: { kind: 'failed' }, delayMs: TIME_OUT_MS, ttlMs: 0 };
    }
    const addresses = this.addressesOf(name, site).map((text) => text as IpAddress);
    const ttlMs = answer?.kind === 'addresses' ? answer.ttlSeconds * 1000 : 0;
    return { result: { kind: 'resolved', addresses }, delayMs: ANSWER_MS, ttlMs };
  }

  /** The answer to a query on the wire; `undefined`: silence. */
  answerQuery(bytes: Uint8Array, site: string): Uint8Array | undefined {
    const query = parseDnsMessage(bytes);
    const [question] = query?.questions ?? [];
    if (!query || !question) return undefined;
    const answer = this.answerOf(question.name);
    if (answer?.kind === 'time-out') return undefined;
    if (answer === undefined || answer.kind === 'nxdomain') {
      return writeDnsMessage(dnsResponse(query, DNS_RCODE.nameError));
    }
    const answers = answer.kind === 'addresses' ? this.#records(question, answer, site) : [];
    const response: DnsMessage = { ...dnsResponse(query, DNS_RCODE.noError), answers };
    return writeDnsMessage(response);
  }

  #records(
    { name, type }: { name: string; type: number },
    answer: Extract<NameAnswer, { kind: 'addresses' }>,
    site: string,
  ): DnsRecord[] {
    const common = { class: DNS_CLASS.internet, ttlSeconds: answer.ttlSeconds };
    const records: DnsRecord[] = [];
    let owner = name;
    for (let i = 0; i < answer.chain; i++) {
      const next = `c${i}.${name}`;
      const data = { kind: 'name', name: next } as const;
      records.push({ ...common, name: owner, type: DNS_TYPE.cname, data });
      owner = next;
    }
    for (const address of this.addressesOf(name, site)) {
      const family = address.includes(':') ? DNS_TYPE.aaaa : DNS_TYPE.a;
      if (family !== type) continue;
      const data = { kind: 'address', address: address as IpAddress } as const;
      records.push({ ...common, name: owner, type, data });
    }
    return records;
  }
}
