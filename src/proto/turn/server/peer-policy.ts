// Which peers a relay talks to. connlib's relay talks to any (relay 10); this one refuses what only its own host could answer:
// loopback, link-local (among them the metadata services of clouds), multicast, broadcast, unspecified, port 0.

import {
  type Endpoint,
  type IpAddress,
  type IpNetwork,
  ipBytes,
  ipFromBytes,
  networkContains,
  parseNetwork,
} from '../../../base/address.ts';

// Implementation
const LOOPBACK = networks('127.0.0.0/8', '::1/128');
const NEVER = networks(
  '0.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '255.255.255.255/32',
  '::/128',
  'fe80::/10',
  'ff00::/8',
);

export interface PeerPolicy {
  /** For tests and labs on one machine. */
  readonly allowsLoopback: boolean;
  readonly denied: readonly IpNetwork[];
}

export function isPeerAllowed({ address, port }: Endpoint, policy: PeerPolicy): boolean {
  return port !== 0 && isAddressAllowed(address, policy);
}

export function isAddressAllowed(address: IpAddress, policy: PeerPolicy): boolean {
  const plain = withoutMapping(address);
  const isIn = (list: readonly IpNetwork[]): boolean =>
    list.some((network) => networkContains(network, plain));
  if (isIn(NEVER) || isIn(policy.denied)) return false;
  return policy.allowsLoopback || !isIn(LOOPBACK);
}

/** RFC 4291 §2.5.5.2: the kernel sends to `::ffff:127.0.0.1` by IPv4. */
function withoutMapping(address: IpAddress): IpAddress {
  return address.startsWith('::ffff:') && address.includes('.')
    ? ipFromBytes(ipBytes(address).subarray(12))
    : address;
}

function networks(...texts: readonly string[]): readonly IpNetwork[] {
  return texts.flatMap((text) => parseNetwork(text) ?? []);
}
