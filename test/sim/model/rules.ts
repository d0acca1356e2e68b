// What a resource allows, and which names a pattern means: data-plane 7.2, 8. The pattern matcher tries every way to read the pattern; slow and obvious.
// It shares no code with the product.

import type { Flow } from './packet.ts';

export type Filter =
  | { readonly protocol: 'icmp' }
  | { readonly protocol: 'tcp' | 'udp'; readonly first: number; readonly last: number };

/** `port`: the resource's, so the destination's towards it and the source's from it. */
export function allows(filters: readonly Filter[], kind: Flow['kind'], port: number): boolean {
  if (filters.length === 0) return true;
  return filters.some((filter) => {
    if (filter.protocol === 'icmp') return kind === 'echo' || kind === 'icmp';
    return filter.protocol === kind && filter.first <= port && port <= filter.last;
  });
}

/** The portal's JSON (portal-protocol 5.4). */
export function filterOfJson(json: {
  readonly protocol: string;
  readonly port_range_start?: number;
  readonly port_range_end?: number;
}): Filter {
  const { protocol, port_range_start: first = 0, port_range_end: last = 65_535 } = json;
  if (protocol === 'icmp') return { protocol };
  if (protocol === 'tcp' || protocol === 'udp') return { protocol, first, last };
  throw new Error(`no such filter: ${protocol}`);
}

/** docs/portal.md: `icmp`, `tcp`, `udp`, `tcp 443`, `udp 8000-8001`. */
export function filterOfText(text: string): Filter {
  const [protocol = '', range] = text.split(' ');
  const [first = '0', last = range === undefined ? '65535' : first] = range?.split('-') ?? [];
  return filterOfJson({ protocol, port_range_start: Number(first), port_range_end: Number(last) });
}

/** data-plane 8, without the quirk of its rule 1: a leading `*.` matches the bare parent in any case (client 10.2). */
export function matches(pattern: string, domain: string): boolean {
  const labels = domain.toLowerCase().split('.');
  const text = pattern.toLowerCase();
  if (text.startsWith('*.') && text.slice(2) === labels.join('.')) return true;
  return matchLabels(text.split('.'), labels);
}

function matchLabels(pattern: readonly string[], labels: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return labels.length === 0;
  if (first === '**') {
    // At the end of a pattern it stands for at least one label.
    const fewest = rest.length === 0 ? 1 : 0;
    for (let count = fewest; count <= labels.length; count++) {
      if (matchLabels(rest, labels.slice(count))) return true;
    }
    return false;
  }
  const [label, ...others] = labels;
  return label !== undefined && matchText(first, label) && matchLabels(rest, others);
}

function matchText(pattern: string, text: string): boolean {
  if (pattern === '') return text === '';
  if (pattern.startsWith('*')) {
    return matchText(pattern.slice(1), text) || (text !== '' && matchText(pattern, text.slice(1)));
  }
  if (text === '') return false;
  return (
    (pattern[0] === '?' || pattern[0] === text[0]) && matchText(pattern.slice(1), text.slice(1))
  );
}

/**
 * data-plane 8, the order of a client among several patterns: negative if `a` is the more specific one. From the right the first difference decides:
 * wildcards come after everything, `*` after `?`; of two ordinary characters the greater comes first; who ends first comes first.
 */
export function specificity(a: string, b: string): number {
  for (let i = 1; i <= Math.max(a.length, b.length); i++) {
    const [x, y] = [a.at(-i) ?? '', b.at(-i) ?? ''];
    if (a.length < i || b.length < i)
      return wild(x) || wild(y) ? wild(x) - wild(y) : x < y ? -1 : 1;
    if (x === y) continue;
    return wild(x) || wild(y) ? wild(x) - wild(y) : x > y ? -1 : 1;
  }
  return 0;
}

function wild(character: string): number {
  return character === '*' ? 2 : character === '?' ? 1 : 0;
}
