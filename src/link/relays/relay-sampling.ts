// Which relay a new or migrating connection uses: a uniform choice among those whose round-trip time is not an outlier
// (connectivity 4.4, relay 4.13). A relay that never answered has no round-trip time and is never chosen.

import { at } from '../../base/bytes.ts';
import { type Random, randomBelow } from '../../base/random.ts';

// Specification

/** With one or two relays: how much slower than the best one may be (connectivity 4.4). */
const FEW_RELAYS_FACTOR = 1.5;
const DEVIATION_FACTOR = 3;
const MIN_DEVIATION_MS = 2;

export interface Sampled {
  /** Smoothed round-trip time in milliseconds; `undefined` before the first answer. */
  readonly rtt: number | undefined;
}

/** One of `relays`, or `undefined` if none has a round-trip time. */
export function sampleRelay<R extends Sampled>(relays: Iterable<R>, random: Random): R | undefined {
  const measured: { readonly relay: R; readonly rtt: number }[] = [];
  for (const relay of relays) {
    if (relay.rtt !== undefined) measured.push({ relay, rtt: relay.rtt });
  }
  if (measured.length === 0) return undefined;
  const threshold = inclusionThreshold(measured.map(({ rtt }) => rtt));
  const near = measured.filter(({ rtt }) => rtt <= threshold);
  return at(near, randomBelow(random, near.length)).relay;
}

/** The largest round-trip time that still takes part, in milliseconds. `rtts` is not empty. */
export function inclusionThreshold(rtts: readonly number[]): number {
  if (rtts.length <= 2) return Math.min(...rtts) * FEW_RELAYS_FACTOR;
  const middle = median(rtts);
  const deviation = median(rtts.map((rtt) => Math.abs(rtt - middle)));
  return middle + DEVIATION_FACTOR * Math.max(deviation, MIN_DEVIATION_MS);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? at(sorted, half) : (at(sorted, half - 1) + at(sorted, half)) / 2;
}
