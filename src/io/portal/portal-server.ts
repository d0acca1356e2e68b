// The portal on the network: one HTTP server, its WebSockets (`websocket-server.ts`) tied to the `Portal` machine, one timer.
// HTTP itself serves health only; whatever else is asked for is answered with problem details.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Endpoint, endpoint, type IpAddress, parseIp } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import type { Instant } from '../../base/time.ts';
import { CLOSE_CODE, IDLE_TIMEOUT_MS } from '../../proto/phoenix/server.ts';
import { isSocketPath } from '../../roles/portal/admission.ts';
import type { PortalEvent } from '../../roles/portal/outbox.ts';
import type { Policy } from '../../roles/portal/policy.ts';
import type { Portal, PortalSnapshot } from '../../roles/portal/portal.ts';
import { NOT_A_WEBSOCKET, NOT_FOUND, type Refusal, STOPPING } from '../../roles/portal/problem.ts';
import type { SessionId } from '../../roles/portal/sessions.ts';
import { monotonicNow } from '../clock.ts';
import {
  type Admission,
  type ServedEvent,
  type ServedSocket,
  type UpgradeRequest,
  WebSocketAcceptor,
  writeProblem,
} from './websocket-server.ts';

// Implementation

/** From the upgrade to the join; a component joins at once. */
const JOIN_DEADLINE_MS = 10_000;
/** The longest a timer may wait: beyond it Node's would fire at once. */
const MAX_TIMER_MS = 3_600_000;
/** Sockets get this long to answer the Close frame when the portal stops. */
const STOP_GRACE_MS = 1000;

/** The portal's address cannot be bound. */
export class PortalListenError extends FzError {
  readonly code = 'FZ_ERR_PORTAL_LISTEN';
}

export interface PortalServerOptions {
  readonly listen: Endpoint;
  /** Path of the base URL, without trailing slash: `` or `/api`. */
  readonly basePath: string;
  /** Believe the first address of `X-Forwarded-For`. */
  readonly trustProxy: boolean;
}

interface SocketContext {
  readonly session: SessionId;
  readonly role: 'gateway' | 'client' | 'relay';
}

type Socket = ServedSocket<SocketContext>;

export class PortalServer {
  readonly #options: PortalServerOptions;
  readonly #portal: Portal;
  readonly #log: Log;
  readonly #server: Server;
  readonly #acceptor: WebSocketAcceptor<SocketContext>;
  readonly #sockets = new Map<SessionId, Socket>();
  /** Sessions that have not joined yet, by when they must have. */
  readonly #unjoined = new Map<SessionId, NodeJS.Timeout>();
  #timer: NodeJS.Timeout | undefined;
  #isStopping = false;

  private constructor(options: PortalServerOptions, portal: Portal, log: Log) {
    this.#options = options;
    this.#portal = portal;
    this.#log = log;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.headersTimeout = 5000;
    this.#acceptor = new WebSocketAcceptor<SocketContext>({
      admit: (request) => this.#admit(request),
      onEvent: (socket, event) => this.#handleSocketEvent(socket, event),
      log: log.child('portal.sockets'),
    });
    this.#acceptor.attach(this.#server);
    this.#drive(() => {});
  }

  /** Rejects with `PortalListenError` when the address cannot be bound. */
  static async create(
    options: PortalServerOptions,
    portal: Portal,
    log: Log,
  ): Promise<PortalServer> {
    const it = new PortalServer(options, portal, log);
    await new Promise<void>((resolve, reject) => {
      it.#server.once('error', (cause) => {
        const { key } = options.listen;
        const hint = 'is it in use? Choose another with --listen or FIREZONE_PORTAL_LISTEN';
        reject(new PortalListenError(`cannot listen on ${key}: ${hint}`, { cause }));
      });
      it.#server.listen(options.listen.port, options.listen.address, resolve);
    });
    return it;
  }

  /** The address in use; its port is known even if port 0 was asked for. */
  get address(): Endpoint {
    const address = this.#server.address();
    const port = typeof address === 'object' && address ? address.port : this.#options.listen.port;
    return endpoint(this.#options.listen.address, port);
  }

  setPolicy(policy: Policy): void {
    this.#drive((now) => this.#portal.setPolicy(policy, now));
  }

  recheckTokens(): void {
    this.#drive((now) => this.#portal.recheckTokens(now));
  }

  snapshot(): PortalSnapshot {
    return this.#portal.snapshot();
  }

  /** Components are told to come back, and given a moment to hear it. */
  async close(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    for (const timer of this.#unjoined.values()) clearTimeout(timer);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#acceptor.close();
    const grace = setTimeout(() => this.#server.closeAllConnections(), STOP_GRACE_MS);
    const cut = setTimeout(() => {
      for (const socket of this.#sockets.values()) socket.close(CLOSE_CODE.serviceRestart, '');
    }, STOP_GRACE_MS);
    await Promise.race([
      closed,
      new Promise<void>((resolve) => setTimeout(resolve, 2 * STOP_GRACE_MS).unref()),
    ]);
    clearTimeout(grace);
    clearTimeout(cut);
  }

  #admit(request: UpgradeRequest): Admission<SocketContext> {
    if (this.#isStopping) return refuse(STOPPING);
    const path = this.#belowBase(request.path);
    if (path === undefined) return refuse(NOT_FOUND);
    const header = request.headers['x-authorization'];
    const outcome = this.#drive((now) =>
      this.#portal.handleConnect(
        {
          path,
          query: new Map(request.query),
          authorization: Array.isArray(header) ? header[0] : header,
          userAgent: request.headers['user-agent'] ?? '',
          remoteIp: this.#remoteIp(request),
        },
        now,
      ),
    );
    if (outcome.kind === 'refused') {
      this.#log.info('connection refused', { status: outcome.status, code: outcome.code });
      return refuse(outcome);
    }
    const { session, role } = outcome;
    this.#unjoined.set(
      session,
      setTimeout(() => this.#giveUp(session), JOIN_DEADLINE_MS),
    );
    const config = { topic: role, idleTimeoutMs: IDLE_TIMEOUT_MS[role] };
    return { kind: 'admit', config, context: { session, role } };
  }

  /** The session never joined: its upgrade failed, or it only keeps a place taken. */
  #giveUp(session: SessionId): void {
    this.#unjoined.delete(session);
    for (const socket of this.#acceptor.sockets) {
      if (socket.context.session === session) socket.close(CLOSE_CODE.policyViolation, 'no join');
    }
    this.#drive((now) => this.#portal.handleClosed(session, now));
  }

  #handleSocketEvent(socket: Socket, event: ServedEvent): void {
    const { session } = socket.context;
    switch (event.kind) {
      case 'join-requested':
        return this.#join(socket, event.payload);
      case 'message': {
        const outcome = this.#guarded(socket, (now) =>
          this.#portal.handleMessage(session, event.event, event.payload, now),
        );
        if (outcome && outcome.kind !== 'none') socket.reply(event.ref, outcome);
        return this.#drive(() => {});
      }
      case 'left': // components never leave, and a second join makes them reconnect anyway (portal 4.7)
        return socket.close(CLOSE_CODE.normal, 'left');
      case 'ended':
        return;
      case 'gone':
        this.#forget(session);
        return this.#drive((now) => this.#portal.handleClosed(session, now));
    }
  }

  /** The reply to the join goes before the `init` that it leads to. */
  #join(socket: Socket, payload: unknown): void {
    const { session } = socket.context;
    const outcome = this.#guarded(socket, (now) => this.#portal.handleJoin(session, payload, now));
    if (!outcome) return;
    clearTimeout(this.#unjoined.get(session));
    this.#unjoined.delete(session);
    this.#sockets.set(session, socket);
    if (outcome.kind === 'ok') socket.acceptJoin();
    else socket.refuseJoin(outcome.reason);
    this.#drive(() => {});
  }

  #forget(session: SessionId): void {
    this.#sockets.delete(session);
    clearTimeout(this.#unjoined.get(session));
    this.#unjoined.delete(session);
  }

  /** A failing database must not end the process: the component is sent away and comes back. */
  #guarded<T>(socket: Socket, handle: (now: Instant) => T): T | undefined {
    try {
      return handle(monotonicNow());
    } catch (error) {
      if (!(error instanceof FzError)) throw error;
      this.#log.error('request failed', { code: error.code, error: reasonOf(error) });
      socket.close(CLOSE_CODE.serviceRestart, 'internal error');
      return undefined;
    }
  }

  /** Runs one input, sends what came of it, and arms the timer. */
  #drive<T>(handle: (now: Instant) => T): T {
    const result = handle(monotonicNow());
    for (let event = this.#portal.pollEvent(); event; event = this.#portal.pollEvent()) {
      this.#perform(event);
    }
    this.#arm();
    return result;
  }

  #perform(event: PortalEvent): void {
    const socket = this.#sockets.get(event.session);
    switch (event.kind) {
      case 'push':
        socket?.push(event.event, event.payload);
        return;
      case 'expire-session':
        socket?.push('disconnect', { reason: 'token_expired' });
        return this.#end(event.session, CLOSE_CODE.normal, 'token expired');
      case 'close-session':
        socket?.closeChannel();
        return this.#end(event.session, CLOSE_CODE.normal, 'replaced');
    }
  }

  /** Also a socket that has not joined. */
  #end(session: SessionId, code: number, reason: string): void {
    for (const socket of this.#acceptor.sockets) {
      if (socket.context.session === session) return socket.close(code, reason);
    }
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const deadline = this.#portal.pollTimeout();
    if (deadline === undefined || this.#isStopping) return;
    const wait = Math.min(MAX_TIMER_MS, Math.max(0, Math.ceil(deadline - monotonicNow())));
    this.#timer = setTimeout(() => {
      try {
        this.#drive((now) => this.#portal.handleTimeout(now));
      } catch (error) {
        if (!(error instanceof FzError)) throw error;
        this.#log.error('timer failed', { code: error.code, error: reasonOf(error) });
        this.#timer = setTimeout(() => this.#arm(), 1000);
      }
    }, wait);
  }

  #belowBase(path: string): string | undefined {
    const { basePath } = this.#options;
    return path.startsWith(basePath) ? path.slice(basePath.length) : undefined;
  }

  #remoteIp(request: UpgradeRequest): IpAddress | undefined {
    const forwarded = request.headers['x-forwarded-for'];
    const list = Array.isArray(forwarded) ? forwarded.join(',') : (forwarded ?? '');
    const first = this.#options.trustProxy ? list.split(',')[0]?.trim() : undefined;
    return parseIp((first || request.remoteAddress).replace(/^::ffff:(?=\d+\.)/i, ''));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = this.#belowBase((request.url ?? '/').split('?')[0] ?? '/');
    if (path === '/healthz') return sendText(response, 200, 'ok\n');
    if (path === '/readyz')
      return this.#isStopping
        ? sendText(response, 503, 'stopping\n')
        : sendText(response, 200, 'ok\n');
    const refusal = path !== undefined && isSocketPath(path) ? NOT_A_WEBSOCKET : NOT_FOUND;
    response.statusCode = refusal.status;
    response.setHeader('content-type', 'application/problem+json; charset=utf-8');
    if (refusal.status === 426) response.setHeader('upgrade', 'websocket');
    response.end(writeProblem(refusal));
  }
}

function sendText(response: ServerResponse, status: number, body: string): void {
  response.statusCode = status;
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end(body);
}

function refuse(refusal: Refusal): Admission<SocketContext> {
  const { status, code, detail, retryAfterSeconds } = refusal;
  const retry = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return { kind: 'refuse', status, code, detail, ...retry };
}

function reasonOf(error: Error): string {
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : '';
  return `${error.message}${cause}`;
}
