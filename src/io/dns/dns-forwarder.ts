// Forwards a DNS query to one upstream server and hands back its answer, whatever it is. Each query has a socket of its own on a random port and a random
// id towards the server, so that an off-path answer has to guess both (RFC 5452 §9.2). A truncated answer is asked for again over TCP when the
// application itself used TCP.

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { type Endpoint, familyOf } from '../../base/address.ts';
import type { DnsTransport } from './dns-listener.ts';

// Specification: client 9.
const TIMEOUT_MS = 5_000;
const MAX_CONCURRENT = 1_000;
/** RFC 1035 §4.1.1. */
const HEADER_LENGTH = 12;

export type ForwardOutcome =
  | { readonly kind: 'answered'; readonly answer: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: 'timeout' | 'too-many' | 'unreachable' };

export class DnsForwarder {
  #underWay = 0;

  /** Never rejects. */
  async forward(
    query: Uint8Array,
    server: Endpoint,
    transport: DnsTransport,
  ): Promise<ForwardOutcome> {
    if (this.#underWay >= MAX_CONCURRENT) return { kind: 'failed', reason: 'too-many' };
    this.#underWay++;
    const asked = Buffer.from(query);
    asked.writeUInt16BE(randomInt(0x1_0000), 0);
    const ask = transport === 'udp' ? askOverUdp : askOverTcp;
    const outcome = await ask(asked, server);
    this.#underWay--;
    if (outcome.kind === 'answered') outcome.answer.set(query.subarray(0, 2), 0);
    return outcome;
  }
}

function askOverUdp(query: Buffer, server: Endpoint): Promise<ForwardOutcome> {
  return new Promise((resolve) => {
    const socket = createSocket(familyOf(server.address) === 4 ? 'udp4' : 'udp6');
    const timer = setTimeout(() => finish({ kind: 'failed', reason: 'timeout' }), TIMEOUT_MS);
    let isDone = false;
    const finish = (outcome: ForwardOutcome): void => {
      if (isDone) return; // Late errors of a socket that is done change nothing.
      isDone = true;
      clearTimeout(timer);
      socket.close();
      resolve(outcome);
    };
    socket.on('error', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.on('message', (answer) => {
      if (answer.length < HEADER_LENGTH || answer.readUInt16BE(0) !== query.readUInt16BE(0)) return;
      finish({ kind: 'answered', answer: Uint8Array.from(answer) });
    });
    // Connected: the kernel lets nothing in but what this server sends from this port.
    socket.connect(server.port, server.address, () => {
      if (!isDone) socket.send(query);
    });
  });
}

function askOverTcp(query: Buffer, server: Endpoint): Promise<ForwardOutcome> {
  return new Promise((resolve) => {
    const socket = connect({ host: server.address, port: server.port });
    let received = Buffer.alloc(0);
    const finish = (outcome: ForwardOutcome): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(TIMEOUT_MS, () => finish({ kind: 'failed', reason: 'timeout' }));
    socket.once('error', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.once('end', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.once('connect', () => {
      const header = Buffer.alloc(2);
      header.writeUInt16BE(query.length);
      socket.write(Buffer.concat([header, query]));
    });
    socket.on('data', (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const answer = Uint8Array.from(received.subarray(2, 2 + received.readUInt16BE(0)));
      if (answer.length < HEADER_LENGTH) finish({ kind: 'failed', reason: 'unreachable' });
      else finish({ kind: 'answered', answer });
    });
  });
}
