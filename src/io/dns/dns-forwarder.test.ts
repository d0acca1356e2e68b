// Forwarded queries against scripted servers on loopback (client 9, 10.2).

import { createSocket, type Socket } from 'node:dgram';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type Endpoint, endpoint, type IpAddress } from '../../base/address.ts';
import { dnsQuery, writeDnsMessage } from '../../wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE } from '../../wire/dns/records.ts';
import { DnsForwarder } from './dns-forwarder.ts';

const LOOPBACK = '127.0.0.1' as IpAddress;
const open: (Socket | Server)[] = [];

afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

const question = { name: 'a.test', type: DNS_TYPE.a, class: DNS_CLASS.internet };
const QUERY = writeDnsMessage(dnsQuery(0x1234, question)) ?? new Uint8Array();

/** Answers each datagram with what `script` makes of it, in order. */
async function udpServer(script: (query: Buffer) => readonly Buffer[]): Promise<Endpoint> {
  const socket = createSocket('udp4');
  open.push(socket);
  socket.on('message', (query, from) => {
    for (const answer of script(query)) socket.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, LOOPBACK, resolve));
  return endpoint(LOOPBACK, socket.address().port);
}

async function tcpServer(script: (query: Buffer) => readonly Buffer[]): Promise<Endpoint> {
  const server = createServer((connection) => {
    connection.on('error', () => {});
    connection.on('data', (bytes) => {
      for (const part of script(bytes)) connection.write(part);
      connection.end();
    });
  });
  open.push(server);
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  const address = server.address();
  return endpoint(LOOPBACK, typeof address === 'object' && address ? address.port : 0);
}

/** An answer to `query` with `text` behind its question. */
function withText(query: Buffer, text: string): Buffer {
  const answer = Buffer.concat([query, Buffer.from(text)]);
  answer.writeUInt8(answer.readUInt8(2) | 0x80, 2);
  return answer;
}

describe('over UDP', () => {
  test('gives the answer back under the id of the query; the server saw another one', async () => {
    const ids = new Set<number>();
    const server = await udpServer((query) => {
      ids.add(query.readUInt16BE(0));
      return [withText(query, 'yes')];
    });
    const forwarder = new DnsForwarder();
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, () => forwarder.forward(QUERY, server, 'udp')),
    );
    for (const outcome of outcomes) {
      if (outcome.kind !== 'answered') throw new Error(outcome.reason);
      expect(Buffer.from(outcome.answer).readUInt16BE(0)).toBe(0x1234);
      expect(Buffer.from(outcome.answer.subarray(QUERY.length)).toString()).toBe('yes');
    }
    expect(ids.size).toBeGreaterThan(1);
    expect(QUERY[0]).toBe(0x12);
  });

  test('takes no answer with a wrong id, none without a header, no query, and none to another question', async () => {
    const server = await udpServer((query) => {
      const wrong = withText(query, 'no');
      wrong.writeUInt16BE(query.readUInt16BE(0) ^ 1, 0);
      const other = withText(query, 'no');
      other.writeUInt8('b'.charCodeAt(0), 13);
      const cased = withText(query, 'yes');
      cased.writeUInt8('A'.charCodeAt(0), 13);
      return [wrong, query.subarray(0, 2), query, other, cased];
    });
    const outcome = await new DnsForwarder().forward(QUERY, server, 'udp');
    expect(
      outcome.kind === 'answered' && Buffer.from(outcome.answer.subarray(QUERY.length)).toString(),
    ).toBe('yes');
  });

  test('says so at once when nobody listens', async () => {
    const gone = await udpServer(() => []);
    for (const socket of open.splice(0)) socket.close();
    const outcome = await new DnsForwarder().forward(QUERY, gone, 'udp');
    expect(outcome).toEqual({ kind: 'failed', reason: 'unreachable' });
  });
});

describe('over TCP', () => {
  test('puts the answer together from its parts', async () => {
    const server = await tcpServer((query) => {
      const answer = withText(query.subarray(2), 'in two parts');
      const header = Buffer.from([0, answer.length]);
      return [Buffer.concat([header, answer.subarray(0, 5)]), answer.subarray(5)];
    });
    const outcome = await new DnsForwarder().forward(QUERY, server, 'tcp');
    expect(
      outcome.kind === 'answered' && Buffer.from(outcome.answer.subarray(QUERY.length)).toString(),
    ).toBe('in two parts');
  });

  test.each([
    ['closes without a word', []],
    ['announces more than it sends', [Buffer.from([0xff, 0xff, 1])]],
    ['sends less than a header', [Buffer.from([0, 3, 1, 2, 3])]],
  ])('fails when the server %s', async (_what, parts) => {
    const server = await tcpServer(() => parts);
    const outcome = await new DnsForwarder().forward(QUERY, server, 'tcp');
    expect(outcome).toEqual({ kind: 'failed', reason: 'unreachable' });
  });
});
