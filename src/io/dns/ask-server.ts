// One DNS query to one server, over UDP or TCP, on a socket of its own with a random port and under a random id, so that an off-path answer has
// to guess both (RFC 5452 §9.2). An answer counts only if it comes from that server, has that id, and repeats that question; what
// else arrives is passed over, and the right answer still waited for (operations 18.7).
//
// Servers are named by their address, a link-local one with its zone (`fe80::53%eth0`).

import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { dnsKey, parseDnsName } from '../../wire/dns/name.ts';

// Specification (RFC 1035 §4.1.1, §4.2.2)
const HEADER_LENGTH = 12;
const QR = 0x80;
const MAX_TCP_MESSAGE = 65_535;

export type DnsTransport = 'udp' | 'tcp';

export interface DnsServer {
  readonly host: string;
  readonly port: number;
}

export type AskOutcome =
  | { readonly kind: 'answered'; readonly answer: Uint8Array }
  | { readonly kind: 'failed'; readonly reason: 'timeout' | 'unreachable' | 'cancelled' };

/** Never rejects. The answer has the id of `query`. */
export async function askServer(
  query: Uint8Array,
  server: DnsServer,
  transport: DnsTransport,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<AskOutcome> {
  const asked = Buffer.from(query);
  asked.writeUInt16BE(randomInt(0x1_0000), 0);
  const ask = transport === 'udp' ? askOverUdp : askOverTcp;
  const outcome = await ask(asked, server, timeoutMs, signal);
  if (outcome.kind === 'answered') outcome.answer.set(query.subarray(0, 2), 0);
  return outcome;
}

function askOverUdp(
  query: Buffer,
  { host, port }: DnsServer,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<AskOutcome> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    let isDone = false;
    const finish = (outcome: AskOutcome): void => {
      if (isDone) return; // Late errors of a socket that is done change nothing.
      isDone = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      socket.close();
      resolve(outcome);
    };
    const cancel = (): void => finish({ kind: 'failed', reason: 'cancelled' });
    const timer = setTimeout(() => finish({ kind: 'failed', reason: 'timeout' }), timeoutMs);
    signal?.addEventListener('abort', cancel);
    socket.on('error', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.on('message', (bytes) => {
      const answer = Uint8Array.from(bytes);
      if (isAnswerTo(query, answer)) finish({ kind: 'answered', answer });
    });
    // Connected: the kernel lets nothing in but what this server sends from this port.
    socket.connect(port, host, () => {
      if (!isDone) socket.send(query);
    });
  });
}

function askOverTcp(
  query: Buffer,
  { host, port }: DnsServer,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<AskOutcome> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const parts: Buffer[] = [];
    let received = 0;
    const finish = (outcome: AskOutcome): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      socket.destroy();
      resolve(outcome);
    };
    const cancel = (): void => finish({ kind: 'failed', reason: 'cancelled' });
    const timer = setTimeout(() => finish({ kind: 'failed', reason: 'timeout' }), timeoutMs);
    signal?.addEventListener('abort', cancel);
    socket.on('error', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.once('end', () => finish({ kind: 'failed', reason: 'unreachable' }));
    socket.once('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on('data', (bytes: Buffer) => {
      parts.push(bytes);
      received += bytes.length;
      if (received < 2) return;
      const all = parts.length === 1 ? bytes : Buffer.concat(parts.splice(0));
      parts.splice(0, parts.length, all);
      const length = all.readUInt16BE(0);
      if (received < 2 + length && received <= 2 + MAX_TCP_MESSAGE) return;
      const answer = Uint8Array.from(all.subarray(2, 2 + length));
      if (isAnswerTo(query, answer)) finish({ kind: 'answered', answer });
      else finish({ kind: 'failed', reason: 'unreachable' });
    });
  });
}

/** Same id, a response, and the same question in any case; an error may leave the question out. */
function isAnswerTo(query: Uint8Array, answer: Uint8Array): boolean {
  if (answer.length < HEADER_LENGTH) return false;
  if (answer[0] !== query[0] || answer[1] !== query[1]) return false;
  if (((answer[2] ?? 0) & QR) === 0) return false;
  const isError = ((answer[3] ?? 0) & 15) !== 0;
  const [asked, repeated] = [questionOf(query), questionOf(answer)];
  return repeated === asked || (repeated === undefined && isError);
}

/** `undefined` if there is not exactly one. */
function questionOf(message: Uint8Array): string | undefined {
  if (message[4] !== 0 || message[5] !== 1) return undefined;
  const name = parseDnsName(message, HEADER_LENGTH);
  if (!name || name.end + 4 > message.length) return undefined;
  return `${dnsKey(name.name)} ${message.slice(name.end, name.end + 4).join('.')}`;
}
