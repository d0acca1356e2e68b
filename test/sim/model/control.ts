// Control packets inside the tunnel: data-plane 9.1, connectivity 4.8. Shares no code with the product.

import { type Address, address } from './address.ts';
import type { Json } from './gateway.ts';

const HEADER_LENGTH = 40;
const EVENT_LENGTH = 8;
const KINDS = ['assigned-ips', 'domain-status', 'goodbye'] as const;

export type Control =
  | { readonly kind: 'assigned-ips' | 'domain-status'; readonly json: Json }
  | { readonly kind: 'goodbye' | 'unknown' };

/** IPv6, next header 255, from `::` to `::`, with at least 8 bytes. */
export function isControl(bytes: Uint8Array): boolean {
  return (
    bytes.length >= HEADER_LENGTH + EVENT_LENGTH &&
    (bytes[0] ?? 0) >> 4 === 6 &&
    bytes[6] === 255 &&
    bytes.subarray(8, HEADER_LENGTH).every((byte) => byte === 0)
  );
}

export function readControl(bytes: Uint8Array): Control {
  const kind = KINDS[bytes[HEADER_LENGTH] ?? 255];
  if (kind === undefined || kind === 'goodbye') return { kind: kind ?? 'unknown' };
  const text = String.fromCharCode(...bytes.subarray(HEADER_LENGTH + EVENT_LENGTH));
  try {
    const json = JSON.parse(text);
    if (kind === 'assigned-ips') json.proxy_ips = json.proxy_ips.map(proxyAddress);
    return typeof json.domain === 'string' ? { kind, json } : { kind: 'unknown' };
  } catch {
    return { kind: 'unknown' };
  }
}

function proxyAddress(text: string): Address {
  return address(text);
}
