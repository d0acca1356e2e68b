// Candidates for the portal while it may be away (connectivity 5.6): connected, they pass; disconnected, they are held per peer. An addition cancels a
// held removal of the same candidate and the other way round; a connection that is gone forgets both. On connect all held additions come
// first, then all held removals.

import type { PeerId } from '../base/ids.ts';
import type { CandidateEvent } from './outbound/signalling.ts';

interface Held {
  readonly added: Map<string, string>;
  readonly removed: Map<string, string>;
}

// Implementation
/** Peers times candidates held during an outage; the oldest peer goes. */
const MAX_PEERS = 4_096;
const MAX_CANDIDATES_PER_PEER = 64;

export class CandidateOutbox {
  readonly #held = new Map<PeerId, Held>();
  #isConnected = false;

  /** What to send now; nothing while the portal is away. */
  handle(event: CandidateEvent): CandidateEvent | undefined {
    if (this.#isConnected) return event;
    const held = this.#getOrCreate(event.peer);
    const [into, out] =
      event.kind === 'candidates-added' ? [held.added, held.removed] : [held.removed, held.added];
    for (const text of event.candidates) {
      const key = candidateKey(text);
      if (out.delete(key) && event.kind === 'candidates-removed') continue;
      if (into.size < MAX_CANDIDATES_PER_PEER) into.set(key, text);
    }
    return undefined;
  }

  /** The portal is there: everything that was held. */
  connect(): CandidateEvent[] {
    this.#isConnected = true;
    const events: CandidateEvent[] = [];
    for (const [peer, { added }] of this.#held) {
      if (added.size > 0)
        events.push({ kind: 'candidates-added', peer, candidates: [...added.values()] });
    }
    for (const [peer, { removed }] of this.#held) {
      if (removed.size > 0) {
        events.push({ kind: 'candidates-removed', peer, candidates: [...removed.values()] });
      }
    }
    this.#held.clear();
    return events;
  }

  disconnect(): void {
    this.#isConnected = false;
  }

  /** The connection failed or was closed. */
  forget(peer: PeerId): void {
    this.#held.delete(peer);
  }

  clear(): void {
    this.#held.clear();
  }

  #getOrCreate(peer: PeerId): Held {
    const known = this.#held.get(peer);
    if (known) return known;
    if (this.#held.size >= MAX_PEERS) {
      const [oldest] = this.#held.keys();
      if (oldest !== undefined) this.#held.delete(oldest);
    }
    const held: Held = { added: new Map(), removed: new Map() };
    this.#held.set(peer, held);
    return held;
  }
}

/** Address, port and kind: an invalidation has another priority and no ufrag, and still means the same candidate (connectivity 14.8). */
function candidateKey(text: string): string {
  const [, , , , address, port, , kind] = text.split(' ');
  return `${kind} ${address} ${port}`;
}
