// The servers behind the gateway in the lab: HTTP, DNS and a TCP/UDP sink, one process in the namespace of the resource network. Its first argument is a
// JSON description of what to serve; it prints one line "ready" and runs until it is stopped.
//
//   GET  /            a greeting with the address that the server saw
//   GET  /bytes?num=N N bytes of a known pattern; with &rate=R at R bytes a second
//   PUT  /upload      answers with the length and SHA-256 of what came
//   GET  /slow?seconds=S  ten lines a second: a flow that can be seen to stop

import { createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { familyOf, parseIp } from '../../base/address.ts';
import {
  DNS_RCODE,
  dnsResponse,
  parseDnsMessage,
  writeDnsMessage,
} from '../../wire/dns/message.ts';
import { dnsKey } from '../../wire/dns/name.ts';
import { DNS_CLASS, DNS_TYPE, type DnsRecord } from '../../wire/dns/records.ts';

export interface ResourceServerPlan {
  /** Ports of the HTTP server, on all addresses. */
  readonly httpPorts: readonly number[];
  readonly sinkPort: number;
  /** Where DNS is served; each address answers as itself. */
  readonly dnsAddresses: readonly string[];
  /** Addresses by name; the server answers for these and NXDOMAIN for everything else. */
  readonly names: Readonly<Record<string, readonly string[]>>;
}

// Implementation
const PATTERN_LENGTH = 65_536;
const MAX_BYTES = 4 * 1024 ** 3;
const SLOW_LINES_PER_SECOND = 10;
const DNS_PORT = 53;
const BIND_RETRY_MS = 50;
const MAX_BIND_ATTEMPTS = 400;
const DNS_TTL_SECONDS = 5;

const pattern = Buffer.from(
  Array.from({ length: PATTERN_LENGTH }, (_, i) => (i * 167 + (i >> 8)) & 255),
);

/** What `/bytes?num=length` sends has this SHA-256. */
export function patternDigest(length: number): string {
  const hash = createHash('sha256');
  for (let left = length; left > 0; left -= PATTERN_LENGTH) hash.update(pattern.subarray(0, left));
  return hash.digest('hex');
}

function serveHttp(request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url ?? '/', 'http://lab');
  const number = Number(url.searchParams.get(url.pathname === '/slow' ? 'seconds' : 'num') ?? 0);
  response.on('error', () => response.destroy());
  if (url.pathname === '/bytes' && number >= 0 && number <= MAX_BYTES) {
    return sendBytes(response, number, Number(url.searchParams.get('rate') ?? 0));
  }
  if (url.pathname === '/upload' && request.method === 'PUT')
    return receiveUpload(request, response);
  if (url.pathname === '/slow') return sendSlowly(response, number);
  if (url.pathname !== '/' && url.pathname !== '/get') {
    response.statusCode = 404;
    response.end();
    return;
  }
  const from = request.socket.remoteAddress?.replace(/^::ffff:/, '');
  response.end(
    `Hello from the lab's resource network. You reached ${request.headers.host ?? ''} and came from ${from}.\n`,
  );
}

/** As fast as the connection takes them or, with `rate`, at so many bytes a second. */
function sendBytes(response: ServerResponse, length: number, rate: number): void {
  response.setHeader('content-length', length);
  let left = length;
  const pauseMs = rate > 0 ? (PATTERN_LENGTH / rate) * 1_000 : 0;
  const pump = (): void => {
    while (left > 0) {
      const chunk = pattern.subarray(0, Math.min(left, PATTERN_LENGTH));
      left -= chunk.length;
      const hasRoom = response.write(chunk);
      if (pauseMs > 0) setTimeout(pump, pauseMs);
      else if (hasRoom) continue;
      else response.once('drain', pump);
      return;
    }
    response.end();
  };
  pump();
}

function receiveUpload(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash('sha256');
  let length = 0;
  request.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    length += chunk.length;
  });
  request.on('end', () => response.end(`${length} ${hash.digest('hex')}\n`));
  request.on('error', () => response.destroy());
}

function sendSlowly(response: ServerResponse, seconds: number): void {
  let sent = 0;
  const timer = setInterval(() => {
    response.write(`${++sent}\n`);
    if (sent >= seconds * SLOW_LINES_PER_SECOND) response.end();
  }, 1_000 / SLOW_LINES_PER_SECOND);
  response.on('close', () => clearInterval(timer));
}

function answerDns(query: Uint8Array, names: ResourceServerPlan['names']): Uint8Array | undefined {
  const message = parseDnsMessage(query);
  const question = message?.questions[0];
  if (!message || message.isResponse || !question) return undefined;
  const addresses = names[dnsKey(question.name)];
  const wanted = question.type === DNS_TYPE.a ? 4 : question.type === DNS_TYPE.aaaa ? 6 : 0;
  const records = (addresses ?? []).flatMap((text): DnsRecord[] => {
    const address = parseIp(text);
    if (address === undefined || familyOf(address) !== wanted) return [];
    return [
      {
        name: question.name,
        type: question.type,
        class: DNS_CLASS.internet,
        ttlSeconds: DNS_TTL_SECONDS,
        data: { kind: 'address', address },
      },
    ];
  });
  const rcode = addresses ? DNS_RCODE.noError : DNS_RCODE.nameError;
  return writeDnsMessage(dnsResponse(message, rcode, records));
}

function serveDns({ dnsAddresses, names }: ResourceServerPlan): void {
  for (const address of dnsAddresses) serveDnsAt(address, names);
}

/** The servers start while the network is still being built: an address that is not there yet is tried again. */
function serveDnsAt(address: string, names: ResourceServerPlan['names'], attempt = 0): void {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (query, from) => {
    const answer = answerDns(query, names);
    if (answer) socket.send(answer, from.port, from.address);
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRNOTAVAIL' || attempt >= MAX_BIND_ATTEMPTS) return stop(error);
    socket.close();
    setTimeout(() => serveDnsAt(address, names, attempt + 1), BIND_RETRY_MS);
  });
  socket.bind(DNS_PORT, address);
}

/** Reads and forgets, TCP and UDP, and echoes UDP: enough for a stream to be measured. */
function serveSink(port: number): void {
  createTcpServer((connection) => {
    connection.on('error', () => connection.destroy());
    connection.resume();
  })
    .on('error', stop)
    .listen(port);
  const socket = createSocket({ type: 'udp6', ipv6Only: false });
  socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address));
  socket.on('error', stop);
  socket.bind(port);
}

function stop(error: Error): never {
  process.stderr.write(`resource server: ${error.message}\n`);
  process.exit(1);
}

function main(): void {
  const plan = JSON.parse(process.argv[2] ?? '{}') as ResourceServerPlan;
  let waiting = plan.httpPorts.length;
  for (const port of plan.httpPorts) {
    createServer(serveHttp)
      .on('error', stop)
      .listen(port, () => {
        if (--waiting === 0) process.stdout.write('ready\n');
      });
  }
  serveDns(plan);
  serveSink(plan.sinkPort);
}

if (process.argv[1]?.endsWith('resource-server.js')) main();
