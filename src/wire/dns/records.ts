// DNS resource records (RFC 1035 §3.2, RFC 3596, RFC 2782, RFC 6891): the types this system makes or looks into, and all
// others as bytes (RFC 3597).

import { type IpAddress, ipBytes, ipFromBytes } from '../../base/address.ts';
import { at, concat, viewOf } from '../../base/bytes.ts';
import { DnsNameWriter, parseDnsName } from './name.ts';

export const DNS_TYPE = {
  a: 1,
  ns: 2,
  cname: 5,
  soa: 6,
  ptr: 12,
  mx: 15,
  txt: 16,
  aaaa: 28,
  srv: 33,
  opt: 41,
  https: 65,
  any: 255,
} as const;

export const DNS_CLASS = { internet: 1, any: 255 } as const;

export type DnsData =
  | { readonly kind: 'address'; readonly address: IpAddress }
  /** CNAME, NS, PTR. */
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'mx'; readonly preference: number; readonly exchange: string }
  | {
      readonly kind: 'srv';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: string;
    }
  | { readonly kind: 'txt'; readonly strings: readonly Uint8Array[] }
  | {
      readonly kind: 'soa';
      readonly primary: string;
      readonly mailbox: string;
      readonly serial: number;
      readonly refresh: number;
      readonly retry: number;
      readonly expire: number;
      readonly minimum: number;
    }
  | { readonly kind: 'raw'; readonly bytes: Uint8Array };

export interface DnsRecord {
  readonly name: string;
  readonly type: number;
  /** OPT: the UDP payload its sender can take (RFC 6891 §6.1.2). */
  readonly class: number;
  /** OPT: extended RCODE and flags (RFC 6891 §6.1.3). */
  readonly ttlSeconds: number;
  readonly data: DnsData;
}

/** Data of a record of `type` at `offset` of a whole message; `undefined` if it does not fit its type. */
export function parseDnsData(
  message: Uint8Array,
  type: number,
  offset: number,
  end: number,
): DnsData | undefined {
  const view = viewOf(message);
  switch (type) {
    case DNS_TYPE.a:
    case DNS_TYPE.aaaa:
      if (end - offset !== (type === DNS_TYPE.a ? 4 : 16)) return undefined;
      return { kind: 'address', address: ipFromBytes(message.slice(offset, end)) };
    case DNS_TYPE.cname:
    case DNS_TYPE.ns:
    case DNS_TYPE.ptr: {
      const name = nameTo(message, offset, end);
      return name === undefined ? undefined : { kind: 'name', name };
    }
    case DNS_TYPE.mx: {
      const exchange = end - offset > 2 ? nameTo(message, offset + 2, end) : undefined;
      if (exchange === undefined) return undefined;
      return { kind: 'mx', preference: view.getUint16(offset), exchange };
    }
    case DNS_TYPE.srv: {
      const target = end - offset > 6 ? nameTo(message, offset + 6, end) : undefined;
      if (target === undefined) return undefined;
      const [priority, weight, port] = [0, 2, 4].map((i) => view.getUint16(offset + i));
      return {
        kind: 'srv',
        priority: priority ?? 0,
        weight: weight ?? 0,
        port: port ?? 0,
        target,
      };
    }
    case DNS_TYPE.txt:
      return parseTxt(message, offset, end);
    case DNS_TYPE.soa:
      return parseSoa(message, offset, end);
    default:
      return { kind: 'raw', bytes: message.slice(offset, end) };
  }
}

/** Bytes of `data` when written at `offset`; `undefined` if a name in it is none. */
export function writeDnsData(
  data: DnsData,
  offset: number,
  names: DnsNameWriter,
): Uint8Array | undefined {
  switch (data.kind) {
    case 'address':
      return ipBytes(data.address);
    case 'name':
      return names.write(data.name, offset);
    case 'mx':
      return prefixed([data.preference], names.write(data.exchange, offset + 2));
    case 'srv':
      // RFC 2782: the target is not compressed.
      return prefixed([data.priority, data.weight, data.port], uncompressed(data.target));
    case 'txt':
      return concat(...data.strings.flatMap((text) => [Uint8Array.of(text.length), text]));
    case 'soa': {
      const primary = names.write(data.primary, offset);
      const mailbox = primary && names.write(data.mailbox, offset + primary.length);
      if (!primary || !mailbox) return undefined;
      const numbers = new Uint8Array(20);
      const view = viewOf(numbers);
      const { serial, refresh, retry, expire, minimum } = data;
      for (const [i, value] of [serial, refresh, retry, expire, minimum].entries())
        view.setUint32(i * 4, value);
      return concat(primary, mailbox, numbers);
    }
    case 'raw':
      return data.bytes;
  }
}

function nameTo(message: Uint8Array, offset: number, end: number): string | undefined {
  const parsed = parseDnsName(message, offset);
  return parsed?.end === end ? parsed.name : undefined;
}

function parseTxt(message: Uint8Array, offset: number, end: number): DnsData | undefined {
  const strings: Uint8Array[] = [];
  for (let i = offset; i < end; ) {
    const next = i + 1 + at(message, i);
    if (next > end) return undefined;
    strings.push(message.slice(i + 1, next));
    i = next;
  }
  return strings.length > 0 ? { kind: 'txt', strings } : undefined;
}

function parseSoa(message: Uint8Array, offset: number, end: number): DnsData | undefined {
  const primary = parseDnsName(message, offset);
  const mailbox = primary && parseDnsName(message, primary.end);
  if (!primary || mailbox?.end !== end - 20) return undefined;
  const view = viewOf(message);
  const number = (i: number): number => view.getUint32(end - 20 + i * 4);
  return {
    kind: 'soa',
    primary: primary.name,
    mailbox: mailbox.name,
    serial: number(0),
    refresh: number(1),
    retry: number(2),
    expire: number(3),
    minimum: number(4),
  };
}

function prefixed(
  numbers: readonly number[],
  name: Uint8Array | undefined,
): Uint8Array | undefined {
  return name && concat(...numbers.map((n) => Uint8Array.of(n >> 8, n & 0xff)), name);
}

function uncompressed(name: string): Uint8Array | undefined {
  return new DnsNameWriter().write(name, 0);
}
