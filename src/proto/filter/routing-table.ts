// Which resource a packet belongs to, and whether it may pass, when networks of resources overlap (data-plane 7.4). Of all
// entries whose network contains the address, the greatest wins by: rules that allow the packet, then the longer prefix, then
// the greater resource id. So a packet passes exactly if some resource that covers it allows it.

import { familyOf, formatNetwork, type IpFamily, type IpNetwork } from '../../base/address.ts';
import { at } from '../../base/bytes.ts';
import type { ResourceId } from '../../base/ids.ts';
import { PrefixTrie } from '../../base/prefix-trie.ts';
import type { Rules } from './rules.ts';

export interface Route {
  readonly resourceId: ResourceId;
  readonly rules: Rules;
}

export class RoutingTable {
  /** Each list is sorted by descending resource id. */
  readonly #trie = new PrefixTrie<Route[]>();
  readonly #networks = new Map<string, IpNetwork>();
  /** Where look-ups collect; used again by each. */
  readonly #found: Route[][] = [];

  /** Replaces the rules of an equal network and resource. */
  add(network: IpNetwork, route: Route): void {
    const others = (this.#trie.get(network) ?? []).filter(
      ({ resourceId }) => resourceId !== route.resourceId,
    );
    const routes = [...others, route].sort((a, b) => (a.resourceId < b.resourceId ? 1 : -1));
    this.#trie.set(network, routes);
    this.#networks.set(formatNetwork(network), network);
  }

  /** Removes the entry of one resource for one network. */
  removeFrom(network: IpNetwork, resourceId: ResourceId): void {
    const routes = this.#trie.get(network) ?? [];
    const left = routes.filter((route) => route.resourceId !== resourceId);
    if (left.length > 0) {
      this.#trie.set(network, left);
    } else if (routes.length > 0) {
      this.#trie.delete(network);
      this.#networks.delete(formatNetwork(network));
    }
  }

  /** The winning entry for the address at `index`; its rules still decide. `undefined`: no network contains it. */
  find(
    address: { readonly family: IpFamily; readonly words: Int32Array; readonly index: number },
    transport: number,
    port: number,
  ): Route | undefined {
    const count = this.#trie.collect(address.family, address.words, address.index, this.#found);
    let best: Route | undefined;
    for (let i = count - 1; i >= 0; i--) {
      for (const route of at(this.#found, i)) {
        if (route.rules.allows(transport, port)) return route;
        best ??= route;
      }
    }
    return best;
  }

  /** How many networks there are, by family. */
  get counts(): { readonly ipv4: number; readonly ipv6: number } {
    let ipv4 = 0;
    for (const { address } of this.#networks.values()) if (familyOf(address) === 4) ipv4++;
    return { ipv4, ipv6: this.#networks.size - ipv4 };
  }
}
