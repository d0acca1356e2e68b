// A TCP port of the relay. With a certificate it serves TLS on the same port: the first byte tells which it is (a TLS record of a
// handshake begins with 22, a TURN message with 0 to 3 or 64 to 79).

import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { type Endpoint, endpoint, type IpAddress, parseIp } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';

// Specification
const TLS_HANDSHAKE = 0x16; // RFC 8446 §5.1

// Implementation
/** Beyond those that the role admits, the ones that did not say anything yet. */
const MAX_CONNECTIONS = 8192;
/** From the connection to the first byte, and to the end of a TLS handshake. */
const HANDSHAKE_MS = 5000;
/** How often the certificate's file is looked at, when somebody wants TLS. */
const CERTIFICATE_CHECK_MS = 60_000;

export class RelayCertificateError extends FzError {
  readonly code = 'FZ_ERR_RELAY_CERTIFICATE';
}

/** A certificate and its key, from files that may be renewed while we run. */
export class Certificate {
  readonly #certFile: string;
  readonly #keyFile: string;
  #context: SecureContext;
  #modifiedAt: number;
  #checkedAt: number;

  private constructor(certFile: string, keyFile: string, context: SecureContext) {
    this.#certFile = certFile;
    this.#keyFile = keyFile;
    this.#context = context;
    this.#modifiedAt = statSync(certFile).mtimeMs;
    this.#checkedAt = performance.now();
  }

  /** Rejects with `RelayCertificateError`. */
  static async load(certFile: string, keyFile: string): Promise<Certificate> {
    try {
      return new Certificate(certFile, keyFile, await readContext(certFile, keyFile));
    } catch (cause) {
      throw new RelayCertificateError(`the certificate ${certFile} cannot be used`, { cause });
    }
  }

  /** While a renewed file cannot be read, the old certificate serves. */
  async current(): Promise<SecureContext> {
    if (performance.now() - this.#checkedAt < CERTIFICATE_CHECK_MS) return this.#context;
    this.#checkedAt = performance.now();
    try {
      const { mtimeMs } = statSync(this.#certFile);
      if (mtimeMs === this.#modifiedAt) return this.#context;
      this.#context = await readContext(this.#certFile, this.#keyFile);
      this.#modifiedAt = mtimeMs;
    } catch {
      // It is being written, or gone: the next look comes in a minute.
    }
    return this.#context;
  }
}

export interface StreamConnection {
  readonly socket: Duplex;
  readonly seen: Endpoint;
  readonly local: Endpoint;
  readonly isSecure: boolean;
}

export class StreamListener {
  readonly port: number;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(
    server: Server,
    certificate: Certificate | undefined,
    onConnection: (connection: StreamConnection) => void,
  ) {
    this.#server = server;
    const address = server.address();
    this.port = typeof address === 'object' && address ? address.port : 0;
    server.on('connection', (socket) => {
      this.#open.add(socket);
      socket.once('close', () => this.#open.delete(socket));
      accept(socket, certificate, onConnection);
    });
  }

  /** `undefined`: the port cannot be bound. */
  static async open(
    address: IpAddress,
    port: number,
    certificate: Certificate | undefined,
    onConnection: (connection: StreamConnection) => void,
  ): Promise<StreamListener | undefined> {
    const server = createServer({ noDelay: true, keepAlive: true });
    server.maxConnections = MAX_CONNECTIONS;
    const isListening = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen({ host: address, port, ipv6Only: true }, () => resolve(true));
    });
    if (!isListening) return undefined;
    server.on('error', () => {});
    return new StreamListener(server, certificate, onConnection);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
  }
}

/** Looks at the first bytes; whoever says nothing in time is disconnected. */
function accept(
  socket: Socket,
  certificate: Certificate | undefined,
  onConnection: (connection: StreamConnection) => void,
): void {
  const seen = endOf(socket.remoteAddress, socket.remotePort);
  const local = endOf(socket.localAddress, socket.localPort);
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
  socket.on('error', () => {});
  socket.once('close', () => clearTimeout(timer));
  socket.once('data', (first: Buffer) => {
    socket.pause();
    socket.unshift(first);
    if (!seen || !local) return socket.destroy();
    if (first[0] !== TLS_HANDSHAKE) {
      clearTimeout(timer);
      return onConnection({ socket, seen, local, isSecure: false });
    }
    if (!certificate) return socket.destroy();
    void certificate.current().then((secureContext) => {
      const secure = new TLSSocket(socket, { isServer: true, secureContext });
      secure.on('error', () => socket.destroy());
      secure.once('secure', () => {
        clearTimeout(timer);
        onConnection({ socket: secure, seen, local, isSecure: true });
      });
    });
  });
}

function endOf(address: string | undefined, port: number | undefined): Endpoint | undefined {
  const ip = parseIp((address ?? '').replace(/%.*$/, ''));
  return ip !== undefined && port !== undefined ? endpoint(ip, port) : undefined;
}

async function readContext(certFile: string, keyFile: string): Promise<SecureContext> {
  const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
  return createSecureContext({ cert, key, minVersion: 'TLSv1.2' });
}
