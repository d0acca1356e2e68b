// What a resource's filters allow (data-plane 7.2). No filter at all allows every protocol; otherwise the list is an allow
// list: unions of TCP ports and of UDP ports, and all of ICMP or none. Other protocols are then refused.

import { at } from '../../base/bytes.ts';
import { TRANSPORT } from '../../wire/ip/parsed-packet.ts';

// Implementation
/** Different filter lists; when there are more, the pool begins anew. */
const MAX_POOLED = 4_096;

/** One item of a filter list; ports are inclusive. */
export type FilterRule =
  | { readonly protocol: 'icmp' }
  | {
      readonly protocol: 'tcp' | 'udp';
      readonly portRangeStart: number;
      readonly portRangeEnd: number;
    };

export class Rules {
  readonly #allowsAll: boolean;
  readonly #allowsIcmp: boolean;
  /** Pairs of first and last port, disjoint and ascending. */
  readonly #tcp: Uint16Array;
  readonly #udp: Uint16Array;

  /** A reversed range allows nothing (data-plane 17.20). */
  constructor(filters: readonly FilterRule[]) {
    this.#allowsAll = filters.length === 0;
    this.#allowsIcmp = filters.some(({ protocol }) => protocol === 'icmp');
    this.#tcp = portRanges(filters, 'tcp');
    this.#udp = portRanges(filters, 'udp');
  }

  /** Hot: `transport` is a `TRANSPORT`, `port` the resource's port (of TCP and UDP). */
  allows(transport: number, port: number): boolean {
    if (this.#allowsAll) return true;
    switch (transport) {
      case TRANSPORT.tcp:
        return contains(this.#tcp, port);
      case TRANSPORT.udp:
        return contains(this.#udp, port);
      case TRANSPORT.echo:
      case TRANSPORT.icmp:
        return this.#allowsIcmp;
      default:
        return false;
    }
  }
}

/** Equal filter lists have one `Rules`: policies repeat themselves, and what is shared stays near the processor. */
export class RulesPool {
  readonly #rules = new Map<string, Rules>();

  rulesOf(filters: readonly FilterRule[]): Rules {
    const key = filters.map(keyOf).join();
    const known = this.#rules.get(key);
    if (known) return known;
    if (this.#rules.size >= MAX_POOLED) this.#rules.clear();
    const rules = new Rules(filters);
    this.#rules.set(key, rules);
    return rules;
  }
}

function keyOf(filter: FilterRule): string {
  return filter.protocol === 'icmp'
    ? 'icmp'
    : `${filter.protocol} ${filter.portRangeStart}-${filter.portRangeEnd}`;
}

function portRanges(filters: readonly FilterRule[], protocol: 'tcp' | 'udp'): Uint16Array {
  const ranges = filters
    .flatMap((filter) =>
      filter.protocol === protocol && filter.portRangeStart <= filter.portRangeEnd
        ? [{ first: filter.portRangeStart, last: filter.portRangeEnd }]
        : [],
    )
    .sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const range of ranges) {
    const before = merged.at(-1);
    if (before && range.first <= before.last + 1) before.last = Math.max(before.last, range.last);
    else merged.push({ ...range });
  }
  return Uint16Array.from(merged.flatMap(({ first, last }) => [first, last]));
}

function contains(ranges: Uint16Array, port: number): boolean {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (port > at(ranges, middle * 2 + 1)) low = middle + 1;
    else if (port < at(ranges, middle * 2)) high = middle;
    else return true;
  }
  return false;
}
