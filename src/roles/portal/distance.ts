// Nearness of components on the globe (portal 10.6.1): haversine; who has no location is farthest.

import { type Random, randomBelow } from '../../base/random.ts';
import type { Location } from './policy.ts';

// Specification

/** portal 10.6.1. */
const EARTH_RADIUS_KM = 6371;

export function distanceKm(a: Location, b: Location): number {
  const radians = (degrees: number): number => (degrees * Math.PI) / 180;
  const latitudes = Math.sin(radians(b.latitude - a.latitude) / 2) ** 2;
  const longitudes = Math.sin(radians(b.longitude - a.longitude) / 2) ** 2;
  const cosines = Math.cos(radians(a.latitude)) * Math.cos(radians(b.latitude));
  return 2 * EARTH_RADIUS_KM * Math.asin(Math.sqrt(latitudes + cosines * longitudes));
}

/** Nearest first, unknown locations last, chance among equals; without an own location all is chance. */
export function nearestFirst<T extends { readonly location: Location | undefined }>(
  items: readonly T[],
  own: Location | undefined,
  random: Random,
): T[] {
  const mixed = shuffle(items, random);
  if (!own) return mixed;
  const distanceTo = (item: T): number =>
    item.location ? distanceKm(own, item.location) : Number.POSITIVE_INFINITY;
  return mixed
    .map((item) => ({ item, distance: distanceTo(item) }))
    .sort((a, b) => (a.distance === b.distance ? 0 : a.distance - b.distance))
    .map(({ item }) => item);
}

export function shuffle<T>(items: readonly T[], random: Random): T[] {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const k = randomBelow(random, i + 1);
    const [a, b] = [mixed[i], mixed[k]];
    if (a !== undefined && b !== undefined) {
      mixed[i] = b;
      mixed[k] = a;
    }
  }
  return mixed;
}
