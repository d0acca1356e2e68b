// In which order streams (TCP, TLS) to a relay are tried, for networks that block UDP. Portals name UDP sockets only, so the rest is a guess:
// some ports of the same host (docs/relay.md). The attempts are staggered (after RFC 8305 §5), the first that opens wins, and whoever finds
// that no relay is behind it goes on with the others.

import type { Endpoint } from '../../base/address.ts';
import { earliest, type Instant, later } from '../../base/time.ts';

// Implementation
/** Twice that of RFC 8305: a handshake of TLS is two or three round trips. */
const ATTEMPT_DELAY_MS = 500;
const ATTEMPT_GIVE_UP_MS = 5000;

export interface StreamTarget {
  readonly remote: Endpoint;
  readonly isSecure: boolean;
}

/** What whoever has sockets is asked for. `stream` names the connection in everything that follows (`base/stream-endpoint.ts`). */
export type StreamCommand =
  | { readonly kind: 'open-stream'; readonly stream: Endpoint; readonly target: StreamTarget }
  /** What was given to it before still goes out. */
  | { readonly kind: 'close-stream'; readonly stream: Endpoint };

/** `closed` also tells of a stream that could not be opened. None is told of one that we closed. */
export interface StreamEvent {
  readonly kind: 'stream-opened' | 'stream-closed';
  readonly stream: Endpoint;
}

interface Attempt {
  readonly stream: Endpoint;
  readonly target: StreamTarget;
  readonly endsAt: Instant;
}

export class StreamDialer {
  readonly #nameOf: (target: StreamTarget) => Endpoint;
  #left: StreamTarget[];
  #attempts: Attempt[] = [];
  #commands: StreamCommand[] = [];
  #nextAt: Instant | undefined;

  /** `nameOf` gives a name that no stream had before. */
  constructor(
    targets: readonly StreamTarget[],
    nameOf: (target: StreamTarget) => Endpoint,
    now: Instant,
  ) {
    this.#nameOf = nameOf;
    this.#left = [...targets];
    this.#begin(now);
  }

  /** One of the attempts succeeded: the others end, and what was not tried to its end is kept for `resume`. */
  handleOpened(stream: Endpoint): StreamTarget | undefined {
    const winner = this.#attempts.find((attempt) => attempt.stream.key === stream.key);
    if (!winner) return undefined;
    const losers = this.#attempts.filter((attempt) => attempt !== winner);
    for (const loser of losers) this.#close(loser);
    this.#left = [...losers.map(({ target }) => target), ...this.#left];
    this.#attempts = [];
    this.#nextAt = undefined;
    return winner.target;
  }

  /** `true`: it was one of the attempts. */
  handleClosed(stream: Endpoint, now: Instant): boolean {
    const count = this.#attempts.length;
    this.#attempts = this.#attempts.filter((attempt) => attempt.stream.key !== stream.key);
    if (this.#attempts.length === count) return false;
    this.#begin(now);
    return true;
  }

  handleTimeout(now: Instant): void {
    for (const attempt of this.#attempts.filter(({ endsAt }) => endsAt <= now)) {
      this.#close(attempt);
      this.handleClosed(attempt.stream, now);
    }
    if (this.#nextAt !== undefined && this.#nextAt <= now) this.#begin(now);
  }

  /** The one that had been opened was not what we look for. */
  resume(now: Instant): void {
    this.#begin(now);
  }

  /** Ends all attempts. */
  stop(): void {
    for (const attempt of this.#attempts) this.#close(attempt);
    this.#attempts = [];
    this.#left = [];
    this.#nextAt = undefined;
  }

  pollCommand(): StreamCommand | undefined {
    return this.#commands.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.#attempts.reduce((first, { endsAt }) => earliest(first, endsAt), this.#nextAt);
  }

  /** Nothing is being tried, and nothing is left to try. */
  get isExhausted(): boolean {
    return this.#attempts.length === 0 && this.#left.length === 0;
  }

  #begin(now: Instant): void {
    this.#nextAt = undefined;
    const target = this.#left.shift();
    if (!target) return;
    const stream = this.#nameOf(target);
    this.#attempts.push({ stream, target, endsAt: later(now, ATTEMPT_GIVE_UP_MS) });
    this.#commands.push({ kind: 'open-stream', stream, target });
    if (this.#left.length > 0) this.#nextAt = later(now, ATTEMPT_DELAY_MS);
  }

  #close({ stream }: Attempt): void {
    this.#commands.push({ kind: 'close-stream', stream });
  }
}
