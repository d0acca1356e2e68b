// The connections of a node and all that they are found by; what each of them still has to do is known by its deadline, so that
// a tick touches only those that are due (connectivity 10, lesson `d29fe469e7`).

import { toHex } from '../base/bytes.ts';
import type { CryptoProvider } from '../base/crypto.ts';
import type { PeerId } from '../base/ids.ts';
import { earliest, type Instant, instant } from '../base/time.ts';
import {
  type ConnectionIndexes,
  createConnectionIndexes,
} from '../proto/wireguard/connection-index.ts';
import type { Connection } from './connection/connection.ts';
import { Demux } from './inbound/demux.ts';
import { RecentlyDisconnected } from './inbound/recently-disconnected.ts';
import { SessionSlots } from './inbound/session-slots.ts';

export class Registry {
  readonly demux: Demux<Connection> = new Demux();
  readonly recent: RecentlyDisconnected = new RecentlyDisconnected();
  readonly slots: SessionSlots<Connection>;
  readonly #indexes: ConnectionIndexes;
  readonly #connections = new Map<PeerId, Connection>();
  /** Something was done to them: their output waits. */
  readonly #touched = new Set<Connection>();
  /** No connection has an earlier deadline; it may be too early, but then only until the next timeout. */
  #firstDeadline = Number.POSITIVE_INFINITY;

  constructor(crypto: CryptoProvider, slotCapacity: number) {
    this.slots = new SessionSlots(slotCapacity);
    this.#indexes = createConnectionIndexes(crypto);
  }

  /** After the connections that were due: forgets what has expired and looks at all deadlines once. */
  handleTimeout(now: Instant): void {
    this.demux.handleTimeout(now);
    this.recent.handleTimeout(now);
    this.#firstDeadline = Number.POSITIVE_INFINITY;
    for (const connection of this.#connections.values()) this.noteDeadline(connection);
  }

  /** Hot: the deadline of the connection is another one. */
  noteDeadline({ deadline }: Connection): void {
    if (deadline < this.#firstDeadline) this.#firstDeadline = deadline;
  }

  takeIndex(): number {
    return this.#indexes.take();
  }

  add(connection: Connection): void {
    this.#connections.set(connection.id, connection);
    this.demux.add(connection);
  }

  /** Wipes the connection and remembers for a while that it was there. */
  remove(connection: Connection, now: Instant): void {
    this.#connections.delete(connection.id);
    this.#touched.delete(connection);
    this.demux.remove(connection);
    for (const slot of connection.slots) this.slots.remove(slot, connection);
    this.#indexes.release(connection.index);
    this.recent.remember('peer', connection.id, now);
    this.recent.remember('index', connection.index, now);
    this.recent.remember('public-key', toHex(connection.remotePublicKey), now);
    this.recent.remember('username', connection.username, now);
    connection.close();
  }

  touch(connection: Connection): void {
    this.#touched.add(connection);
  }

  takeTouched(): Connection | undefined {
    for (const connection of this.#touched) {
      this.#touched.delete(connection);
      return connection;
    }
    return undefined;
  }

  get(id: PeerId): Connection | undefined {
    return this.#connections.get(id);
  }

  /** A copy: connections may be removed while it is walked through. */
  all(): readonly Connection[] {
    return [...this.#connections.values()];
  }

  pollTimeout(): Instant | undefined {
    const first = this.#firstDeadline;
    const due = first === Number.POSITIVE_INFINITY ? undefined : instant(first);
    return earliest(due, this.demux.pollTimeout(), this.recent.pollTimeout());
  }

  get count(): number {
    return this.#connections.size;
  }

  /** How full the tables are that remote input could make grow. */
  snapshot(): Readonly<Record<string, number>> {
    return {
      connections: this.#connections.size,
      sessions: this.slots.count,
      recentlyDisconnected: this.recent.count,
      ...this.demux.snapshot(),
    };
  }
}
