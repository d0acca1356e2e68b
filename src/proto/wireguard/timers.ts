// When a tunnel speaks without being asked (WireGuard §6, connectivity 7.8 whose rule numbers are kept). It knows instants and
// answers with one action; `tunnel.ts` acts. Deadlines are derived from the last events; `NEVER` is one that did not happen.
//
// Deviates from connectivity 7.8 twice:
// - rule 12 counts from the first received packet that is unanswered, not from the latest (14.24): a steady one-way stream is
//   answered every `keepaliveMs` and its sender needs no extra handshakes;
// - rules 2 to 13 wait for a scheduled handshake, but a session that comes about meanwhile cancels it.

import type { Random } from '../../base/random.ts';
import { type Instant, instant, later } from '../../base/time.ts';
import {
  EXPIRE_AFTER_MS,
  REJECT_AFTER_MS,
  REKEY_AFTER_MESSAGES,
  REKEY_AFTER_MS,
  REKEY_JITTER_MS,
} from './limits.ts';
import type { Role, Session } from './sessions.ts';

export interface TimerConfig {
  /** An initiation that stays unanswered this long ends the tunnel: 20 s with ICE. */
  readonly rekeyAttemptMs: number;
  /** T_k: 10 s with ICE. */
  readonly keepaliveMs: number;
  /** T_r: 5 s with ICE. */
  readonly rekeyTimeoutMs: number;
}

export type TimerAction = 'none' | 'send-keepalive' | 'expire';

const NEVER: Instant = instant(Number.POSITIVE_INFINITY);

export class TunnelTimers {
  readonly #config: TimerConfig;
  readonly #random: Random;
  #lastEstablishedAt: Instant;
  #lastRole: Role | 'none' = 'none';
  #scheduledAt: Instant = NEVER;
  #firstInitiationAt: Instant = NEVER;
  #lastInitiationAt: Instant = NEVER;
  /** Oldest data packet sent since anything authentic was received. */
  #unansweredSince: Instant = NEVER;
  /** First data packet received since anything was sent. */
  #oweSince: Instant = NEVER;
  #isExpired = false;

  constructor(config: TimerConfig, random: Random, now: Instant) {
    this.#config = config;
    this.#random = random;
    this.#lastEstablishedAt = now;
  }

  /** Rules 3 to 14, after rules 1 and 2. `sent`: messages sent on the current session. */
  judge(current: Session | undefined, sent: number, now: Instant): TimerAction {
    if (this.#isExpired) return 'none'; // rule 4; the owner was told when it happened
    if (now >= this.#expiresAt()) return 'expire'; // rules 6 and 7
    if (this.#wantsHandshake(current, sent, now)) {
      this.#scheduledAt = later(now, this.#random.next() * REKEY_JITTER_MS); // rule 14
      return 'none';
    }
    if (now < later(this.#oweSince, this.#config.keepaliveMs)) return 'none';
    this.#oweSince = NEVER; // rule 12; without a session it is skipped
    return 'send-keepalive';
  }

  noteInitiation(now: Instant): void {
    if (this.#isExpired) this.#revive(now);
    this.#scheduledAt = NEVER;
    if (!this.isInitiating) this.#firstInitiationAt = now;
    this.#lastInitiationAt = now;
    this.#oweSince = NEVER;
  }

  /** An initiation is answered, or of no more use. */
  noteInitiationEnded(): void {
    this.#firstInitiationAt = NEVER;
    this.#lastInitiationAt = NEVER;
  }

  noteEstablished(role: Role, now: Instant): void {
    if (this.#isExpired) this.#revive(now);
    this.#lastEstablishedAt = now;
    this.#lastRole = role;
    this.#scheduledAt = NEVER;
  }

  /** Hot: anything authentic came in. */
  noteReceived(session: Session, isData: boolean, now: Instant): void {
    this.#unansweredSince = NEVER;
    if (!isData) return;
    session.hasReceivedData = true;
    if (this.#oweSince === NEVER) this.#oweSince = now;
  }

  noteHandshakeReceived(): void {
    this.#unansweredSince = NEVER;
  }

  /** Hot: anything went out. */
  noteSent(): void {
    this.#oweSince = NEVER;
  }

  /** Hot: data went out. */
  noteSentData(session: Session, now: Instant): void {
    this.#oweSince = NEVER;
    session.hasSentData = true;
    if (this.#unansweredSince === NEVER) this.#unansweredSince = now;
  }

  noteExpired(): void {
    this.#isExpired = true;
    this.#lastRole = 'none';
    this.#scheduledAt = NEVER;
    this.#unansweredSince = NEVER;
    this.#oweSince = NEVER;
    this.noteInitiationEnded();
  }

  /** Infinite if there is nothing to wait for. `nextExpiry`: of the oldest session. */
  nextDeadline(current: Session | undefined, sent: number, nextExpiry: Instant): Instant {
    if (this.isHandshakeScheduled) return this.#scheduledAt;
    if (this.#isExpired) return NEVER;
    const deadline = Math.min(
      nextExpiry,
      this.#expiresAt(),
      this.#handshakeWantedAt(current, sent),
      later(this.#oweSince, this.#config.keepaliveMs),
    );
    return instant(deadline);
  }

  /** Rule 1: while a handshake is scheduled, nothing else is judged. */
  get isHandshakeScheduled(): boolean {
    return this.#scheduledAt !== NEVER;
  }

  isHandshakeDue(now: Instant): boolean {
    return now >= this.#scheduledAt;
  }

  get isInitiating(): boolean {
    return this.#firstInitiationAt !== NEVER;
  }

  get isExpired(): boolean {
    return this.#isExpired;
  }

  #expiresAt(): Instant {
    const unanswered = later(this.#firstInitiationAt, this.#config.rekeyAttemptMs); // rule 7
    return instant(Math.min(unanswered, later(this.#lastEstablishedAt, EXPIRE_AFTER_MS))); // rule 6
  }

  #wantsHandshake(current: Session | undefined, sent: number, now: Instant): boolean {
    return now >= this.#handshakeWantedAt(current, sent);
  }

  #handshakeWantedAt(current: Session | undefined, sent: number): Instant {
    const { keepaliveMs, rekeyTimeoutMs } = this.#config;
    if (this.isInitiating) return later(this.#lastInitiationAt, rekeyTimeoutMs); // rule 8
    const unanswered = later(this.#unansweredSince, keepaliveMs + rekeyTimeoutMs); // rule 11
    if (current === undefined) return this.#lastRole === 'initiator' ? instant(0) : unanswered; // rule 3
    if (sent >= REKEY_AFTER_MESSAGES) return instant(0); // WireGuard §6.2
    let wanted = unanswered;
    if (current.role === 'initiator' && current.hasSentData) {
      wanted = sooner(wanted, later(current.establishedAt, REKEY_AFTER_MS)); // rule 9
    }
    if (current.role === 'initiator' && current.hasReceivedData) {
      const age = REJECT_AFTER_MS - keepaliveMs - rekeyTimeoutMs;
      wanted = sooner(wanted, later(current.establishedAt, age)); // rule 10
    }
    return wanted;
  }

  #revive(now: Instant): void {
    this.#isExpired = false;
    this.#lastEstablishedAt = now;
  }
}

function sooner(a: Instant, b: Instant): Instant {
  return a < b ? a : b;
}
