// Which address families an allocation gets (RFC 8656 §7.2, relay 5.3).

import type { IpFamily } from '../../../base/address.ts';
import { STUN_ERROR } from '../../../wire/stun/error-codes.ts';

export type FamilyGrant =
  | { readonly kind: 'granted'; readonly families: readonly IpFamily[] }
  | { readonly kind: 'refused'; readonly code: number };

export interface FamilyWish {
  readonly requested: IpFamily | undefined;
  readonly additional: IpFamily | undefined;
}

export function grantFamilies(
  { requested, additional }: FamilyWish,
  available: readonly IpFamily[],
): FamilyGrant {
  if (additional !== undefined) {
    // RFC 8656 §7.2: not with REQUESTED-ADDRESS-FAMILY, and only for IPv6.
    if (requested !== undefined || additional === 4) return refused(STUN_ERROR.badRequest);
    return { kind: 'granted', families: available };
  }
  const family = requested ?? 4;
  return available.includes(family)
    ? { kind: 'granted', families: [family] }
    : refused(STUN_ERROR.addressFamilyNotSupported);
}

function refused(code: number): FamilyGrant {
  return { kind: 'refused', code };
}
