// The component side of the portal connection (portal-protocol 4): disconnected at construction, dialled by `connect`, kept up
// by itself until it fails for good or is closed. It commands a socket that somebody else holds and never sees one:
//
//              connect                     socket open            join confirmed
//   closed -------------> connecting --------------------> open ------------------> open, `connected`
//     ^  ^                 |      ^                          |
//     |  |         hiccup  v      | delay is over            | hiccup, `connect` or `close`
//     |  '--- failed <-- waiting -'<------- closing <--------'
//     |                                        |
//     '----------------------------------------' close
//
// The socket's holder executes commands (`pollTransmit`) and reports what happens to the socket of the newest `dial`; after
// `abort` it reports nothing more of that socket. Authentication, refusals and budgets: `failures.ts`, `backoff.ts`.

import { Counters } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import { type Instant, later, type WallClock } from '../../base/time.ts';
import { Backoff, FIRST_CONNECTION, reconnection } from './backoff.ts';
import { Connection, type ConnectionDrop, type SendOutcome } from './connection.ts';
import {
  type ChannelFailure,
  type HiccupCause,
  type HttpRefusal,
  isFailure,
  judgeRefusal,
} from './failures.ts';
import type { DialTarget, LoginUrl } from './login-url.ts';
import { parseRetryAfter } from './retry-after.ts';

// Specification
/** TCP, TLS and HTTP together (portal-protocol 2.4). */
export const CONNECT_TIMEOUT_MS = 15_000;
/** Close code of an orderly end (RFC 6455 §7.4.1). */
export const NORMAL_CLOSURE = 1000;
/** The back-off's budget while the portal is away, when the operator sets none (portal-protocol 4.3). */
export const DEFAULT_PARTITION_BUDGET_MS: number = 24 * 3_600_000;

// Implementation
/** How long the close handshake may take (portal-protocol 16.5). */
export const CLOSE_TIMEOUT_MS = 2000;
/** The same for a predecessor of the next connection: after a change of networks its socket is dead, and the successor must not wait for it. */
export const PREDECESSOR_CLOSE_TIMEOUT_MS = 300;
/**
 * "Already connected" is expected for as long as the portal has not noticed the end of our previous socket: its idle time-out of
 * 37 s, with a margin (portal-protocol 16.4). Such refusals are retried at a steady pace and use no other budget.
 */
export const CONFLICT_BUDGET_MS = 60_000;
const CONFLICT_DELAY_MS = 1000;
/** Added to `Retry-After` and conflict delays, so that components do not return in step (portal-protocol 16.20). */
const SPREAD_MS = 1000;
/** A longer `Retry-After` is taken as this: a slip of a server must not silence a gateway for years. */
const RETRY_AFTER_LIMIT_MS = 24 * 3_600_000;

export interface ChannelConfig<Params> {
  readonly loginUrl: LoginUrl<Params>;
  /** Whatever white space is in it is removed (portal-protocol 2.2). */
  readonly token: string | undefined;
  readonly userAgent: string;
  /** `null` for gateways and clients. */
  readonly joinPayload: unknown;
  readonly partitionBudgetMs: number;
}

export interface ChannelDeps {
  readonly random: Random;
  readonly wallClock: WallClock;
  readonly log: Log;
}

export interface DialRequest {
  readonly target: DialTarget;
  /** In the order to be sent (portal-protocol 2.3). */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

export type SocketCommand =
  | { readonly kind: 'dial'; readonly request: DialRequest }
  | { readonly kind: 'send'; readonly text: string }
  /** Start the close handshake. */
  | { readonly kind: 'close'; readonly code: number }
  /** Drop the socket, or the dialling of one, at once. */
  | { readonly kind: 'abort' };

export type ChannelEvent =
  | { readonly kind: 'connected' }
  | { readonly kind: 'message'; readonly event: string; readonly payload: unknown }
  | { readonly kind: 'message-refused'; readonly event: string; readonly reason: string }
  /** The portal is away; the next attempt is made after `delayMs`. */
  | { readonly kind: 'hiccup'; readonly cause: HiccupCause; readonly delayMs: number }
  /** It is over: nothing happens until `connect`. */
  | { readonly kind: 'failed'; readonly failure: ChannelFailure }
  /** `close` is done. */
  | { readonly kind: 'closed' };

type State =
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed' }
  /** Until the next attempt. */
  | { readonly kind: 'waiting'; readonly until: Instant }
  | { readonly kind: 'connecting'; readonly deadline: Instant }
  | { readonly kind: 'open'; readonly connection: Connection }
  /** Until the close handshake is done, at most `deadline`. */
  | { readonly kind: 'closing'; readonly deadline: Instant; readonly next: 'dial' | 'stay-closed' };

export class PhoenixChannel<Params> {
  readonly #config: ChannelConfig<Params>;
  readonly #deps: ChannelDeps;
  readonly #counters = new Counters<ConnectionDrop>();
  readonly #commands: SocketCommand[] = [];
  readonly #events: ChannelEvent[] = [];
  #state: State = { kind: 'closed' };
  #target: DialTarget | undefined;
  #backoff: Backoff | undefined;
  #conflictSpentMs = 0;
  /** For ever once a join succeeded. */
  #wasConnected = false;
  #isBlocked = false;

  constructor(config: ChannelConfig<Params>, deps: ChannelDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** The socket of the newest `dial` is open. */
  handleOpened(now: Instant): void {
    if (this.#state.kind !== 'connecting') return this.#counters.add('late-report');
    const { loginUrl, joinPayload } = this.#config;
    const connection = new Connection(loginUrl.audience, joinPayload, this.#counters, now);
    this.#state = { kind: 'open', connection };
    this.#isBlocked = false;
  }

  /** The server answered the upgrade with something else than 101. */
  handleRefused(refusal: HttpRefusal, now: Instant): void {
    if (this.#state.kind !== 'connecting') return this.#counters.add('late-report');
    const judged = judgeRefusal(refusal);
    if (isFailure(judged)) return this.#fail(judged);
    this.#retry(judged, this.#demandedDelay(refusal, now), now);
  }

  /** No socket came of the newest `dial`. */
  handleDialFailed(cause: HiccupCause, now: Instant): void {
    if (this.#state.kind !== 'connecting') return this.#counters.add('late-report');
    this.#retry(cause, undefined, now);
  }

  handleText(text: string, now: Instant): void {
    if (this.#state.kind !== 'open') return;
    this.#state.connection.handleText(text, now);
    this.#drain(this.#state.connection, now);
  }

  /** Ignored (portal-protocol 3.1). */
  handleBinary(): void {
    this.#counters.add('binary-frame');
  }

  /** The socket is gone. A close frame's code and reason have no meaning (portal-protocol 4.3 row 8). */
  handleClosed(cause: HiccupCause, now: Instant): void {
    switch (this.#state.kind) {
      case 'open':
        return this.#retry(cause, undefined, now);
      case 'closing':
        return this.#handlePredecessorGone(this.#state.next, now);
      default:
        return this.#counters.add('late-report');
    }
  }

  /** While the socket has more to write than is good, only commands come out of `pollTransmit`; messages wait here. */
  handleBackpressure(isBlocked: boolean): void {
    this.#isBlocked = isBlocked;
  }

  handleTimeout(now: Instant): void {
    switch (this.#state.kind) {
      case 'waiting':
        if (now >= this.#state.until) this.#dial(now);
        return;
      case 'connecting':
        if (now < this.#state.deadline) return;
        this.#commands.push({ kind: 'abort' });
        return this.#retry({ kind: 'connect-timeout' }, undefined, now);
      case 'closing':
        if (now < this.#state.deadline) return;
        this.#commands.push({ kind: 'abort' });
        return this.#handlePredecessorGone(this.#state.next, now);
      case 'open':
        this.#state.connection.handleTimeout(now);
        return this.#drain(this.#state.connection, now);
    }
  }

  /**
   * Dials now, with fresh back-off. An open connection is closed first: the portal admits one per identity. Repeating the
   * parameters of an attempt under way changes nothing (portal-protocol 1.2, release 1.4.0).
   */
  connect(params: Params, now: Instant): void {
    const target = this.#config.loginUrl.complete(params);
    const isSame = target.path === this.#target?.path;
    if (this.#state.kind === 'connecting' && isSame) return;
    this.#target = target;
    this.#backoff = undefined;
    this.#conflictSpentMs = 0;
    switch (this.#state.kind) {
      case 'open':
        return this.#closeSocket('dial', now);
      case 'closing':
        this.#state = { ...this.#state, next: 'dial' };
        return;
      case 'connecting':
        this.#commands.push({ kind: 'abort' });
        return this.#dial(now);
      default:
        return this.#dial(now);
    }
  }

  /** Ends in the event `closed`. */
  close(now: Instant): void {
    switch (this.#state.kind) {
      case 'open':
        return this.#closeSocket('stay-closed', now);
      case 'closing':
        this.#state = { ...this.#state, next: 'stay-closed' };
        return;
      case 'connecting':
        this.#commands.push({ kind: 'abort' });
        return this.#handlePredecessorGone('stay-closed', now);
      default:
        return this.#handlePredecessorGone('stay-closed', now);
    }
  }

  /** Before the join is confirmed messages wait; while there is no connection they are refused, not kept. */
  send(event: string, payload: unknown): SendOutcome {
    if (this.#state.kind !== 'open') return 'not-connected';
    return this.#state.connection.send(event, payload);
  }

  pollTransmit(): SocketCommand | undefined {
    const command = this.#commands.shift();
    if (command !== undefined) return command;
    if (this.#isBlocked || this.#state.kind !== 'open') return undefined;
    const text = this.#state.connection.pollText();
    return text === undefined ? undefined : { kind: 'send', text };
  }

  pollEvent(): ChannelEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    switch (this.#state.kind) {
      case 'waiting':
        return this.#state.until;
      case 'connecting':
      case 'closing':
        return this.#state.deadline;
      case 'open':
        return this.#state.connection.pollTimeout();
      default:
        return undefined;
    }
  }

  get isConnected(): boolean {
    return this.#state.kind === 'open' && this.#state.connection.isJoined;
  }

  snapshot(): ChannelSnapshot {
    const connection = this.#state.kind === 'open' ? this.#state.connection : undefined;
    return {
      state: this.#state.kind,
      isConnected: this.isConnected,
      wasConnected: this.#wasConnected,
      queueLength: connection?.queueLength ?? 0,
      unansweredHeartbeats: connection?.unansweredHeartbeats ?? 0,
      drops: this.#counters.snapshot(),
    };
  }

  #drain(connection: Connection, now: Instant): void {
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      switch (event.kind) {
        case 'joined':
          this.#wasConnected = true;
          this.#backoff = undefined;
          this.#conflictSpentMs = 0;
          this.#events.push({ kind: 'connected' });
          break;
        case 'lost':
          this.#dropSocket(connection);
          this.#retry(event.cause, undefined, now);
          break;
        case 'failed':
          this.#dropSocket(connection);
          this.#fail(event.failure);
          break;
        default:
          this.#events.push(event);
      }
    }
  }

  #dial(now: Instant): void {
    const { token, userAgent } = this.#config;
    if (this.#target === undefined) return;
    const headers: (readonly [string, string])[] = [
      ['Host', this.#target.hostHeader],
      ['User-Agent', userAgent],
    ];
    if (token !== undefined) {
      headers.push(['X-Authorization', `Bearer ${token.replaceAll(/\s/g, '')}`]);
    }
    this.#commands.push({ kind: 'dial', request: { target: this.#target, headers } });
    this.#state = { kind: 'connecting', deadline: later(now, CONNECT_TIMEOUT_MS) };
  }

  #closeSocket(next: 'dial' | 'stay-closed', now: Instant): void {
    this.#commands.push({ kind: 'close', code: NORMAL_CLOSURE });
    const timeoutMs = next === 'dial' ? PREDECESSOR_CLOSE_TIMEOUT_MS : CLOSE_TIMEOUT_MS;
    this.#state = { kind: 'closing', deadline: later(now, timeoutMs), next };
  }

  /** What the connection still had to say as such, its last heartbeat above all, goes out first. */
  #dropSocket(connection: Connection): void {
    for (let text = connection.pollText(); text !== undefined; text = connection.pollText()) {
      this.#commands.push({ kind: 'send', text });
    }
    this.#commands.push({ kind: 'abort' });
  }

  #handlePredecessorGone(next: 'dial' | 'stay-closed', now: Instant): void {
    if (next === 'dial') return this.#dial(now);
    this.#state = { kind: 'closed' };
    this.#events.push({ kind: 'closed' });
  }

  /** What the server asks for comes before our own back-off and does not use it up (portal-protocol 4.3). */
  #retry(cause: HiccupCause, demandedMs: number | undefined, now: Instant): void {
    const delayMs = demandedMs ?? this.#conflictDelay(cause) ?? this.#nextBackoff();
    if (delayMs === undefined) return this.#fail({ kind: 'retries-exhausted', cause });
    this.#state = { kind: 'waiting', until: later(now, delayMs) };
    this.#events.push({ kind: 'hiccup', cause, delayMs });
    this.#deps.log.debug('the portal is away', { cause: cause.kind, delayMs });
  }

  #demandedDelay(refusal: HttpRefusal, now: Instant): number | undefined {
    const { random, wallClock } = this.#deps;
    const demandedMs = parseRetryAfter(refusal.retryAfter ?? '', wallClock.at(now));
    if (demandedMs === undefined) return undefined;
    return Math.min(demandedMs, RETRY_AFTER_LIMIT_MS) + random.next() * SPREAD_MS;
  }

  #conflictDelay(cause: HiccupCause): number | undefined {
    if (cause.kind !== 'http-status' || cause.status !== 409) return undefined;
    if (this.#conflictSpentMs >= CONFLICT_BUDGET_MS) return undefined;
    const delayMs = CONFLICT_DELAY_MS + this.#deps.random.next() * SPREAD_MS;
    this.#conflictSpentMs += delayMs;
    return delayMs;
  }

  /** Made at the first error, so that a long-lived connection does not come with a spent budget. */
  #nextBackoff(): number | undefined {
    const policy = this.#wasConnected
      ? reconnection(this.#config.partitionBudgetMs)
      : FIRST_CONNECTION;
    this.#backoff ??= new Backoff(policy, this.#deps.random);
    return this.#backoff.next();
  }

  #fail(failure: ChannelFailure): void {
    this.#state = { kind: 'failed' };
    this.#events.push({ kind: 'failed', failure });
  }
}

export interface ChannelSnapshot {
  readonly state: State['kind'];
  readonly isConnected: boolean;
  readonly wasConnected: boolean;
  readonly queueLength: number;
  readonly unansweredHeartbeats: number;
  readonly drops: Readonly<Record<string, number>>;
}
