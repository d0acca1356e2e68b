// What an Internet resource never covers (data-plane 7.5): private, local and special networks, so that access to the
// Internet is no access to the gateway's own surroundings. Beyond the reference (data-plane 17.7) it also has "this network",
// 6to4, IPv4 embedded in NAT64 addresses, and the addresses of the gateway's own host. The documentation networks are left
// out on purpose: they lead nowhere on the Internet, and laboratories use them for it.

import { type IpAddress, type IpFamily, network, parseNetwork } from '../../base/address.ts';
import { int32At } from '../../base/bytes.ts';
import { assert } from '../../base/errors.ts';
import { PrefixTrie } from '../../base/prefix-trie.ts';

// Specification (data-plane 7.5, 17.7).
const REJECTED: readonly string[] = [
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
];
/** RFC 6052 §2.1: the last word is an IPv4 address. */
const NAT64_WORDS = [0x0064ff9b, 0, 0] as const;

export class InternetRejectList {
  readonly #networks = new PrefixTrie<'rejected'>();

  /** `ownAddresses`: those of the gateway's host. */
  constructor(ownAddresses: readonly IpAddress[] = []) {
    for (const text of REJECTED) {
      const parsed = parseNetwork(text);
      assert(parsed !== undefined, 'networks of the reject list are well-formed');
      this.#networks.set(parsed, 'rejected');
    }
    for (const address of ownAddresses) {
      this.#networks.set(network(address, address.includes(':') ? 128 : 32), 'rejected');
    }
  }

  rejects(family: IpFamily, words: Int32Array, index: number): boolean {
    if (this.#networks.longest(family, words, index) !== undefined) return true;
    if (family === 4) return false;
    if (NAT64_WORDS.some((word, i) => int32At(words, index + i) !== word)) return false;
    const embedded = Int32Array.of(0, 0, 0xffff, int32At(words, index + 3));
    return this.#networks.longest(4, embedded, 0) !== undefined;
  }
}
