// Candidates on their way to the peers by way of the portal: collected per connection between two drains, then handed out as
// one message per connection and direction, best first, all additions before all removals (connectivity 5.6).
//
// Within one drain the last word counts: a removal cancels a pending addition of the same kind and address and the other
// way round. They are compared by these two and not as strings (connectivity 14.8).

import type { PeerId } from '../../base/ids.ts';
import { formatCandidate, type IceCandidate } from '../../proto/ice/candidate.ts';

export interface CandidateEvent {
  readonly kind: 'candidates-added' | 'candidates-removed';
  readonly peer: PeerId;
  /** Candidate strings (connectivity 5.5), descending by priority. */
  readonly candidates: readonly string[];
}

interface Pending {
  readonly added: Map<string, IceCandidate>;
  readonly removed: Map<string, IceCandidate>;
}

export class Signalling {
  readonly #pending = new Map<PeerId, Pending>();

  add(peer: PeerId, candidate: IceCandidate): void {
    const pending = this.#pendingOf(peer);
    pending.removed.delete(keyOf(candidate));
    pending.added.set(keyOf(candidate), candidate);
  }

  remove(peer: PeerId, candidate: IceCandidate): void {
    const pending = this.#pendingOf(peer);
    pending.added.delete(keyOf(candidate));
    pending.removed.set(keyOf(candidate), candidate);
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
  from: Map<string, IceCandidate>,
): CandidateEvent {
  const sorted = [...from.values()]
    .map((candidate) => ({ priority: candidate.priority, text: formatCandidate(candidate) }))
    .toSorted((a, b) => b.priority - a.priority || (a.text < b.text ? -1 : 1));
  from.clear();
  return { kind, peer, candidates: sorted.map(({ text }) => text) };
}

function keyOf(candidate: IceCandidate): string {
  return `${candidate.kind} ${candidate.address.key}`;
}
