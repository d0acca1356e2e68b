// Setting up the NAT of a domain (data-plane 9.2, 9.3): what is asked for, whether it may be, and its effect on the client.
//
// Beyond the reference: proxy addresses are validated, the pattern is checked before anything is resolved or forgotten
// (data-plane 17.1, 17.2, 17.23), and a name cannot point back into the tunnel or at this host.

import type { IpAddress, IpNetwork } from '../../base/address.ts';
import { type ResourceId, resourceId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { isProxyAddress, isSentinelAddress } from '../../wire/control/address-plan.ts';
import type { AssignedIps } from '../../wire/control/p2p-control.ts';
import { dnsKey, dnsLabels } from '../../wire/dns/name.ts';
import type { ClientPeer } from './client-peer.ts';
import { usableAddress } from './real-address.ts';

// Specification (data-plane 9.1)
const MAX_PROXY_ADDRESSES = 8;

/** A set-up that was checked against the client's authorizations. */
export interface DomainSetup {
  readonly resource: ResourceId;
  /** As the client wrote it. */
  readonly domain: string;
  /** Folded for comparison. */
  readonly key: string;
  readonly proxies: readonly IpAddress[];
  /** It came with an authorization of the earliest generation, not in a control packet. */
  readonly isLegacy?: boolean;
}

export type SetupRefusal =
  | 'invalid-domain'
  | 'invalid-proxy-addresses'
  | 'not-authorized'
  | 'not-a-dns-resource'
  | 'pattern-mismatch';

export function checkSetup(client: ClientPeer, event: AssignedIps): DomainSetup | SetupRefusal {
  const { domain, proxyIps } = event;
  const labels = dnsLabels(domain);
  if (!labels || labels.length === 0) return 'invalid-domain';
  if (!areProxyAddresses(proxyIps)) return 'invalid-proxy-addresses';
  const resource = resourceId(event.resource);
  const authorization = client.authorizations.get(resource);
  if (!authorization) return 'not-authorized';
  if (authorization.resource.type !== 'dns') return 'not-a-dns-resource';
  if (authorization.pattern?.matches(domain) !== true) return 'pattern-mismatch';
  return { resource, domain, key: dnsKey(domain), proxies: proxyIps };
}

export interface AppliedSetup {
  /** The client had numbered its domains anew. */
  readonly wasReset: boolean;
  readonly addresses: readonly IpAddress[];
  /** Addresses that are never used. */
  readonly refused: readonly IpAddress[];
}

/** Maps the proxies to what the domain resolved to. The setup must have been checked just now. */
export function applySetup(
  client: ClientPeer,
  setup: DomainSetup,
  resolved: { readonly addresses: readonly IpAddress[]; readonly exceptions: readonly IpNetwork[] },
  now: Instant,
): AppliedSetup {
  const real: IpAddress[] = [];
  const refused: IpAddress[] = [];
  for (const address of resolved.addresses) {
    const usable = usableAddress(address, resolved.exceptions);
    if (usable === undefined) refused.push(address);
    else real.push(usable);
  }
  const { translations, authorizations, nat } = client;
  const wasReset = translations.isReassigned(setup.key, setup.proxies);
  if (wasReset) {
    authorizations.removeRoutes(translations.values());
    translations.clear();
    nat.clear();
  }
  authorizations.removeRoutes(translations.map(setup, real, now));
  authorizations.addRoutes(setup.proxies.flatMap((proxy) => translations.get(proxy) ?? []));
  client.notePolicyChanged();
  return { wasReset, addresses: real, refused };
}

/** In the proxy range, no sentinels, no duplicates, not too many (data-plane 17.1). */
function areProxyAddresses(addresses: readonly IpAddress[]): boolean {
  return (
    addresses.length > 0 &&
    addresses.length <= MAX_PROXY_ADDRESSES &&
    new Set(addresses).size === addresses.length &&
    addresses.every((address) => isProxyAddress(address) && !isSentinelAddress(address))
  );
}
