// The HTTP health listener of a role (operations 11.1, but telling the truth): /healthz while the process runs, /readyz once it can do
// its work, /metrics for Prometheus where the role has some, and for callers on this machine /debug/state with a JSON snapshot of everything.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Endpoint } from '../base/address.ts';
import { FzError } from '../base/errors.ts';

export class HealthAddressError extends FzError {
  readonly code = 'FZ_ERR_HEALTH_ADDRESS';
}

export interface HealthSource {
  /** Reasons why the role is not ready, in words; empty when it is. */
  readonly notReady: () => readonly string[];
  /** Plain data for /debug/state. */
  readonly snapshot: () => unknown;
  /** Text for /metrics (Prometheus exposition format 0.0.4); it names nobody. */
  readonly metrics?: () => string;
}

export class HealthServer {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Rejects with `HealthAddressError` when the address cannot be bound. */
  static async create(address: Endpoint, source: HealthSource): Promise<HealthServer> {
    const server = createServer((request, response) => answer(request, response, source));
    server.headersTimeout = 5_000;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => {
        const hint = 'another process uses it? Choose another with HEALTH_CHECK_ADDR';
        reject(
          new HealthAddressError(`cannot listen on ${address.key} for health checks: ${hint}`, {
            cause,
          }),
        );
      });
      server.listen(address.port, address.address, resolve);
    });
    server.unref();
    return new HealthServer(server);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

function answer(request: IncomingMessage, response: ServerResponse, source: HealthSource): void {
  const path = (request.url ?? '/').split('?')[0];
  const metrics = path === '/metrics' ? source.metrics : undefined;
  const isKnown = path === '/healthz' || path === '/readyz' || path === '/debug/state';
  if (!isKnown && !metrics) return end(response, 404, '');
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405, '');
  if (path === '/healthz') return end(response, 200, '');
  if (path === '/readyz') {
    const reasons = source.notReady();
    return end(response, reasons.length === 0 ? 200 : 503, reasons.map((r) => `${r}\n`).join(''));
  }
  if (metrics) {
    response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
    return end(response, 200, metrics());
  }
  // The state names peers and resources: it is for this machine only.
  if (!isLoopback(request.socket.remoteAddress)) return end(response, 403, '');
  response.setHeader('content-type', 'application/json');
  return end(response, 200, `${JSON.stringify(source.snapshot(), undefined, 2)}\n`);
}

function isLoopback(address: string | undefined): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address ?? '');
}

function end(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  response.end(body);
}
