// The endpoints that the client reaches past its own tunnel: portal and relays, as they are dialled. Names get other addresses over months, and
// the portal names other relays, so only the newest are kept; each costs a rule of the kernel.

import type { Endpoint } from '../base/address.ts';

// Implementation
/** Two portals and a dozen relays with both families; one that is dialled again is new again. */
const MAX_ENDPOINTS = 64;

export class BypassList {
  readonly #byKey = new Map<string, Endpoint>();

  /** True if the list has changed. */
  add(endpoint: Endpoint): boolean {
    const isKnown = this.#byKey.delete(endpoint.key);
    this.#byKey.set(endpoint.key, endpoint);
    if (isKnown) return false;
    const [oldest] = this.#byKey.keys();
    if (this.#byKey.size > MAX_ENDPOINTS && oldest !== undefined) this.#byKey.delete(oldest);
    return true;
  }

  /** Oldest first. */
  all(): readonly Endpoint[] {
    return [...this.#byKey.values()];
  }
}
