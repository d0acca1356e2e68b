// A component's end of its portal connection: the real Phoenix channel over a virtual WebSocket. Mirrors `io/portal/websocket.ts`.

import type { Instant } from '../../../src/base/time.ts';
import type {
  ChannelEvent,
  ChannelSnapshot,
  DialRequest,
  PhoenixChannel,
  SocketCommand,
} from '../../../src/proto/phoenix/channel.ts';
import type { Host } from '../network/host.ts';
import type { Dialled, PortalService } from './portal-service.ts';
import type { PortalStream, StreamItem } from './portal-stream.ts';

interface Attempt {
  isAborted: boolean;
  stream: PortalStream | undefined;
}

export interface PortalLinkOptions<Params> {
  readonly host: Host;
  readonly portal: PortalService;
  readonly channel: PhoenixChannel<Params>;
  readonly onEvent: (event: ChannelEvent) => void;
  /** Something came from the network: the owner's turn, in which its deadline is found anew. */
  readonly onWake: () => void;
}

export class PortalLink<Params> {
  readonly #options: PortalLinkOptions<Params>;
  #attempt: Attempt | undefined;
  #isDriving = false;

  constructor(options: PortalLinkOptions<Params>) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#options.channel.isConnected;
  }

  snapshot(): ChannelSnapshot {
    return this.#options.channel.snapshot();
  }

  connect(params: Params): void {
    this.#options.channel.connect(params, this.#now);
    this.#drive();
  }

  send(event: string, payload: unknown): void {
    this.#options.channel.send(event, payload);
    this.#drive();
  }

  close(): void {
    this.#options.channel.close(this.#now);
    this.#drive();
  }

  handleTimeout(): void {
    this.#options.channel.handleTimeout(this.#now);
    this.#drive();
  }

  pollTimeout(): Instant | undefined {
    return this.#options.channel.pollTimeout();
  }

  /** The process ended: the kernel closes its socket, or the machine is without power and nobody does. */
  abandon(how: 'reset' | 'silence'): void {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (!attempt) return;
    attempt.isAborted = true;
    attempt.stream?.toComponent.cut();
    if (how === 'reset') attempt.stream?.toPortal.send({ kind: 'reset' });
    else attempt.stream?.toPortal.cut();
  }

  get #now(): Instant {
    return this.#options.host.now;
  }

  #drive(): void {
    if (this.#isDriving) return;
    this.#isDriving = true;
    const { channel, onEvent } = this.#options;
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (let next = channel.pollTransmit(); next; next = channel.pollTransmit()) {
        this.#execute(next);
      }
      for (let event = channel.pollEvent(); event; event = channel.pollEvent()) {
        isBusy = true;
        onEvent(event);
      }
    }
    this.#isDriving = false;
  }

  #execute(command: SocketCommand): void {
    const stream = this.#attempt?.stream;
    switch (command.kind) {
      case 'dial':
        return this.#dial(command.request);
      case 'send':
        return stream?.toPortal.send({ kind: 'text', text: command.text });
      case 'close':
        return stream?.toPortal.send({ kind: 'close', code: command.code });
      case 'abort':
        return this.abandon('reset');
    }
  }

  #dial(request: DialRequest): void {
    const { host, portal, channel } = this.#options;
    const attempt: Attempt = { isAborted: false, stream: undefined };
    const isCurrent = (): boolean => this.#attempt === attempt && !host.isAsleep;
    const report = (work: (now: Instant) => void): void => {
      if (!isCurrent()) return;
      work(this.#now);
      this.#drive();
      this.#options.onWake();
    };
    this.#attempt = attempt;
    const dialled: Dialled = {
      get isAborted() {
        return attempt.isAborted;
      },
      opened: (stream) => {
        if (!isCurrent()) return stream.toPortal.send({ kind: 'reset' });
        attempt.stream = stream;
        stream.toComponent.end = { receive: (item) => this.#receive(attempt, item) };
        report((now) => channel.handleOpened(now));
      },
      refused: (refusal) => {
        report((now) => {
          this.#attempt = undefined;
          channel.handleRefused(refusal, now);
        });
      },
      failed: (detail) => {
        report((now) => {
          this.#attempt = undefined;
          channel.handleDialFailed({ kind: 'connect-failed', detail }, now);
        });
      },
    };
    portal.dial(host, request, dialled);
  }

  #receive(attempt: Attempt, item: StreamItem): void {
    if (this.#attempt !== attempt) return;
    const { channel } = this.#options;
    switch (item.kind) {
      case 'text':
        channel.handleText(item.text, this.#now);
        break;
      case 'close':
        this.#attempt = undefined;
        channel.handleClosed({ kind: 'close-frame', code: item.code, reason: '' }, this.#now);
        break;
      case 'reset':
        this.#attempt = undefined;
        channel.handleClosed({ kind: 'connection-lost', detail: 'reset by peer' }, this.#now);
        break;
    }
    this.#drive();
    this.#options.onWake();
  }
}
