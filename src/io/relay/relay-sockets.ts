// The UDP sockets of a relay: two that listen, and one or two per allocation. `NativeRelaySockets` forwards runs without copying, by
// the add-on; `PlainRelaySockets` does the same on `node:dgram`, datagram by datagram, where there is no add-on.

import { addressFromWords, endpoint, familyOf, type IpAddress } from '../../base/address.ts';
import { PATH, type ReceiveBatch, RUN } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import type { Ecn, Transmit } from '../../base/transmit.ts';
import { writeChannelData } from '../../wire/turn/channel-data.ts';
import { UdpError, UdpSocket } from '../packets/udp.ts';
import { PlainUdpSocket } from '../packets/udp-plain.ts';

// Implementation
/** Of an allocation's socket. The kernel takes memory only for what waits. */
const RELAY_RECEIVE_BUFFER = 4 * 1024 * 1024;
const LISTEN_RECEIVE_BUFFER = 16 * 1024 * 1024;

/** Datagrams of a received run, and where they go. */
export interface ForwardOrder {
  readonly run: number;
  readonly first: number;
  readonly count: number;
  /** Bytes to cut off the front of each. */
  readonly headerLength: number;
  /** `PATH` rows, and which of them. */
  readonly paths: Int32Array;
  readonly row: number;
  readonly ecn: Ecn;
}

export interface RelaySocket {
  readonly port: number;
  onReadable(callback: () => void): void;
  receive(batch: ReceiveBatch): number;
  send(transmit: Transmit): unknown;
  forward(batch: ReceiveBatch, order: ForwardOrder): unknown;
  close(): void;
}

export interface RelaySocketFactory {
  readonly kind: 'native' | 'plain';
  /** `undefined`: the port cannot be opened. */
  open(
    address: IpAddress,
    port: number,
    purpose: 'listen' | 'relay',
  ): Promise<RelaySocket | undefined>;
}

export class NativeRelaySockets implements RelaySocketFactory {
  readonly kind = 'native';

  async open(
    address: IpAddress,
    port: number,
    purpose: 'listen' | 'relay',
  ): Promise<RelaySocket | undefined> {
    const receiveBuffer = purpose === 'listen' ? LISTEN_RECEIVE_BUFFER : RELAY_RECEIVE_BUFFER;
    try {
      const family = familyOf(address);
      return new NativeRelaySocket(UdpSocket.open({ family, address, port, receiveBuffer }));
    } catch (error) {
      if (error instanceof UdpError) return undefined;
      throw error;
    }
  }
}

class NativeRelaySocket implements RelaySocket {
  readonly #socket: UdpSocket;

  constructor(socket: UdpSocket) {
    this.#socket = socket;
  }

  get port(): number {
    return this.#socket.port;
  }

  onReadable(callback: () => void): void {
    this.#socket.onReady((isReadable) => {
      if (isReadable) callback();
    });
  }

  receive(batch: ReceiveBatch): number {
    return this.#socket.receive(batch);
  }

  send(transmit: Transmit): unknown {
    return this.#socket.send(transmit);
  }

  forward(batch: ReceiveBatch, order: ForwardOrder): unknown {
    const { run, first, count, headerLength, paths, row, ecn } = order;
    return this.#socket.forward(batch, run, first, count, headerLength, paths, row, ecn);
  }

  close(): void {
    this.#socket.close();
  }
}

export class PlainRelaySockets implements RelaySocketFactory {
  readonly kind = 'plain';
  #nextId = 0;

  async open(address: IpAddress, port: number): Promise<RelaySocket | undefined> {
    try {
      return new PlainRelaySocket(await PlainUdpSocket.open(address, port, this.#nextId++));
    } catch (error) {
      if (isAddressError(error)) return undefined;
      throw error;
    }
  }
}

class PlainRelaySocket implements RelaySocket {
  readonly #socket: PlainUdpSocket;

  constructor(socket: PlainUdpSocket) {
    this.#socket = socket;
  }

  get port(): number {
    return this.#socket.port;
  }

  onReadable(callback: () => void): void {
    this.#socket.onReadable(callback);
  }

  receive(batch: ReceiveBatch): number {
    return this.#socket.receive(batch);
  }

  send(transmit: Transmit): unknown {
    return this.#socket.send(transmit);
  }

  forward(batch: ReceiveBatch, order: ForwardOrder): unknown {
    const { paths, ecn } = order;
    const source = order.run * RUN.stride;
    const path = order.row * PATH.stride;
    const address = addressFromWords(paths, path + PATH.remote);
    const destination = endpoint(address, at(paths, path + PATH.remotePort));
    const channel = at(paths, path + PATH.channel);
    const segment = at(batch.runs, source + RUN.segmentLength);
    const start = at(batch.runs, source + RUN.offset);
    const end = start + at(batch.runs, source + RUN.length);
    for (let index = order.first; index < order.first + order.count; index++) {
      const offset = start + index * segment;
      const last = Math.min(offset + segment, end);
      const bytes = batch.slab.slice(offset + order.headerLength, last);
      const payload = channel === 0 ? bytes : writeChannelData(channel, bytes);
      this.#socket.send({ destination, payload, ecn });
    }
    return order.count;
  }

  close(): void {
    this.#socket.close();
  }
}

function isAddressError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL' || code === 'EACCES';
}
