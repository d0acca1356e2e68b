// Addresses as the model sees them: hex text, 8 digits for IPv4 and 32 for IPv6. They compare, sort and serve as keys as they are.
// Ranges are those of data-plane 1.1, 7.5 and 17.7. Written from RFC 4291 §2.2 and data-plane; it shares no code with the product.

export type Address = string;

export interface Network {
  readonly base: Address;
  readonly length: number;
}

export function address(text: string): Address {
  const parsed = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  if (parsed === undefined) throw new Error(`not an address: ${text}`);
  return parsed;
}

export function network(text: string): Network {
  const [base = '', length] = text.split('/');
  const parsed = address(base);
  return { base: parsed, length: length === undefined ? parsed.length * 4 : Number(length) };
}

export function isIpv4(value: Address): boolean {
  return value.length === 8;
}

export function contains({ base, length }: Network, value: Address): boolean {
  if (base.length !== value.length) return false;
  const shift = BigInt(base.length * 4 - length);
  return BigInt(`0x${base}`) >> shift === BigInt(`0x${value}`) >> shift;
}

/** For people: dotted for IPv4, eight groups for IPv6. */
export function show(value: Address): string {
  if (isIpv4(value)) return (value.match(/../g) ?? []).map((byte) => parseInt(byte, 16)).join('.');
  return (value.match(/..../g) ?? []).map((group) => parseInt(group, 16).toString(16)).join(':');
}

export function addressOfBytes(bytes: Uint8Array): Address {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function parseIpv4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  if (!parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) return undefined;
  return parts.map((part) => Number(part).toString(16).padStart(2, '0')).join('');
}

function parseIpv6(text: string): Address | undefined {
  const [head = '', tail] = text.split('::');
  const left = groups(head);
  const right = groups(tail ?? '');
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const all = [...left, ...Array.from({ length: missing }, () => '0'), ...right];
  if (!all.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return all.map((group) => group.toLowerCase().padStart(4, '0')).join('');
}

function groups(text: string): string[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    const embedded = group.includes('.') ? parseIpv4(group) : undefined;
    return embedded ? [embedded.slice(0, 4), embedded.slice(4)] : [group];
  });
}

function inAny(...texts: string[]): (value: Address) => boolean {
  const networks = texts.map(network);
  return (value) => networks.some((entry) => contains(entry, value));
}

/** data-plane 1.1. */
export const isTunnel: (value: Address) => boolean = inAny('100.64.0.0/11', 'fd00:2021:1111::/107');
export const isProxy: (value: Address) => boolean = inAny(
  '100.96.0.0/11',
  'fd00:2021:1111:8000::/107',
);
export const isSentinel: (value: Address) => boolean = inAny(
  '100.100.111.0/24',
  'fd00:2021:1111:8000:100:100:111:0/120',
);
export const isMulticast: (value: Address) => boolean = inAny('224.0.0.0/4', 'ff00::/8');
/** IPv4 inside IPv6 on the wire (docs/wire/data-plane.md: malformed). */
export const isMapped: (value: Address) => boolean = inAny('::ffff:0:0/96');

const isSpecial = inAny(
  ...['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '127.0.0.0/8', '169.254.0.0/16'],
  ...['100.64.0.0/10', '224.0.0.0/4', '240.0.0.0/4', '0.0.0.0/8', '192.0.0.0/24'],
  ...['::1/128', '::/128', '::ffff:0:0/96', 'fc00::/7', 'fe80::/10', 'ff00::/8', '2002::/16'],
);
/** Networks for documentation and benchmarks: refused, but where the portal's relays are in them (docs/wire/data-plane.md). */
const LABORATORIES = [
  ...['192.0.2.0/24', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32'],
].map(network);
const isNat64 = inAny('64:ff9b::/96');

/** What an Internet resource never leads to: data-plane 7.5, 17.7 and docs/wire/data-plane.md, but for the gateway's own host. */
export function isInternetRejected(value: Address, relays: readonly Address[]): boolean {
  const isRefused = (candidate: Address): boolean =>
    isSpecial(candidate) ||
    LABORATORIES.some(
      (laboratory) =>
        contains(laboratory, candidate) && !relays.some((relay) => contains(laboratory, relay)),
    );
  return isRefused(value) || (isNat64(value) && isRefused(value.slice(24)));
}
