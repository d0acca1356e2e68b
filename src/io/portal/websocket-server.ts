// The portal's side of component sockets: takes upgrade requests of an HTTP server, asks the owner whom to admit, refuses with
// problem details (portal-protocol 10.2.4), and drives a `ServerSocket` (`proto/phoenix/server.ts`) over each one admitted.
// Which paths, tokens and parameters are right is the owner's business.

import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Log } from '../../base/log.ts';
import type { Instant } from '../../base/time.ts';
import {
  CLOSE_CODE,
  type ServerConfig,
  type ServerEvent,
  ServerSocket,
} from '../../proto/phoenix/server.ts';
import type { ReplyOutcome } from '../../wire/phoenix/control.ts';
import type { FrameRef } from '../../wire/phoenix/frame.ts';
import { monotonicNow } from '../clock.ts';
import { textOf } from './websocket.ts';
import { messageOf } from './websocket-dial.ts';

// Implementation
/** Largest frame from a component: candidates of one round, or a list of gateways it knows. */
export const MAX_COMPONENT_FRAME_BYTES: number = 256 * 1024;
/** Bytes that may wait for one component's socket; an `init` fits several times. */
export const MAX_BUFFERED_BYTES: number = 32 * 1024 * 1024;
/** Sockets at once. */
export const MAX_SOCKETS = 10_000;
/**
 * `closeTimeout`: a peer that does not answer a close frame is gone at most this much later. It is what an idle gateway's
 * successor waits for beyond the idle time-out.
 */
const SOCKET_OPTIONS = {
  noServer: true,
  perMessageDeflate: false,
  maxPayload: MAX_COMPONENT_FRAME_BYTES,
  closeTimeout: 2000,
};

export interface UpgradeRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
  /** Of the TCP connection; whether to believe forwarding headers is the owner's decision. */
  readonly remoteAddress: string;
}

export type Admission<Context> =
  | { readonly kind: 'admit'; readonly config: ServerConfig; readonly context: Context }
  | ({ readonly kind: 'refuse' } & Refusal);

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retryAfterSeconds?: number;
}

export type ServedEvent =
  | ServerEvent
  /** The socket is gone; nothing more comes. */
  | { readonly kind: 'gone'; readonly code: number };

export interface AcceptorOptions<Context> {
  readonly admit: (request: UpgradeRequest) => Admission<Context> | Promise<Admission<Context>>;
  /** May call back into the socket. */
  readonly onEvent: (socket: ServedSocket<Context>, event: ServedEvent) => void;
  readonly log: Log;
  readonly maxSockets?: number;
}

export class WebSocketAcceptor<Context> {
  readonly #options: AcceptorOptions<Context>;
  readonly #sockets = new Set<ServedSocket<Context>>();
  readonly #server = new WebSocketServer(SOCKET_OPTIONS);

  constructor(options: AcceptorOptions<Context>) {
    this.#options = options;
  }

  attach(server: Server): void {
    server.on('upgrade', (request, stream, head) => {
      void this.#handleUpgrade(request, stream, head);
    });
  }

  get sockets(): ReadonlySet<ServedSocket<Context>> {
    return this.#sockets;
  }

  /** Components come back after a restart (portal-protocol 4.7). */
  close(): void {
    for (const socket of this.#sockets) socket.close(CLOSE_CODE.serviceRestart, 'restart');
    this.#server.close();
  }

  async #handleUpgrade(request: IncomingMessage, stream: Duplex, head: Buffer): Promise<void> {
    stream.on('error', () => stream.destroy());
    const admission = await this.#admit(request);
    if (stream.destroyed) return;
    if (admission.kind === 'refuse') {
      stream.end(writeRefusal(admission));
      return;
    }
    this.#server.handleUpgrade(request, stream, head, (socket) => {
      const served = new ServedSocket(socket, admission.config, admission.context, (event) => {
        if (event.kind === 'gone') this.#sockets.delete(served);
        this.#options.onEvent(served, event);
      });
      this.#sockets.add(served);
    });
  }

  async #admit(request: IncomingMessage): Promise<Admission<Context>> {
    const { admit, maxSockets = MAX_SOCKETS } = this.#options;
    if (!isSameOrigin(request)) return refuse(403, 'unauthenticated', 'Forbidden');
    if (this.#sockets.size >= maxSockets) return refuse(503, 'too_many_sockets', 'Full', 5);
    const base = 'http://portal';
    const target = request.url ?? '/';
    if (!URL.canParse(target, base)) return refuse(400, 'invalid_connect_params', 'Bad request');
    const url = new URL(target, base);
    try {
      return await admit({
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        remoteAddress: request.socket.remoteAddress ?? '',
      });
    } catch (error) {
      this.#options.log.error('admitting a component failed', { error: messageOf(error) });
      return refuse(500, 'unhandled_connect_error', 'An unexpected error occurred.');
    }
  }
}

/** One component's socket. */
export class ServedSocket<Context> {
  readonly context: Context;
  readonly #socket: WebSocket;
  readonly #machine: ServerSocket;
  readonly #onEvent: (event: ServedEvent) => void;
  #timer: NodeJS.Timeout | undefined;
  #isDriving = false;

  constructor(
    socket: WebSocket,
    config: ServerConfig,
    context: Context,
    onEvent: (event: ServedEvent) => void,
  ) {
    this.context = context;
    this.#socket = socket;
    this.#machine = new ServerSocket(config, monotonicNow());
    this.#onEvent = onEvent;
    const drive = (handle: (now: Instant) => void): void => {
      handle(monotonicNow());
      this.#drive();
    };
    socket.on('message', (data, isBinary) =>
      drive((now) => {
        if (isBinary) this.#machine.handleActivity(now);
        else this.#machine.handleText(textOf(data), now);
      }),
    );
    socket.on('ping', () => drive((now) => this.#machine.handleActivity(now)));
    socket.on('error', () => socket.terminate());
    socket.on('close', (code) => {
      clearTimeout(this.#timer);
      this.#onEvent({ kind: 'gone', code });
    });
    this.#drive();
  }

  get isJoined(): boolean {
    return this.#machine.isJoined;
  }

  acceptJoin(): void {
    this.#machine.acceptJoin();
    this.#drive();
  }

  refuseJoin(reason: string): void {
    this.#machine.refuseJoin(reason);
    this.#drive();
  }

  reply(ref: FrameRef, outcome: ReplyOutcome): void {
    this.#machine.reply(ref, outcome);
    this.#drive();
  }

  /** False if the component has not joined: nothing is sent. */
  push(event: string, payload: unknown): boolean {
    const isSent = this.#machine.push(event, payload);
    this.#drive();
    return isSent;
  }

  closeChannel(): void {
    this.#machine.closeChannel();
    this.#drive();
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  #drive(): void {
    if (this.#isDriving) return;
    this.#isDriving = true;
    try {
      for (let event = this.#turn(); event; event = this.#turn()) {
        if (event.kind === 'ended') this.#socket.close(event.code, event.reason);
        this.#onEvent(event);
      }
    } finally {
      this.#isDriving = false;
    }
    this.#arm();
  }

  /** Texts first: what was written before an event belongs before what the event leads to. */
  #turn(): ServerEvent | undefined {
    for (let text = this.#machine.pollText(); text; text = this.#machine.pollText()) {
      this.#socket.send(text);
    }
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) this.#socket.terminate();
    return this.#machine.pollEvent();
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const deadline = this.#machine.pollTimeout();
    if (deadline === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#machine.handleTimeout(monotonicNow());
        this.#drive();
      },
      Math.max(0, Math.ceil(deadline - monotonicNow())),
    );
  }
}

/** RFC 9457 members as the portal writes them (portal-protocol 10.2.4). */
export function writeProblem(refusal: Refusal): string {
  const { status, code, detail } = refusal;
  const title = STATUS_CODES[status] ?? 'Error';
  return JSON.stringify({ type: 'about:blank', title, status, detail, code });
}

function writeRefusal(refusal: Refusal): string {
  const body = writeProblem(refusal);
  const { status, retryAfterSeconds } = refusal;
  const retryAfter = retryAfterSeconds === undefined ? [] : [`retry-after: ${retryAfterSeconds}`];
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Error'}`,
    'content-type: application/problem+json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...retryAfter,
  ];
  return `${head.join('\r\n')}\r\n\r\n${body}`;
}

function refuse(
  status: number,
  code: string,
  detail: string,
  retryAfterSeconds?: number,
): { readonly kind: 'refuse' } & Refusal {
  const retryAfter = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return { kind: 'refuse', status, code, detail, ...retryAfter };
}

/** Browsers name their origin; it must be this server (portal-protocol 4.7). Components name none. */
function isSameOrigin(request: IncomingMessage): boolean {
  const { origin, host } = request.headers;
  if (origin === undefined) return true;
  return URL.canParse(origin) && new URL(origin).host === host;
}
