// Which gateway serves a request (portal 10.7.5): online ones of the resource's site, of a fitting version, connected ones
// preferred, then the nearest place, there the newest version, then chance.

import type { GatewayId, SiteId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import { distanceKm, shuffle } from './distance.ts';
import type { Location } from './policy.ts';
import { type ComponentVersion, compareVersions, isCompatible } from './versions.ts';

export interface GatewayCandidate {
  readonly gatewayId: GatewayId;
  readonly siteId: SiteId;
  readonly version: ComponentVersion | undefined;
  readonly location: Location | undefined;
}

export interface GatewayWish {
  readonly siteId: SiteId;
  readonly clientVersion: ComponentVersion | undefined;
  /** Gateways the client has a connection to. */
  readonly connected: ReadonlySet<string>;
  /** Where the client is. */
  readonly location: Location | undefined;
}

export type GatewayChoice<T> =
  | { readonly kind: 'chosen'; readonly gateway: T }
  | { readonly kind: 'offline' }
  | { readonly kind: 'version-mismatch' };

export function chooseGateway<T extends GatewayCandidate>(
  online: Iterable<T>,
  wish: GatewayWish,
  random: Random,
): GatewayChoice<T> {
  const serving = [...online].filter((gateway) => gateway.siteId === wish.siteId);
  if (serving.length === 0) return { kind: 'offline' };
  const fitting = serving.filter((gateway) => isCompatible(wish.clientVersion, gateway.version));
  if (fitting.length === 0) return { kind: 'version-mismatch' };
  const connected = fitting.filter((gateway) => wish.connected.has(gateway.gatewayId));
  const best = bestOf(connected.length > 0 ? connected : fitting, wish.location, random);
  return best ? { kind: 'chosen', gateway: best } : { kind: 'offline' };
}

function bestOf<T extends GatewayCandidate>(
  candidates: readonly T[],
  own: Location | undefined,
  random: Random,
): T | undefined {
  const mixed = shuffle(candidates, random);
  if (!own) return mixed[0];
  const distanceTo = (gateway: T): number =>
    gateway.location ? distanceKm(own, gateway.location) : Number.POSITIVE_INFINITY;
  const least = Math.min(...mixed.map(distanceTo));
  const nearest = mixed.filter((gateway) => distanceTo(gateway) === least);
  return nearest.reduce<T | undefined>(
    (best, it) => (best && !isNewer(it, best) ? best : it),
    undefined,
  );
}

function isNewer(a: GatewayCandidate, b: GatewayCandidate): boolean {
  const oldest = [0, 0, 0] as const;
  return compareVersions(a.version?.numbers ?? oldest, b.version?.numbers ?? oldest) > 0;
}
