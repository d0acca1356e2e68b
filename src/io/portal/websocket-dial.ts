// How a connected stream to the portal comes about (portal-protocol 2.4): resolve, race all addresses, an optional HTTP proxy,
// TLS. Failures are values, because every one of them is retried. The WebSocket on top is in `websocket.ts`.

import { lookup } from 'node:dns/promises';
import { request as httpRequest } from 'node:http';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { rootCertificates, connect as startTls } from 'node:tls';
import { type IpAddress, parseIp } from '../../base/address.ts';
import type { HiccupCause } from '../../proto/phoenix/failures.ts';
import type { DialTarget } from '../../proto/phoenix/login-url.ts';

// Specification
/** For the whole race (portal-protocol 2.4). */
export const TCP_TIMEOUT_MS = 5000;

// Implementation
/** Addresses dialled at once: more of one name are a mistake, or somebody's attempt to make us knock at many doors. */
const ADDRESS_LIMIT = 16;

export interface DialOptions {
  /** Names to addresses; the system's resolver with its hosts file, unless given. */
  readonly resolve?: (host: string) => Promise<readonly IpAddress[]>;
  /**
   * Starts one TCP connection. A client, whose tunnel may cover the portal's address, gives one here that marks or binds the
   * socket so that it bypasses the tunnel.
   */
  readonly connect?: (address: IpAddress, port: number) => Socket;
  /** PEM of further certificate authorities. */
  readonly extraCa?: string;
  /** `http://host:port`, as in HTTPS_PROXY. */
  readonly proxy?: string;
}

export type DialResult =
  | { readonly kind: 'connected'; readonly socket: Socket }
  | { readonly kind: 'failed'; readonly cause: HiccupCause };

/** A stream on which the HTTP request can be written. `signal` ends every socket that is not yet handed over. */
export async function dialPortal(
  target: DialTarget,
  options: DialOptions,
  signal: AbortSignal,
): Promise<DialResult> {
  const tcp = await (options.proxy === undefined
    ? dialHost(target.host, target.port, options, signal)
    : dialThroughProxy(target, options.proxy, options, signal));
  if (tcp.kind === 'failed' || !target.isSecure) return tcp;
  return secure(tcp.socket, target.host, options, signal);
}

async function dialHost(
  host: string,
  port: number,
  options: DialOptions,
  signal: AbortSignal,
): Promise<DialResult> {
  let addresses: readonly IpAddress[];
  try {
    addresses = await (options.resolve ?? resolveBySystem)(host);
  } catch (error) {
    return failed({ kind: 'unresolved', detail: messageOf(error) });
  }
  if (addresses.length === 0) return failed({ kind: 'unresolved', detail: 'no addresses' });
  if (signal.aborted) return failed({ kind: 'connect-failed', detail: 'aborted' });
  return race(addresses.slice(0, ADDRESS_LIMIT), port, options, signal);
}

/** A literal, or what the system's resolver says. */
export async function resolveBySystem(host: string): Promise<readonly IpAddress[]> {
  const literal = parseIp(host);
  if (literal !== undefined) return [literal];
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address }) => parseIp(address)).filter((address) => address !== undefined);
}

/** The first that connects wins, the others are dropped (portal-protocol 14.10). */
function race(
  addresses: readonly IpAddress[],
  port: number,
  options: DialOptions,
  signal: AbortSignal,
): Promise<DialResult> {
  const start = options.connect ?? ((host, port) => connectTcp({ host, port }));
  const sockets = addresses.map((address) => start(address, port));
  const problems: string[] = [];
  return new Promise((resolve) => {
    const settle = (winner: Socket | undefined, detail: string): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      for (const socket of sockets) {
        socket.removeAllListeners('connect');
        if (socket !== winner) socket.destroy();
      }
      winner?.setNoDelay(true);
      if (winner === undefined) resolve(failed({ kind: 'connect-failed', detail }));
      else resolve({ kind: 'connected', socket: winner });
    };
    const onAbort = (): void => settle(undefined, 'aborted');
    const timer = setTimeout(() => settle(undefined, 'no answer within 5 s'), TCP_TIMEOUT_MS);
    signal.addEventListener('abort', onAbort);
    for (const socket of sockets) {
      socket.once('connect', () => settle(socket, ''));
      socket.on('error', (error) => {
        problems.push(messageOf(error));
        if (problems.length === sockets.length) settle(undefined, problems.join('; '));
      });
    }
  });
}

function secure(
  socket: Socket,
  host: string,
  options: DialOptions,
  signal: AbortSignal,
): Promise<DialResult> {
  const ca = options.extraCa === undefined ? {} : { ca: [...rootCertificates, options.extraCa] };
  const serverName = isIP(host) === 0 ? { servername: host } : {};
  const stream = startTls({ socket, host, ...serverName, ...ca, ALPNProtocols: ['http/1.1'] });
  const onAbort = (): void => {
    stream.destroy(new Error('aborted'));
  };
  signal.addEventListener('abort', onAbort);
  return new Promise((resolve) => {
    const fail = (detail: string): void => resolve(failed({ kind: 'connect-failed', detail }));
    stream.once('secureConnect', () => {
      signal.removeEventListener('abort', onAbort);
      resolve({ kind: 'connected', socket: stream });
    });
    stream.on('error', (error) => fail(messageOf(error)));
    stream.once('close', () => fail('the connection ended during TLS'));
  });
}

/** HTTP CONNECT (RFC 9110 §9.3.6): the proxy resolves the portal's name. */
async function dialThroughProxy(
  target: DialTarget,
  proxy: string,
  options: DialOptions,
  signal: AbortSignal,
): Promise<DialResult> {
  if (!URL.canParse(proxy)) {
    return failed({ kind: 'connect-failed', detail: 'the proxy is not a URL' });
  }
  const url = new URL(proxy);
  const host = url.hostname.replaceAll(/[[\]]/g, '');
  const tcp = await dialHost(host, Number(url.port || 80), options, signal);
  if (tcp.kind === 'failed') return tcp;
  const authority = `${target.hostHeader}:${target.port}`;
  const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const headers: Record<string, string> = { host: authority };
  if (url.username !== '') {
    headers['proxy-authorization'] = `Basic ${Buffer.from(credentials).toString('base64')}`;
  }
  const request = httpRequest({
    method: 'CONNECT',
    path: authority,
    headers,
    signal,
    createConnection: () => tcp.socket,
  });
  return new Promise((resolve) => {
    const fail = (detail: string): void => resolve(failed({ kind: 'connect-failed', detail }));
    request.once('connect', (response, socket) => {
      if (response.statusCode === 200) return resolve({ kind: 'connected', socket });
      socket.destroy();
      return fail(`the proxy answered ${response.statusCode}`);
    });
    request.on('error', (error) => fail(`proxy: ${messageOf(error)}`));
    request.end();
  });
}

function failed(cause: HiccupCause): DialResult {
  return { kind: 'failed', cause };
}

export function messageOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join('; ');
  return error instanceof Error ? error.message : String(error);
}
