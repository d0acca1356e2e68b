// What a response says about the addresses of a name (RFC 1034 §3.6.2, RFC 2308): addresses, that there are none, or another name to ask
// for. Follows the chain of aliases inside the response; owner names are compared without case, records of other types and names are
// passed over.

import type { IpAddress } from '../../base/address.ts';
import { DNS_RCODE, type DnsMessage, type DnsQuestion } from './message.ts';
import { dnsKey } from './name.ts';
import { DNS_TYPE, type DnsRecord } from './records.ts';

// Implementation
/** Aliases that are followed, in one response and over several. */
export const MAX_ALIASES = 16;
/** RFC 2308 §5 suggests one to three hours at most; a name that appears should be found sooner. */
const MAX_NEGATIVE_TTL_S = 300;
/** Without an SOA nothing says how long (RFC 2308 §5); long enough for a burst. */
const DEFAULT_NEGATIVE_TTL_S = 2;
/** RFC 2181 §8: more than 31 bits mean zero. */
const MAX_TTL_S = 0x7fff_ffff;

export type DnsFinding =
  | {
      readonly kind: 'addresses';
      readonly addresses: readonly IpAddress[];
      readonly ttlSeconds: number;
    }
  | { readonly kind: 'nothing'; readonly ttlSeconds: number }
  /** The chain leads to a name that the response says nothing about. */
  | {
      readonly kind: 'alias';
      readonly name: string;
      readonly aliases: number;
      readonly ttlSeconds: number;
    }
  /** The server cannot say, or its aliases never end. */
  | { readonly kind: 'failed' };

/** `question` is of type A or AAAA. TTLs are the least along the chain. */
export function findingOf(message: DnsMessage, question: DnsQuestion): DnsFinding {
  const { rcode, answers } = message;
  if (rcode !== DNS_RCODE.noError && rcode !== DNS_RCODE.nameError) return { kind: 'failed' };
  let key = dnsKey(question.name);
  let ttlSeconds = MAX_TTL_S;
  for (let aliases = 0; aliases <= MAX_ALIASES; aliases++) {
    const here = answers.filter(
      (record) => dnsKey(record.name) === key && record.class === question.class,
    );
    const found = here.filter(({ type }) => type === question.type);
    const addresses = found.flatMap(({ data }) => (data.kind === 'address' ? [data.address] : []));
    if (addresses.length > 0) {
      return { kind: 'addresses', addresses, ttlSeconds: leastTtl(ttlSeconds, found) };
    }
    const alias = here.find(({ type }) => type === DNS_TYPE.cname);
    if (alias?.data.kind !== 'name') {
      if (aliases === 0 || rcode === DNS_RCODE.nameError || soaOf(message)) {
        return { kind: 'nothing', ttlSeconds: Math.min(ttlSeconds, negativeTtl(message)) };
      }
      return { kind: 'alias', name: key, aliases, ttlSeconds };
    }
    ttlSeconds = leastTtl(ttlSeconds, [alias]);
    key = dnsKey(alias.data.name);
  }
  return { kind: 'failed' };
}

function leastTtl(before: number, records: readonly DnsRecord[]): number {
  return Math.min(
    before,
    ...records.map(({ ttlSeconds }) => (ttlSeconds > MAX_TTL_S ? 0 : ttlSeconds)),
  );
}

/** RFC 2308 §5: the lesser of the SOA's own TTL and its minimum. */
function negativeTtl(message: DnsMessage): number {
  const soa = soaOf(message);
  if (soa?.data.kind !== 'soa') return DEFAULT_NEGATIVE_TTL_S;
  return Math.min(MAX_NEGATIVE_TTL_S, leastTtl(soa.data.minimum, [soa]));
}

function soaOf({ authorities }: DnsMessage): DnsRecord | undefined {
  return authorities.find(({ type }) => type === DNS_TYPE.soa);
}
