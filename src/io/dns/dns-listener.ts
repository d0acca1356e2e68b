// The sockets of a DNS server on addresses of the TUN device, so that the kernel's own TCP serves DNS over TCP: of the client's stub resolver on
// each sentinel address (client 10.2), and of the gateway (operations 10.2). What to answer is the owner's decision.
//
// Connections are limited, also of one peer, so that none keeps the others out (operations 18.8).

import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { familyOf, type IpAddress } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { DnsTransport } from './ask-server.ts';

// Specification
const DNS_PORT = 53;

// Implementation
const TCP_IDLE_MS = 10_000;
/** The largest message that a two-byte length can announce; more than that is never buffered. */
const MAX_TCP_BUFFER = 2 + 65_535;

export class DnsListenError extends FzError {
  readonly code = 'FZ_ERR_DNS_LISTEN';
}

/** Without an answer, a TCP connection ends: its peer does not speak DNS. */
export type Reply = (answer: Uint8Array | undefined) => void;
/** Called for each query; `server` is the address it was sent to. `reply` may be called once, later, or never. */
export type OnDnsQuery = (
  query: Uint8Array,
  server: IpAddress,
  transport: DnsTransport,
  reply: Reply,
  peer: string,
) => void;

export interface DnsListenerOptions {
  readonly port: number;
  /** TCP connections to one address at a time. */
  readonly maxConnections: number;
  /** Of these, how many one peer may have. */
  readonly maxConnectionsPerPeer: number;
}

/** Of a stub resolver: connections to one sentinel at a time (client 9). */
const STUB: DnsListenerOptions = {
  port: DNS_PORT,
  maxConnections: 10,
  maxConnectionsPerPeer: 10,
};

export class DnsListener {
  readonly #onQuery: OnDnsQuery;
  readonly #log: Log;
  readonly #options: DnsListenerOptions;
  #udp: UdpSocket[] = [];
  #tcp: Server[] = [];
  readonly #connections = new Set<Socket>();

  constructor(onQuery: OnDnsQuery, log: Log, options: DnsListenerOptions = STUB) {
    this.#onQuery = onQuery;
    this.#log = log;
    this.#options = options;
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
      const reply: Reply = (answer) => {
        // The mapping of sentinels may have changed meanwhile, which closes this socket.
        if (answer === undefined || !this.#udp.includes(socket)) return;
        socket.send(answer, from.port, from.address, (error) => {
          if (error) this.#log.debug('A DNS answer could not be sent', { error: error.message });
        });
      };
      this.#onQuery(query, address, 'udp', reply, from.address);
    });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause) => reject(listenError(address, this.#options.port, cause)));
      socket.bind({ port: this.#options.port, address, exclusive: true }, resolve);
    });
    socket.removeAllListeners('error');
    socket.on('error', (error) => this.#log.debug('A DNS socket failed', { error: error.message }));
    this.#udp.push(socket);
  }

  async #listenTcp(address: IpAddress): Promise<void> {
    const server = createServer((connection) => this.#serve(connection, address));
    server.maxConnections = this.#options.maxConnections;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(listenError(address, this.#options.port, cause)));
      server.listen(this.#options.port, address, resolve);
    });
    this.#tcp.push(server);
  }

  /** Messages of a TCP connection: two bytes of length in front of each (RFC 1035 §4.2.2). */
  #serve(connection: Socket, address: IpAddress): void {
    const { remoteAddress: peer = '' } = connection;
    const others = [...this.#connections].filter(({ remoteAddress }) => remoteAddress === peer);
    if (others.length >= this.#options.maxConnectionsPerPeer) {
      connection.destroy();
      return;
    }
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
        const reply: Reply = (answer) => {
          if (connection.destroyed) return;
          if (answer === undefined) {
            connection.destroy();
            return;
          }
          const header = Buffer.alloc(2);
          header.writeUInt16BE(answer.length);
          connection.write(Buffer.concat([header, answer]));
        };
        this.#onQuery(query, address, 'tcp', reply, peer);
      }
      if (pending.length > MAX_TCP_BUFFER) connection.destroy();
    });
  }
}

function listenError(address: IpAddress, port: number, cause: unknown): DnsListenError {
  return new DnsListenError(`cannot serve DNS on ${address} port ${port}`, { cause });
}
