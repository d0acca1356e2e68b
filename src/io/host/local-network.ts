// The addresses of this host's interfaces: host candidates for direct paths (connectivity 14.19). When they change is `network-watch.ts`'s affair.

import { networkInterfaces } from 'node:os';
import { type IpAddress, parseIp } from '../../base/address.ts';

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
