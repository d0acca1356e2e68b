// Where a connection stands and how long it may (connectivity 4.5 and 4.6): its states, with what exists only in a state kept
// inside it, and the four clocks that move it. What a transition entails, sending and timing of checks, is the connection's.
//
//   connecting ── nominated ──▶ connected ── 20 s without user data ──▶ idle
//       │                        ▲    └──────── user data, candidates, reuse ◀──┘
//       │ no candidate 10 s      │
//       ▼                        │  failed also: ICE disconnected for 2 s, WireGuard expired
//     failed ◀───────────────────┘  or, for a gateway, its peer silent for 250 s

import { earliest, type Instant, later } from '../../base/time.ts';
import type { IceState } from '../../proto/ice/nomination.ts';
import { isSamePath, type Path } from '../outbound/path.ts';

// Specification (connectivity 3)

const CANDIDATE_TIMEOUT_MS = 10_000;
const DISCONNECT_TIMEOUT_MS = 2_000;
const MAX_IDLE_MS = 20_000;
const MAX_BUFFERED_DATAGRAMS = 128;

export type FailureReason =
  | 'no-candidates'
  | 'ice-disconnected'
  | 'wireguard-expired'
  /** Neither STUN nor WireGuard of the peer for so long that it must have given up itself (connectivity 14.22). */
  | 'peer-silent';

export type State =
  /** Datagrams of the tunnel wait for a path; of too many the oldest go (connectivity 4.11). */
  | { readonly kind: 'connecting'; readonly buffered: Uint8Array[] }
  | { readonly kind: 'connected'; path: Path; lastActivityAt: Instant }
  | { readonly kind: 'idle'; path: Path }
  | { readonly kind: 'failed'; readonly reason: FailureReason };

export class LifeCycle {
  #state: State = { kind: 'connecting', buffered: [] };
  #iceState: IceState = 'new';
  #candidateDeadline: Instant | undefined;
  #disconnectDeadline: Instant | undefined;
  readonly #silenceLimitMs: number;
  #heardAt: Instant;

  /** `silenceLimitMs`: how long the peer may say nothing. */
  constructor(now: Instant, silenceLimitMs: number = Number.POSITIVE_INFINITY) {
    this.#heardAt = now;
    this.#silenceLimitMs = silenceLimitMs;
    this.#candidateDeadline = later(now, CANDIDATE_TIMEOUT_MS);
  }

  /** The agent's state: a disconnected one has two seconds to recover, also to Completed (connectivity 14.5). */
  noteIceState(state: IceState, now: Instant): void {
    this.#iceState = state;
    if (state !== 'disconnected') this.#disconnectDeadline = undefined;
    else this.#disconnectDeadline ??= later(now, DISCONNECT_TIMEOUT_MS);
  }

  /** The peer is there: it signalled a candidate. */
  noteRemoteCandidate(): void {
    this.#candidateDeadline = undefined;
  }

  /** Hot: something authentic of the peer came. */
  noteHeard(now: Instant): void {
    this.#heardAt = now;
  }

  /** Hot: user data went either way; true if the connection was idle. Keepalives and STUN do not count. */
  noteActivity(now: Instant): boolean {
    const state = this.#state;
    if (state.kind === 'connected') {
      state.lastActivityAt = now;
      return false;
    }
    if (state.kind !== 'idle') return false;
    this.#state = { kind: 'connected', path: state.path, lastActivityAt: now };
    return true;
  }

  /** The datagrams that waited for a path; `undefined` if the path is not new. */
  adoptPath(path: Path, now: Instant): readonly Uint8Array[] | undefined {
    const state = this.#state;
    switch (state.kind) {
      case 'failed':
        return undefined;
      case 'connecting':
        this.#state = { kind: 'connected', path, lastActivityAt: now };
        return state.buffered;
      case 'connected':
      case 'idle':
        if (isSamePath(state.path, path)) return undefined;
        state.path = path;
        return [];
    }
  }

  /** Our addresses are others now: datagrams wait again. */
  losePath(): void {
    if (this.#state.kind !== 'failed') this.#state = { kind: 'connecting', buffered: [] };
  }

  /** The same path, described better. */
  redescribePath(path: Path): void {
    if (this.#state.kind === 'connected' || this.#state.kind === 'idle') this.#state.path = path;
  }

  /** False if the state has no place for waiting datagrams. */
  buffer(datagram: Uint8Array): boolean {
    if (this.#state.kind !== 'connecting') return false;
    const { buffered } = this.#state;
    buffered.push(datagram);
    if (buffered.length > MAX_BUFFERED_DATAGRAMS) buffered.shift();
    return true;
  }

  /** True if the connection became idle just now. */
  goIdle(now: Instant): boolean {
    if (this.#state.kind !== 'connected' || !isDue(this.#idleDeadline(), now)) return false;
    this.#state = { kind: 'idle', path: this.#state.path };
    return true;
  }

  /** A connection whose path works is not failed for a candidate that the portal lost (connectivity 14.6). */
  hasNoCandidates(now: Instant): boolean {
    if (!isDue(this.#candidateDeadline, now)) return false;
    this.#candidateDeadline = undefined;
    return this.#state.kind === 'connecting';
  }

  isDisconnected(now: Instant): boolean {
    return isDue(this.#disconnectDeadline, now);
  }

  isSilent(now: Instant): boolean {
    return now >= later(this.#heardAt, this.#silenceLimitMs);
  }

  fail(reason: FailureReason): void {
    this.#state = { kind: 'failed', reason };
  }

  pollTimeout(): Instant | undefined {
    const silence = later(this.#heardAt, this.#silenceLimitMs);
    return earliest(
      this.#candidateDeadline,
      this.#disconnectDeadline,
      this.#idleDeadline(),
      silence === Number.POSITIVE_INFINITY ? undefined : silence,
    );
  }

  get kind(): State['kind'] {
    return this.#state.kind;
  }

  get failure(): FailureReason | undefined {
    return this.#state.kind === 'failed' ? this.#state.reason : undefined;
  }

  get path(): Path | undefined {
    return 'path' in this.#state ? this.#state.path : undefined;
  }

  /** None while a pair is being negotiated; Completed counts like Connected (connectivity 14.5). */
  #idleDeadline(): Instant | undefined {
    if (this.#state.kind !== 'connected') return undefined;
    const isSettled = this.#iceState === 'connected' || this.#iceState === 'completed';
    return isSettled ? later(this.#state.lastActivityAt, MAX_IDLE_MS) : undefined;
  }
}

function isDue(deadline: Instant | undefined, now: Instant): boolean {
  return deadline !== undefined && deadline <= now;
}
