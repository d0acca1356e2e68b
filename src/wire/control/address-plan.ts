// The address plan every client and gateway share (data-plane 1.1): tunnel addresses of the peers, proxy addresses that
// clients invent for domains, and the sentinels a client's stub resolver listens on. Text forms and hot word forms.

import {
  type IpAddress,
  type IpNetwork,
  networkContains,
  parseNetwork,
  writeAddressWords,
} from '../../base/address.ts';
import { int32At } from '../../base/bytes.ts';
import { assert } from '../../base/errors.ts';

/** Addresses of all clients and gateways, allocated by the portal; also the routes of the tunnel device. */
export const TUNNEL_NETWORK_IPV4: IpNetwork = fixed('100.64.0.0/11');
export const TUNNEL_NETWORK_IPV6: IpNetwork = fixed('fd00:2021:1111::/107');
/** Addresses a client gives to the domains of DNS resources. */
export const PROXY_NETWORK_IPV4: IpNetwork = fixed('100.96.0.0/11');
export const PROXY_NETWORK_IPV6: IpNetwork = fixed('fd00:2021:1111:8000::/107');
/** Addresses of a client's stub resolver; never given to a domain. */
export const SENTINEL_NETWORK_IPV4: IpNetwork = fixed('100.100.111.0/24');
export const SENTINEL_NETWORK_IPV6: IpNetwork = fixed('fd00:2021:1111:8000:100:100:111:0/120');

/** Where a gateway serves DNS on its tunnel addresses (operations 10.2). */
export const GATEWAY_DNS_PORT = 53_535;

const TUNNEL_WORDS_IPV4 = words(TUNNEL_NETWORK_IPV4);
const TUNNEL_WORDS_IPV6 = words(TUNNEL_NETWORK_IPV6);
const PROXY_WORDS_IPV4 = words(PROXY_NETWORK_IPV4);
const PROXY_WORDS_IPV6 = words(PROXY_NETWORK_IPV6);
/** Host bits of a /11 in the last word of an IPv4, and of a /107 in the last word of an IPv6 address. */
const HOST_BITS = 0x1fffff;

export function isTunnelAddress(address: IpAddress): boolean {
  return (
    networkContains(TUNNEL_NETWORK_IPV4, address) || networkContains(TUNNEL_NETWORK_IPV6, address)
  );
}

export function isProxyAddress(address: IpAddress): boolean {
  return (
    networkContains(PROXY_NETWORK_IPV4, address) || networkContains(PROXY_NETWORK_IPV6, address)
  );
}

export function isSentinelAddress(address: IpAddress): boolean {
  return (
    networkContains(SENTINEL_NETWORK_IPV4, address) ||
    networkContains(SENTINEL_NETWORK_IPV6, address)
  );
}

/** Hot: `isTunnelAddress` of the four words at `index`. */
export function isTunnelWords(source: Int32Array, index: number): boolean {
  return matches(source, index, TUNNEL_WORDS_IPV4) || matches(source, index, TUNNEL_WORDS_IPV6);
}

/** Hot: `isProxyAddress` of the four words at `index`. */
export function isProxyWords(source: Int32Array, index: number): boolean {
  return matches(source, index, PROXY_WORDS_IPV4) || matches(source, index, PROXY_WORDS_IPV6);
}

function matches(source: Int32Array, index: number, base: Int32Array): boolean {
  return (
    int32At(source, index) === int32At(base, 0) &&
    int32At(source, index + 1) === int32At(base, 1) &&
    int32At(source, index + 2) === int32At(base, 2) &&
    (int32At(source, index + 3) & ~HOST_BITS) === int32At(base, 3)
  );
}

function words(base: IpNetwork): Int32Array {
  const out = new Int32Array(4);
  writeAddressWords(base.address, out, 0);
  return out;
}

function fixed(text: string): IpNetwork {
  const parsed = parseNetwork(text);
  assert(parsed !== undefined, 'networks of the address plan are well-formed');
  return parsed;
}
