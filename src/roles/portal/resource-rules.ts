// What a resource may look like (portal 10.7.2, 10.2.2): DNS patterns, networks, port filters. Each function returns the
// checked value or a sentence that says what is wrong and what is allowed.

import {
  formatNetwork,
  type IpNetwork,
  networkContains,
  parseIp,
  parseNetwork,
} from '../../base/address.ts';
import type { Filter } from '../../wire/portal/common.ts';
import type { FilterEntry } from './policy-schema.ts';

// Specification

/** portal 10.2.2: ranges of the tunnel itself; no resource may lie in them. */
const RESERVED = ['100.64.0.0/10', 'fd00:2021:1111::/48'];
const LOOPBACK = ['127.0.0.0/8', '::1/128'];
/** RFC 1035 §2.3.4. */
const MAX_LABEL_LENGTH = 63;
const MAX_NAME_LENGTH = 253;

export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

const wrong = (problem: string): { ok: false; problem: string } => ({ ok: false, problem });

/** `10.0.0.0/8`, `2001:db8::/32` or a single address; host bits must be clear. */
export function checkNetwork(text: string): Checked<IpNetwork> {
  const network = parseNetwork(text);
  if (!network)
    return wrong(`"${text}" is not a network; allowed: 10.0.0.0/8, 2001:db8::/32 or one address`);
  const written = parseIp(text.split('/')[0] ?? '');
  const canonical = formatNetwork(network);
  if (written !== network.address)
    return wrong(`"${text}" has host bits set; the network is ${canonical}`);
  if (network.prefixLength === 0)
    return wrong('the whole address space is the resource type "internet"');
  for (const range of [...RESERVED, ...LOOPBACK]) {
    const reserved = parseNetwork(range);
    if (reserved && isInside(network, reserved))
      return wrong(`"${text}" lies in ${range}, which is reserved`);
  }
  return { ok: true, value: network };
}

function isInside(inner: IpNetwork, outer: IpNetwork): boolean {
  return inner.prefixLength >= outer.prefixLength && networkContains(outer, inner.address);
}

/** `**` is any number of labels, `*` characters inside one label, `?` one character. */
export function checkDnsPattern(text: string): Checked<string> {
  const pattern = text.toLowerCase();
  const labels = pattern.split('.');
  const top = labels.at(-1) ?? '';
  if (pattern.length > MAX_NAME_LENGTH)
    return wrong(`a name has at most ${MAX_NAME_LENGTH} characters`);
  for (const label of labels) {
    if (label === '' || label.length > MAX_LABEL_LENGTH)
      return wrong(`"${text}": each label has 1 to ${MAX_LABEL_LENGTH} characters`);
    if (label.includes('**') && label !== '**') return wrong(`"${text}": ** must be a whole label`);
    if (!/^[a-z0-9_*?-]+$/.test(label))
      return wrong(
        `"${text}": a label consists of letters, digits, "-", "_" and the wildcards * and ?`,
      );
  }
  if (/[*?]/.test(top)) return wrong(`"${text}": the last label must not contain wildcards`);
  if (top === 'localhost') return wrong('"localhost" cannot be a resource');
  if (parseIp(pattern) !== undefined) return wrong(`"${text}" is an address; use the type cidr`);
  return { ok: true, value: pattern };
}

interface PortRange {
  readonly start: number;
  readonly end: number;
}

/** All filters of a resource: rendered one per port entry, entries of a protocol may not overlap. */
export function checkFilters(entries: readonly FilterEntry[]): Checked<readonly Filter[]> {
  const filters: Filter[] = [];
  const seen: { protocol: string; range: PortRange }[] = [];
  for (const entry of entries) {
    const parsed = parseEntry(entry);
    if (!parsed.ok) return parsed;
    for (const { protocol, range } of parsed.value) {
      const all = range ?? { start: 0, end: 65_535 };
      const other = seen.find(
        (it) => it.protocol === protocol && it.range.start <= all.end && all.start <= it.range.end,
      );
      if (other)
        return wrong(
          `${protocol} ports ${all.start}-${all.end} overlap ${other.range.start}-${other.range.end}`,
        );
      seen.push({ protocol, range: all });
      filters.push(
        protocol === 'icmp'
          ? { protocol }
          : { protocol, portRangeStart: all.start, portRangeEnd: all.end },
      );
    }
  }
  return { ok: true, value: filters };
}

interface ParsedFilter {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly range: PortRange | undefined;
}

function parseEntry(entry: FilterEntry): Checked<readonly ParsedFilter[]> {
  if (typeof entry === 'string') return parseText(entry);
  if (entry.protocol === 'icmp' || entry.ports.length === 0) {
    return { ok: true, value: [{ protocol: entry.protocol, range: undefined }] };
  }
  const parsed: ParsedFilter[] = [];
  for (const port of entry.ports) {
    const range = parsePorts(String(port));
    if (!range)
      return wrong(`"${port}" is not a port; allowed: 1 to 65535, or a range such as 8000-8001`);
    parsed.push({ protocol: entry.protocol, range });
  }
  return { ok: true, value: parsed };
}

function parseText(text: string): Checked<readonly ParsedFilter[]> {
  const match = /^(tcp|udp|icmp)(?:[ /]+(.+))?$/.exec(text.trim().toLowerCase());
  const allowed = 'allowed: icmp, tcp, udp, "tcp 443", "udp 8000-8001"';
  if (!match || (match[1] === 'icmp' && match[2]))
    return wrong(`"${text}" is not a filter; ${allowed}`);
  const protocol = match[1] === 'icmp' ? 'icmp' : match[1] === 'udp' ? 'udp' : 'tcp';
  if (match[2] === undefined) return { ok: true, value: [{ protocol, range: undefined }] };
  const range = parsePorts(match[2]);
  return range
    ? { ok: true, value: [{ protocol, range }] }
    : wrong(`"${text}" is not a filter; ${allowed}`);
}

function parsePorts(text: string): PortRange | undefined {
  const match = /^\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?$/.exec(text);
  if (!match) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2] ?? match[1]);
  return start < 1 || end > 65_535 || start > end ? undefined : { start, end };
}
