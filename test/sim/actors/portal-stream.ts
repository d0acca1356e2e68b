// One WebSocket between a component and the portal, as TCP gives it: texts in order, each way with a delay; what cannot pass waits and is tried again with
// growing pauses, for a quarter of an hour. An end that vanished says nothing until the path is there again.

import type { IpAddress } from '../../../src/base/address.ts';
import type { Context } from '../context.ts';
import type { Host } from '../network/host.ts';

/** Whether a component's host can speak to the portal from that address now. */
export interface PortalPath {
  isOpen(host: Host, address: IpAddress): boolean;
  /** One way. */
  latencyMs(host: Host): number;
}

export type StreamItem =
  | { readonly kind: 'text'; readonly text: string }
  /** A close frame. */
  | { readonly kind: 'close'; readonly code: number }
  /** The other end's socket is gone. */
  | { readonly kind: 'reset' };

export interface StreamEnd {
  receive(item: StreamItem): void;
}

// Implementation
/** RFC 6298: first and last pause before another try. */
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 32_000;
/** How long Linux tries (`tcp_retries2`), about. */
const GIVE_UP_MS = 924_000;

class Lane {
  readonly #context: Context;
  readonly #isOpen: () => boolean;
  readonly #latencyMs: () => number;
  readonly #waiting: { readonly item: StreamItem; readonly readyAt: number }[] = [];
  #end: StreamEnd | undefined;
  #isPumping = false;
  #retryMs = FIRST_RETRY_MS;
  #stalledMs = 0;

  constructor(context: Context, isOpen: () => boolean, latencyMs: () => number) {
    this.#context = context;
    this.#isOpen = isOpen;
    this.#latencyMs = latencyMs;
  }

  set end(end: StreamEnd) {
    this.#end = end;
  }

  /** Nothing arrives any more. */
  cut(): void {
    this.#end = undefined;
    this.#waiting.length = 0;
  }

  send(item: StreamItem): void {
    const readyAt = this.#context.scheduler.now + this.#latencyMs();
    const last = this.#waiting.at(-1)?.readyAt ?? 0;
    this.#waiting.push({ item, readyAt: Math.max(readyAt, last) });
    this.#arm();
  }

  #arm(): void {
    const [first] = this.#waiting;
    if (this.#isPumping || first === undefined) return;
    this.#isPumping = true;
    this.#context.scheduler.call(first.readyAt - this.#context.scheduler.now, () => this.#pump());
  }

  #pump(): void {
    this.#isPumping = false;
    if (!this.#isOpen()) return this.#stall();
    this.#retryMs = FIRST_RETRY_MS;
    this.#stalledMs = 0;
    const { now } = this.#context.scheduler;
    for (let [first] = this.#waiting; first && first.readyAt <= now; [first] = this.#waiting) {
      this.#waiting.shift();
      this.#end?.receive(first.item);
    }
    this.#arm();
  }

  #stall(): void {
    if (this.#waiting.length === 0) return;
    this.#stalledMs += this.#retryMs;
    if (this.#stalledMs > GIVE_UP_MS) return this.cut();
    this.#isPumping = true;
    this.#context.scheduler.call(this.#retryMs, () => this.#pump());
    this.#retryMs = Math.min(LAST_RETRY_MS, 2 * this.#retryMs);
  }
}

export class PortalStream {
  readonly toPortal: Lane;
  readonly toComponent: Lane;

  constructor(context: Context, path: PortalPath, host: Host, address: IpAddress) {
    const isOpen = (): boolean => path.isOpen(host, address);
    const latencyMs = (): number => path.latencyMs(host);
    this.toPortal = new Lane(context, isOpen, latencyMs);
    this.toComponent = new Lane(context, isOpen, latencyMs);
  }
}
