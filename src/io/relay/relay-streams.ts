// The connections of a relay's clients that came by TCP or TLS, by the numbers that name them in the role.

import type { Endpoint } from '../../base/address.ts';
import { streamEndpoint } from '../../base/stream-endpoint.ts';
import { STREAM_SOCKET } from '../../proto/turn/server/channel-bindings.ts';
import type { StreamConnection } from './stream-listener.ts';
import { type StreamDrop, type StreamEnd, TurnStream } from './turn-stream.ts';

export interface RelayStreamsOptions {
  /** False: there are too many. */
  readonly onOpened: (stream: Endpoint, seen: Endpoint) => boolean;
  readonly onReadable: (stream: TurnStream) => void;
  readonly onClosed: (stream: Endpoint, reason: StreamEnd) => void;
}

export type RelayStreamCount =
  | 'opened-tcp'
  | 'opened-tls'
  | 'refused'
  | `ended-${StreamEnd}`
  | StreamDrop;

export class RelayStreams {
  readonly #options: RelayStreamsOptions;
  readonly #streams = new Map<number, TurnStream>();
  readonly #counts = new Map<RelayStreamCount, number>();
  #nextId = 1;

  constructor(options: RelayStreamsOptions) {
    this.#options = options;
  }

  add({ socket, seen, local, isSecure }: StreamConnection): void {
    const id = this.#takeId();
    const name = streamEndpoint(id, seen.port);
    if (!this.#options.onOpened(name, seen)) {
      this.#count('refused');
      socket.destroy();
      return;
    }
    this.#count(isSecure ? 'opened-tls' : 'opened-tcp');
    const stream = new TurnStream(socket, {
      name,
      local,
      socketId: STREAM_SOCKET,
      onReadable: () => this.#options.onReadable(stream),
      onClosed: (reason) => {
        this.#streams.delete(id);
        this.#count(`ended-${reason}`);
        for (const [drop, count] of Object.entries(stream.drops.snapshot())) {
          this.#count(drop as StreamDrop, count);
        }
        this.#options.onClosed(name, reason);
      },
    });
    this.#streams.set(id, stream);
  }

  get(id: number): TurnStream | undefined {
    return this.#streams.get(id);
  }

  close(): void {
    for (const stream of [...this.#streams.values()]) stream.close();
  }

  snapshot(): Readonly<Record<string, number>> {
    return { open: this.#streams.size, ...Object.fromEntries(this.#counts) };
  }

  #count(what: RelayStreamCount, count = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + count);
  }

  /** Never one that is in use, also after 2^31 connections. */
  #takeId(): number {
    let id = this.#nextId;
    while (this.#streams.has(id)) id = nextOf(id);
    this.#nextId = nextOf(id);
    return id;
  }
}

function nextOf(id: number): number {
  return id === 0x7fff_ffff ? 1 : id + 1;
}
