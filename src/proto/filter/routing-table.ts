// Which resource a packet belongs to, and whether it may pass, when networks of resources overlap (data-plane 7.4). Of all
// entries whose network contains the address, the greatest wins by: rules that allow the packet, then the longer prefix, then
// the greater resource id. So a packet passes exactly if some resource that covers it allows it.

import type { IpFamily, IpNetwork } from '../../base/address.ts';
import type { ResourceId } from '../../base/ids.ts';
import { PrefixTable } from '../../base/prefix-table.ts';
import type { Rules } from './rules.ts';

export interface Route {
  readonly resourceId: ResourceId;
  readonly rules: Rules;
}

export class RoutingTable {
  /** A route, or several, which are sorted by descending resource id. */
  readonly #byNetwork: PrefixTable<Route | Route[]>;

  /** `seed`: unpredictable where clients choose addresses. */
  constructor(seed = 0) {
    this.#byNetwork = new PrefixTable(seed);
  }

  /** Replaces the rules of an equal network and resource. */
  add(network: IpNetwork, route: Route): void {
    const others = this.#without(network, route.resourceId);
    const routes = [...others, route].sort((a, b) => (a.resourceId < b.resourceId ? 1 : -1));
    this.#byNetwork.set(network, others.length === 0 ? route : routes);
  }

  /** Removes the entry of one resource for one network. */
  removeFrom(network: IpNetwork, resourceId: ResourceId): void {
    const [first, ...others] = this.#without(network, resourceId);
    if (!first) this.#byNetwork.delete(network);
    else this.#byNetwork.set(network, others.length === 0 ? first : [first, ...others]);
  }

  /** The winning entry for the address at `index`; its rules still decide. `undefined`: no network contains it. */
  find(
    address: { readonly family: IpFamily; readonly words: Int32Array; readonly index: number },
    transport: number,
    port: number,
  ): Route | undefined {
    const { family, words, index } = address;
    let best: Route | undefined;
    for (let rank = this.#byNetwork.lengthCount(family) - 1; rank >= 0; rank--) {
      const found = this.#byNetwork.ofLength(family, rank, words, index);
      if (found === undefined) continue;
      if (!Array.isArray(found)) {
        if (found.rules.allows(transport, port)) return found;
        best ??= found;
        continue;
      }
      for (const route of found) {
        if (route.rules.allows(transport, port)) return route;
        best ??= route;
      }
    }
    return best;
  }

  /** How many networks there are. */
  get count(): number {
    return this.#byNetwork.count;
  }

  #without(network: IpNetwork, resourceId: ResourceId): readonly Route[] {
    const known = this.#byNetwork.get(network) ?? [];
    const routes = Array.isArray(known) ? known : [known];
    return routes.filter((route) => route.resourceId !== resourceId);
  }
}
