// The addresses of this host's interfaces, and whether they changed: extra host candidates for direct paths, and the sign that a client moved to another
// network (client 10.3, connectivity 14.19).

import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp } from '../../base/address.ts';

// Implementation
/** Reading the interfaces takes some 50 us; a second is soon enough for a person who changed networks. */
const POLL_MS = 1_000;

/** Addresses of all interfaces that are up, without loopback, link-local ones and those of `excluded` (our own TUN device). */
export function localAddresses(excluded: string): IpAddress[] {
  const found: IpAddress[] = [];
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    if (name === excluded) continue;
    for (const { address: text, internal } of entries ?? []) {
      const address = parseIp(text);
      if (address !== undefined && !internal && !isLinkLocal(address)) found.push(address);
    }
  }
  return found.sort();
}

function isLinkLocal(address: IpAddress): boolean {
  return address.startsWith('169.254.') || /^fe[89ab]/.test(address);
}

export class LocalNetworkWatch {
  readonly #timer: NodeJS.Timeout;

  /** Calls `onChange` with the new addresses whenever they differ from the last ones and are not empty. */
  constructor(excluded: string, onChange: (addresses: readonly IpAddress[]) => void) {
    let last = localAddresses(excluded).join(' ');
    this.#timer = setInterval(() => {
      const addresses = localAddresses(excluded);
      const text = addresses.join(' ');
      if (text === last || addresses.length === 0) return;
      last = text;
      onChange(addresses);
    }, POLL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
