// Keeps `TransportAead.paths` true: each key slot's row says where its connection's datagrams go at the moment (connectivity 8).
// Rows are rewritten when a session is installed, a path changes, or a channel of a relay comes or goes.

import { PATH, type TransportAead } from '../../base/batch.ts';
import type { Instant } from '../../base/time.ts';
import type { Connection } from '../connection/connection.ts';
import type { Egress } from './egress.ts';
import { type Route, writePathRow } from './path.ts';

export class PathTable {
  readonly #aead: TransportAead;
  readonly #egress: Egress;
  /** Those whose rows depend on a relay. */
  readonly #relayed = new Set<Connection>();

  constructor(aead: TransportAead, egress: Egress) {
    this.#aead = aead;
    this.#egress = egress;
  }

  /** All rows of one connection. */
  write(connection: Connection, now: Instant): void {
    const route = this.#routeOf(connection, now);
    for (const slot of connection.slots) writePathRow(this.#aead.paths, slot, route);
  }

  /** After anything changed at the relays. */
  writeRelayed(now: Instant): void {
    for (const connection of this.#relayed) this.write(connection, now);
  }

  forget(connection: Connection): void {
    this.#relayed.delete(connection);
  }

  /** Hot. */
  isUsable(slot: number): boolean {
    return this.#aead.paths[slot * PATH.stride + PATH.usable] === 1;
  }

  #routeOf(connection: Connection, now: Instant): Route | undefined {
    const { path } = connection;
    if (path?.localKind === 'relayed') this.#relayed.add(connection);
    else this.#relayed.delete(connection);
    return path && this.#egress.routeOf(path, now);
  }
}
