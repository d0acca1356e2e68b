// What is known of the peer's addresses (iceless 3.4, 3.5 and 6.6.5): what it signalled, what was guessed from that, and what its packets came
// from. Each kind has few places, so that no peer and nobody who replays its packets can make the table grow.
//
// Deviates from iceless 3.5: an address that was only seen never displaces a signalled one, and is forgotten when no probe to it is
// answered for a while (iceless 13). New addresses have a budget over time, because each may cost a channel of our relay for ten minutes.

import { type Endpoint, endpoint, familyOf } from '../../base/address.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import { type PathCandidate, pathCandidateKey } from '../../wire/iceless/candidate.ts';

// Specification (iceless 3.4 and 3.5)

const MAX_PER_KIND = 6;
const MAX_SEEN = 4;
const MAX_GUESSES_PER_CALL = 2;

// Implementation

/** Twelve probes take 9 s; then it has had its chance. */
const SEEN_LIFETIME_MS = 15_000;
/** All kinds full, twice over: a peer that changes networks has a handful of new ones each time. */
const NEW_AT_ONCE = 40;
const NEW_EVERY_MS = 10_000;

export type RemoteOrigin = 'signalled' | 'guessed' | 'seen';

interface Remote {
  readonly candidate: PathCandidate;
  readonly origin: RemoteOrigin;
  readonly addedAt: Instant;
}

export interface RemoteAddition {
  /** Nothing if it was known. */
  readonly added: PathCandidate | undefined;
  readonly hasEvicted: boolean;
  /** It is new and one too many for now. */
  readonly isRefused?: boolean;
}

const UNCHANGED: RemoteAddition = { added: undefined, hasEvicted: false };
const REFUSED: RemoteAddition = { ...UNCHANGED, isRefused: true };

export class Remotes {
  readonly #entries = new Map<string, Remote>();
  #budget = NEW_AT_ONCE;
  #budgetAt: Instant | undefined;

  /** `spared` is in use and stays if anything else can go. */
  add(
    candidate: PathCandidate,
    origin: RemoteOrigin,
    spared: Endpoint | undefined,
    now: Instant,
  ): RemoteAddition {
    const key = pathCandidateKey(candidate);
    const known = this.#entries.get(key);
    if (known !== undefined && (origin !== 'signalled' || known.origin === 'signalled')) {
      return UNCHANGED;
    }
    const entry = { candidate, origin, addedAt: now };
    if (known !== undefined) {
      this.#entries.set(key, entry);
      return UNCHANGED;
    }
    const twin = this.#findTwin(candidate.address);
    if (twin !== undefined && origin !== 'signalled') return UNCHANGED;
    if (!this.#mayTakeNew(now)) return REFUSED;
    if (twin !== undefined && twin.origin !== 'signalled') {
      this.#entries.delete(pathCandidateKey(twin.candidate));
    }
    const hasEvicted = this.#isFull(candidate);
    if (hasEvicted && !this.#evict(candidate, origin, spared)) return UNCHANGED;
    this.#entries.set(key, entry);
    return { added: candidate, hasEvicted };
  }

  /** Where a packet of the peer came from: a reflexive candidate that nobody signalled. */
  see(source: Endpoint, spared: Endpoint | undefined, now: Instant): RemoteAddition {
    if (this.#findTwin(source) || this.#countOf('seen') >= MAX_SEEN) return UNCHANGED;
    return this.add({ kind: 'srflx', address: source, base: source }, 'seen', spared, now);
  }

  /** Only what is the same in kind, address and base. */
  remove(candidate: PathCandidate): boolean {
    return this.#entries.delete(pathCandidateKey(candidate));
  }

  /** After a rebuild what was seen is as good as signalled (iceless 6.10). */
  adoptSeen(): void {
    for (const [key, entry] of this.#entries) {
      this.#entries.set(key, { ...entry, origin: 'signalled' });
    }
  }

  /** Forgets seen addresses whose time is over, but for those that `isWorking`; true if there were some. */
  expireSeen(isWorking: (address: Endpoint) => boolean, now: Instant): boolean {
    let hasExpired = false;
    for (const [key, { candidate, origin, addedAt }] of this.#entries) {
      if (origin !== 'seen' || later(addedAt, SEEN_LIFETIME_MS) > now) continue;
      if (isWorking(candidate.address)) {
        this.#entries.set(key, { candidate, origin, addedAt: now });
        continue;
      }
      this.#entries.delete(key);
      hasExpired = true;
    }
    return hasExpired;
  }

  /** iceless 3.4: a NAT that forwards the port of a host behind it: the public IP with that port. */
  guess(): readonly PathCandidate[] {
    const guesses: PathCandidate[] = [];
    const known = this.all.filter(({ address }) => familyOf(address.address) === 4);
    for (const { kind, address } of known) {
      if (kind !== 'srflx') continue;
      for (const host of known) {
        if (guesses.length >= MAX_GUESSES_PER_CALL) return guesses;
        if (host.kind !== 'host') continue;
        const guessed = endpoint(address.address, host.address.port);
        const isTaken =
          this.#findTwin(guessed) || guesses.some((it) => it.address.key === guessed.key);
        if (!isTaken) guesses.push({ kind: 'srflx', address: guessed, base: host.address });
      }
    }
    return guesses;
  }

  pollTimeout(): Instant | undefined {
    let first: Instant | undefined;
    for (const { origin, addedAt } of this.#entries.values()) {
      if (origin === 'seen') first = earliest(first, later(addedAt, SEEN_LIFETIME_MS));
    }
    return first;
  }

  get all(): readonly PathCandidate[] {
    return [...this.#entries.values()].map(({ candidate }) => candidate);
  }

  snapshot(): readonly { readonly candidate: PathCandidate; readonly origin: RemoteOrigin }[] {
    return [...this.#entries.values()].map(({ candidate, origin }) => ({ candidate, origin }));
  }

  #mayTakeNew(now: Instant): boolean {
    this.#budgetAt ??= now;
    const earned = Math.floor((now - this.#budgetAt) / NEW_EVERY_MS);
    this.#budget = Math.min(NEW_AT_ONCE, this.#budget + earned);
    this.#budgetAt = later(this.#budgetAt, earned * NEW_EVERY_MS);
    if (this.#budget === 0) return false;
    this.#budget -= 1;
    return true;
  }

  /** Insertion order is age. */
  #evict({ kind }: PathCandidate, by: RemoteOrigin, spared: Endpoint | undefined): boolean {
    const ofKind = [...this.#entries].filter(([, { candidate }]) => candidate.kind === kind);
    const isIdle = ([, { candidate }]: (typeof ofKind)[number]): boolean =>
      candidate.address.key !== spared?.key;
    const unsaid = ofKind.filter(([, { origin }]) => origin !== 'signalled').filter(isIdle);
    const victims = by === 'signalled' ? [...unsaid, ...ofKind.filter(isIdle)] : unsaid;
    const [victim] = victims;
    if (victim === undefined) return false;
    this.#entries.delete(victim[0]);
    return true;
  }

  #isFull({ kind }: PathCandidate): boolean {
    return this.all.filter((other) => other.kind === kind).length >= MAX_PER_KIND;
  }

  #findTwin(address: Endpoint): Remote | undefined {
    return [...this.#entries.values()].find(
      ({ candidate }) => candidate.address.key === address.key,
    );
  }

  #countOf(origin: RemoteOrigin): number {
    return [...this.#entries.values()].filter((entry) => entry.origin === origin).length;
  }
}
