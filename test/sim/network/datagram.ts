// A UDP datagram of the virtual Internet, and who may watch it.

import { type Endpoint, parseEndpoint } from '../../../src/base/address.ts';
import type { Instant } from '../../../src/base/time.ts';

export interface Datagram {
  /** Changes at each NAT. */
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly payload: Uint8Array;
  readonly ecn: number;
  /** Name of the host that sent it. */
  readonly origin: string;
}

/** Why the network did not deliver a datagram. */
export type NetworkDrop =
  | 'no-source-address'
  | 'interface-down'
  | 'host-asleep'
  | 'no-route'
  | 'no-listener'
  | 'partition'
  | 'loss'
  | 'burst-loss'
  | 'queue-full'
  | 'too-big'
  | 'firewall'
  | 'family-not-routed'
  | 'no-mapping'
  | 'filtered'
  | 'no-hairpin'
  | 'ports-exhausted'
  | 'rebooting'
  | 'dropped-by-test';

/** Sees what happens on the wire; all methods are called with the datagram as it is there and then. */
export interface NetworkTap {
  sent?(datagram: Datagram, now: Instant): void;
  delivered?(datagram: Datagram, host: string, now: Instant): void;
  dropped?(datagram: Datagram, reason: NetworkDrop, where: string, now: Instant): void;
}

/** `1.2.3.4:80` or `[2001:db8::1]:80`, which must be right. */
export function endpointOf(text: string): Endpoint {
  const parsed = parseEndpoint(text);
  if (!parsed) throw new Error(`not an endpoint: ${text}`);
  return parsed;
}

/** UDP and IP headers around a payload (RFC 768, RFC 791 §3.1, RFC 8200 §3). */
export function wireLength({ payload, destination }: Datagram): number {
  return payload.length + (destination.address.includes(':') ? 48 : 28);
}
