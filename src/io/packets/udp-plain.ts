// UDP sockets on `node:dgram`: the twin of `udp.ts` for tests and for tools without the add-on. One datagram per run; the local
// address is the one bound to (a wildcard socket does not know better), ECN is neither seen nor set.

import type { Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { Endpoint, IpAddress, IpFamily } from '../../base/address.ts';
import {
  addressFromWords,
  endpoint,
  familyOf,
  parseIp,
  writeAddressWords,
} from '../../base/address.ts';
import type { ReceiveBatch, TransportAead, TunBatch } from '../../base/batch.ts';
import { PATH, RUN } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import type { Transmit } from '../../base/transmit.ts';
import { sealBatch } from '../../proto/batch/segment.ts';

// Implementation

/** Same place in the slab for each run as native code gives it. */
const RECEIVE_SLOT = 65_536;
/** Datagrams that wait to be received; more are dropped, as the kernel would. */
const MAX_WAITING = 4096;

interface Waiting {
  readonly payload: Uint8Array;
  readonly remote: Endpoint;
}

export class PlainUdpSocket {
  readonly id: number;
  readonly family: IpFamily;
  readonly address: IpAddress;
  readonly port: number;
  /** Datagrams lost because nobody received them in time. */
  dropped = 0;
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  #onReadable: (() => void) | undefined;

  private constructor(socket: Socket, id: number, address: IpAddress) {
    this.#socket = socket;
    this.id = id;
    this.family = familyOf(address);
    this.address = address;
    this.port = socket.address().port;
    socket.on('message', (payload, from) => {
      const remote = parseIp(from.address.replace(/%.*$/, ''));
      if (remote === undefined || payload.length === 0) return;
      if (this.#waiting.length === MAX_WAITING) this.dropped++;
      else this.#waiting.push({ payload, remote: endpoint(remote, from.port) });
      this.#onReadable?.();
    });
    socket.on('error', () => {});
  }

  static async open(address: IpAddress, port: number, id: number): Promise<PlainUdpSocket> {
    const type = familyOf(address) === 4 ? 'udp4' : 'udp6';
    const socket = createSocket({ type, ipv6Only: type === 'udp6' });
    socket.bind({ address, port });
    await once(socket, 'listening');
    return new PlainUdpSocket(socket, id, address);
  }

  onReadable(callback: () => void): void {
    this.#onReadable = callback;
  }

  receive(batch: ReceiveBatch): number {
    const room = Math.min(
      Math.floor(batch.slab.length / RECEIVE_SLOT),
      Math.floor(batch.runs.length / RUN.stride),
    );
    const received = this.#waiting.splice(0, room);
    received.forEach(({ payload, remote }, i) => {
      const row = i * RUN.stride;
      batch.slab.set(payload, i * RECEIVE_SLOT);
      batch.runs.fill(0, row, row + RUN.stride);
      batch.runs[row + RUN.offset] = i * RECEIVE_SLOT;
      batch.runs[row + RUN.length] = payload.length;
      batch.runs[row + RUN.segmentLength] = payload.length;
      writeAddressWords(remote.address, batch.runs, row + RUN.remote);
      batch.runs[row + RUN.remotePort] = remote.port;
      writeAddressWords(this.address, batch.runs, row + RUN.local);
      batch.runs[row + RUN.localPort] = this.port;
      batch.runs[row + RUN.slot] = -1;
      batch.runs[row + RUN.socket] = this.id;
    });
    batch.runCount = received.length;
    return received.length;
  }

  send(transmit: Transmit): 'sent' | 'no-socket' {
    if (familyOf(transmit.destination.address) !== this.family) return 'no-socket';
    const { address, port } = transmit.destination;
    this.#socket.send(transmit.payload, port, address);
    return 'sent';
  }

  close(): void {
    this.#socket.close();
  }
}

export class PlainTunnelSockets {
  readonly sockets: readonly PlainUdpSocket[];

  constructor(sockets: readonly PlainUdpSocket[]) {
    this.sockets = sockets;
  }

  onReadable(callback: (socket: PlainUdpSocket) => void): void {
    for (const socket of this.sockets) socket.onReadable(() => callback(socket));
  }

  send(transmit: Transmit): 'sent' | 'no-socket' {
    const family = familyOf(transmit.destination.address);
    const socket = this.sockets.find((candidate) => candidate.family === family);
    return socket?.send(transmit) ?? 'no-socket';
  }

  /** Never blocks: what the kernel does not take waits inside Node. */
  sealSend(batch: TunBatch, aead: TransportAead): boolean {
    for (const { slot, ecn, bytes } of sealBatch(batch, aead).datagrams) {
      const row = slot * PATH.stride;
      const address = addressFromWords(aead.paths, row + PATH.remote);
      const destination = endpoint(address, at(aead.paths, row + PATH.remotePort));
      this.send({ destination, payload: bytes, ecn });
    }
    return true;
  }

  close(): void {
    for (const socket of this.sockets) socket.close();
  }
}
