// The socket under a `PhoenixChannel`: executes its commands over `ws`, reports what happens, and holds its one timer. All
// decisions (when to dial, what is fatal, what is sent) are the channel's (`proto/phoenix/channel.ts`).

import type { IncomingMessage } from 'node:http';
import { type RawData, WebSocket } from 'ws';
import { type IpAddress, parseIp } from '../../base/address.ts';
import type { Instant } from '../../base/time.ts';
import {
  type ChannelEvent,
  type ChannelSnapshot,
  CLOSE_TIMEOUT_MS,
  type DialRequest,
  type PhoenixChannel,
  type SocketCommand,
} from '../../proto/phoenix/channel.ts';
import type { SendOutcome } from '../../proto/phoenix/connection.ts';
import type { HiccupCause } from '../../proto/phoenix/failures.ts';
import { monotonicNow } from '../clock.ts';
import { type DialOptions, dialPortal, messageOf } from './websocket-dial.ts';

// Implementation
/** Largest frame from the portal: an `init` of ten thousand resources has about 4 MiB. */
export const MAX_FRAME_BYTES: number = 16 * 1024 * 1024;
/** Body of a refusal; only problem details are read from it. */
const MAX_REFUSAL_BYTES = 64 * 1024;
/** Messages wait in the channel, where they are bounded, while this much is unsent. */
const HIGH_WATER_BYTES = 1024 * 1024;
/** `closeTimeout`: after a close frame the server has this long to end the connection, then we do. */
const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: MAX_FRAME_BYTES,
  closeTimeout: CLOSE_TIMEOUT_MS,
};
/** WebSocket close code for "there was no close frame" (RFC 6455 §7.1.5). */
const ABNORMAL_CLOSURE = 1006;

/** One `dial` of the channel. Whatever an older attempt still reports is not heard. */
interface Attempt {
  readonly abort: AbortController;
  socket: WebSocket | undefined;
  /** Where its TCP connection leaves from. */
  localAddress: IpAddress | undefined;
}

export class PortalConnection<Params> {
  readonly #channel: PhoenixChannel<Params>;
  readonly #options: DialOptions;
  readonly #onEvent: (event: ChannelEvent) => void;
  #attempt: Attempt | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt: Instant | undefined;
  #isDriving = false;

  /** `onEvent` may call back into this object. */
  constructor(
    channel: PhoenixChannel<Params>,
    options: DialOptions,
    onEvent: (event: ChannelEvent) => void,
  ) {
    this.#channel = channel;
    this.#options = options;
    this.#onEvent = onEvent;
  }

  connect(params: Params): void {
    this.#channel.connect(params, monotonicNow());
    this.#drive();
  }

  send(event: string, payload: unknown): SendOutcome {
    const outcome = this.#channel.send(event, payload);
    this.#drive();
    return outcome;
  }

  /** Ends in the event `closed`, within about two seconds. */
  close(): void {
    this.#channel.close(monotonicNow());
    this.#drive();
  }

  /**
   * This host has these addresses now: a connection from another one is dead, which its TCP would notice minutes later. It ends at
   * once and is made anew after the usual delay. True: it ends, and nothing that is sent over it any more arrives.
   */
  handleAddresses(addresses: readonly IpAddress[]): boolean {
    const { socket, localAddress } = this.#attempt ?? {};
    if (localAddress === undefined || addresses.includes(localAddress)) return false;
    if (localAddress === '::1' || localAddress.startsWith('127.')) return false;
    socket?.terminate();
    return socket !== undefined;
  }

  get isConnected(): boolean {
    return this.#channel.isConnected;
  }

  snapshot(): ChannelSnapshot {
    return this.#channel.snapshot();
  }

  /** Mutate, then drain: commands, events, timer, until there is nothing left of any. */
  #drive(): void {
    if (this.#isDriving) return;
    this.#isDriving = true;
    try {
      for (let isBusy = true; isBusy; ) {
        isBusy = false;
        for (let next = this.#channel.pollTransmit(); next; next = this.#channel.pollTransmit()) {
          this.#execute(next);
        }
        for (let event = this.#channel.pollEvent(); event; event = this.#channel.pollEvent()) {
          isBusy = true;
          this.#onEvent(event);
        }
      }
    } finally {
      this.#isDriving = false;
    }
    this.#arm();
  }

  #execute(command: SocketCommand): void {
    switch (command.kind) {
      case 'dial':
        void this.#dial(command.request);
        return;
      case 'send':
        return this.#write(command.text);
      case 'close':
        this.#attempt?.socket?.close(command.code);
        return;
      case 'abort':
        this.#attempt?.abort.abort();
        this.#attempt?.socket?.terminate();
        this.#attempt = undefined;
        return;
    }
  }

  async #dial(request: DialRequest): Promise<void> {
    const attempt: Attempt = {
      abort: new AbortController(),
      socket: undefined,
      localAddress: undefined,
    };
    this.#attempt = attempt;
    const dialled = await dialPortal(request.target, this.#options, attempt.abort.signal);
    if (dialled.kind === 'failed') return this.#reportDialFailed(attempt, dialled.cause);
    if (this.#attempt !== attempt) {
      dialled.socket.destroy();
      return;
    }
    const { isSecure, hostHeader, port, path } = request.target;
    const url = `${isSecure ? 'wss' : 'ws'}://${hostHeader}:${port}${path}`;
    const options = {
      ...SOCKET_OPTIONS,
      headers: Object.fromEntries(request.headers),
      createConnection: () => dialled.socket,
    };
    attempt.localAddress = parseIp(dialled.socket.localAddress ?? '');
    try {
      attempt.socket = new WebSocket(url, options);
    } catch (error) {
      // A header that cannot be sent, such as a token with characters beyond Latin-1.
      dialled.socket.destroy();
      return this.#reportDialFailed(attempt, { kind: 'connect-failed', detail: messageOf(error) });
    }
    this.#listen(attempt, attempt.socket);
  }

  #listen(attempt: Attempt, socket: WebSocket): void {
    let isOpen = false;
    let problem = 'the connection ended';
    const whenCurrent = (report: (now: Instant) => void): void => {
      if (this.#attempt !== attempt) return;
      report(monotonicNow());
      this.#drive();
    };
    socket.on('open', () => {
      isOpen = true;
      whenCurrent((now) => this.#channel.handleOpened(now));
    });
    socket.on('message', (data, isBinary) =>
      whenCurrent((now) => {
        if (isBinary) this.#channel.handleBinary();
        else this.#channel.handleText(textOf(data), now);
      }),
    );
    socket.on('unexpected-response', (_request, response) => {
      void this.#reportRefusal(attempt, response);
    });
    socket.on('error', (error) => {
      problem = messageOf(error);
    });
    socket.on('close', (code, reason) => {
      if (!isOpen) {
        return this.#reportDialFailed(attempt, { kind: 'connect-failed', detail: problem });
      }
      const cause: HiccupCause =
        code === ABNORMAL_CLOSURE
          ? { kind: 'connection-lost', detail: problem }
          : { kind: 'close-frame', code, reason: reason.toString() };
      whenCurrent((now) => this.#channel.handleClosed(cause, now));
    });
  }

  #reportDialFailed(attempt: Attempt, cause: HiccupCause): void {
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    this.#channel.handleDialFailed(cause, monotonicNow());
    this.#drive();
  }

  async #reportRefusal(attempt: Attempt, response: IncomingMessage): Promise<void> {
    const body = await readBody(response);
    attempt.socket?.terminate();
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    const { statusCode: status = 0, headers } = response;
    const contentType = headers['content-type'];
    const retryAfter = headers['retry-after'];
    this.#channel.handleRefused({ status, contentType, retryAfter, body }, monotonicNow());
    this.#drive();
  }

  #write(text: string): void {
    const socket = this.#attempt?.socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    socket.send(text, () => {
      if (socket.bufferedAmount < HIGH_WATER_BYTES) this.#channel.handleBackpressure(false);
      this.#drive();
    });
    if (socket.bufferedAmount >= HIGH_WATER_BYTES) this.#channel.handleBackpressure(true);
  }

  #arm(): void {
    const deadline = this.#channel.pollTimeout();
    if (deadline === this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    if (deadline === undefined) return;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = undefined;
        this.#channel.handleTimeout(monotonicNow());
        this.#drive();
      },
      Math.max(0, Math.ceil(deadline - monotonicNow())),
    );
  }
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response) {
      chunks.push(chunk as Buffer);
      length += (chunk as Buffer).length;
      if (length > MAX_REFUSAL_BYTES) break;
    }
  } catch {
    // What came before the end is what there is to judge.
  }
  return Buffer.concat(chunks).toString('utf8').slice(0, MAX_REFUSAL_BYTES);
}

export function textOf(data: RawData): string {
  if (Array.isArray(data)) return Buffer.concat(data).toString('utf8');
  return Buffer.isBuffer(data) ? data.toString('utf8') : Buffer.from(data).toString('utf8');
}
