// Streams of a gateway or client to relays, where UDP is blocked (RFC 8656 §2.1): opens and closes what the role asks for, and carries
// datagrams as frames. Which relay, when and in which order is decided below (`link/relays/relay-ways.ts`).

import { connect as connectTcp, type Socket } from 'node:net';
import { rootCertificates, connect as startTls } from 'node:tls';
import { endpoint, type IpAddress, parseIp } from '../../base/address.ts';
import { PATH, type TransportAead, TUN_PACKET, type TunBatch } from '../../base/batch.ts';
import { int32At } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import { streamIdAt, streamIdOf } from '../../base/stream-endpoint.ts';
import type { Transmit } from '../../base/transmit.ts';
import { sealPacket } from '../../proto/batch/segment.ts';
import type { StreamCommand, StreamEvent } from '../../proto/turn/stream-dialer.ts';
import { paddingOf } from '../../proto/turn/stream-framer.ts';
import { type StreamDrop, type StreamEnd, TurnStream } from './turn-stream.ts';

// Implementation
/** `RUN.socket` of what streams receive: no socket has it. */
const STREAM_SOCKET_ID = -1;

export interface ClientStreamsOptions {
  readonly log: Log;
  /** Starts one TCP connection. A client, whose tunnel may cover the relay's address, makes it bypass the tunnel. */
  readonly connect?: (address: IpAddress, port: number) => Socket;
  /** PEM of further certificate authorities. */
  readonly extraCa?: string;
  /** The name that relays' certificates are made for; without one they must be for the address. */
  readonly serverName?: string;
}

type OpenCommand = Extract<StreamCommand, { kind: 'open-stream' }>;

export type ClientStreamCount =
  | 'opened'
  | 'not-opened'
  | 'refused-by-path'
  | `ended-${StreamEnd}`
  | StreamDrop;

export class ClientStreams {
  readonly counters: Counters<ClientStreamCount> = new Counters();
  readonly #options: ClientStreamsOptions;
  readonly #opening = new Map<number, Socket>();
  readonly #streams = new Map<number, TurnStream>();
  #onReadable: (stream: TurnStream) => void = () => {};
  #onEvent: (event: StreamEvent) => void = () => {};

  constructor(options: ClientStreamsOptions) {
    this.#options = options;
  }

  onReadable(callback: (stream: TurnStream) => void): void {
    this.#onReadable = callback;
  }

  onEvent(callback: (event: StreamEvent) => void): void {
    this.#onEvent = callback;
  }

  /** Hot. */
  get isInUse(): boolean {
    return this.#streams.size > 0;
  }

  execute(command: StreamCommand): void {
    if (command.kind === 'open-stream') return this.#open(command);
    const id = streamIdOf(command.stream);
    this.#opening.get(id)?.destroy();
    this.#opening.delete(id);
    this.#streams.get(id)?.close();
  }

  send(transmit: Transmit): 'sent' | 'no-socket' | 'full' {
    return this.#streams.get(streamIdOf(transmit.destination))?.send(transmit) ?? 'no-socket';
  }

  /** What `TunnelSockets.sealSend` does, for the packets whose path is a stream; for the others they are no longer there. */
  sealSend(batch: TunBatch, aead: TransportAead): void {
    const { packets, packetCount } = batch;
    for (let index = 0; index < packetCount; index++) {
      const row = index * TUN_PACKET.stride;
      const slot = int32At(packets, row + TUN_PACKET.slot);
      const id = slot < 0 ? 0 : streamIdAt(aead.paths, slot * PATH.stride + PATH.remote);
      if (id === 0) continue;
      packets[row + TUN_PACKET.slot] = -1;
      const stream = this.#streams.get(id);
      const datagrams = sealPacket(batch, row, slot, aead);
      if (stream === undefined || typeof datagrams === 'string') {
        this.counters.add('refused-by-path');
      } else {
        stream.sendFrames(framesOf(datagrams), datagrams.length);
      }
    }
  }

  close(): void {
    for (const socket of this.#opening.values()) socket.destroy();
    for (const stream of [...this.#streams.values()]) stream.close();
  }

  snapshot(): Readonly<Record<string, number>> {
    return { open: this.#streams.size, ...this.counters.snapshot() };
  }

  #open(command: OpenCommand): void {
    const { stream, target } = command;
    const { address, port } = target.remote;
    const { connect, log } = this.#options;
    const id = streamIdOf(stream);
    const tcp = connect?.(address, port) ?? connectTcp({ host: address, port });
    tcp.setNoDelay(true);
    tcp.setKeepAlive(true);
    const socket = target.isSecure ? this.#secure(tcp, address) : tcp;
    this.#opening.set(id, socket);
    socket.once(target.isSecure ? 'secureConnect' : 'connect', () => this.#opened(socket, command));
    socket.on('error', ({ message }) =>
      log.debug('a stream failed', { to: target.remote.key, message }),
    );
    socket.once('close', () => {
      if (this.#opening.get(id) !== socket) return;
      this.#opening.delete(id);
      this.counters.add('not-opened');
      this.#onEvent({ kind: 'stream-closed', stream });
    });
  }

  #secure(socket: Socket, address: IpAddress): Socket {
    const { extraCa, serverName } = this.#options;
    const ca = extraCa === undefined ? {} : { ca: [...rootCertificates, extraCa] };
    const servername = serverName === undefined ? {} : { servername: serverName };
    const secure = startTls({ socket, host: address, ...servername, ...ca });
    socket.on('error', (error) => secure.destroy(error));
    return secure;
  }

  #opened(socket: Socket, { stream }: OpenCommand): void {
    const id = streamIdOf(stream);
    const local = parseIp((socket.localAddress ?? '').replace(/%.*$/, ''));
    if (this.#opening.get(id) !== socket) return;
    if (local === undefined) return void socket.destroy();
    this.#opening.delete(id);
    const turn = new TurnStream(socket, {
      name: stream,
      local: endpoint(local, socket.localPort ?? 0),
      socketId: STREAM_SOCKET_ID,
      onReadable: () => this.#onReadable(turn),
      onClosed: (reason) => this.#closed(turn, id, reason),
    });
    this.#streams.set(id, turn);
    this.counters.add('opened');
    this.#onEvent({ kind: 'stream-opened', stream });
  }

  #closed(turn: TurnStream, id: number, reason: StreamEnd): void {
    this.#streams.delete(id);
    this.counters.add(`ended-${reason}`);
    for (const [drop, count] of Object.entries(turn.drops.snapshot())) {
      this.counters.add(drop as StreamDrop, count);
    }
    if (reason !== 'local') this.#onEvent({ kind: 'stream-closed', stream: turn.name });
  }
}

/** ChannelData messages, each padded to a multiple of four (RFC 8656 §12.5). */
function framesOf(datagrams: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const datagram of datagrams) length += datagram.length + paddingOf(datagram.length);
  const frames = new Uint8Array(length);
  let offset = 0;
  for (const datagram of datagrams) {
    frames.set(datagram, offset);
    offset += datagram.length + paddingOf(datagram.length);
  }
  return frames;
}
