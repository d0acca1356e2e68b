// The sockets of a DNS server on addresses of the TUN device, so that the kernel's own TCP serves DNS over TCP: of the client's stub resolver on
// each sentinel address (client 10.2), and of the gateway (operations 10.2). What to answer is the owner's decision.

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { familyOf, type IpAddress } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';

// Specification
const DNS_PORT = 53;
/** Connections to one sentinel at a time (client 9). */
const MAX_TCP_CONNECTIONS = 10;

// Implementation
const TCP_IDLE_MS = 10_000;
/** The largest message that a two-byte length can announce; more than that is never buffered. */
const MAX_TCP_BUFFER = 2 + 65_535;

export class DnsListenError extends FzError {
  readonly code = 'FZ_ERR_DNS_LISTEN';
}

export type DnsTransport = 'udp' | 'tcp';
export type Reply = (answer: Uint8Array) => void;
/** Called for each query; `server` is the sentinel it was sent to. `reply` may be called once, later, or never. */
export type OnDnsQuery = (
  query: Uint8Array,
  server: IpAddress,
  transport: DnsTransport,
  reply: Reply,
) => void;

export class DnsListener {
  readonly #onQuery: OnDnsQuery;
  readonly #log: Log;
  readonly #port: number;
  #udp: UdpSocket[] = [];
  #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();

  /** `port`: where resolvers listen, unless others say so. */
  constructor(onQuery: OnDnsQuery, log: Log, port: number = DNS_PORT) {
    this.#onQuery = onQuery;
    this.#log = log;
    this.#port = port;
  }

  /** Listens on exactly these addresses. Rejects with `DnsListenError`. */
  async listen(addresses: readonly IpAddress[]): Promise<void> {
    this.close();
    for (const address of addresses) {
      await this.#listenUdp(address);
      await this.#listenTcp(address);
    }
  }

  close(): void {
    for (const socket of this.#udp.splice(0)) socket.close();
    for (const server of this.#tcp.splice(0)) server.close();
    for (const connection of this.#connections) connection.destroy();
  }

  async #listenUdp(address: IpAddress): Promise<void> {
    const socket = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6');
    socket.on('message', (query, from) => {
      this.#onQuery(query, address, 'udp', (answer) => {
        // The mapping of sentinels may have changed meanwhile, which closes this socket.
        if (!this.#udp.includes(socket)) return;
        socket.send(answer, from.port, from.address, (error) => {
          if (error) this.#log.debug('A DNS answer could not be sent', { error: error.message });
        });
      });
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause) => reject(listenError(address, this.#port, cause)));
      socket.bind({ port: this.#port, address, exclusive: true }, resolve);
    });
    socket.removeAllListeners('error');
    socket.on('error', (error) => this.#log.debug('A DNS socket failed', { error: error.message }));
    this.#udp.push(socket);
  }

  async #listenTcp(address: IpAddress): Promise<void> {
    const server = createServer((connection) => this.#serve(connection, address));
    server.maxConnections = MAX_TCP_CONNECTIONS;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(listenError(address, this.#port, cause)));
      server.listen(this.#port, address, resolve);
    });
    this.#tcp.push(server);
  }

  /** Messages of a TCP connection: two bytes of length in front of each (RFC 1035 §4.2.2). */
  #serve(connection: Socket, address: IpAddress): void {
    this.#connections.add(connection);
    let pending = Buffer.alloc(0);
    connection.setTimeout(TCP_IDLE_MS, () => connection.destroy());
    connection.on('error', () => connection.destroy());
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('data', (bytes: Buffer) => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const length = pending.readUInt16BE(0);
        const query = Uint8Array.from(pending.subarray(2, 2 + length));
        pending = pending.subarray(2 + length);
        this.#onQuery(query, address, 'tcp', (answer) => {
          if (connection.destroyed) return;
          const header = Buffer.alloc(2);
          header.writeUInt16BE(answer.length);
          connection.write(Buffer.concat([header, answer]));
        });
      }
      if (pending.length > MAX_TCP_BUFFER) connection.destroy();
    });
  }
}

function listenError(address: IpAddress, port: number, cause: unknown): DnsListenError {
  return new DnsListenError(`cannot serve DNS on ${address} port ${port}`, { cause });
}
