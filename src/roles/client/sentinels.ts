// Sentinel addresses: the DNS servers that the client gives to the system, one for each effective upstream server and of its family (client 10.1).
// A change of the set of servers makes a new mapping that skips the addresses used before, so that no program keeps asking a sentinel that
// meanwhile means another server.

import { type Endpoint, endpoint, familyOf, type IpAddress, parseIp } from '../../base/address.ts';
import { assert } from '../../base/errors.ts';
import { isSentinelAddress } from '../../wire/control/address-plan.ts';
import type { ClientInterface } from '../../wire/portal/client-messages.ts';

// Specification: client 10.1, 5.1.
const DNS_PORT = 53;
const SENTINELS_PER_FAMILY = 254;

export interface Sentinel {
  readonly address: IpAddress;
  readonly upstream: Endpoint;
  /** Set by the portal, so it may lie inside a resource; false: a server of the host itself, reached outside of the tunnel. */
  readonly isFromPortal: boolean;
}

export class Sentinels {
  #current: readonly Sentinel[] = [];
  #nextIpv4 = 1;
  #nextIpv6 = 0;

  /** True if the mapping changed. */
  update(settings: ClientInterface, systemServers: readonly IpAddress[]): boolean {
    const portalServers = portalServersOf(settings);
    const isFromPortal = portalServers.length > 0;
    const wanted = [...new Set(isFromPortal ? portalServers : systemServers)].filter(
      (address) => !isSentinelAddress(address),
    );
    // The same servers in another order are the same set (client 10.1).
    const before = this.#current.map(({ upstream }) => upstream.address);
    const isSameSet = wanted.toSorted().join(' ') === before.sort().join(' ');
    if (isSameSet && this.#isFromPortal === (wanted.length > 0 && isFromPortal)) return false;
    this.#current = wanted.map((address) => ({
      address: this.#take(address),
      upstream: endpoint(address, DNS_PORT),
      isFromPortal,
    }));
    return true;
  }

  get all(): readonly Sentinel[] {
    return this.#current;
  }

  find(address: IpAddress): Sentinel | undefined {
    return this.#current.find((sentinel) => sentinel.address === address);
  }

  get #isFromPortal(): boolean {
    return this.#current[0]?.isFromPortal ?? false;
  }

  /** The range is small; after all of it was used it begins anew. */
  #take(upstream: IpAddress): IpAddress {
    const isIpv4 = familyOf(upstream) === 4;
    const number = (isIpv4 ? this.#nextIpv4++ : this.#nextIpv6++) % SENTINELS_PER_FAMILY;
    const text = isIpv4
      ? `100.100.111.${number === 0 ? SENTINELS_PER_FAMILY : number}`
      : `fd00:2021:1111:8000:100:100:111:${number.toString(16)}`;
    const address = parseIp(text);
    assert(address !== undefined, 'a sentinel is an address');
    return address;
  }
}

function portalServersOf(settings: ClientInterface): IpAddress[] {
  if (settings.upstreamDo53.length > 0) return settings.upstreamDo53.map(({ ip }) => ip);
  return settings.upstreamDns.map(({ address }) => address.address);
}
