// One candidate pair: its check attempts, nomination, and when the next check is due or the pair is given up
// (connectivity 5.8 and 5.9; RFC 8445 §6.1.2). A pair is a path: local base and remote address. What is known about
// the two candidates may change while the path, its history and its nomination stay.
//
//   check state   waiting -- check sent --> in-progress -- answered --> succeeded       (there is no frozen and no failed)
//   nomination    none -- nominated --> nominated -- check sent --> attempt -- answered --> success

import { type Instant, instant, later } from '../../base/time.ts';
import type { LocalCandidate } from './local-candidates.ts';
import type { PairPriority } from './priority.ts';
import type { RemoteCandidate } from './remote-candidates.ts';
import { type IceTiming, retransmitDelayMs } from './timing.ts';

export type IceRole = 'controlling' | 'controlled';
export type CheckState = 'waiting' | 'in-progress' | 'succeeded';
export type Nomination = 'none' | 'nominated' | 'attempt' | 'success';

export interface CheckAttempt {
  /** `transactionKey` of the transaction. */
  readonly id: string;
  readonly sentAt: Instant;
  readonly isNominating: boolean;
  readonly role: IceRole;
  isAnswered: boolean;
}

// Specification

/** Connectivity 5.8: a request from the peer keeps a pair that long, whatever becomes of our own checks. */
export const REQUEST_KEEPS_PAIR_MS = 15_000;

// Implementation

/** Checks of the peer on one pair without any on another: a controlling side with traffic makes them in 7.5 s. */
const ABANDONING_REQUESTS = 5;
const NEVER: Instant = instant(Number.NEGATIVE_INFINITY);

// Implementation

/** Per pair, so that requests whose responses are lost cannot chase each other for ever. */
const MAX_TRIGGERED_CHECKS = 3;

export class CandidatePair {
  local: LocalCandidate;
  remote: RemoteCandidate;
  priority: PairPriority;
  #checkState: CheckState = 'waiting';
  #nomination: Nomination = 'none';
  #attempts: CheckAttempt[] = [];
  /** When the peer's last checks on it came, the newest last. */
  #requestsAt: Instant[] = [];
  #nextCheckAt: Instant;
  #rtt: number | undefined;
  #triggered = 0;
  #isTriggered = false;
  #heardAt: Instant = NEVER;
  #answeredAt: Instant = NEVER;
  #isSuspect = false;

  constructor(
    local: LocalCandidate,
    remote: RemoteCandidate,
    priority: PairPriority,
    now: Instant,
  ) {
    this.local = local;
    this.remote = remote;
    this.priority = priority;
    this.#nextCheckAt = now;
  }

  /** A check was sent. Returns the attempt that is no longer remembered, if any. */
  noteCheck(id: string, role: IceRole, timing: IceTiming, now: Instant): readonly CheckAttempt[] {
    const isNominating = this.#nomination !== 'none';
    this.#isTriggered = false;
    this.#attempts.push({ id, sentAt: now, isNominating, role, isAnswered: false });
    if (this.#nomination === 'nominated') this.#nomination = 'attempt';
    if (this.#checkState === 'waiting') this.#checkState = 'in-progress';
    const surplus = Math.max(0, this.#attempts.length - timing.maxRetransmits);
    const forgotten = this.#attempts.splice(0, surplus);
    this.schedule(timing, now);
    return forgotten;
  }

  /** RFC 8445 §7.2.5.3.3 and §7.2.5.3.4. */
  noteSuccess(attempt: CheckAttempt, timing: IceTiming, now: Instant): void {
    if (!attempt.isAnswered) this.#rtt = now - attempt.sentAt;
    attempt.isAnswered = true;
    this.#answeredAt = now;
    this.#noteHeard(now);
    this.#checkState = 'succeeded';
    if (attempt.isNominating && this.#nomination !== 'none') this.#nomination = 'success';
    this.schedule(timing, now);
  }

  /** RFC 8445 §7.2.5.1: after a role conflict the check is repeated at once. */
  noteRoleConflict(attempt: CheckAttempt, now: Instant): void {
    attempt.isAnswered = true;
    this.#nextCheckAt = now;
  }

  /**
   * RFC 8445 §7.3.1.4: a check triggers one in the other direction, at once. The peer's NAT has let something out to us, so
   * that a check like one that was lost may now come through; where it was not lost, it costs one datagram.
   */
  noteRequest(now: Instant): void {
    this.#noteHeard(now);
    this.#requestsAt.push(now);
    if (this.#requestsAt.length > ABANDONING_REQUESTS) this.#requestsAt.shift();
    const isWanted = this.#checkState !== 'succeeded' && this.#triggered < MAX_TRIGGERED_CHECKS;
    if (!isWanted) return;
    const isExtra = this.#attempts.length > 0 && now < this.#nextCheckAt;
    if (isExtra) this.#triggered += 1;
    this.#trigger(now);
  }

  /** Whether it works is to be known now; what was sent a moment ago is not repeated. */
  verify(now: Instant): void {
    const last = this.#attempts.at(-1);
    if (last === undefined || last.isAnswered || last.sentAt < now) this.#trigger(now);
  }

  /** It does not carry the peer's data any more: it is not used until it is heard again. */
  suspect(): void {
    this.#isSuspect = true;
  }

  /** The nominating check jumps the queue. */
  nominate(now: Instant): void {
    this.#nomination = 'nominated';
    this.#nextCheckAt = now;
  }

  /** The role changed: nominations are for the other side to make. */
  clearNomination(): void {
    this.#nomination = 'none';
  }

  /** Connectivity 5.9. The result stands until the next check, response or change of timing. */
  schedule(timing: IceTiming, now: Instant): void {
    const last = this.#attempts.at(-1);
    if (!last || this.#nomination === 'nominated') {
      this.#nextCheckAt = now;
      return;
    }
    const unanswered = this.#unansweredCount();
    const oldest = this.#attempts[this.#attempts.length - unanswered];
    const isSilent = oldest !== undefined && now - oldest.sentAt > timing.maxRtoMs / 2;
    const remembered = Math.min(this.#attempts.length, timing.maxRetransmits);
    const delay = retransmitDelayMs(timing, isSilent ? unanswered : remembered);
    const due = later(last.sentAt, delay);
    const latest = later(now, timing.maxRtoMs);
    this.#nextCheckAt = instant(Math.min(due, latest));
  }

  findAttempt(id: string): CheckAttempt | undefined {
    return this.#attempts.find((attempt) => attempt.id === id);
  }

  /** When the pair is to be deleted, as things are; `undefined` while too few checks are unanswered. */
  expiresAt(timing: IceTiming): Instant | undefined {
    const last = this.#attempts.at(-1);
    if (!last || this.#unansweredCount() < timing.maxRetransmits) return undefined;
    const silentUntil = later(last.sentAt, retransmitDelayMs(timing, timing.maxRetransmits));
    const lastRequestAt = this.#requestsAt.at(-1);
    if (lastRequestAt === undefined) return silentUntil;
    const heardUntil = later(lastRequestAt, REQUEST_KEEPS_PAIR_MS);
    return instant(Math.max(heardUntil, silentUntil));
  }

  /** The peer, which checks all its pairs at one pace, checked the other one several times since it last checked this one. */
  isAbandonedFor(other: CandidatePair): boolean {
    const since = this.#requestsAt.at(-1) ?? NEVER;
    const [oldest] = other.#requestsAt;
    return (
      other.#requestsAt.length >= ABANDONING_REQUESTS && oldest !== undefined && oldest > since
    );
  }

  get path(): string {
    return pathOf(this.local, this.remote);
  }

  get nextCheckAt(): Instant {
    return this.#nextCheckAt;
  }

  /** Its next check does not wait for a turn: the peer is waiting for it. */
  get isUrgent(): boolean {
    return this.#isTriggered || this.#nomination === 'nominated';
  }

  /** The next check is the first one, or there because the peer was heard. */
  get isOpening(): boolean {
    return this.#attempts.length === 0 || this.#isTriggered;
  }

  get isSuspect(): boolean {
    return this.#isSuspect;
  }

  /** When something of the peer, request or response, last came over it; never if infinitely long ago. */
  get heardAt(): Instant {
    return this.#heardAt;
  }

  /** When a check of ours was last answered. */
  get answeredAt(): Instant {
    return this.#answeredAt;
  }

  get checkState(): CheckState {
    return this.#checkState;
  }

  get nomination(): Nomination {
    return this.#nomination;
  }

  get attempts(): readonly CheckAttempt[] {
    return this.#attempts;
  }

  /** Round trip of the last answered check, in milliseconds. */
  get rtt(): number | undefined {
    return this.#rtt;
  }

  #trigger(now: Instant): void {
    this.#nextCheckAt = now;
    this.#isTriggered = true;
  }

  #noteHeard(now: Instant): void {
    this.#heardAt = now;
    this.#isSuspect = false;
  }

  /** Unanswered attempts since the last answered one. */
  #unansweredCount(): number {
    const lastAnswered = this.#attempts.findLastIndex(({ isAnswered }) => isAnswered);
    return this.#attempts.length - 1 - lastAnswered;
  }
}

/** RFC 8445 §6.1.2.4: what tells pairs apart. */
export function pathOf(local: LocalCandidate, remote: RemoteCandidate): string {
  return `${local.candidate.base.key} ${remote.candidate.address.key}`;
}
