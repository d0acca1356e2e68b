// The check list: all pairs of an agent by descending priority, found by path or by transaction (connectivity 5.8; RFC 8445
// §6.1.2). It forms, replaces, limits and prunes pairs and says which check is due; it does not write or read messages.

import { type Endpoint, familyOf } from '../../base/address.ts';
import { earliest, type Instant } from '../../base/time.ts';
import { isIpv6LinkLocal } from './candidate.ts';
import { CandidatePair, type CheckAttempt, type IceRole, pathOf } from './candidate-pair.ts';
import type { LocalCandidate } from './local-candidates.ts';
import { comparePairPriority, type PairPriority, pairPriority } from './priority.ts';
import type { RemoteCandidate } from './remote-candidates.ts';
import type { IceTiming } from './timing.ts';

// Specification

/** RFC 8445 §6.1.2.5, with the limit of connectivity 3. */
export const MAX_PAIRS = 100;

export class Checklist {
  /** Descending priority. */
  #pairs: CandidatePair[] = [];
  readonly #byPath = new Map<string, CandidatePair>();
  readonly #byTransaction = new Map<string, CandidatePair>();
  #role: IceRole;
  #timing: IceTiming;

  constructor(role: IceRole, timing: IceTiming) {
    this.#role = role;
    this.#timing = timing;
  }

  /**
   * RFC 8445 §6.1.2.2 to §6.1.2.5: the pair of that path. Of two with one path the better one's identity stays. `undefined`
   * where the two do not go together or the list is full of better ones; `selected` is never pushed out.
   */
  pair(
    local: LocalCandidate,
    remote: RemoteCandidate,
    selected: CandidatePair | undefined,
    now: Instant,
  ): CandidatePair | undefined {
    if (local.isDiscarded || remote.isDiscarded) return undefined;
    if (!canBePaired(local.candidate.address, remote.candidate.address)) return undefined;
    const priority = this.#priorityOf(local, remote);
    remote.wasPaired = true;
    const existing = this.#byPath.get(pathOf(local, remote));
    if (existing) {
      if (comparePairPriority(priority, existing.priority) > 0) {
        existing.local = local;
        existing.remote = remote;
        existing.priority = priority;
        this.#sort();
      }
      return existing;
    }
    const pair = new CandidatePair(local, remote, priority, now);
    this.#pairs.push(pair);
    this.#byPath.set(pair.path, pair);
    this.#sort();
    if (this.#pairs.length > MAX_PAIRS) {
      const worst = this.#pairs.findLast((candidate) => candidate !== selected);
      if (worst) this.delete(worst);
      if (worst === pair) return undefined;
    }
    return pair;
  }

  delete(pair: CandidatePair): void {
    for (const attempt of pair.attempts) this.#byTransaction.delete(attempt.id);
    this.#byPath.delete(pair.path);
    this.#pairs = this.#pairs.filter((other) => other !== pair);
  }

  deletePairsOf(candidate: LocalCandidate | RemoteCandidate): void {
    for (const pair of this.#pairs) {
      if (pair.local === candidate || pair.remote === candidate) this.delete(pair);
    }
  }

  /** Deletes the pairs that have been silent for too long. */
  prune(now: Instant): number {
    const dead = this.#pairs.filter((pair) => {
      const expiresAt = pair.expiresAt(this.#timing);
      return expiresAt !== undefined && expiresAt <= now;
    });
    for (const pair of dead) this.delete(pair);
    return dead.length;
  }

  /** The pair to check now: what the peer waits for first, then by priority. */
  nextDue(now: Instant): CandidatePair | undefined {
    const due = this.#pairs.filter((pair) => pair.nextCheckAt <= now);
    return (
      due.find((pair) => pair.nomination === 'nominated') ??
      due.find((pair) => pair.isUrgent) ??
      due[0]
    );
  }

  noteCheck(pair: CandidatePair, id: string, now: Instant): void {
    const forgotten = pair.noteCheck(id, this.#role, this.#timing, now);
    for (const attempt of forgotten) this.#byTransaction.delete(attempt.id);
    this.#byTransaction.set(id, pair);
  }

  findAttempt(id: string): { pair: CandidatePair; attempt: CheckAttempt } | undefined {
    const pair = this.#byTransaction.get(id);
    const attempt = pair?.findAttempt(id);
    return pair && attempt && { pair, attempt };
  }

  setTiming(timing: IceTiming, now: Instant): void {
    this.#timing = timing;
    for (const pair of this.#pairs) pair.schedule(timing, now);
  }

  /** RFC 8445 §7.3.1.1: priorities are computed anew; only a controlling agent's nominations are its own. */
  setRole(role: IceRole): void {
    this.#role = role;
    for (const pair of this.#pairs) {
      pair.priority = this.#priorityOf(pair.local, pair.remote);
      pair.clearNomination();
    }
    this.#sort();
  }

  /** A known candidate got another kind and priority. */
  reprioritise(remote: RemoteCandidate): void {
    for (const pair of this.#pairs) {
      if (pair.remote === remote) pair.priority = this.#priorityOf(pair.local, remote);
    }
    this.#sort();
  }

  /** `turn`: checks that nobody waits for go at this time at the earliest. */
  nextDeadline(turn: Instant | undefined): Instant | undefined {
    let first: Instant | undefined;
    for (const pair of this.#pairs) {
      const mustWait = turn !== undefined && !pair.isUrgent && pair.nextCheckAt < turn;
      first = earliest(first, mustWait ? turn : pair.nextCheckAt, pair.expiresAt(this.#timing));
    }
    return first;
  }

  has(pair: CandidatePair): boolean {
    return this.#byPath.get(pair.path) === pair;
  }

  isPaired(candidate: LocalCandidate | RemoteCandidate): boolean {
    return this.#pairs.some((pair) => pair.local === candidate || pair.remote === candidate);
  }

  get pairs(): readonly CandidatePair[] {
    return this.#pairs;
  }

  get transactionCount(): number {
    return this.#byTransaction.size;
  }

  #priorityOf(local: LocalCandidate, remote: RemoteCandidate): PairPriority {
    const ours = local.candidate.priority;
    const theirs = remote.candidate.priority;
    return this.#role === 'controlling' ? pairPriority(ours, theirs) : pairPriority(theirs, ours);
  }

  /** Stable: of equal priorities the older pair stays first. */
  #sort(): void {
    this.#pairs.sort((a, b) => comparePairPriority(b.priority, a.priority));
  }
}

/** RFC 8445 §6.1.2.2: one family, and IPv6 link-local addresses only among themselves. */
function canBePaired(local: Endpoint, remote: Endpoint): boolean {
  if (familyOf(local.address) !== familyOf(remote.address)) return false;
  return isIpv6LinkLocal(local) === isIpv6LinkLocal(remote);
}
