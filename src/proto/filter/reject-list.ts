// What an Internet resource never covers (data-plane 7.5): private, local and special networks, so that access to the
// Internet is no access to the gateway's own surroundings. Beyond the reference (data-plane 17.7) it also has the networks that
// were forgotten there, IPv4 embedded in NAT64 addresses, and the addresses of the gateway's own host.
//
// A site may have exceptions. NAT64 (64:ff9b::/96) is refused only where it leads to a refused IPv4 address: where an IPv6-only site
// reaches the IPv4 Internet, it does so through that prefix.

import {
  type IpAddress,
  type IpFamily,
  type IpNetwork,
  network,
  networkContains,
  parseNetwork,
} from '../../base/address.ts';
import { int32At } from '../../base/bytes.ts';
import { assert } from '../../base/errors.ts';
import { PrefixTable } from '../../base/prefix-table.ts';

// Specification (data-plane 7.5, 17.7).
const REJECTED: readonly IpNetwork[] = networks(
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '100.64.0.0/10',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '0.0.0.0/8',
  '192.0.0.0/24',
  '::/128',
  '::1/128',
  '::ffff:0:0/96',
  'fc00::/7',
  'fe80::/10',
  'ff00::/8',
  '2002::/16',
);
/** Documentation and benchmarks (RFC 5737, RFC 3849, RFC 2544): nowhere on the Internet, everywhere in laboratories. */
const LABORATORY: readonly IpNetwork[] = networks(
  '192.0.2.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '2001:db8::/32',
);
/** RFC 6052 §2.1: the last word is an IPv4 address. */
const NAT64_WORDS = [0x0064ff9b, 0, 0] as const;

export interface RejectListOptions {
  /** Addresses of the gateway's host. */
  readonly ownAddresses?: readonly IpAddress[];
  /** Networks that are reachable all the same; the longest prefix decides. */
  readonly exceptions?: readonly IpNetwork[];
}

export class InternetRejectList {
  readonly #networks = new PrefixTable<'rejected' | 'excepted'>();

  constructor({ ownAddresses = [], exceptions = [] }: RejectListOptions = {}) {
    for (const rejected of [...REJECTED, ...LABORATORY]) this.#networks.set(rejected, 'rejected');
    for (const excepted of exceptions) this.#networks.set(excepted, 'excepted');
    for (const address of ownAddresses) {
      this.#networks.set(network(address, address.includes(':') ? 128 : 32), 'rejected');
    }
  }

  rejects(family: IpFamily, words: Int32Array, index: number): boolean {
    const decided = this.#networks.longest(family, words, index);
    if (decided !== undefined) return decided === 'rejected';
    if (family === 4) return false;
    if (NAT64_WORDS.some((word, i) => int32At(words, index + i) !== word)) return false;
    const embedded = Int32Array.of(0, 0, 0xffff, int32At(words, index + 3));
    return this.#networks.longest(4, embedded, 0) === 'rejected';
  }
}

/** The networks for documentation and benchmarks that some of `addresses` lie in. */
export function laboratoryNetworks(addresses: readonly IpAddress[]): readonly IpNetwork[] {
  return LABORATORY.filter((candidate) =>
    addresses.some((address) => networkContains(candidate, address)),
  );
}

function networks(...texts: readonly string[]): readonly IpNetwork[] {
  return texts.map((text) => {
    const parsed = parseNetwork(text);
    assert(parsed !== undefined, 'networks of the reject list are well-formed');
    return parsed;
  });
}
