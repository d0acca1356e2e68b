// TCP connections of nodes to relays in a world of virtual networks: two wires that keep order and have a latency. They pass whatever NATs there are,
// and where UDP is blocked. Messages travel as they are, because framing has tests of its own.

import { type Endpoint, endpoint } from '../../src/base/address.ts';
import { streamEndpoint } from '../../src/base/stream-endpoint.ts';
import { earliest, type Instant, later } from '../../src/base/time.ts';
import type { StreamCommand, StreamEvent } from '../../src/proto/turn/stream-dialer.ts';
import type { Participant } from './link-world.ts';
import type { Datagram, DatagramNetwork } from './virtual-network.ts';

/** What a connection looks like from outside of the client's NAT. */
const SEEN = '203.0.113.250';

/** What takes connections. `stream` is its name for one. */
export interface StreamServer {
  readonly addresses: readonly string[];
  readonly streamPorts: ReadonlySet<number>;
  acceptStream(stream: Endpoint, seen: Endpoint, wire: StreamWire, now: Instant): void;
  receiveFromStream(stream: Endpoint, payload: Uint8Array, now: Instant): void;
  loseStream(stream: Endpoint): void;
}

/** One end of a connection, as its owner sees it. */
export interface StreamWire {
  send(payload: Uint8Array): void;
  end(): void;
}

/** What a node hears. */
export interface StreamClient {
  readonly host: Endpoint;
  handleStream(event: StreamEvent, now: Instant): void;
  receive(datagrams: readonly Datagram[], now: Instant): void;
}

export class VirtualStreams implements Participant {
  latencyMs = 10;
  openedCount = 0;
  /** No TCP passes; what was sent is lost with the connection. */
  isBlocked = false;
  readonly #network: Pick<DatagramNetwork, 'now'>;
  readonly #servers = new Map<string, StreamServer>();
  readonly #open = new Map<StreamClient, Map<string, StreamWire>>();
  #queue: { readonly at: Instant; readonly arrive: (now: Instant) => void }[] = [];

  constructor(network: Pick<DatagramNetwork, 'now'>) {
    this.#network = network;
  }

  addServer(server: StreamServer): void {
    for (const address of server.addresses) this.#servers.set(address, server);
  }

  execute(command: StreamCommand, client: StreamClient): void {
    const { stream } = command;
    const wires = this.#wiresOf(client);
    if (command.kind === 'open-stream') return this.#connect(client, command);
    wires.get(stream.key)?.end();
    wires.delete(stream.key);
  }

  send(client: StreamClient, stream: Endpoint, payload: Uint8Array): void {
    this.#wiresOf(client).get(stream.key)?.send(payload);
  }

  drain(): void {}

  handleTimeout(now: Instant): void {
    for (let next = this.#queue[0]; next && next.at <= now; next = this.#queue[0]) {
      this.#queue.shift();
      next.arrive(now);
    }
  }

  pollTimeout(): Instant | undefined {
    return this.#queue.reduce<Instant | undefined>(
      (first, { at }) => earliest(first, at),
      undefined,
    );
  }

  #connect(
    client: StreamClient,
    { stream, target }: Extract<StreamCommand, { kind: 'open-stream' }>,
  ): void {
    const wires = this.#wiresOf(client);
    const isOpen = (): boolean => wires.has(stream.key);
    const tell = (kind: StreamEvent['kind']): void =>
      this.#travel((now) => {
        if (!isOpen()) return;
        if (kind === 'stream-closed') wires.delete(stream.key);
        client.handleStream({ kind, stream }, now);
      });
    const name = streamEndpoint(1_000_000 + this.openedCount++, target.remote.port);
    const server = this.#servers.get(target.remote.address);
    wires.set(stream.key, {
      send: (payload) => this.#travel((now) => server?.receiveFromStream(name, payload, now)),
      end: () => this.#travel(() => server?.loseStream(name)),
    });
    const toClient: StreamWire = {
      send: (payload) =>
        this.#travel((now) => {
          if (isOpen())
            client.receive([{ source: stream, destination: client.host, payload }], now);
        }),
      end: () => tell('stream-closed'),
    };
    this.#travel((now) => {
      if (server === undefined) return;
      if (!server.streamPorts.has(target.remote.port)) return tell('stream-closed');
      tell('stream-opened');
      server.acceptStream(name, endpoint(SEEN as Endpoint['address'], 1024), toClient, now);
    });
  }

  #wiresOf(client: StreamClient): Map<string, StreamWire> {
    const known = this.#open.get(client) ?? new Map<string, StreamWire>();
    this.#open.set(client, known);
    return known;
  }

  #travel(arrive: (now: Instant) => void): void {
    if (!this.isBlocked) this.#queue.push({ at: later(this.#network.now, this.latencyMs), arrive });
  }
}
