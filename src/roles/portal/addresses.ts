// Tunnel addresses for gateways and clients (portal 10.2.2): a random place in the pool, then upward with wrap until one is
// free; the network and the last address are never given.

import { type IpAddress, ipBytes, ipFromBytes, parseIp } from '../../base/address.ts';
import { at, viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';

// Specification

/** 100.64.0.0/11 and fd00:2021:1111::/107 both have 21 host bits (portal 10.2.2). */
const IPV4_BASE = '100.64.0.0';
const IPV6_BASE = 'fd00:2021:1111::';
const POOL_SIZE = 2 ** 21;

export interface TunnelAddresses {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

/** `undefined` if a pool is exhausted. */
export function allocateAddresses(
  crypto: CryptoProvider,
  isTaken: (address: IpAddress) => boolean,
): TunnelAddresses | undefined {
  const ipv4 = allocate(crypto, IPV4_BASE, isTaken);
  const ipv6 = allocate(crypto, IPV6_BASE, isTaken);
  return ipv4 !== undefined && ipv6 !== undefined ? { ipv4, ipv6 } : undefined;
}

function allocate(
  crypto: CryptoProvider,
  base: string,
  isTaken: (address: IpAddress) => boolean,
): IpAddress | undefined {
  const usable = POOL_SIZE - 2;
  const offset = viewOf(crypto.randomBytes(4)).getUint32(0) % usable;
  for (let i = 0; i < usable; i++) {
    const address = addressAt(base, 1 + ((offset + i) % usable));
    if (!isTaken(address)) return address;
  }
  return undefined;
}

function addressAt(base: string, offset: number): IpAddress {
  const bytes = ipBytes(parseIp(base) ?? (base as IpAddress));
  const end = bytes.length;
  bytes[end - 3] = at(bytes, end - 3) | (offset >> 16);
  bytes[end - 2] = (offset >> 8) & 255;
  bytes[end - 1] = offset & 255;
  return ipFromBytes(bytes);
}
