// A relay as a running program: the real role, its listening sockets and one socket for each allocation, its registration with the portal. Forwards by rows
// as `io/relay/relay-loop.ts` does.

import {
  addressFromWords,
  endpoint,
  familyOf,
  type IpAddress,
  writeAddressWords,
} from '../../../src/base/address.ts';
import { createReceiveBatch, PATH, RUN } from '../../../src/base/batch.ts';
import { at } from '../../../src/base/bytes.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import { earliest, type Instant, WallClock } from '../../../src/base/time.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import {
  type ChannelEvent,
  type ChannelSnapshot,
  DEFAULT_PARTITION_BUDGET_MS,
  PhoenixChannel,
} from '../../../src/proto/phoenix/channel.ts';
import { type NoParams, relayLoginUrl } from '../../../src/proto/phoenix/login-url.ts';
import { listenSocket, relaySocket } from '../../../src/proto/turn/server/channel-bindings.ts';
import { createForwardBatch, FORWARD } from '../../../src/proto/turn/server/forwarding.ts';
import { Relay, type RelaySnapshot } from '../../../src/roles/relay/relay.ts';
import { writeChannelData } from '../../../src/wire/turn/channel-data.ts';
import type { Actor, Context } from '../context.ts';
import type { Datagram } from '../network/datagram.ts';
import type { Host } from '../network/host.ts';
import type { RelayView } from '../world-view.ts';
import { PortalLink } from './portal-link.ts';
import type { PortalService } from './portal-service.ts';
import type { StopKind } from './tunnel-program.ts';

export const RELAY_PORT = 3478;
const ROUNDS_PER_TURN = 8;
const SUPERVISOR_MS = 5_000;

interface Socket {
  readonly family: 4 | 6;
  readonly port: number;
}

export class RelayProgram implements Actor, RelayView {
  readonly kind = 'relay';
  due: Instant | undefined;
  readonly host: Host;
  /** Datagrams that it forwarded. */
  forwardedCount = 0;
  readonly #context: Context;
  readonly #portal: PortalService;
  readonly #token: string;
  readonly #sockets = new Map<number, Socket>();
  readonly #batch = createReceiveBatch(65_536, 1, 1);
  readonly #out = createForwardBatch(64);
  #relay: Relay | undefined;
  #link: PortalLink<NoParams> | undefined;
  #generation = 0;
  #isDraining = false;

  constructor(context: Context, portal: PortalService, host: Host, token: string) {
    this.#context = context;
    this.#portal = portal;
    this.host = host;
    this.#token = token;
  }

  get name(): string {
    return this.host.name;
  }

  get isRunning(): boolean {
    return this.#relay !== undefined;
  }

  get isAsleep(): boolean {
    return this.host.isAsleep;
  }

  get isConnectedToPortal(): boolean {
    return this.#link?.isConnected ?? false;
  }

  get socketCount(): number {
    return this.#sockets.size;
  }

  snapshot(): RelaySnapshot | undefined {
    return this.#relay?.snapshot();
  }

  channelSnapshot(): ChannelSnapshot | undefined {
    return this.#link?.snapshot();
  }

  start(): void {
    if (this.#relay || this.host.isAsleep) return;
    const { streams, log } = this.#context;
    const { now, addresses } = this.host;
    const seedName = `${this.name} ${this.#generation++}`;
    const random = streams.of(`random ${seedName}`);
    const wallClock = new WallClock(now, this.host.wallNow);
    const relay = new Relay(
      {
        publicAddresses: addresses,
        ports: { lowest: 49_152, highest: 65_535 },
        software: 'firezone-relay; rev=xxxxxxxx',
        peerPolicy: { allowsLoopback: false, denied: [] },
      },
      { crypto: createSeededCrypto(streams.number(`crypto ${seedName}`)), random, wallClock, log },
    );
    this.#relay = relay;
    for (const address of addresses) {
      const family = familyOf(address);
      this.#open(listenSocket(family), { family, port: RELAY_PORT });
    }
    this.#link = this.#createLink(relay, { random, wallClock, log });
    this.#link.connect({});
    this.#tell('started');
    this.#turn(() => {});
  }

  stop(how: StopKind): void {
    if (!this.#relay) return;
    if (how === 'orderly') this.#link?.close();
    this.#link?.abandon(how === 'power' ? 'silence' : 'reset');
    this.host.closeAll();
    this.#sockets.clear();
    this.#relay = undefined;
    this.#link = undefined;
    this.due = undefined;
    this.#tell(how === 'orderly' ? 'stopped' : 'killed');
  }

  sleep(): void {
    this.host.sleep();
    this.due = undefined;
    this.#tell('asleep');
  }

  wake(): void {
    this.host.wake();
    this.#tell('awake');
    this.#turn(() => {});
  }

  /** Its portal connection breaks; it dials again by itself. */
  dropPortal(): void {
    this.#link?.abandon('reset');
  }

  /** The connection to the portal comes and goes, as an unstable one does. */
  reconnectPortal(): void {
    this.#link?.connect({});
    this.#turn(() => {});
  }

  handleDue(): void {
    this.#turn(() => {});
  }

  #turn(work: (relay: Relay, now: Instant) => void): void {
    const relay = this.#relay;
    const link = this.#link;
    if (!relay || !link || this.host.isAsleep) return;
    const { now } = this.host;
    try {
      work(relay, now);
      for (let round = 0; round < ROUNDS_PER_TURN; round++) {
        this.#drain(relay, now);
        const due = earliest(relay.pollTimeout(), link.pollTimeout());
        if (due === undefined || due > now) break;
        relay.handleTimeout(now);
        link.handleTimeout();
      }
    } catch (error) {
      if (!(error instanceof InvariantError)) throw error;
      this.#context.fault(
        'no invariant of the product breaks',
        'no fault',
        `${this.name}: ${error.stack}`,
      );
    }
    const due = earliest(relay.pollTimeout(), this.#link?.pollTimeout());
    const floor = due === undefined ? undefined : Math.max(due, now + 1);
    this.due =
      floor === undefined || !this.#relay ? undefined : this.host.toWorld(floor as Instant);
  }

  #drain(relay: Relay, now: Instant): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (let command = relay.pollCommand(); command; command = relay.pollCommand()) {
      // No client of this world speaks TURN over TCP.
      if (command.kind === 'close-stream') continue;
      const { allocation, families } = command;
      for (const family of families) {
        const socket = relaySocket(allocation, family);
        if (command.kind === 'open-sockets') this.#open(socket, { family, port: command.port });
        else this.#close(socket);
      }
      if (command.kind === 'open-sockets') relay.handleSocketsOpened(allocation, now);
    }
    for (let out = relay.pollTransmit(); out; out = relay.pollTransmit()) {
      const { source, destination, payload, ecn } = out;
      this.host.send(source?.port ?? RELAY_PORT, source?.address, destination, payload, ecn);
    }
    this.#isDraining = false;
  }

  #open(number: number, socket: Socket): void {
    const isOpen = this.host.listen(socket.family, socket.port, (datagram) => {
      this.#receive(number, datagram);
    });
    if (isOpen) this.#sockets.set(number, socket);
  }

  #close(number: number): void {
    const socket = this.#sockets.get(number);
    if (!socket) return;
    this.host.close(socket.family, socket.port);
    this.#sockets.delete(number);
  }

  #receive(number: number, { source, destination, payload, ecn }: Datagram): void {
    this.#turn((relay, now) => {
      const { runs, slab } = this.#batch;
      slab.set(payload);
      runs.fill(0);
      runs.set([0, payload.length, payload.length]);
      writeAddressWords(source.address, runs, RUN.remote);
      runs[RUN.remotePort] = source.port;
      writeAddressWords(destination.address, runs, RUN.local);
      runs[RUN.localPort] = destination.port;
      runs[RUN.ecn] = ecn;
      this.#batch.runCount = 1;
      relay.handleRuns(this.#batch, number, this.#out, now);
      for (let i = 0; i < this.#out.count; i++) {
        this.#forward(relay, i * FORWARD.stride, payload, ecn);
      }
    });
  }

  #forward(relay: Relay, row: number, datagram: Uint8Array, ecn: number): void {
    const { rows } = this.#out;
    const path = at(rows, row + FORWARD.path) * PATH.stride;
    const socket = this.#sockets.get(at(rows, row + FORWARD.socket));
    if (!socket) return;
    const exactLength = at(rows, row + FORWARD.exactLength);
    const start = at(rows, row + FORWARD.headerLength);
    const payload = datagram.slice(start, exactLength > 0 ? start + exactLength : undefined);
    const channel = at(relay.paths, path + PATH.channel);
    const remote = addressFromWords(relay.paths, path + PATH.remote);
    const destination = endpoint(remote, at(relay.paths, path + PATH.remotePort));
    const bytes = channel === 0 ? payload : writeChannelData(channel, payload);
    this.forwardedCount++;
    this.host.send(socket.port, this.#addressOf(socket.family), destination, bytes, ecn);
  }

  #addressOf(family: 4 | 6): IpAddress | undefined {
    return this.host.addresses.find((address) => familyOf(address) === family);
  }

  #createLink(
    relay: Relay,
    deps: ConstructorParameters<typeof PhoenixChannel<NoParams>>[1],
  ): PortalLink<NoParams> {
    const [ipv4, ipv6] = [this.#addressOf(4), this.#addressOf(6)];
    const login = relayLoginUrl({
      apiUrl: 'ws://portal.test/',
      port: RELAY_PORT,
      name: this.name,
      ...(ipv4 !== undefined && { ipv4 }),
      ...(ipv6 !== undefined && { ipv6 }),
    });
    if (login.kind === 'invalid') throw new Error(login.problem);
    const channel = new PhoenixChannel<NoParams>(
      {
        loginUrl: login.url,
        token: this.#token,
        userAgent: 'Debian/12.0.0 relay/1.0.0 (x86_64)',
        joinPayload: relay.joinPayload,
        partitionBudgetMs: DEFAULT_PARTITION_BUDGET_MS,
      },
      deps,
    );
    const { host } = this;
    const onEvent = (event: ChannelEvent): void => this.#onPortal(relay, event);
    const onWake = (): void => this.#turn(() => {});
    return new PortalLink({ host, portal: this.#portal, channel, onEvent, onWake });
  }

  #onPortal(relay: Relay, event: ChannelEvent): void {
    if (relay !== this.#relay) return;
    const { watchers, scheduler } = this.#context;
    watchers.actorEvent({ at: scheduler.now, actor: this.name, role: 'relay', event });
    switch (event.kind) {
      case 'message':
        relay.handlePortalMessage(event.event, event.payload);
        break;
      case 'hiccup':
        relay.handlePortalLost();
        break;
      case 'failed':
        // Whoever runs it starts it again.
        scheduler.call(0, () => this.stop('crash'));
        scheduler.call(SUPERVISOR_MS, () => this.start());
        break;
      default:
    }
  }

  #tell(change: string): void {
    this.#context.watchers.lifeCycle(this.name, 'relay', change, this.#context.scheduler.now);
  }
}
