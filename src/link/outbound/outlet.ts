// What comes out of connections: datagrams to the wire, sessions into the slot table, paths into the cipher's rows, and the events that
// the owner of the node hears of (connectivity 1 and 10).

import type { IpNetwork } from '../../base/address.ts';
import type { ReceiveBatch, TransportAead } from '../../base/batch.ts';
import type { Instant } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import type { Connection } from '../connection/connection.ts';
import type { Outgoing } from '../connection/connection-types.ts';
import type { NodeEvent } from '../node-types.ts';
import type { Registry } from '../registry.ts';
import type { Relays } from '../relays/relays.ts';
import { Egress } from './egress.ts';
import { PathTable } from './path-table.ts';

export class Outlet {
  readonly #registry: Registry;
  readonly #egress: Egress;
  readonly #paths: PathTable;
  #events: NodeEvent[] = [];

  constructor(
    aead: TransportAead,
    registry: Registry,
    relays: Relays,
    neverProbed: readonly IpNetwork[] = [],
  ) {
    this.#registry = registry;
    this.#egress = new Egress(relays, neverProbed);
    this.#paths = new PathTable(aead, this.#egress);
  }

  /** After anything was done to a connection: its output, then its new deadline. */
  drain(connection: Connection, now: Instant): void {
    this.drainOutput(connection, now);
    connection.deadline = connection.pollTimeout() ?? Number.POSITIVE_INFINITY;
    this.#registry.noteDeadline(connection);
  }

  /** The same for all that were touched. */
  drainTouched(now: Instant): void {
    const registry = this.#registry;
    for (let next = registry.takeTouched(); next; next = registry.takeTouched()) {
      this.drain(next, now);
    }
  }

  /** Hot: after bulk data, whose exact deadline can wait. */
  drainOutput(connection: Connection, now: Instant): void {
    connection.settle(now);
    this.#registry.noteDeadline(connection);
    this.#drainEvents(connection, now);
    for (let out = connection.pollOutgoing(); out; out = connection.pollOutgoing()) {
      const { transactionId } = out;
      if (transactionId) this.#registry.demux.rememberTransaction(transactionId, connection, now);
      this.#egress.send(out, now);
    }
  }

  send(out: Outgoing, now: Instant): void {
    this.#egress.send(out, now);
  }

  report(event: NodeEvent): void {
    this.#events.push(event);
  }

  /** After anything changed at the relays. */
  refreshPaths(now: Instant): void {
    this.#paths.writeRelayed(now);
  }

  /** Hot: whether bulk data can be sent with the slot; tries once to find a way. */
  isUsable(slot: number, connection: Connection, now: Instant): boolean {
    if (this.#paths.isUsable(slot)) return true;
    this.#paths.write(connection, now);
    return this.#paths.isUsable(slot);
  }

  /** Hot: whether the run at `row` came the way that the slot's datagrams go. */
  carries(slot: number, batch: ReceiveBatch, row: number): boolean {
    return this.#paths.carries(slot, batch, row);
  }

  /** The connection has no path for now: bulk data takes the cold path and waits there. */
  lose(connection: Connection, now: Instant): void {
    this.#paths.write(connection, now);
    this.drain(connection, now);
  }

  /** The connection is gone. */
  forget(connection: Connection): void {
    this.#paths.forget(connection);
  }

  /** Nothing of what waits is to be sent or said. */
  clear(): void {
    this.#egress.clear();
    this.#events = [];
  }

  pollTransmit(): Transmit | undefined {
    return this.#egress.pollTransmit();
  }

  pollEvent(): NodeEvent | undefined {
    return this.#events.shift();
  }

  get isEmpty(): boolean {
    return this.#egress.isEmpty && this.#events.length === 0;
  }

  /** What could not be sent, by reason. */
  get drops(): Readonly<Record<string, number>> {
    return this.#egress.drops.snapshot();
  }

  #drainEvents(connection: Connection, now: Instant): void {
    for (let event = connection.pollEvent(); event; event = connection.pollEvent()) {
      switch (event.kind) {
        case 'established':
          this.report({ kind: 'connection-established', peer: connection.id });
          break;
        case 'path-changed':
          this.report({ ...event, peer: connection.id });
          this.#paths.write(connection, now);
          break;
        case 'session-installed':
          this.#registry.slots.add(event.slot, event.localIndex, connection);
          this.#paths.write(connection, now);
          break;
        case 'session-removed':
          this.#registry.slots.remove(event.slot, connection);
          break;
      }
    }
  }
}
