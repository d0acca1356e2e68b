// All pairs of an agent, in the order in which everything goes through them (iceless 4.1). Several candidates may share two addresses, as host
// and reflexive ones with one base do: that is one pair, named after the candidate that came last.
//
// Deviates from iceless 4.1: a pair that was probed keeps its state when another candidate with its addresses comes or goes, so that
// nothing is measured twice and no path is lost (iceless 13).

import { type Endpoint, familyOf } from '../../base/address.ts';
import { type PathCandidate, sendAddressOf } from '../../wire/iceless/candidate.ts';
import { Pair, pairKey } from './pair.ts';

// Implementation

/** A dozen interfaces against a dozen addresses; a pair costs up to twelve probes at each restart. */
const MAX_PAIRS = 160;

export class PairTable {
  readonly #byKey = new Map<string, Pair>();
  #inOrder: readonly Pair[] = [];
  #nextId = 0;

  /** True if the pair is new. Nothing pairs across families. */
  put(local: PathCandidate, remote: PathCandidate): boolean {
    const source = sendAddressOf(local);
    if (familyOf(source.address) !== familyOf(remote.address.address)) return false;
    const known = this.#byKey.get(pairKey(source, remote.address));
    if (known !== undefined) {
      known.describe(local, remote);
      // The same object: a handshake may have made it the primary already.
      if (known.isUntouched) known.id = this.#takeId();
      return false;
    }
    if (this.#byKey.size >= MAX_PAIRS) return false;
    const pair = new Pair(local, remote, this.#takeId());
    this.#byKey.set(pair.key, pair);
    this.#sort();
    return true;
  }

  /** After candidates were removed: what is left is named after those that remain. */
  prune(locals: Iterable<PathCandidate>, remotes: Iterable<PathCandidate>): void {
    const names = new Map<string, readonly [PathCandidate, PathCandidate]>();
    const others = [...remotes];
    for (const local of locals) {
      for (const remote of others) {
        names.set(pairKey(sendAddressOf(local), remote.address), [local, remote]);
      }
    }
    for (const [key, pair] of this.#byKey) {
      const ends = names.get(key);
      if (ends === undefined) this.#byKey.delete(key);
      else pair.describe(...ends);
    }
    this.#sort();
  }

  clear(): void {
    this.#byKey.clear();
    this.#inOrder = [];
    this.#nextId = 0;
  }

  find(local: Endpoint, remote: Endpoint): Pair | undefined {
    return this.#byKey.get(pairKey(local, remote));
  }

  has(pair: Pair): boolean {
    return this.#byKey.get(pair.key) === pair;
  }

  /** Of the measured pairs the best one. */
  best(): Pair | undefined {
    let best: Pair | undefined;
    for (const pair of this.#inOrder) {
      if (pair.rtt === undefined) continue;
      if (best?.rtt === undefined || pair.bucket < best.bucket) best = pair;
      else if (pair.bucket === best.bucket && pair.rtt < best.rtt) best = pair;
    }
    return best;
  }

  get all(): readonly Pair[] {
    return this.#inOrder;
  }

  #takeId(): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    return id;
  }

  #sort(): void {
    const byOrder = (a: Pair, b: Pair): number => (a.order < b.order ? -1 : 1);
    this.#inOrder = [...this.#byKey.values()].sort(byOrder);
  }
}
