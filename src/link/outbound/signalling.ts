// Candidates on their way to the peers by way of the portal: collected per connection between two drains, then handed out as
// one message per connection and direction, best first, all additions before all removals (connectivity 5.6).
//
// Within one drain the last word counts: a removal cancels a pending addition of the same kind and address and the other
// way round. They are compared by these two and not as strings (connectivity 14.8). What the strings look like is the finder's affair.

import type { PeerId } from '../../base/ids.ts';
import type { OwnCandidate } from '../connection/path-finder.ts';

export interface CandidateEvent {
  readonly kind: 'candidates-added' | 'candidates-removed';
  readonly peer: PeerId;
  /** Candidate strings (connectivity 5.5), descending by priority. */
  readonly candidates: readonly string[];
}

interface Pending {
  readonly added: Map<string, OwnCandidate>;
  readonly removed: Map<string, OwnCandidate>;
}

export class Signalling {
  readonly #pending = new Map<PeerId, Pending>();

  add(peer: PeerId, candidate: OwnCandidate): void {
    const pending = this.#pendingOf(peer);
    pending.removed.delete(candidate.key);
    pending.added.set(candidate.key, candidate);
  }

  remove(peer: PeerId, candidate: OwnCandidate): void {
    const pending = this.#pendingOf(peer);
    pending.added.delete(candidate.key);
    pending.removed.set(candidate.key, candidate);
  }

  /** The connection is gone: there is nobody to tell. */
  forget(peer: PeerId): void {
    this.#pending.delete(peer);
  }

  clear(): void {
    this.#pending.clear();
  }

  pollEvent(): CandidateEvent | undefined {
    for (const [peer, { added, removed }] of this.#pending) {
      if (added.size > 0) return take('candidates-added', peer, added);
      if (removed.size === 0) this.#pending.delete(peer);
    }
    for (const [peer, { removed }] of this.#pending) {
      this.#pending.delete(peer);
      return take('candidates-removed', peer, removed);
    }
    return undefined;
  }

  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  #pendingOf(peer: PeerId): Pending {
    let pending = this.#pending.get(peer);
    if (pending === undefined) {
      pending = { added: new Map(), removed: new Map() };
      this.#pending.set(peer, pending);
    }
    return pending;
  }
}

function take(
  kind: CandidateEvent['kind'],
  peer: PeerId,
  from: Map<string, OwnCandidate>,
): CandidateEvent {
  const sorted = [...from.values()].toSorted(
    (a, b) => b.priority - a.priority || (a.text < b.text ? -1 : 1),
  );
  from.clear();
  return { kind, peer, candidates: sorted.map(({ text }) => text) };
}
