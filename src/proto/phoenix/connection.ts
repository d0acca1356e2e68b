// One open WebSocket to the portal, from its upgrade to its end (portal-protocol 3.2 to 3.6): join, refs, heartbeats and the
// queue of what waits for the join. A new connection starts with ref 0 and nothing queued. It decides that the connection is
// lost, and why, but not what happens next; that is `channel.ts`.

import type { Counters } from '../../base/counters.ts';
import { assert } from '../../base/errors.ts';
import { earliest, type Instant, later } from '../../base/time.ts';
import { EVENT, PHOENIX_TOPIC, parseControl, UNMATCHED_TOPIC } from '../../wire/phoenix/control.ts';
import { parseFrame, writeFrame } from '../../wire/phoenix/frame.ts';
import type { ChannelFailure, HiccupCause } from './failures.ts';

// Specification
/** portal-protocol 3.2 */
export const JOIN_TIMEOUT_MS = 5000;
/** portal-protocol 3.5 */
export const HEARTBEAT_INTERVAL_MS = 10_000;
/** More unanswered heartbeats than these end the connection (portal-protocol 3.5). */
export const MAX_UNANSWERED_HEARTBEATS = 3;
/** Reason of the `disconnect` push that ends the session (portal-protocol 3.4). */
const TOKEN_EXPIRED = 'token_expired';

// Implementation
/** Waiting messages; the reference has no bound (portal-protocol 16.6). A join takes at most 5 s, in which this is plenty. */
export const QUEUE_LIMIT = 512;
/** Sent messages whose error reply could still be told by event; most messages get no reply. */
const SENT_LIMIT = 64;

export type SendOutcome = 'queued' | 'duplicate' | 'queue-full' | 'not-connected';

export type ConnectionDrop =
  | 'malformed-frame'
  | 'malformed-control'
  | 'unknown-ref'
  | 'unexpected-response'
  | 'channel-error'
  | 'unknown-disconnect'
  | 'queue-full'
  | 'binary-frame'
  /** Of a socket that is not, or no longer, the channel's. */
  | 'late-report';

export type ConnectionEvent =
  /** The join is confirmed; messages go out from now on. Repeats after a rejoin. */
  | { readonly kind: 'joined' }
  | { readonly kind: 'message'; readonly event: string; readonly payload: unknown }
  /** The portal refused one of our messages. */
  | { readonly kind: 'message-refused'; readonly event: string; readonly reason: string }
  | { readonly kind: 'lost'; readonly cause: HiccupCause }
  | { readonly kind: 'failed'; readonly failure: ChannelFailure };

interface QueuedMessage {
  readonly event: string;
  readonly payload: unknown;
  /** Payload text: what makes two messages equal. */
  readonly text: string;
}

export class Connection {
  readonly #topic: string;
  readonly #joinPayload: unknown;
  readonly #counters: Counters<ConnectionDrop>;
  readonly #control: string[] = [];
  readonly #queue: QueuedMessage[] = [];
  readonly #events: ConnectionEvent[] = [];
  /** Refs of heartbeats without an answer. */
  readonly #heartbeats = new Set<number>();
  /** Events of messages by ref. */
  readonly #sent = new Map<number, string>();
  #nextRef = 0;
  #heartbeatAt: Instant;
  #join: { readonly ref: number; readonly deadline: Instant } | undefined;
  #isOver = false;

  constructor(
    topic: string,
    joinPayload: unknown,
    counters: Counters<ConnectionDrop>,
    now: Instant,
  ) {
    this.#topic = topic;
    this.#joinPayload = joinPayload;
    this.#counters = counters;
    this.#heartbeatAt = later(now, HEARTBEAT_INTERVAL_MS);
    this.#sendJoin(now);
  }

  handleText(text: string, now: Instant): void {
    if (this.#isOver) return;
    const parsed = parseFrame(text);
    switch (parsed.kind) {
      case 'truncated':
        return this.#lose({ kind: 'truncated-frame' });
      case 'malformed':
        return this.#counters.add('malformed-frame');
      case 'frame': {
        const control = parseControl(parsed.frame);
        if (control === undefined) {
          // The event of a message is not checked against its topic (portal-protocol 3.4).
          const { event, payload } = parsed.frame;
          this.#events.push({ kind: 'message', event, payload });
        } else this.#handleControl(control, now);
      }
    }
  }

  handleTimeout(now: Instant): void {
    if (this.#isOver) return;
    if (this.#join !== undefined && now >= this.#join.deadline) {
      return this.#lose({ kind: 'join-timeout' });
    }
    if (now < this.#heartbeatAt) return;
    this.#heartbeatAt = later(now, HEARTBEAT_INTERVAL_MS);
    const ref = this.#nextRef++;
    this.#heartbeats.add(ref);
    const frame = { topic: PHOENIX_TOPIC, event: EVENT.heartbeat, payload: {}, ref };
    this.#control.push(writeFrame(frame));
    if (this.#heartbeats.size > MAX_UNANSWERED_HEARTBEATS) {
      this.#lose({ kind: 'heartbeats-unanswered' });
    }
  }

  /** A message equal to one that still waits is not queued again (portal-protocol 3.6). */
  send(event: string, payload: unknown): Exclude<SendOutcome, 'not-connected'> {
    const text = JSON.stringify(payload);
    if (this.#queue.some((queued) => queued.event === event && queued.text === text)) {
      return 'duplicate';
    }
    if (this.#queue.length >= QUEUE_LIMIT) {
      this.#counters.add('queue-full');
      return 'queue-full';
    }
    this.#queue.push({ event, payload, text });
    return 'queued';
  }

  /** The next text frame: heartbeats and joins first, messages only while no join is pending. */
  pollText(): string | undefined {
    const control = this.#control.shift();
    if (control !== undefined) return control;
    if (this.#join !== undefined || this.#isOver) return undefined;
    const message = this.#queue.shift();
    if (message === undefined) return undefined;
    const ref = this.#nextRef++;
    this.#rememberSent(ref, message.event);
    const { event, payload } = message;
    return writeFrame({ topic: this.#topic, event, payload, ref });
  }

  pollEvent(): ConnectionEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.#isOver ? undefined : earliest(this.#join?.deadline, this.#heartbeatAt);
  }

  get isJoined(): boolean {
    return !this.#isOver && this.#join === undefined;
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  get unansweredHeartbeats(): number {
    return this.#heartbeats.size;
  }

  #handleControl(control: Exclude<ReturnType<typeof parseControl>, undefined>, now: Instant): void {
    if (control === 'malformed') return this.#counters.add('malformed-control');
    switch (control.kind) {
      case 'close':
        return this.#lose({ kind: 'channel-closed' });
      case 'error':
        return this.#counters.add('channel-error');
      case 'disconnect':
        if (control.reason === TOKEN_EXPIRED) return this.#fail({ kind: 'invalid-token' });
        return this.#counters.add('unknown-disconnect');
      case 'reply':
        switch (control.outcome.kind) {
          case 'ok':
            return this.#handleOk(control.ref);
          case 'response':
            return this.#counters.add('unexpected-response');
          case 'error':
            return this.#handleError(control.topic, control.ref, control.outcome.reason, now);
        }
    }
  }

  #handleOk(ref: number): void {
    if (this.#heartbeats.delete(ref) || this.#sent.delete(ref)) return;
    if (ref !== this.#join?.ref) return this.#counters.add('unknown-ref');
    this.#join = undefined;
    this.#events.push({ kind: 'joined' });
  }

  #handleError(topic: string, ref: number, reason: string, now: Instant): void {
    if (ref === this.#join?.ref && topic === this.#topic) {
      return this.#fail({ kind: 'join-refused', reason });
    }
    const event = this.#sent.get(ref);
    this.#sent.delete(ref);
    if (event !== undefined) this.#events.push({ kind: 'message-refused', event, reason });
    if (reason === UNMATCHED_TOPIC && topic === this.#topic && this.#join === undefined) {
      return this.#sendJoin(now);
    }
    if (event === undefined) this.#counters.add('unknown-ref');
  }

  #sendJoin(now: Instant): void {
    const ref = this.#nextRef++;
    this.#join = { ref, deadline: later(now, JOIN_TIMEOUT_MS) };
    const frame = { topic: this.#topic, event: EVENT.join, payload: this.#joinPayload, ref };
    this.#control.push(writeFrame(frame));
  }

  #rememberSent(ref: number, event: string): void {
    const [oldest] = this.#sent.keys();
    if (this.#sent.size >= SENT_LIMIT && oldest !== undefined) this.#sent.delete(oldest);
    this.#sent.set(ref, event);
  }

  #lose(cause: HiccupCause): void {
    this.#end({ kind: 'lost', cause });
  }

  #fail(failure: ChannelFailure): void {
    this.#end({ kind: 'failed', failure });
  }

  #end(event: ConnectionEvent): void {
    assert(!this.#isOver, 'a connection ends once');
    this.#isOver = true;
    this.#events.push(event);
  }
}
