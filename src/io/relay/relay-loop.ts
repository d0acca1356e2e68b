// Where the relay role meets the world: its sockets, the clock and one timer.
//
//   a socket or stream is readable -- receive -- handleRuns -- forward the rows -- drain
//   the timer ---------------------- handleTimeout --------------------------------- drain
//
// Each source becomes one turn with one reading of the clock, limited so that none starves another: what is left makes its
// socket readable again. Hot path: receiving and forwarding allocate nothing per datagram.

import {
  addressFromWords,
  endpoint,
  familyOf,
  type IpAddress,
  type IpFamily,
} from '../../base/address.ts';
import { createReceiveBatch, PATH, type ReceiveBatch, RUN } from '../../base/batch.ts';
import { at, int32At } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import { FzError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { streamIdAt, streamIdOf } from '../../base/stream-endpoint.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import {
  listenSocket,
  relaySocket,
  STREAM_SOCKET,
} from '../../proto/turn/server/channel-bindings.ts';
import { createForwardBatch, FORWARD } from '../../proto/turn/server/forwarding.ts';
import type { ServerTransmit, TurnServerCommand } from '../../proto/turn/server/server-types.ts';
import type { Relay } from '../../roles/relay/relay.ts';
import { monotonicNow } from '../clock.ts';
import type { ForwardOrder, RelaySocket, RelaySocketFactory } from './relay-sockets.ts';
import { RelayStreams } from './relay-streams.ts';
import { type Certificate, StreamListener } from './stream-listener.ts';
import type { TurnStream } from './turn-stream.ts';

// Implementation
/** What one receive of the add-on fills: 16 runs of 64 KiB. */
const RECEIVE_RUNS = 16;
const RECEIVE_SLAB_LENGTH = RECEIVE_RUNS * 65_536;
/** A kernel coalesces at most 64 datagrams into a run; the rows hold the worst case of each on another channel. */
const FORWARD_ROWS = RECEIVE_RUNS * 64;
const BATCHES_PER_TURN = 4;
const MAX_DELAY_MS = 2 ** 31 - 1;

export class RelayPortError extends FzError {
  readonly code = 'FZ_ERR_RELAY_PORT';
}

export interface RelayLoopOptions {
  /** Where to listen: at most one address of each family. */
  readonly listen: readonly IpAddress[];
  readonly listenPort: number;
  /** TCP ports at the same addresses; one that cannot be bound is missing, with a line in the log. */
  readonly streamPorts: readonly number[];
  /** Serves TLS, too, on the TCP ports. */
  readonly certificate?: Certificate;
  /** Where the sockets of allocations are bound: one address for each family listened on. */
  readonly bind: readonly IpAddress[];
  readonly sockets: RelaySocketFactory;
  readonly log: Log;
}

export type RelayLoopDrop = 'no-socket';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export class RelayLoop {
  readonly counters: Counters<RelayLoopDrop> = new Counters();
  readonly #relay: Relay;
  readonly #options: RelayLoopOptions;
  readonly #batch: ReceiveBatch = createReceiveBatch(RECEIVE_SLAB_LENGTH, RECEIVE_RUNS, 1);
  readonly #forwards = createForwardBatch(FORWARD_ROWS);
  /** By socket number (`channel-bindings.ts`). */
  readonly #sockets: (RelaySocket | undefined)[] = [];
  readonly #streams: RelayStreams;
  readonly #listeners: StreamListener[] = [];
  /** The row being forwarded; one object for all. */
  readonly #order: Writable<ForwardOrder> = {
    run: 0,
    first: 0,
    count: 0,
    headerLength: 0,
    paths: new Int32Array(PATH.stride),
    row: 0,
    ecn: 0,
  };
  /** By allocation: which command came last, so that sockets opened for an earlier one are not used. */
  readonly #commandNumbers = new Map<number, number>();
  #commandCount = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt: Instant | undefined;
  #isClosed = false;

  private constructor(relay: Relay, options: RelayLoopOptions) {
    this.#relay = relay;
    this.#options = options;
    this.#streams = new RelayStreams({
      onOpened: (stream, seen) => relay.handleStreamOpened(stream, seen, monotonicNow()),
      onReadable: (stream) => this.#onStreamReadable(stream),
      onClosed: (stream) => {
        relay.handleStreamClosed(stream);
        this.#drain();
      },
    });
  }

  /** Listens. Rejects with `RelayPortError`. */
  static async create(relay: Relay, options: RelayLoopOptions): Promise<RelayLoop> {
    const loop = new RelayLoop(relay, options);
    for (const address of options.listen) {
      const socket = await options.sockets.open(address, options.listenPort, 'listen');
      if (!socket) {
        loop.close();
        throw new RelayPortError(`cannot listen on ${endpoint(address, options.listenPort).key}`);
      }
      loop.#add(listenSocket(familyOf(address)), socket);
      for (const port of options.streamPorts) await loop.#listenForStreams(address, port);
    }
    return loop;
  }

  /** TCP ports that are served. */
  get streamPorts(): readonly number[] {
    return [...new Set(this.#listeners.map(({ port }) => port))];
  }

  streamSnapshot(): Readonly<Record<string, number>> {
    return this.#streams.snapshot();
  }

  /** Ports that the listening sockets got. */
  get ports(): readonly number[] {
    return this.#sockets.slice(0, 2).flatMap((socket) => socket?.port ?? []);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#streams.close();
    for (const listener of this.#listeners) listener.close();
    for (const socket of this.#sockets) socket?.close();
    this.#sockets.length = 0;
  }

  async #listenForStreams(address: IpAddress, port: number): Promise<void> {
    const { certificate, log } = this.#options;
    const listener = await StreamListener.open(address, port, certificate, (connection) => {
      if (this.#isClosed) connection.socket.destroy();
      else this.#streams.add(connection);
      this.#drain();
    });
    if (listener) this.#listeners.push(listener);
    else log.warn('Cannot listen for TCP', { address: endpoint(address, port).key });
  }

  #onStreamReadable(stream: TurnStream): void {
    const now = monotonicNow();
    for (let turn = 0; turn < BATCHES_PER_TURN; turn++) {
      if (stream.receive(this.#batch) === 0) break;
      this.#relay.handleRuns(this.#batch, STREAM_SOCKET, this.#forwards, now);
      this.#forward();
    }
    this.#drain();
  }

  #add(number: number, socket: RelaySocket): void {
    this.#sockets[number] = socket;
    socket.onReadable(() => this.#onReadable(number));
  }

  #onReadable(number: number): void {
    const now = monotonicNow();
    for (let turn = 0; turn < BATCHES_PER_TURN; turn++) {
      const socket = this.#sockets[number];
      if (!socket || socket.receive(this.#batch) === 0) break;
      this.#relay.handleRuns(this.#batch, number, this.#forwards, now);
      this.#forward();
    }
    this.#drain();
  }

  #forward(): void {
    const { rows, count } = this.#forwards;
    const order = this.#order;
    order.paths = this.#relay.paths;
    for (let i = 0; i < count; i++) {
      const row = i * FORWARD.stride;
      const number = int32At(rows, row + FORWARD.socket);
      order.run = int32At(rows, row + FORWARD.run);
      order.first = int32At(rows, row + FORWARD.firstDatagram);
      order.count = int32At(rows, row + FORWARD.datagramCount);
      order.headerLength = int32At(rows, row + FORWARD.headerLength);
      order.row = int32At(rows, row + FORWARD.path);
      order.ecn = int32At(this.#batch.runs, order.run * RUN.stride + RUN.ecn) as Ecn;
      const exactLength = int32At(rows, row + FORWARD.exactLength);
      const socket = number === STREAM_SOCKET ? this.#streamOf(order) : this.#sockets[number];
      if (!socket) this.counters.add('no-socket', order.count);
      else if (exactLength > 0) this.#sendExactly(socket, exactLength);
      else socket.forward(this.#batch, order);
    }
  }

  #streamOf({ paths, row }: ForwardOrder): TurnStream | undefined {
    return this.#streams.get(streamIdAt(paths, row * PATH.stride + PATH.remote));
  }

  /** A datagram with bytes behind the announced payload, cold. */
  #sendExactly(socket: Pick<RelaySocket, 'send'>, length: number): void {
    const { run, first, headerLength, paths, row, ecn } = this.#order;
    const { runs, slab } = this.#batch;
    const segment = int32At(runs, run * RUN.stride + RUN.segmentLength);
    const offset = int32At(runs, run * RUN.stride + RUN.offset) + first * segment + headerLength;
    const remote = addressFromWords(paths, row * PATH.stride + PATH.remote);
    const destination = endpoint(remote, int32At(paths, row * PATH.stride + PATH.remotePort));
    socket.send({ destination, payload: slab.slice(offset, offset + length), ecn });
  }

  /** Answers, sockets to open and close, the timer. */
  #drain(): void {
    const relay = this.#relay;
    for (let command = relay.pollCommand(); command; command = relay.pollCommand()) {
      this.#execute(command);
    }
    for (let transmit = relay.pollTransmit(); transmit; transmit = relay.pollTransmit()) {
      this.#send(transmit);
    }
    this.#arm();
  }

  #send(transmit: ServerTransmit): void {
    if (transmit.socket !== STREAM_SOCKET) {
      this.#sockets[transmit.socket]?.send(transmit);
      return;
    }
    this.#streams.get(streamIdOf(transmit.destination))?.send(transmit);
  }

  #execute(command: TurnServerCommand): void {
    if (command.kind === 'close-stream') {
      this.#streams.get(streamIdOf(command.stream))?.close();
      return;
    }
    this.#commandNumbers.set(command.allocation, ++this.#commandCount);
    switch (command.kind) {
      case 'open-sockets':
        void this.#open(command.allocation, command.port, command.families);
        break;
      case 'close-sockets':
        for (const family of command.families)
          this.#remove(relaySocket(command.allocation, family));
        break;
    }
  }

  /** All of an allocation's sockets or none. */
  async #open(allocation: number, port: number, families: readonly IpFamily[]): Promise<void> {
    const commandNumber = this.#commandNumbers.get(allocation);
    const opened: RelaySocket[] = [];
    for (const address of this.#options.bind) {
      if (!families.includes(familyOf(address))) continue;
      const socket = await this.#options.sockets.open(address, port, 'relay');
      if (!socket) break;
      opened.push(socket);
    }
    const isObsolete = this.#isClosed || this.#commandNumbers.get(allocation) !== commandNumber;
    if (isObsolete || opened.length < families.length) {
      for (const socket of opened) socket.close();
      if (isObsolete) return;
      this.#options.log.warn('A port for an allocation cannot be opened', { port });
      this.#relay.handleSocketsFailed(allocation);
    } else {
      const addresses = this.#options.bind.filter((a) => families.includes(familyOf(a)));
      for (const [i, socket] of opened.entries()) {
        this.#add(relaySocket(allocation, familyOf(at(addresses, i))), socket);
      }
      this.#relay.handleSocketsOpened(allocation, monotonicNow());
    }
    this.#drain();
  }

  #remove(number: number): void {
    this.#sockets[number]?.close();
    this.#sockets[number] = undefined;
  }

  #arm(): void {
    if (this.#isClosed) return;
    const deadline = this.#relay.pollTimeout();
    if (deadline === this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    if (deadline === undefined) return;
    const delay = Math.min(MAX_DELAY_MS, Math.max(0, Math.ceil(deadline - monotonicNow())));
    this.#timer = setTimeout(() => {
      this.#timerAt = undefined;
      this.#relay.handleTimeout(monotonicNow());
      this.#drain();
    }, delay);
  }
}
