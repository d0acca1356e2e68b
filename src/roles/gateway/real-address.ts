// Which addresses of a resolved name may be real addresses (beyond the reference). Whoever controls a record under an allowed
// pattern must not lead the gateway to its own loopback, to a link-local service such as a cloud's metadata, to other peers, or
// to no single place. Checked at every refresh, on the address that is then used. The owner of a site may list exceptions.

import {
  type IpAddress,
  type IpNetwork,
  ipBytes,
  ipFromBytes,
  networkContains,
  parseNetwork,
} from '../../base/address.ts';
import { isProxyAddress, isTunnelAddress } from '../../wire/control/address-plan.ts';

// Specification (RFC 6890, RFC 4291 §2.5.5.2, RFC 6052 §2.1)
const NEVER_REAL: readonly IpNetwork[] = networks(
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/3',
  '::/127',
  'fe80::/10',
  'ff00::/8',
);
const MAPPED = networks('::ffff:0:0/96');
const NAT64 = networks('64:ff9b::/96');

/** The address to use; an IPv4-mapped one is the IPv4 it contains. `undefined`: never. */
export function usableAddress(
  address: IpAddress,
  exceptions: readonly IpNetwork[],
): IpAddress | undefined {
  if (isIn(address, MAPPED)) return usableAddress(lastFourBytes(address), exceptions);
  if (isIn(address, exceptions)) return address;
  if (isIn(address, NAT64) && isSpecial(lastFourBytes(address))) return undefined;
  return isSpecial(address) ? undefined : address;
}

function isSpecial(address: IpAddress): boolean {
  return isTunnelAddress(address) || isProxyAddress(address) || isIn(address, NEVER_REAL);
}

function isIn(address: IpAddress, list: readonly IpNetwork[]): boolean {
  return list.some((network) => networkContains(network, address));
}

function lastFourBytes(address: IpAddress): IpAddress {
  return ipFromBytes(ipBytes(address).subarray(12));
}

function networks(...texts: readonly string[]): readonly IpNetwork[] {
  return texts.flatMap((text) => parseNetwork(text) ?? []);
}
