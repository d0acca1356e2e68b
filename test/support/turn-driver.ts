// Drives an `Allocation` over real UDP sockets on loopback, or over a TCP or TLS connection, with the real clock: for tests against relays that are
// processes.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import {
  type Endpoint,
  endpoint,
  familyOf,
  type IpFamily,
  parseIp,
} from '../../src/base/address.ts';
import { createReceiveBatch, RUN } from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { isStreamAddress, streamEndpoint } from '../../src/base/stream-endpoint.ts';
import { monotonicNow } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { ClientStreams, type ClientStreamsOptions } from '../../src/io/relay/client-streams.ts';
import type { TurnStream } from '../../src/io/relay/turn-stream.ts';
import { Allocation } from '../../src/proto/turn/allocation.ts';
import type { AllocationEvent } from '../../src/proto/turn/allocation-types.ts';
import type { TurnCredentials } from '../../src/proto/turn/auth.ts';
import type { StreamTarget } from '../../src/proto/turn/stream-dialer.ts';
import { parseChannelData } from '../../src/wire/turn/channel-data.ts';

const PATIENCE_MS = 15_000;

export interface ReceivedData {
  readonly from: string;
  readonly text: string;
}

export class TurnDriver {
  readonly allocation: Allocation;
  readonly events: AllocationEvent[] = [];
  readonly received: ReceivedData[] = [];
  /** Datagrams from the relay that `true` loses. */
  loses: (bytes: Uint8Array) => boolean = () => false;
  readonly #sockets: ReadonlyMap<IpFamily, Socket>;
  readonly #streams: ClientStreams | undefined;
  readonly #batch = createReceiveBatch(65_536, 16, 1);
  readonly #waiting = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  /** Until the last datagram has left. */
  #sending: Promise<void> = Promise.resolve();

  private constructor(
    sockets: ReadonlyMap<IpFamily, Socket>,
    addresses: readonly Endpoint[],
    credentials: TurnCredentials,
    streams?: ClientStreams,
  ) {
    this.#sockets = sockets;
    this.#streams = streams;
    streams?.onReadable((stream) => this.#receiveFromStream(stream));
    const deps = { crypto: createNodeCrypto(), log: SILENT_LOG };
    const config = { addresses, credentials, software: 'snownet' };
    this.allocation = new Allocation(config, deps, monotonicNow());
    for (const [family, socket] of sockets) {
      socket.on('message', (bytes, from) => this.#receive(family, bytes, from));
    }
    this.drive();
  }

  /** `sockets` of another driver: the same 5-tuple. */
  static async create(
    addresses: readonly Endpoint[],
    credentials: TurnCredentials,
    sockets?: ReadonlyMap<IpFamily, Socket>,
  ): Promise<TurnDriver> {
    return new TurnDriver(sockets ?? (await openSockets(addresses)), addresses, credentials);
  }

  /** Over TCP, or TLS where the target says so. Rejects if the connection cannot be made. */
  static async overStream(
    target: StreamTarget,
    credentials: TurnCredentials,
    options: Omit<ClientStreamsOptions, 'log'> = {},
  ): Promise<TurnDriver> {
    const streams = new ClientStreams({ ...options, log: SILENT_LOG });
    const stream = streamEndpoint(1, target.remote.port);
    await new Promise<void>((resolve, reject) => {
      streams.onEvent(({ kind }) => {
        if (kind === 'stream-opened') resolve();
        else reject(new Error('the connection was not opened'));
      });
      streams.execute({ kind: 'open-stream', stream, target });
    });
    return new TurnDriver(new Map(), [stream], credentials, streams);
  }

  get sockets(): ReadonlyMap<IpFamily, Socket> {
    return this.#sockets;
  }

  /** Drains the machine; to be called after each input. */
  drive(): void {
    const { allocation } = this;
    for (let transmit = allocation.pollTransmit(); transmit; transmit = allocation.pollTransmit()) {
      const { address, port } = transmit.destination;
      if (isStreamAddress(address)) {
        this.#streams?.send(transmit);
        continue;
      }
      const socket = this.#sockets.get(familyOf(address));
      this.#sending = new Promise((resolve) => {
        if (socket) socket.send(transmit.payload, port, address, () => resolve());
        else resolve();
      });
    }
    for (let event = allocation.pollEvent(); event; event = allocation.pollEvent()) {
      this.events.push(event);
    }
    clearTimeout(this.#timer);
    const deadline = allocation.pollTimeout();
    if (deadline !== undefined) {
      this.#timer = setTimeout(
        () => {
          allocation.handleTimeout(monotonicNow());
          this.drive();
        },
        Math.max(0, Math.ceil(deadline - monotonicNow())),
      );
    }
    for (const check of this.#waiting) check();
  }

  async until(what: string, condition: () => boolean, patienceMs = PATIENCE_MS): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (!condition()) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        const state = JSON.stringify(this.allocation.snapshot());
        reject(new Error(`never came: ${what}; ${state}`));
      }, patienceMs);
      this.#waiting.add(check);
      check();
    });
  }

  async allocated(patienceMs?: number): Promise<void> {
    await this.until('an allocation', () => this.allocation.hasAllocation, patienceMs);
  }

  async bind(peer: Endpoint): Promise<void> {
    this.allocation.bindChannel(peer, monotonicNow());
    this.drive();
    await this.until('a channel', () =>
      this.events.some((e) => e.kind === 'channel-bound' && e.peer.key === peer.key),
    );
  }

  send(peer: Endpoint, text: string): void {
    this.allocation.sendToPeer(peer, new TextEncoder().encode(text), 0, monotonicNow());
    this.drive();
  }

  async receives(text: string): Promise<ReceivedData> {
    const find = (): ReceivedData | undefined => this.received.find((data) => data.text === text);
    await this.until(`data "${text}"`, () => find() !== undefined);
    return find() as ReceivedData;
  }

  /** Gives the allocation back first. */
  async close(): Promise<void> {
    this.allocation.release(monotonicNow());
    this.drive();
    clearTimeout(this.#timer);
    await this.#sending;
    for (const socket of this.#sockets.values()) socket.close();
    this.#streams?.close();
  }

  /** Leaves the sockets to another driver. */
  abandon(): void {
    clearTimeout(this.#timer);
    for (const socket of this.#sockets.values()) socket.removeAllListeners('message');
  }

  #receive(family: IpFamily, bytes: Buffer, remote: RemoteInfo): void {
    const from = toEndpoint(remote);
    const own = this.#sockets.get(family)?.address();
    if (own) this.#handle(bytes, from, toEndpoint(own));
  }

  #receiveFromStream(stream: TurnStream): void {
    const { runs, slab } = this.#batch;
    for (let count = stream.receive(this.#batch); count > 0; count = stream.receive(this.#batch)) {
      for (let row = 0; row < count * RUN.stride; row += RUN.stride) {
        const start = at(runs, row + RUN.offset);
        const end = start + at(runs, row + RUN.length);
        const segment = at(runs, row + RUN.segmentLength);
        for (let offset = start; offset < end; offset += segment) {
          const bytes = slab.slice(offset, Math.min(offset + segment, end));
          this.#handle(bytes, stream.name, stream.name);
        }
      }
    }
  }

  #handle(bytes: Uint8Array, from: Endpoint, local: Endpoint): void {
    if (this.loses(bytes)) return;
    const data = this.allocation.matches(from) ? parseChannelData(bytes) : undefined;
    if (data) {
      const ends = this.allocation.handleChannelData(data.channel);
      const text = new TextDecoder().decode(data.payload);
      if (ends) this.received.push({ from: ends.peer.key, text });
    } else {
      this.allocation.handleDatagram(Uint8Array.from(bytes), from, local, monotonicNow());
    }
    this.drive();
  }
}

/** A peer that is just a socket. */
export class PlainPeer {
  readonly address: Endpoint;
  readonly received: { readonly from: Endpoint; readonly text: string }[] = [];
  readonly #socket: Socket;
  #onReceived: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.address = toEndpoint(socket.address());
    socket.on('message', (bytes, remote) => {
      this.received.push({ from: toEndpoint(remote), text: bytes.toString() });
      this.#onReceived();
    });
  }

  static async create(family: IpFamily): Promise<PlainPeer> {
    return new PlainPeer(await openSocket(family));
  }

  send(to: Endpoint, text: string): void {
    this.#socket.send(text, to.port, to.address);
  }

  async receives(text: string): Promise<Endpoint> {
    for (;;) {
      const found = this.received.find((message) => message.text === text);
      if (found) return found.from;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`never came: ${text}`)), PATIENCE_MS);
        this.#onReceived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.#socket.close();
  }
}

async function openSockets(addresses: readonly Endpoint[]): Promise<ReadonlyMap<IpFamily, Socket>> {
  const sockets = new Map<IpFamily, Socket>();
  for (const { address } of addresses) {
    sockets.set(familyOf(address), await openSocket(familyOf(address)));
  }
  return sockets;
}

async function openSocket(family: IpFamily): Promise<Socket> {
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
  socket.bind(0, family === 4 ? '127.0.0.1' : '::1');
  await once(socket, 'listening');
  return socket;
}

function toEndpoint({ address, port }: { address: string; port: number }): Endpoint {
  const ip = parseIp(address);
  if (ip === undefined) throw new Error(`not an address: ${address}`);
  return endpoint(ip, port);
}
