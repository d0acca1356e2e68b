// Our own TURN server on a virtual network: its listening socket, and one socket for each allocation that it opens. It
// forwards by rows as the relay's loop does.

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  familyOf,
  type IpAddress,
  writeAddressWords,
} from '../../src/base/address.ts';
import { createReceiveBatch, PATH, RUN } from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { relayId } from '../../src/base/ids.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Instant, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import type { RelayInfo } from '../../src/link/relays/relay-info.ts';
import {
  listenSocket,
  relaySocket,
  STREAM_SOCKET,
} from '../../src/proto/turn/server/channel-bindings.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { createForwardBatch, FORWARD } from '../../src/proto/turn/server/forwarding.ts';
import { TurnServer } from '../../src/proto/turn/server/server.ts';
import { STUN_METHOD, writeStun } from '../../src/wire/stun/message.ts';
import { writeChannelData } from '../../src/wire/turn/channel-data.ts';
import type { Participant } from './link-world.ts';
import { type Datagram, type DatagramNetwork, ep } from './virtual-network.ts';
import type { StreamServer, StreamWire } from './virtual-streams.ts';

const STAMP_SECRET = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
const EXPIRY = '1999999999';

export class RelayMachine implements Participant, StreamServer {
  readonly server: TurnServer;
  readonly listen: Endpoint;
  /** In the other family. */
  readonly listenAlso: Endpoint | undefined;
  /** TCP ports; none until a test wants some. */
  readonly streamPorts: Set<number> = new Set();
  /** Ends a connection as soon as it is open. */
  refusesStreams = false;
  /** Permissions are for all ports of an address, as with a standard server (RFC 8656 §9); for one client. */
  isStandard = false;
  /** Payloads it forwarded to peers and to clients. */
  forwardedCount = 0;
  readonly #network: DatagramNetwork;
  readonly #crypto = createSeededCrypto(9);
  readonly #sockets = new Map<number, Endpoint>();
  readonly #wires = new Map<string, StreamWire>();
  readonly #batch = createReceiveBatch(65_536, 1, 1);
  readonly #out = createForwardBatch(64);
  #client: Endpoint | undefined;

  constructor(network: DatagramNetwork, listen: string, listenAlso?: string) {
    this.#network = network;
    this.listen = ep(listen);
    this.listenAlso = listenAlso === undefined ? undefined : ep(listenAlso);
    this.server = new TurnServer(
      {
        publicAddresses: this.#listening.map(({ address }) => address),
        ports: { lowest: 49_152, highest: 65_535 },
        software: 'firezone-relay; rev=xxxxxxxx',
        stampSecret: STAMP_SECRET,
        peerPolicy: { allowsLoopback: false, denied: [] },
      },
      {
        crypto: this.#crypto,
        random: new SeededRandom(this.listen.port),
        wallClock: new WallClock(network.now, unixMillis(1_767_225_600_000)),
        log: SILENT_LOG,
      },
    );
    for (const listening of this.#listening) {
      this.#open(listenSocket(familyOf(listening.address)), listening);
    }
  }

  get addresses(): readonly string[] {
    return this.#listening.map(({ address }) => address);
  }

  get streamCount(): number {
    return this.#wires.size;
  }

  acceptStream(stream: Endpoint, seen: Endpoint, wire: StreamWire, now: Instant): void {
    const isWelcome = !this.refusesStreams && this.server.handleStreamOpened(stream, seen, now);
    if (isWelcome) this.#wires.set(stream.key, wire);
    else wire.end();
  }

  receiveFromStream(stream: Endpoint, payload: Uint8Array, now: Instant): void {
    if (!this.#wires.has(stream.key)) return;
    const datagram = { source: stream, destination: this.listen, payload };
    this.#receive(STREAM_SOCKET, datagram, now);
  }

  /** All connections end, the relay stays. */
  endStreams(): void {
    for (const [key, wire] of [...this.#wires]) {
      wire.end();
      this.loseStream(ep(key));
    }
  }

  loseStream(stream: Endpoint): void {
    this.#wires.delete(stream.key);
    this.server.handleStreamClosed(stream);
  }

  /** What the portal tells of it; each salt is another user. */
  info(id: string, salt: string): RelayInfo {
    return {
      id: relayId(id),
      addresses: this.#listening,
      username: `${EXPIRY}:${salt}`,
      password: relayPassword(EXPIRY, STAMP_SECRET, salt, this.#crypto),
      realm: 'firezone',
    };
  }

  /** The machine is gone. */
  stop(): void {
    for (const socket of this.#sockets.values()) this.#network.detach(socket);
    for (const wire of this.#wires.values()) wire.end();
    this.#wires.clear();
    this.streamPorts.clear();
  }

  handleTimeout(now: Instant): void {
    this.server.handleTimeout(now);
  }

  pollTimeout(): Instant | undefined {
    return this.server.pollTimeout();
  }

  drain(now: Instant): void {
    const { server } = this;
    for (let command = server.pollCommand(); command; command = server.pollCommand()) {
      if (command.kind === 'close-stream') {
        this.#wires.get(command.stream.key)?.end();
        this.loseStream(command.stream);
        continue;
      }
      for (const family of command.families) {
        const socket = relaySocket(command.allocation, family);
        if (command.kind === 'open-sockets') {
          this.#open(socket, endpoint(this.#addressOf(family), command.port));
        } else {
          const open = this.#sockets.get(socket);
          if (open) this.#network.detach(open);
          this.#sockets.delete(socket);
        }
      }
      if (command.kind === 'open-sockets') server.handleSocketsOpened(command.allocation, now);
    }
    for (let out = server.pollTransmit(); out; out = server.pollTransmit()) {
      const { destination, payload } = out;
      if (out.socket === STREAM_SOCKET) {
        this.#wires.get(destination.key)?.send(payload);
        continue;
      }
      const source = this.#sockets.get(out.socket) ?? this.listen;
      this.#network.send({ source, destination, payload });
    }
  }

  get #listening(): readonly Endpoint[] {
    return this.listenAlso ? [this.listen, this.listenAlso] : [this.listen];
  }

  #addressOf(family: 4 | 6): IpAddress {
    const own = this.#listening.find(({ address }) => familyOf(address) === family);
    return (own ?? this.listen).address;
  }

  #open(socket: number, address: Endpoint): void {
    this.#sockets.set(socket, address);
    this.#network.attach(address, undefined, (datagram, now) => {
      this.#receive(socket, datagram, now);
    });
  }

  #receive(socket: number, { source, destination, payload }: Datagram, now: Instant): void {
    const { runs, slab } = this.#batch;
    slab.set(payload);
    runs.fill(0);
    runs.set([0, payload.length, payload.length]);
    writeAddressWords(source.address, runs, RUN.remote);
    runs[RUN.remotePort] = source.port;
    writeAddressWords(destination.address, runs, RUN.local);
    runs[RUN.localPort] = destination.port;
    this.#batch.runCount = 1;
    this.server.handleRuns(this.#batch, socket, this.#out, now);
    if (destination.key === this.listen.key) this.#client = source;
    else if (this.#out.count === 0 && this.isStandard) this.#indicate(source, payload);
    for (let row = 0; row < this.#out.count * FORWARD.stride; row += FORWARD.stride) {
      this.#forward(row, payload);
    }
    this.drain(now);
  }

  #indicate(peer: Endpoint, data: Uint8Array): void {
    if (this.#client === undefined) return;
    const message = {
      method: STUN_METHOD.data,
      class: 'indication' as const,
      transactionId: this.#crypto.randomBytes(12),
      attributes: [
        { kind: 'xor-peer-address' as const, value: peer },
        { kind: 'data' as const, value: data },
      ],
    };
    const payload = writeStun(message, this.#crypto);
    this.#network.send({ source: this.listen, destination: this.#client, payload });
  }

  #forward(row: number, datagram: Uint8Array): void {
    const { rows } = this.#out;
    const { paths } = this.server.channels;
    const path = at(rows, row + FORWARD.path) * PATH.stride;
    const source = this.#sockets.get(at(rows, row + FORWARD.socket));
    const payload = datagram.slice(at(rows, row + FORWARD.headerLength));
    const channel = at(paths, path + PATH.channel);
    const destination = endpoint(
      addressFromWords(paths, path + PATH.remote),
      at(paths, path + PATH.remotePort),
    );
    const bytes = channel === 0 ? payload : writeChannelData(channel, payload);
    const wire = this.#wires.get(destination.key);
    if (source === undefined && wire === undefined) return;
    this.forwardedCount++;
    if (source) this.#network.send({ source, destination, payload: bytes });
    else wire?.send(bytes);
  }
}
