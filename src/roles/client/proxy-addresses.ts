// Proxy addresses: what the stub resolver answers for a name of a DNS resource. Four IPv4 and four IPv6 addresses for each name, handed
// out in ascending order and never taken back (client 10.1, data-plane 11.1), so that a stale answer in some cache never leads to
// another name.

import { type IpAddress, type IpNetwork, ipBytes, ipFromBytes } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import { PROXY_NETWORK_IPV4, PROXY_NETWORK_IPV6 } from '../../wire/control/address-plan.ts';

// Specification: data-plane 1.1 and 11.1.

const IPV4_RANGE = { network: PROXY_NETWORK_IPV4, firstOffset: 1, lastOffset: 2 ** 21 - 2 };
const IPV6_RANGE = {
  network: PROXY_NETWORK_IPV6,
  firstOffset: 0,
  lastOffset: 2 ** 21 - 1,
};
/** 100.100.111.0/24 as offsets into the IPv4 range. The IPv6 sentinels lie outside the IPv6 range. */
const IPV4_SENTINELS = { first: 0x04_6f00, last: 0x04_6fff };
const ADDRESSES_PER_FAMILY = 4;

export interface ProxyAddresses {
  readonly ipv4: readonly IpAddress[];
  readonly ipv6: readonly IpAddress[];
}

export class ProxyAddressTable {
  readonly #byName = new Map<string, ProxyAddresses>();
  readonly #nameOf = new Map<IpAddress, string>();
  #nextIpv4: number;
  #nextIpv6: number;

  /** `namesBefore` names were given addresses before, by an earlier session of this process: theirs are not given again. */
  constructor(namesBefore = 0) {
    const used = namesBefore * ADDRESSES_PER_FAMILY;
    const ipv4 = IPV4_RANGE.firstOffset + used;
    const sentinels = IPV4_SENTINELS.last - IPV4_SENTINELS.first + 1;
    this.#nextIpv4 = ipv4 > IPV4_SENTINELS.first ? ipv4 + sentinels : ipv4;
    this.#nextIpv6 = IPV6_RANGE.firstOffset + used;
  }

  /** Addresses of `name` (lower case, no final dot), assigned now if it has none. Fewer than four only when a range is used up. */
  getOrAssign(name: string): ProxyAddresses {
    const known = this.#byName.get(name);
    if (known) return known;
    const assigned = { ipv4: this.#takeIpv4(), ipv6: this.#takeIpv6() };
    // Nothing left: nothing to remember either, so that the table ends where the ranges end.
    if (assigned.ipv4.length + assigned.ipv6.length === 0) return assigned;
    this.#byName.set(name, assigned);
    for (const address of [...assigned.ipv4, ...assigned.ipv6]) this.#nameOf.set(address, name);
    return assigned;
  }

  find(name: string): ProxyAddresses | undefined {
    return this.#byName.get(name);
  }

  nameOf(address: IpAddress): string | undefined {
    return this.#nameOf.get(address);
  }

  names(): IterableIterator<string> {
    return this.#byName.keys();
  }

  get count(): number {
    return this.#byName.size;
  }

  #takeIpv4(): IpAddress[] {
    const out: IpAddress[] = [];
    while (out.length < ADDRESSES_PER_FAMILY && this.#nextIpv4 <= IPV4_RANGE.lastOffset) {
      if (this.#nextIpv4 === IPV4_SENTINELS.first) this.#nextIpv4 = IPV4_SENTINELS.last + 1;
      out.push(addressAt(IPV4_RANGE.network, this.#nextIpv4++));
    }
    return out;
  }

  #takeIpv6(): IpAddress[] {
    const out: IpAddress[] = [];
    while (out.length < ADDRESSES_PER_FAMILY && this.#nextIpv6 <= IPV6_RANGE.lastOffset) {
      out.push(addressAt(IPV6_RANGE.network, this.#nextIpv6++));
    }
    return out;
  }
}

function addressAt(range: IpNetwork, offset: number): IpAddress {
  const bytes = ipBytes(range.address);
  for (let i = 1, rest = offset; i <= 4; i++, rest = Math.floor(rest / 256)) {
    const index = bytes.length - i;
    bytes[index] = at(bytes, index) + (rest % 256);
  }
  return ipFromBytes(bytes);
}
