// Keeps `TransportAead.paths` true: each key slot's row says where its connection's datagrams go at the moment (connectivity 8).
// Rows are rewritten when a session is installed, a path changes, or a channel of a relay comes or goes.

import { PATH, type ReceiveBatch, RUN, type TransportAead } from '../../base/batch.ts';
import type { Instant } from '../../base/time.ts';
import { channelAt } from '../../wire/turn/channel-data.ts';
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

  /** Hot: whether the run at `row` came the way that the slot's datagrams go. */
  carries(slot: number, batch: ReceiveBatch, row: number): boolean {
    const { paths } = this.#aead;
    const { runs } = batch;
    const path = slot * PATH.stride;
    const channel = paths[path + PATH.channel] ?? 0;
    if (paths[path + PATH.usable] !== 1) return false;
    if (runs[row + RUN.remotePort] !== paths[path + PATH.remotePort]) return false;
    if (!isSameAddress(runs, row + RUN.remote, paths, path + PATH.remote)) return false;
    const isRelayed = (runs[row + RUN.headerLength] ?? 0) > 0;
    if (channel === 0)
      return !isRelayed && isSameAddress(runs, row + RUN.local, paths, path + PATH.local);
    return isRelayed && channelAt(batch.view, runs[row + RUN.offset] ?? 0) === channel;
  }

  #routeOf(connection: Connection, now: Instant): Route | undefined {
    const { path } = connection;
    connection.carrier = path && this.#egress.carrierOf(path);
    if (path?.localKind === 'relayed') this.#relayed.add(connection);
    else this.#relayed.delete(connection);
    return path && this.#egress.routeOf(path, now);
  }
}

function isSameAddress(a: Int32Array, i: number, b: Int32Array, j: number): boolean {
  return a[i + 3] === b[j + 3] && a[i + 2] === b[j + 2] && a[i + 1] === b[j + 1] && a[i] === b[j];
}
