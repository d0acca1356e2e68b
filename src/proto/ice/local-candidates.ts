// Our own candidates as one agent sees them: local preferences, replacing, discarding and re-enabling (connectivity 5.7,
// first half; RFC 8445 §5.1.3). Gathering is done elsewhere: candidates are handed in.

import { type Endpoint, familyOf } from '../../base/address.ts';
import { computeFoundation, type IceCandidate } from './candidate.ts';
import { type CandidateKind, COMPONENT, candidatePriority, localPreference } from './priority.ts';

/** What a gatherer knows. `base` is the local address it is sent from; for host and relayed candidates the address itself. */
export interface LocalCandidateInfo {
  readonly kind: CandidateKind;
  readonly address: Endpoint;
  readonly base: Endpoint;
  /** Relayed candidates: family of the socket to the relay. */
  readonly viaFamily?: 4 | 6;
}

export interface LocalCandidate {
  readonly candidate: IceCandidate;
  readonly localPreference: number;
  /** Removed, but remembered: nothing is sent from it nor answered on it. */
  isDiscarded: boolean;
}

// Implementation

/** Interfaces, NAT mappings and relays of one host; the oldest discarded ones make room. */
export const MAX_LOCAL_CANDIDATES = 64;
/** Mapped addresses are what a peer says they are (RFC 8445 §7.2.5.3.1): few are believed. */
export const MAX_LOCAL_PEER_REFLEXIVE = 8;

export type LocalAddition =
  | { readonly kind: 'added'; readonly entry: LocalCandidate; readonly replaced?: LocalCandidate }
  | { readonly kind: 'known' }
  | { readonly kind: 'full' };

export class LocalCandidates {
  readonly #ufrag: string;
  readonly #entries: LocalCandidate[] = [];
  /** How many of each kind and family were ever added: the ordinals of the local preference. */
  readonly #ordinals = new Map<string, number>();

  constructor(ufrag: string) {
    this.#ufrag = ufrag;
  }

  add(info: LocalCandidateInfo): LocalAddition {
    const existing = this.#entries.find(
      ({ candidate }) =>
        candidate.address.key === info.address.key && candidate.base.key === info.base.key,
    );
    if (existing?.isDiscarded && existing.candidate.kind === info.kind) {
      existing.isDiscarded = false;
      return { kind: 'added', entry: existing };
    }
    const entry = this.#create(info);
    const isRedundant = existing !== undefined && !existing.isDiscarded;
    if (isRedundant && entry.candidate.priority <= existing.candidate.priority) {
      return { kind: 'known' };
    }
    if (!this.#makeRoom()) return { kind: 'full' };
    this.#append(entry);
    if (!isRedundant) return { kind: 'added', entry };
    existing.isDiscarded = true;
    return { kind: 'added', entry, replaced: existing };
  }

  /** RFC 8445 §7.2.5.3.1: an address that a peer saw us at. It is not paired; `false` if nothing was added. */
  addPeerReflexive(address: Endpoint, base: Endpoint): boolean {
    if (this.#entries.some(({ candidate }) => candidate.address.key === address.key)) return false;
    const count = this.#entries.filter(({ candidate }) => candidate.kind === 'prflx').length;
    if (count >= MAX_LOCAL_PEER_REFLEXIVE || !this.#makeRoom()) return false;
    this.#append(this.#create({ kind: 'prflx', address, base }));
    return true;
  }

  /** Discards the candidate of that kind and address; `undefined` if there is none (any more). */
  remove(info: LocalCandidateInfo): LocalCandidate | undefined {
    const entry = this.#entries.find(
      ({ candidate, isDiscarded }) =>
        !isDiscarded &&
        candidate.kind === info.kind &&
        candidate.address.key === info.address.key &&
        candidate.base.key === info.base.key,
    );
    if (entry) entry.isDiscarded = true;
    return entry;
  }

  /** RFC 8445 §7.3: the candidate that a request to `local` arrived on; only bases receive. */
  findReceiver(local: Endpoint): LocalCandidate | undefined {
    return this.#entries.find(
      ({ candidate, isDiscarded }) =>
        !isDiscarded &&
        (candidate.kind === 'host' || candidate.kind === 'relayed') &&
        candidate.address.key === local.key,
    );
  }

  get active(): readonly LocalCandidate[] {
    return this.#entries.filter(({ isDiscarded }) => !isDiscarded);
  }

  /** Those that take part in pairs: peer-reflexive ones share the pairs of their base. */
  get pairable(): readonly LocalCandidate[] {
    return this.active.filter(({ candidate }) => candidate.kind !== 'prflx');
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  #create(info: LocalCandidateInfo): LocalCandidate {
    const family = familyOf(info.address.address);
    const ordinal = this.#ordinals.get(info.kind + family) ?? 0;
    const isCrossFamily = info.viaFamily !== undefined && info.viaFamily !== family;
    const preference = localPreference(info.kind, family, ordinal, isCrossFamily);
    const priority = candidatePriority(info.kind, preference);
    const candidate: IceCandidate = {
      kind: info.kind,
      foundation: computeFoundation(info.kind, info.base.address, priority),
      component: COMPONENT,
      priority,
      address: info.address,
      base: info.base,
      ufrag: this.#ufrag,
    };
    return { candidate, localPreference: preference, isDiscarded: false };
  }

  #append(entry: LocalCandidate): void {
    const slot = entry.candidate.kind + familyOf(entry.candidate.address.address);
    this.#ordinals.set(slot, (this.#ordinals.get(slot) ?? 0) + 1);
    this.#entries.push(entry);
  }

  #makeRoom(): boolean {
    if (this.#entries.length < MAX_LOCAL_CANDIDATES) return true;
    const oldest = this.#entries.findIndex(({ isDiscarded }) => isDiscarded);
    if (oldest >= 0) this.#entries.splice(oldest, 1);
    return oldest >= 0;
  }
}
