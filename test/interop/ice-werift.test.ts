// Our ICE agent against werift's, a foreign implementation, over UDP sockets on loopback, in both roles: candidates are
// exchanged as strings, both settle on the pair, and data flows both ways over it.
//
//   IceAgent -- dgram 127.0.0.1 <== checks, then data ==> dgram 127.0.0.1 -- werift Connection

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { Candidate, Connection } from 'werift-ice';
import { type Endpoint, endpoint, type IpAddress } from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { type Instant, instant } from '../../src/base/time.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { IceAgent } from '../../src/proto/ice/agent.ts';
import type { IceEvent } from '../../src/proto/ice/agent-types.ts';
import { formatCandidate, parseCandidate } from '../../src/proto/ice/candidate.ts';
import type { IceRole } from '../../src/proto/ice/candidate-pair.ts';
import { CLIENT_TIMING } from '../../src/proto/ice/timing.ts';
import { parseStun } from '../../src/wire/stun/message.ts';

const OWN = { ufrag: 'ours', password: 'ourpassword01234567890' };

/** An agent on a socket of its own, driven by the real clock. */
class Driver {
  readonly agent: IceAgent;
  readonly local: Endpoint;
  readonly #socket: Socket;
  readonly #data: string[] = [];
  readonly #events: IceEvent[] = [];
  #waiters: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  static async create(role: IceRole, remote: { ufrag: string; password: string }): Promise<Driver> {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    return new Driver(socket, role, remote);
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

const opened: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

function now(): Instant {
  return instant(performance.now());
}

async function settle(role: IceRole): Promise<{ driver: Driver; foreign: Connection }> {
  const foreign = new Connection(role === 'controlled', {
    useIpv4: false,
    useIpv6: false,
    additionalHostAddresses: ['127.0.0.1'],
    interfaceAddresses: { udp4: '127.0.0.1' },
  });
  opened.push(() => foreign.close());
  const driver = await Driver.create(role, {
    ufrag: foreign.localUsername,
    password: foreign.localPassword,
  });
  opened.push(() => driver.close());
  foreign.setRemoteParams({ iceLite: false, usernameFragment: OWN.ufrag, password: OWN.password });
  await foreign.gatherCandidates();

  const ours = driver.agent.addLocalCandidate(
    { kind: 'host', address: driver.local, base: driver.local },
    now(),
  );
  if (!ours) throw new Error('no candidate');
  // RFC 8839 §5.1 puts `candidate:` in front; werift's reader wants what follows.
  const text = formatCandidate(ours).replace(/^candidate:/, '');
  await foreign.addRemoteCandidate(Candidate.fromSdp(text));
  await foreign.addRemoteCandidate(undefined);
  for (const theirs of foreign.localCandidates) {
    const parsed = parseCandidate(`candidate:${theirs.toSdp()}`);
    if (!parsed) throw new Error(`cannot parse ${theirs.toSdp()}`);
    expect(driver.agent.addRemoteCandidate(parsed, now())).toBe('added');
  }
  driver.drain();
  await foreign.connect();
  await driver.until(() => driver.nominated);
  return { driver, foreign };
}

describe.each<IceRole>(['controlling', 'controlled'])('our agent, %s', (role) => {
  it('settles with a foreign agent, and data flows both ways over the pair', async () => {
    const { driver, foreign } = await settle(role);
    expect(['connected', 'completed']).toContain(foreign.state);
    expect(driver.nominated).toMatchObject({ localKind: 'host', local: driver.local });
    expect(foreign.nominated?.remoteAddr[1]).toBe(driver.local.port);

    const received = new Promise<string>((resolve) =>
      foreign.onData.subscribe((data) => resolve(data.toString())),
    );
    driver.sendData('from us');
    expect(await received).toBe('from us');
    await foreign.send(Buffer.from('from them'));
    expect(await driver.receive()).toBe('from them');
  });

  it('answers the checks that keep the foreign consent alive', async () => {
    const { driver, foreign } = await settle(role);
    const answered = (): number => foreign.nominated?.responsesReceived ?? 0;
    const before = answered();
    await driver.until(() => (answered() > before ? true : undefined));
    expect(foreign.state).not.toBe('disconnected');
    expect(driver.agent.snapshot().drops).toEqual({});
  });
});
