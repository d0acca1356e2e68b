// A relay (the pure server machine), its clients, and a network that delivers at once, under a virtual clock.
//
//   client 203.0.113.9:40000 / [2001:db8:9::9]:40000 ---- relay 198.51.100.7:3478 / [2001:db8::7]:3478

import {
  type Endpoint,
  endpoint,
  familyOf,
  parseEndpoint,
  parseIp,
} from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { earliest, type Instant, instant, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { Allocation } from '../../src/proto/turn/allocation.ts';
import type { AllocationEvent } from '../../src/proto/turn/allocation-types.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { TurnServer } from '../../src/proto/turn/server/server.ts';
import type {
  TurnServerCommand,
  TurnServerConfig,
} from '../../src/proto/turn/server/server-types.ts';
import { parseStun, type StunMessage } from '../../src/wire/stun/message.ts';

export const STAMP_SECRET = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';
export const RELAY_V4: Endpoint = parsed('198.51.100.7:3478');
export const RELAY_V6: Endpoint = parsed('[2001:db8::7]:3478');
export const PEER: Endpoint = parsed('192.0.2.33:52625');
export const PEER_V6: Endpoint = parsed('[2001:db8:1::33]:52625');
/** 2026-01-01. */
export const UNIX_START_MS = 1_767_225_600_000;
const EXPIRY = '1999999999';

export function parsed(text: string): Endpoint {
  const value = parseEndpoint(text);
  if (!value) throw new Error(`not an endpoint: ${text}`);
  return value;
}

export interface SentMessage {
  readonly at: number;
  readonly from: 'client' | 'server';
  readonly destination: string;
  readonly bytes: Uint8Array;
  /** `undefined`: ChannelData. */
  readonly message: StunMessage | undefined;
}

export class TurnClientUnderTest {
  readonly allocation: Allocation;
  readonly local: { readonly 4: Endpoint; readonly 6: Endpoint };
  readonly events: AllocationEvent[] = [];

  constructor(allocation: Allocation, port: number) {
    this.allocation = allocation;
    this.local = { 4: parsed(`203.0.113.9:${port}`), 6: parsed(`[2001:db8:9::9]:${port}`) };
  }

  /** Events since the last look, in words. */
  takeEvents(): string[] {
    return this.events.splice(0).map(describeEvent);
  }
}

export class TurnWorld {
  now: Instant = instant(0);
  readonly crypto = createSeededCrypto(7);
  readonly sent: SentMessage[] = [];
  readonly commands: TurnServerCommand[] = [];
  readonly clients: TurnClientUnderTest[] = [];
  server: TurnServer;
  /** `false` loses the datagram. */
  deliver: (sent: SentMessage) => boolean = () => true;
  /** Whether the relay can open a port. */
  opens: (port: number) => boolean = () => true;
  readonly #config: Partial<TurnServerConfig>;

  constructor(config: Partial<TurnServerConfig> = {}) {
    this.#config = config;
    this.server = this.#createServer(STAMP_SECRET);
  }

  /** All its state is gone; the secret may be another. */
  restartServer(secret: string = STAMP_SECRET): void {
    this.server = this.#createServer(secret);
  }

  addClient(
    options: {
      port?: number;
      addresses?: readonly Endpoint[];
      salt?: string;
      password?: string;
    } = {},
  ): TurnClientUnderTest {
    const { port = 40000, addresses = [RELAY_V4, RELAY_V6], salt = 'lab-salt' } = options;
    const password = options.password ?? relayPassword(EXPIRY, STAMP_SECRET, salt, this.crypto);
    const allocation = new Allocation(
      {
        addresses,
        credentials: { username: `${EXPIRY}:${salt}`, password, realm: 'firezone' },
        software: 'snownet',
      },
      { crypto: this.crypto, log: SILENT_LOG },
      this.now,
    );
    const client = new TurnClientUnderTest(allocation, port);
    this.clients.push(client);
    return client;
  }

  /** Delivers what is under way, and the answers to it, and so on. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) if (!this.#deliverOnce()) return;
    throw new Error('the two keep talking without end');
  }

  /** Lets time pass, waking everybody when they want. */
  advance(milliseconds: number): void {
    const end = instant(this.now + milliseconds);
    this.settle();
    for (let round = 0; round < 100_000; round++) {
      const machines = [this.server, ...this.clients.map(({ allocation }) => allocation)];
      const next = earliest(...machines.map((machine) => machine.pollTimeout()));
      if (next === undefined || next > end) {
        this.now = end;
        return;
      }
      if (next > this.now) this.now = next;
      for (const machine of machines) machine.handleTimeout(this.now);
      this.settle();
    }
    throw new Error('time does not pass');
  }

  /** Requests and answers since the last look: `client allocate`, `server allocate 401`. */
  takeTrace(): string[] {
    return this.sent.splice(0).map(describeSent);
  }

  #deliverOnce(): boolean {
    let isBusy = false;
    for (const client of this.clients) {
      for (
        let event = client.allocation.pollEvent();
        event;
        event = client.allocation.pollEvent()
      ) {
        client.events.push(event);
      }
      const transmit = client.allocation.pollTransmit();
      if (!transmit) continue;
      isBusy = true;
      const { destination, payload } = transmit;
      const sent = this.#record('client', destination, payload);
      if (!this.deliver(sent) || sent.message === undefined) continue;
      const source = client.local[familyOf(destination.address)];
      this.server.handleDatagram(payload, source, destination, this.now);
    }
    isBusy = this.#runCommands() || isBusy;
    const transmit = this.server.pollTransmit();
    if (!transmit) return isBusy;
    const { destination, payload, source } = transmit;
    const sent = this.#record('server', destination, payload);
    if (!this.deliver(sent) || !source) return true;
    const client = this.clients.find(
      ({ local }) => local[4].key === destination.key || local[6].key === destination.key,
    );
    client?.allocation.handleDatagram(payload, source, destination, this.now);
    return true;
  }

  #runCommands(): boolean {
    const command = this.server.pollCommand();
    if (!command) return false;
    this.commands.push(command);
    if (command.kind === 'open-sockets') {
      if (this.opens(command.port)) this.server.handleSocketsOpened(command.allocation, this.now);
      else this.server.handleSocketsFailed(command.allocation);
    }
    return true;
  }

  #record(from: 'client' | 'server', destination: Endpoint, bytes: Uint8Array): SentMessage {
    const sent = {
      at: this.now,
      from,
      destination: destination.key,
      bytes,
      message: parseStun(bytes),
    };
    this.sent.push(sent);
    return sent;
  }

  #createServer(stampSecret: string): TurnServer {
    return new TurnServer(
      {
        publicAddresses: [RELAY_V4, RELAY_V6].map(({ address }) => address),
        ports: { lowest: 49152, highest: 65535 },
        software: 'firezone-relay; rev=xxxxxxxx',
        stampSecret,
        peerPolicy: { allowsLoopback: false, denied: [] },
        ...this.#config,
      },
      {
        crypto: this.crypto,
        random: new SeededRandom(3),
        wallClock: new WallClock(instant(0), unixMillis(UNIX_START_MS)),
        log: SILENT_LOG,
      },
    );
  }
}

function describeEvent(event: AllocationEvent): string {
  switch (event.kind) {
    case 'candidate-added':
    case 'candidate-removed':
      return `${event.kind} ${event.candidate.kind} ${event.candidate.address.key}`;
    case 'channel-bound':
    case 'channel-lost':
      return `${event.kind} ${event.peer.key} ${event.channel.toString(16)}`;
    case 'failed':
      return `failed ${event.reason}`;
  }
}

const METHOD_NAMES: Readonly<Record<number, string>> = {
  1: 'binding',
  3: 'allocate',
  4: 'refresh',
  8: 'create-permission',
  9: 'channel-bind',
};

export function describeSent({ from, message, destination }: SentMessage): string {
  if (!message) return `${from} data`;
  const error = message.attributes.find(({ kind }) => kind === 'error-code');
  const code = error?.kind === 'error-code' ? ` ${error.value.code}` : '';
  const lifetime = message.attributes.find(({ kind }) => kind === 'lifetime');
  const isDelete = from === 'client' && lifetime?.value === 0 ? ' 0' : '';
  const family = from === 'client' && destination.startsWith('[') ? ' v6' : '';
  return `${from} ${METHOD_NAMES[message.method] ?? message.method}${code}${isDelete}${family}`;
}

export function relayed(port: number): Endpoint {
  const address = parseIp('198.51.100.7');
  if (!address) throw new Error('not an address');
  return endpoint(address, port);
}
