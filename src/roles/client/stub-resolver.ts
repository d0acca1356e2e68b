// What the client's stub resolver answers by itself (client 10.2, data-plane 11.2): names of DNS resources get proxy addresses, proxy addresses get
// their names back, browsers are told to use the system's resolver; everything else is somebody else's to answer.

import { familyOf } from '../../base/address.ts';
import type { ResourceId } from '../../base/ids.ts';
import {
  DNS_RCODE,
  type DnsMessage,
  type DnsQuestion,
  dnsResponse,
  parseDnsMessage,
} from '../../wire/dns/message.ts';
import { addressOfReverseName, dnsKey } from '../../wire/dns/name.ts';
import { DNS_CLASS, DNS_TYPE, type DnsRecord } from '../../wire/dns/records.ts';
import type { ProxyAddressTable } from './proxy-addresses.ts';
import type { PatternEntry, ResourceTable } from './resource-table.ts';

// Specification: client 10.2.
const STUB_TTL_SECONDS = 1;
/** A browser that gets NXDOMAIN for it keeps to the system's resolver. */
const CANARY_NAME = 'use-application-dns.net';

export type StubDecision =
  | {
      readonly kind: 'answer';
      readonly response: DnsMessage;
      /** The resource name that was answered; its mapping on the gateways is to be refreshed. */
      readonly refreshedName: string | undefined;
    }
  /** `site`: the resource whose gateway answers from the site's view (client 10.2); none: whoever the sentinel stands for. */
  | {
      readonly kind: 'forward';
      readonly query: DnsMessage;
      readonly site: ResourceId | undefined;
    }
  | { readonly kind: 'drop'; readonly reason: 'dns-malformed' };

export class StubResolver {
  readonly #resources: ResourceTable;
  readonly #addresses: ProxyAddressTable;

  constructor(resources: ResourceTable, addresses: ProxyAddressTable) {
    this.#resources = resources;
    this.#addresses = addresses;
  }

  decide(bytes: Uint8Array): StubDecision {
    const query = parseDnsMessage(bytes);
    const [question, ...others] = query?.questions ?? [];
    if (!query || query.isResponse || query.opcode !== 0 || !question || others.length > 0) {
      return { kind: 'drop', reason: 'dns-malformed' };
    }
    const name = dnsKey(question.name);
    if (name === CANARY_NAME) return answer(query, DNS_RCODE.nameError, [], undefined);
    if (question.type === DNS_TYPE.ptr) return this.#answerPointer(query, question);
    const matching = this.#resources.matching(name);
    if (matching.length === 0) return { kind: 'forward', query, site: undefined };
    return this.#answerResource(query, question, name, matching);
  }

  #answerResource(
    query: DnsMessage,
    question: DnsQuestion,
    name: string,
    matching: readonly PatternEntry[],
  ): StubDecision {
    switch (question.type) {
      case DNS_TYPE.a:
      case DNS_TYPE.aaaa: {
        const records = this.#addressRecords(question, name, matching);
        return answer(query, DNS_RCODE.noError, records, name);
      }
      case DNS_TYPE.https:
        return answer(query, DNS_RCODE.noError, [], name);
      case DNS_TYPE.srv:
      case DNS_TYPE.txt:
        return { kind: 'forward', query, site: matching[0]?.resource.id };
      default:
        return { kind: 'forward', query, site: undefined };
    }
  }

  #addressRecords(
    question: DnsQuestion,
    name: string,
    matching: readonly PatternEntry[],
  ): DnsRecord[] {
    const addresses = this.#addresses.getOrAssign(name);
    const isIpv4 = question.type === DNS_TYPE.a;
    const excluded = isIpv4 ? 'ipv6_only' : 'ipv4_only';
    if (matching.every(({ resource }) => resource.ipStack === excluded)) return [];
    return (isIpv4 ? addresses.ipv4 : addresses.ipv6).map((address) => ({
      name: question.name,
      type: question.type,
      class: DNS_CLASS.internet,
      ttlSeconds: STUB_TTL_SECONDS,
      data: { kind: 'address', address },
    }));
  }

  #answerPointer(query: DnsMessage, question: DnsQuestion): StubDecision {
    const address = addressOfReverseName(question.name);
    const name = address && this.#addresses.nameOf(address);
    if (name === undefined) return { kind: 'forward', query, site: undefined };
    const record: DnsRecord = {
      name: question.name,
      type: DNS_TYPE.ptr,
      class: DNS_CLASS.internet,
      ttlSeconds: STUB_TTL_SECONDS,
      data: { kind: 'name', name },
    };
    return answer(query, DNS_RCODE.noError, [record], undefined);
  }
}

function answer(
  query: DnsMessage,
  rcode: number,
  records: readonly DnsRecord[],
  refreshedName: string | undefined,
): StubDecision {
  return { kind: 'answer', response: dnsResponse(query, rcode, records), refreshedName };
}

/** The addresses that an `AssignedIps` for this resource carries: all, or one family's (client 11.1). */
export function announcedAddresses(
  { resource }: PatternEntry,
  addresses: ReturnType<ProxyAddressTable['getOrAssign']>,
): readonly (typeof addresses.ipv4)[number][] {
  const all = [...addresses.ipv4, ...addresses.ipv6];
  if (resource.ipStack === 'dual') return all;
  const family = resource.ipStack === 'ipv4_only' ? 4 : 6;
  return all.filter((address) => familyOf(address) === family);
}
