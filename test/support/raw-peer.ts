// A component by hand: a bare WebSocket that speaks the portal's frames as text, with nothing of our own code in between.

import { WebSocket } from 'ws';

interface Frame {
  readonly topic: string;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into JSON
  readonly payload: any;
  readonly ref: unknown;
}

export interface Refused {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export class RawPeer {
  readonly #topic: string;
  readonly #socket: WebSocket;
  readonly #frames: Frame[] = [];
  readonly closed: Promise<number>;
  #wake: () => void = () => {};
  #ref = 0;

  private constructor(topic: string, socket: WebSocket) {
    this.#topic = topic;
    this.#socket = socket;
    socket.on('message', (data) => {
      this.#frames.push(JSON.parse(String(data)) as Frame);
      this.#wake();
    });
    this.closed = new Promise((resolve) =>
      socket.on('close', (code) => {
        resolve(code);
        this.#wake();
      }),
    );
  }

  /** Rejects with `Refused` if the upgrade is. */
  static open(url: string, topic: string, headers: Record<string, string>): Promise<RawPeer> {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { headers });
      const peer = new RawPeer(topic, socket);
      socket.on('open', () => resolve(peer));
      socket.on('error', reject);
      socket.on('unexpected-response', (_, response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.on('end', () =>
          reject({ status: response.statusCode, headers: response.headers, body } as Refused),
        );
      });
    });
  }

  /** Joins and takes the reply. */
  async join(payload: unknown = null): Promise<void> {
    this.send('phx_join', payload);
    await this.take('phx_reply');
  }

  send(event: string, payload: unknown, topic: string = this.#topic): number {
    const ref = this.#ref++;
    this.sendText(JSON.stringify({ topic, event, payload, ref }));
    return ref;
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  sendBinary(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  /** The next frame, which must be of this event. */
  async take(event: string): Promise<Frame['payload']> {
    const frame = await this.next();
    if (frame.event !== event) {
      throw new Error(`expected ${event}, got ${JSON.stringify(frame).slice(0, 300)}`);
    }
    return frame.payload;
  }

  async next(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) return frame;
      if (this.#socket.readyState === WebSocket.CLOSED) throw new Error('closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  get waiting(): readonly Frame[] {
    return this.#frames;
  }

  close(): Promise<number> {
    this.#socket.close(1000);
    return this.closed;
  }

  terminate(): void {
    this.#socket.terminate();
  }
}
