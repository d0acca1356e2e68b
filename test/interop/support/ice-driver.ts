// Our ICE agent on a UDP socket on loopback, driven by the real clock, for tests against agents that are not ours.

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type Endpoint, endpoint, type IpAddress } from '../../../src/base/address.ts';
import { SILENT_LOG } from '../../../src/base/log.ts';
import { type Instant, instant } from '../../../src/base/time.ts';
import { createNodeCrypto } from '../../../src/io/crypto/node-crypto.ts';
import { IceAgent } from '../../../src/proto/ice/agent.ts';
import type { IceEvent } from '../../../src/proto/ice/agent-types.ts';
import type { IceRole } from '../../../src/proto/ice/candidate-pair.ts';
import { CLIENT_TIMING } from '../../../src/proto/ice/timing.ts';
import { parseStun } from '../../../src/wire/stun/message.ts';

/** Credentials of our side. */
export const OWN: { readonly ufrag: string; readonly password: string } = {
  ufrag: 'ours',
  password: 'ourpassword01234567890',
};

/** An agent on a socket of its own. */
export class IceDriver {
  readonly agent: IceAgent;
  readonly local: Endpoint;
  readonly #socket: Socket;
  readonly #data: string[] = [];
  readonly #events: IceEvent[] = [];
  #waiters: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  static async create(
    role: IceRole,
    remote: { ufrag: string; password: string },
  ): Promise<IceDriver> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new IceDriver(socket, role, remote);
  }

  constructor(socket: Socket, role: IceRole, remoteCredentials: typeof OWN) {
    this.#socket = socket;
    this.local = endpoint('127.0.0.1' as IpAddress, socket.address().port);
    this.agent = new IceAgent(
      {
        role,
        localCredentials: OWN,
        remoteCredentials,
        timing: CLIENT_TIMING,
        allowLoopback: true,
      },
      { crypto: createNodeCrypto(), log: SILENT_LOG },
      now(),
    );
    socket.on('message', (bytes, from) => {
      const message = parseStun(Uint8Array.from(bytes));
      const source = endpoint(from.address as IpAddress, from.port);
      if (message) this.agent.handleStun(message, { source, local: this.local }, now());
      else this.#data.push(bytes.toString());
      this.drain();
    });
  }

  drain(): void {
    for (let out = this.agent.pollTransmit(); out; out = this.agent.pollTransmit()) {
      this.#socket.send(out.payload, out.remote.port, out.remote.address);
    }
    for (let event = this.agent.pollEvent(); event; event = this.agent.pollEvent()) {
      this.#events.push(event);
    }
    clearTimeout(this.#timer);
    const deadline = this.agent.pollTimeout();
    if (deadline !== undefined) {
      this.#timer = setTimeout(
        () => {
          this.agent.handleTimeout(now());
          this.drain();
        },
        Math.ceil(deadline - now()),
      );
    }
    for (const wake of this.#waiters) wake();
    this.#waiters = [];
  }

  sendData(text: string): void {
    const nominated = this.nominated;
    if (nominated?.kind !== 'nominated') throw new Error('no pair');
    this.#socket.send(text, nominated.remote.port, nominated.remote.address);
  }

  get nominated(): IceEvent | undefined {
    return this.#events.findLast(({ kind }) => kind === 'nominated');
  }

  async until<T>(read: () => T | undefined): Promise<T> {
    for (;;) {
      const value = read();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  async receive(): Promise<string> {
    return this.until(() => this.#data.shift());
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#socket.close();
  }
}

export function now(): Instant {
  return instant(performance.now());
}
