// The initiation of a handshake travels with the checks (connectivity 4.7). A path that lets a check through lets the handshake through, so that one round
// trip proves both; the official client waits for the answer to the check first. And it is said again when it may have been lost, not only after the
// five seconds of WireGuard. All copies have the same bytes: a peer that has seen one drops the others as replays, or answers them again.
//
//   check, initiation ─▶          new or heard paths, until there is a session
//   initiation ─▶ ... ─▶          the nominated path, after 250 ms, 500 ms, then each second, or from two of its round trips on

import type { Endpoint } from '../../base/address.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import type { FinderTransmit } from './path-finder.ts';

// Implementation

/** Of one initiation, with checks; few of them get through, and a peer limits how many handshakes it looks at. */
const MAX_WITH_CHECKS = 24;
const FIRST_REPEAT_MS = 250;
const LONGEST_PAUSE_MS = 1_000;
const MAX_REPEATS = 6;
const MAX_REMEMBERED_WAYS = 32;

export interface Way {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

export class HandshakeCopies {
  #initiation: Uint8Array | undefined;
  #hasSession = false;
  /** Checks that went out before there was an initiation. */
  #openings: Way[] = [];
  #nominated: Way | undefined;
  #roundTripMs = 0;
  readonly #sentAt = new Map<string, Instant>();
  #withChecks = 0;
  #repeats = 0;
  #repeatAt: Instant | undefined;
  #transmits: FinderTransmit[] = [];

  /** A new one, which supersedes the one before. True if it goes with the checks; false: to the nominated path, by whoever asks. */
  begin(initiation: Uint8Array, now: Instant): boolean {
    this.#initiation = initiation;
    this.#sentAt.clear();
    this.#withChecks = 0;
    this.#repeats = 0;
    const openings = this.#openings;
    this.#openings = [];
    if (this.#nominated !== undefined) {
      this.#sentAt.set(keyOf(this.#nominated), now);
      this.#scheduleRepeat(now);
      return false;
    }
    for (const way of openings) this.#sendWithCheck(initiation, way, now);
    return true;
  }

  /** Answered, or the peer's own handshake made a session. */
  end(): void {
    this.#initiation = undefined;
    this.#hasSession = true;
    this.#openings = [];
    this.#repeatAt = undefined;
    this.#transmits = [];
  }

  /** A check that is the first on its path, or answers one of the peer. True if an initiation should be made to go with it. */
  noteOpening(way: Way, now: Instant): boolean {
    if (this.#initiation !== undefined) this.#sendWithCheck(this.#initiation, way, now);
    if (this.#initiation !== undefined || this.#hasSession) return false;
    if (this.#openings.length < MAX_WITH_CHECKS) this.#openings.push(way);
    return true;
  }

  /** `roundTripMs` ago its check went out: what went before that may have found a NAT closed. */
  noteNominated(way: Way, roundTripMs: number, now: Instant): void {
    this.#nominated = way;
    this.#roundTripMs = roundTripMs;
    if (this.#initiation === undefined) return;
    const sentAt = this.#sentAt.get(keyOf(way));
    if (sentAt === undefined || sentAt < now - roundTripMs) this.#send(this.#initiation, way, now);
    this.#repeats = 0;
    this.#scheduleRepeat(now);
  }

  handleTimeout(now: Instant): void {
    if (this.#repeatAt === undefined || now < this.#repeatAt) return;
    this.#repeatAt = undefined;
    if (this.#initiation === undefined || this.#nominated === undefined) return;
    this.#send(this.#initiation, this.#nominated, now);
    this.#repeats += 1;
    if (this.#repeats < MAX_REPEATS) this.#scheduleRepeat(now);
  }

  pollTransmit(): FinderTransmit | undefined {
    return this.#transmits.shift();
  }

  pollTimeout(): Instant | undefined {
    return earliest(this.#repeatAt);
  }

  #scheduleRepeat(now: Instant): void {
    const first = Math.max(FIRST_REPEAT_MS, 2 * this.#roundTripMs);
    const longest = Math.max(first, LONGEST_PAUSE_MS);
    this.#repeatAt = later(now, Math.min(longest, first * 2 ** this.#repeats));
  }

  #sendWithCheck(initiation: Uint8Array, way: Way, now: Instant): void {
    if (this.#withChecks >= MAX_WITH_CHECKS) return;
    this.#withChecks += 1;
    this.#send(initiation, way, now);
  }

  #send(payload: Uint8Array, { local, remote }: Way, now: Instant): void {
    if (this.#sentAt.size < MAX_REMEMBERED_WAYS) this.#sentAt.set(keyOf({ local, remote }), now);
    this.#transmits.push({ local, remote, payload });
  }
}

function keyOf({ local, remote }: Way): string {
  return `${local.key} ${remote.key}`;
}
