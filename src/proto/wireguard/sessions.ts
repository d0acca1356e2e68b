// The sessions of one tunnel: eight places, of which one session is used for sending (WireGuard §6.3, connectivity 7.7). Keys are
// not here: a session names the key slot of `TransportAead` that holds them.
//
// Hot path: `findBySlot`.

import { at } from '../../base/bytes.ts';
import { assert } from '../../base/errors.ts';
import { type Instant, instant, later } from '../../base/time.ts';
import { REJECT_AFTER_MS, SESSION_SLOTS } from './limits.ts';
import { ReplayWindow } from './replay-window.ts';

export type Role = 'initiator' | 'responder';

export class Session {
  /** Key slot of `TransportAead`. */
  readonly slot: number;
  readonly localIndex: number;
  readonly role: Role;
  readonly establishedAt: Instant;
  readonly window: ReplayWindow = new ReplayWindow();
  /** Keepalives are not data. */
  hasSentData = false;
  hasReceivedData = false;

  constructor(slot: number, localIndex: number, role: Role, establishedAt: Instant) {
    this.slot = slot;
    this.localIndex = localIndex;
    this.role = role;
    this.establishedAt = establishedAt;
  }
}

export class Sessions {
  readonly #places: (Session | undefined)[] = new Array(SESSION_SLOTS).fill(undefined);
  #current: Session | undefined;

  /** The session a new one with this index will replace. */
  occupantOf(localIndex: number): Session | undefined {
    return at(this.#places, localIndex % SESSION_SLOTS);
  }

  add(session: Session): void {
    assert(this.occupantOf(session.localIndex) === undefined, 'the place of a session is free');
    this.#places[session.localIndex % SESSION_SLOTS] = session;
  }

  remove(session: Session): void {
    this.#places[session.localIndex % SESSION_SLOTS] = undefined;
    if (this.#current === session) this.#current = undefined;
  }

  /** A session not older than the current one takes its place; true if it changed (connectivity 7.5). */
  promote(session: Session): boolean {
    if (this.#current === session) return false;
    if (this.#current && session.establishedAt < this.#current.establishedAt) return false;
    this.#current = session;
    return true;
  }

  /** Hot: nearly always the current session. */
  findBySlot(slot: number): Session | undefined {
    if (this.#current?.slot === slot) return this.#current;
    for (const session of this.#places) if (session?.slot === slot) return session;
    return undefined;
  }

  find(localIndex: number): Session | undefined {
    const session = this.occupantOf(localIndex);
    return session?.localIndex === localIndex ? session : undefined;
  }

  all(): readonly Session[] {
    return this.#places.filter((session) => session !== undefined);
  }

  /** What sending uses; `undefined` until a handshake is complete. */
  get current(): Session | undefined {
    return this.#current;
  }

  /** A session that is newer than the current one and waits for its first message. */
  get hasUnconfirmed(): boolean {
    const since = this.#current?.establishedAt ?? Number.NEGATIVE_INFINITY;
    return this.#places.some((session) => session !== undefined && session.establishedAt > since);
  }

  /** When the oldest session is to be removed; infinite if there is none. */
  get nextExpiry(): Instant {
    let first = instant(Number.POSITIVE_INFINITY);
    for (const session of this.#places) {
      if (session === undefined) continue;
      const expiry = later(session.establishedAt, REJECT_AFTER_MS);
      if (expiry < first) first = expiry;
    }
    return first;
  }
}
