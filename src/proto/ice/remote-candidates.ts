// The peer's candidates: signalled ones and those learnt from its requests (connectivity 5.7, second half, and 5.11 step 4;
// RFC 8445 §7.3.1.3). A limit and an address filter bound what a peer can make us send to (connectivity 14.11).

import { type Endpoint, familyOf } from '../../base/address.ts';
import {
  type AddressRefusal,
  addressRefusal,
  type IceCandidate,
  isSameCandidate,
} from './candidate.ts';
import { COMPONENT } from './priority.ts';

export interface RemoteCandidate {
  candidate: IceCandidate;
  /** Peer-reflexive, learnt from a request and not (yet) signalled. */
  isLearned: boolean;
  /** Removed by the peer: its address must not come back by itself. */
  isDiscarded: boolean;
  /** It once was part of a pair; without one now, it has had its chance. */
  wasPaired: boolean;
}

// Implementation

/** Signalled: a dual-stack peer with some interfaces, mappings and relays has about 15, and as many may be guessed for it. */
export const MAX_REMOTE_CANDIDATES = 30;
/** Learnt: a symmetric NAT shows one per address of ours. They have a limit of their own, so that signalled ones cannot shut them out. */
export const MAX_LEARNED_REMOTE_CANDIDATES = 10;
/** Discarded ones are remembered up to here, the newest. */
export const MAX_DISCARDED_REMOTE_CANDIDATES = 30;

export type RemoteRefusal = AddressRefusal | 'component' | 'ufrag' | 'full';

export type RemoteAddition =
  | { readonly kind: 'added'; readonly entry: RemoteCandidate }
  /** The known one of the same path got the new identity and priority; its pairs stay. */
  | { readonly kind: 'identified'; readonly entry: RemoteCandidate }
  | { readonly kind: 'known'; readonly entry: RemoteCandidate }
  | { readonly kind: 'refused'; readonly reason: RemoteRefusal };

export class RemoteCandidates {
  readonly #allowLoopback: boolean;
  #entries: RemoteCandidate[] = [];

  constructor(allowLoopback: boolean) {
    this.#allowLoopback = allowLoopback;
  }

  /** A signalled candidate. `ufrag` is the peer's, as far as we know it; `isPaired` says whether one has a pair. */
  add(
    candidate: IceCandidate,
    ufrag: string | undefined,
    isPaired: (entry: RemoteCandidate) => boolean,
  ): RemoteAddition {
    const reason = this.#refusal(candidate, ufrag);
    if (reason) return { kind: 'refused', reason };
    const own = { ...candidate, base: candidate.address };

    const same = this.#entries.find((entry) => isSameCandidate(entry.candidate, own));
    if (same && !same.isDiscarded && !same.isLearned) return { kind: 'known', entry: same };

    const learned = this.#entries.find(
      (entry) =>
        entry.isLearned && !entry.isDiscarded && entry.candidate.address.key === own.address.key,
    );
    if (!this.#makeRoom(false, isPaired)) return { kind: 'refused', reason: 'full' };
    if (learned) {
      learned.candidate = own;
      learned.isLearned = false;
      return { kind: 'identified', entry: learned };
    }
    if (same) {
      same.candidate = own;
      same.isDiscarded = false;
      return { kind: 'added', entry: same };
    }
    return { kind: 'added', entry: this.#append(own, false) };
  }

  /**
   * RFC 8445 §7.3.1.3: the candidate a request came from; an unknown one is created as peer-reflexive. `undefined` where the
   * peer removed that address, or where there is no room.
   */
  findOrLearn(
    source: Endpoint,
    priority: number,
    isPaired: (entry: RemoteCandidate) => boolean,
  ): RemoteCandidate | undefined {
    const known = this.#entries.filter(({ candidate }) => candidate.address.key === source.key);
    const usable = known.filter(({ isDiscarded }) => !isDiscarded);
    const best = usable.reduce<RemoteCandidate | undefined>(
      (a, b) => (a && a.candidate.priority >= b.candidate.priority ? a : b),
      undefined,
    );
    if (best) return best;
    if (known.length > 0) return undefined;
    const candidate: IceCandidate = {
      kind: 'prflx',
      foundation: `prflx${familyOf(source.address)}`,
      component: COMPONENT,
      priority,
      address: source,
      base: source,
    };
    if (this.#refusal(candidate, undefined)) return undefined;
    if (!this.#makeRoom(true, isPaired)) return undefined;
    return this.#append(candidate, true);
  }

  /** Discards by kind and address only: the removal's priority and ufrag differ with some peers (connectivity 14.8). */
  remove(candidate: IceCandidate): RemoteCandidate | undefined {
    const entry = this.#entries.find(
      (known) =>
        !known.isDiscarded &&
        known.candidate.kind === candidate.kind &&
        known.candidate.address.key === candidate.address.key,
    );
    if (!entry) return undefined;
    entry.isDiscarded = true;
    const discarded = this.#entries.filter(({ isDiscarded }) => isDiscarded);
    if (discarded.length > MAX_DISCARDED_REMOTE_CANDIDATES) this.#forget(discarded[0]);
    return entry;
  }

  get active(): readonly RemoteCandidate[] {
    return this.#entries.filter(({ isDiscarded }) => !isDiscarded);
  }

  /** Learnt ones are paired only with the local candidate that received their request. */
  get pairable(): readonly RemoteCandidate[] {
    return this.active.filter(({ isLearned }) => !isLearned);
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  #refusal(candidate: IceCandidate, ufrag: string | undefined): RemoteRefusal | undefined {
    if (candidate.component !== COMPONENT) return 'component';
    const saysOwner = candidate.ufrag !== undefined && ufrag !== undefined;
    if (saysOwner && candidate.ufrag !== ufrag) return 'ufrag';
    const refusal = addressRefusal(candidate.address);
    return refusal === 'loopback' && this.#allowLoopback ? undefined : refusal;
  }

  #append(candidate: IceCandidate, isLearned: boolean): RemoteCandidate {
    const entry = { candidate, isLearned, isDiscarded: false, wasPaired: false };
    this.#entries.push(entry);
    return entry;
  }

  /** Where the table is full, the oldest candidate whose pairs have all died goes. */
  #makeRoom(isLearned: boolean, isPaired: (entry: RemoteCandidate) => boolean): boolean {
    const limit = isLearned ? MAX_LEARNED_REMOTE_CANDIDATES : MAX_REMOTE_CANDIDATES;
    const alike = this.active.filter((entry) => entry.isLearned === isLearned);
    if (alike.length < limit) return true;
    const spent = alike.find((entry) => entry.wasPaired && !isPaired(entry));
    this.#forget(spent);
    return spent !== undefined;
  }

  #forget(entry: RemoteCandidate | undefined): void {
    this.#entries = this.#entries.filter((other) => other !== entry);
  }
}
