// The gateway's DNS server on loopback, with a name server that answers, is silent, or says too much.

import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ip } from '../../../test/support/packets.ts';
import { utf8Encode } from '../../base/bytes.ts';
import { SILENT_LOG } from '../../base/log.ts';
import {
  type DnsMessage,
  dnsQuery,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE } from '../../wire/dns/records.ts';
import { GatewayDns } from './gateway-dns.ts';
import { HostFiles } from './host-files.ts';
import { Upstreams } from './upstreams.ts';

const QUESTION = { name: 'db.test', type: DNS_TYPE.txt, class: DNS_CLASS.internet };
const NOTHING = new Uint8Array(0);

let folder: string;
let upstream: Socket;
let dns: GatewayDns;
let port: number;
let texts: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gateway-dns-'));
  texts = 1;
  upstream = createSocket('udp4');
  upstream.on('message', (bytes, from) => {
    const query = parseDnsMessage(Uint8Array.from(bytes));
    if (!query) return;
    const record = {
      name: 'db.test',
      type: DNS_TYPE.txt,
      class: 1,
      ttlSeconds: 1,
      data: { kind: 'txt', strings: [utf8Encode('x'.repeat(200))] },
    } as const;
    const answer = writeDnsMessage(
      dnsResponse(
        query,
        0,
        Array.from({ length: texts }, () => record),
      ),
    );
    upstream.send(answer ?? NOTHING, from.port, from.address);
  });
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  port = await freePort();
});

afterEach(() => {
  dns.close();
  upstream.close();
  rmSync(folder, { recursive: true });
});

async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port: free } = socket.address();
  socket.close();
  return free;
}

async function serve(resolvConf: string): Promise<void> {
  const path = join(folder, 'resolv.conf');
  writeFileSync(path, resolvConf);
  const files = new HostFiles(join(folder, 'hosts'), path);
  const upstreams = new Upstreams({ files, log: SILENT_LOG, port: upstream.address().port });
  dns = new GatewayDns({ log: SILENT_LOG, upstreams, port });
  await dns.listen([ip('127.0.0.1')]);
}

async function ask(query: DnsMessage = dnsQuery(7, QUESTION)): Promise<DnsMessage | undefined> {
  const socket = createSocket('udp4');
  const answer = new Promise<Uint8Array>((resolve) =>
    socket.once('message', (bytes) => resolve(Uint8Array.from(bytes))),
  );
  socket.send(writeDnsMessage(query) ?? NOTHING, port, '127.0.0.1');
  const message = parseDnsMessage(await answer);
  socket.close();
  return message;
}

test('a query is answered by the name server of resolv.conf', async () => {
  await serve('nameserver 127.0.0.1\n');
  expect(await ask()).toMatchObject({ id: 7, rcode: 0, answers: [{ name: 'db.test' }] });
});

test('an answer too large for a datagram is truncated', async () => {
  texts = 10;
  await serve('nameserver 127.0.0.1\n');
  const message = await ask();
  expect(message?.isTruncated).toBe(true);
  expect(message?.answers.length).toBeLessThan(10);
});

test('without a name server the query fails; where one does not listen the next one is asked', async () => {
  await serve('# none\n');
  expect(await ask()).toMatchObject({ id: 7, rcode: 2, answers: [] });
  dns.close();
  port = await freePort();
  await serve('nameserver 127.0.0.2\nnameserver 127.0.0.1\n');
  expect(await ask()).toMatchObject({ rcode: 0 });
});

test('operations 18.8: a client that asks too much at once is refused, another one is served', async () => {
  await serve('nameserver 127.0.0.1\n');
  upstream.removeAllListeners('message');
  const flood = createSocket('udp4');
  const refused = new Promise<DnsMessage | undefined>((resolve) =>
    flood.once('message', (bytes) => resolve(parseDnsMessage(Uint8Array.from(bytes)))),
  );
  for (let i = 0; i < 65; i++) {
    flood.send(writeDnsMessage(dnsQuery(i, QUESTION)) ?? NOTHING, port, '127.0.0.1');
  }
  expect(await refused).toMatchObject({ rcode: 2 });
  upstream.on('message', (bytes, from) => {
    const query = parseDnsMessage(Uint8Array.from(bytes));
    if (query)
      upstream.send(writeDnsMessage(dnsResponse(query, 0)) ?? NOTHING, from.port, from.address);
  });
  const other = createSocket('udp4');
  await new Promise<void>((resolve) => other.bind(0, '127.0.0.2', resolve));
  const answer = new Promise<Uint8Array>((resolve) =>
    other.once('message', (bytes) => resolve(Uint8Array.from(bytes))),
  );
  other.send(writeDnsMessage(dnsQuery(99, QUESTION)) ?? NOTHING, port, '127.0.0.1');
  expect(parseDnsMessage(await answer)).toMatchObject({ id: 99, rcode: 0 });
  flood.close();
  other.close();
});

test('operations 18.8: one client has a limited number of connections; one that speaks no DNS loses its own', async () => {
  await serve('nameserver 127.0.0.1\n');
  const sockets = Array.from({ length: 17 }, () => createConnection({ port, host: '127.0.0.1' }));
  let closed = 0;
  const tooMany = new Promise<void>((resolve) => {
    for (const socket of sockets) {
      socket.on('error', () => {});
      socket.on('close', () => {
        closed++;
        resolve();
      });
    }
  });
  await tooMany;
  expect(closed).toBe(1);
  const [alive] = sockets.filter((socket) => !socket.destroyed);
  const gone = new Promise<void>((resolve) => alive?.once('close', () => resolve()));
  alive?.write(Uint8Array.of(0, 3, 1, 2, 3));
  await gone;
  for (const socket of sockets) socket.destroy();
});

test('over TCP a name server without TCP is asked by datagram', async () => {
  await serve('nameserver 127.0.0.1\n');
  const socket = createConnection({ port, host: '127.0.0.1' });
  const query = writeDnsMessage(dnsQuery(9, QUESTION)) ?? NOTHING;
  socket.write(Uint8Array.of(0, query.length, ...query));
  const bytes = await new Promise<Uint8Array>((resolve) =>
    socket.once('data', (data) => resolve(Uint8Array.from(data).subarray(2))),
  );
  socket.destroy();
  expect(parseDnsMessage(bytes)).toMatchObject({ id: 9, rcode: 0, answers: [{ name: 'db.test' }] });
});

test('nonsense over TCP gets no answer, and the same addresses again change nothing', async () => {
  await serve('nameserver 127.0.0.1\n');
  await dns.listen([ip('127.0.0.1')]);
  const socket = createConnection({ port, host: '127.0.0.1' });
  socket.on('error', () => {});
  await new Promise<void>((resolve) => socket.once('connect', resolve));
  socket.write(Uint8Array.of(0, 3, 1, 2, 3));
  expect(await ask()).toMatchObject({ rcode: 0 });
  socket.destroy();
});
