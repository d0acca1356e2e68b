// One pair of a local and a remote address, and when it is probed (iceless 4.1 and 6.6).
//
//   at once, 200, 300, 500, 1000, 1000 ... ── 12 probes ──▶ every 25 s if it is the primary, every second if there is none, else never
//
// Deviates from iceless 6.6: a probe of the primary that stays unanswered after its first twelve is repeated soon, so that a dead
// path shows without traffic (iceless 13).

import { type Endpoint, ipBytes } from '../../base/address.ts';
import { toHex } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import {
  type PathCandidate,
  type PathCandidateKind,
  sendAddressOf,
} from '../../wire/iceless/candidate.ts';
import type { Probe } from '../../wire/iceless/probe.ts';
import { bucketOf } from './score.ts';

// Specification (iceless 6.6)

const FIRST_GAPS_MS: readonly number[] = [200, 300, 500];
const GAP_MS = 1_000;
const PROBE_BUDGET = 12;
const UPKEEP_MS = 25_000;
const MAX_IN_FLIGHT = 12;

/** What the rest of the table means for a pair. */
export type Standing = 'primary' | 'other' | 'no-primary';

export class Pair {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly key: string;
  /** Place in the table (iceless 4.1). */
  readonly order: string;
  id: number;
  localKind: PathCandidateKind;
  remoteKind: PathCandidateKind;
  bucket: number;
  /** Smoothed round trip; `undefined`: not measured since the last restart. */
  rtt: number | undefined;
  nextProbeAt: Instant | undefined;
  probesSent = 0;
  #nextSequence = 0;
  readonly #sentAt = new Map<number, Instant>();

  constructor(local: PathCandidate, remote: PathCandidate, id: number) {
    this.local = sendAddressOf(local);
    this.remote = remote.address;
    this.key = pairKey(this.local, this.remote);
    this.order = `${sortKey(this.local)} ${sortKey(this.remote)}`;
    this.id = id;
    this.localKind = local.kind;
    this.remoteKind = remote.kind;
    this.bucket = bucketOf(local, remote);
  }

  /** The same two addresses are now known as other candidates. */
  describe(local: PathCandidate, remote: PathCandidate): void {
    this.localKind = local.kind;
    this.remoteKind = remote.kind;
    this.bucket = bucketOf(local, remote);
  }

  /** iceless 6.6.2: id and sequence go on. */
  restart(now: Instant): void {
    this.nextProbeAt = now;
    this.probesSent = 0;
    this.rtt = undefined;
    this.#sentAt.clear();
  }

  /**
   * The peer's probe came through, ours got no answer yet: it may have met a closed NAT, which is open now (iceless 6.6.3). Deviates as it
   * does not only restart a pair that was given up. Costs a probe of the budget.
   */
  hasten(now: Instant): void {
    if (this.nextProbeAt === undefined) this.restart(now);
    else if (this.isFresh && this.nextProbeAt > now) this.nextProbeAt = now;
  }

  /** The next probe now; what was measured stays. */
  check(now: Instant): void {
    this.probesSent = PROBE_BUDGET;
    this.nextProbeAt = now;
  }

  isDue(now: Instant): boolean {
    return this.nextProbeAt !== undefined && this.nextProbeAt <= now;
  }

  /** The due probe; then the schedule goes on. */
  takeProbe(standing: Standing, now: Instant): Probe {
    const sequence = this.#nextSequence;
    this.#nextSequence = (sequence + 1) & 0xffff;
    this.#sentAt.set(sequence, now);
    for (const oldest of this.#sentAt.keys()) {
      if (this.#sentAt.size <= MAX_IN_FLIGHT) break;
      this.#sentAt.delete(oldest);
    }
    this.probesSent += 1;
    this.nextProbeAt = this.#following(standing, now);
    return { kind: 'request', id: this.id, sequence };
  }

  /** False if no probe with that sequence is under way. */
  noteReply(sequence: number, now: Instant): boolean {
    const sentAt = this.#sentAt.get(sequence);
    if (sentAt === undefined) return false;
    this.#sentAt.delete(sequence);
    const sample = now - sentAt;
    this.rtt = this.rtt === undefined ? sample : (this.rtt + sample) / 2;
    if (this.probesSent > PROBE_BUDGET) {
      this.probesSent = PROBE_BUDGET;
      this.nextProbeAt = later(sentAt, UPKEEP_MS);
    }
    return true;
  }

  /** It became the primary: its NAT bindings are kept, whatever its schedule was (iceless 13). */
  keepUp(now: Instant): void {
    this.nextProbeAt ??= later(now, UPKEEP_MS);
  }

  /** Inside the first twelve probes, which nothing restarts. */
  get isFresh(): boolean {
    return this.nextProbeAt !== undefined && this.probesSent < PROBE_BUDGET;
  }

  /** Nothing was ever sent for it. */
  get isUntouched(): boolean {
    return this.#nextSequence === 0;
  }

  get inFlight(): number {
    return this.#sentAt.size;
  }

  #following(standing: Standing, now: Instant): Instant | undefined {
    if (this.probesSent < PROBE_BUDGET) {
      return later(now, FIRST_GAPS_MS[this.probesSent - 1] ?? GAP_MS);
    }
    switch (standing) {
      case 'other':
        return undefined;
      case 'no-primary':
        return later(now, GAP_MS);
      case 'primary': {
        const repeats = this.probesSent - PROBE_BUDGET;
        return later(now, repeats === 0 ? UPKEEP_MS : (FIRST_GAPS_MS[repeats - 1] ?? GAP_MS));
      }
    }
  }
}

export function pairKey(local: Endpoint, remote: Endpoint): string {
  return `${local.key} ${remote.key}`;
}

/** IPv4 before IPv6, then by bytes, then by port. */
function sortKey({ address, port }: Endpoint): string {
  const bytes = ipBytes(address);
  return `${bytes.length === 4 ? 4 : 6}${toHex(bytes)}${port.toString(16).padStart(4, '0')}`;
}
