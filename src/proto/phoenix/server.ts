// The portal's half of one Phoenix socket (portal-protocol 3 and 4.7): the heartbeat topic, and one channel that the component
// may join, leave and join again. Refs are repeated as they came, numbers or texts. It carries messages and knows none; what
// a join needs and what is answered is the owner's business.

import { Counters } from '../../base/counters.ts';
import { type Instant, later } from '../../base/time.ts';
import {
  EVENT,
  PHOENIX_TOPIC,
  type ReplyOutcome,
  replyFrame,
  UNMATCHED_TOPIC,
} from '../../wire/phoenix/control.ts';
import { type Frame, type FrameRef, parseFrame, writeFrame } from '../../wire/phoenix/frame.ts';

// Specification
/** Without a frame for this long the socket is closed (portal-protocol 4.7). */
export const IDLE_TIMEOUT_MS = { gateway: 37_000, client: 37_000, relay: 41_000 } as const;
/** Close codes (RFC 6455 §7.4.1, RFC 6455 registry for 1012). */
export const CLOSE_CODE = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  policyViolation: 1008,
  messageTooBig: 1009,
  /** A channel crashed, or the portal restarts: components come back (portal-protocol 4.7). */
  serviceRestart: 1012,
} as const;

// Implementation
/** Texts that wait for the socket: a component that does not read is cut off. The largest fan-out is one message per peer. */
export const OUTGOING_LIMIT = 4096;

export interface ServerConfig {
  /** The one topic that can be joined: `gateway`, `client` or `relay`. */
  readonly topic: string;
  readonly idleTimeoutMs: number;
}

export type ServerDrop = 'malformed-frame' | 'unmatched-topic' | 'not-joined' | 'overflow';

export type ServerEvent =
  /** To be answered with `acceptJoin` or `refuseJoin`. */
  | { readonly kind: 'join-requested'; readonly payload: unknown }
  | {
      readonly kind: 'message';
      readonly event: string;
      readonly payload: unknown;
      readonly ref: FrameRef;
    }
  /** The component left the topic, or joins it a second time. */
  | { readonly kind: 'left' }
  /** The socket is to be closed. */
  | { readonly kind: 'ended'; readonly code: number; readonly reason: string };

type JoinState =
  | { readonly kind: 'none' }
  | { readonly kind: 'pending'; readonly ref: FrameRef }
  | { readonly kind: 'joined' };

export class ServerSocket {
  readonly #config: ServerConfig;
  readonly #counters = new Counters<ServerDrop>();
  readonly #outgoing: string[] = [];
  readonly #events: ServerEvent[] = [];
  #join: JoinState = { kind: 'none' };
  #idleAt: Instant;
  #isOver = false;

  constructor(config: ServerConfig, now: Instant) {
    this.#config = config;
    this.#idleAt = later(now, config.idleTimeoutMs);
  }

  handleText(text: string, now: Instant): void {
    if (this.#isOver) return;
    this.handleActivity(now);
    const parsed = parseFrame(text);
    if (parsed.kind !== 'frame') {
      // Phoenix's serializer raises on such a frame, which ends the socket.
      this.#counters.add('malformed-frame');
      return this.#end(CLOSE_CODE.protocolError, 'malformed frame');
    }
    this.#handleFrame(parsed.frame);
  }

  /** Any frame, pings too, keeps the socket from idling. */
  handleActivity(now: Instant): void {
    this.#idleAt = later(now, this.#config.idleTimeoutMs);
  }

  handleTimeout(now: Instant): void {
    if (!this.#isOver && now >= this.#idleAt) this.#end(CLOSE_CODE.goingAway, 'idle');
  }

  /** Replies `{}`, the only thing that confirms a join (portal-protocol 3.2). Pushes may follow at once. */
  acceptJoin(): void {
    if (this.#join.kind !== 'pending') return;
    const { ref } = this.#join;
    this.#join = { kind: 'joined' };
    this.reply(ref, { kind: 'ok' });
  }

  /** Components take it as final (portal-protocol 3.2). */
  refuseJoin(reason: string): void {
    if (this.#join.kind !== 'pending') return;
    const { ref } = this.#join;
    this.#join = { kind: 'none' };
    this.reply(ref, { kind: 'error', reason });
  }

  reply(ref: FrameRef, outcome: ReplyOutcome): void {
    this.#write(replyFrame(this.#config.topic, ref, outcome));
  }

  /** False if the topic is not joined (any more): the message is not sent. */
  push(event: string, payload: unknown): boolean {
    if (this.#join.kind !== 'joined') {
      this.#counters.add('not-joined');
      return false;
    }
    this.#write({ topic: this.#config.topic, event, payload, ref: null });
    return !this.#isOver;
  }

  /** `phx_close`: the component closes the socket and comes back (portal-protocol 4.7). */
  closeChannel(): void {
    if (this.#join.kind === 'none') return;
    this.#join = { kind: 'none' };
    this.#write({ topic: this.#config.topic, event: EVENT.close, payload: {}, ref: null });
  }

  pollText(): string | undefined {
    return this.#outgoing.shift();
  }

  pollEvent(): ServerEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.#isOver ? undefined : this.#idleAt;
  }

  get isJoined(): boolean {
    return this.#join.kind === 'joined';
  }

  snapshot(): { readonly join: string; readonly drops: Readonly<Record<string, number>> } {
    return { join: this.#join.kind, drops: this.#counters.snapshot() };
  }

  #handleFrame(frame: Frame): void {
    const { topic, event, payload, ref } = frame;
    if (topic === PHOENIX_TOPIC && event === EVENT.heartbeat) {
      return this.#write(replyFrame(PHOENIX_TOPIC, ref, { kind: 'ok' }));
    }
    if (topic !== this.#config.topic || (this.#join.kind === 'none' && event !== EVENT.join)) {
      this.#counters.add('unmatched-topic');
      return this.#write(replyFrame(topic, ref, { kind: 'error', reason: UNMATCHED_TOPIC }));
    }
    switch (event) {
      case EVENT.join:
        return this.#handleJoin(payload, ref);
      case EVENT.leave:
        this.reply(ref, { kind: 'ok' });
        this.closeChannel();
        this.#events.push({ kind: 'left' });
        return;
      default:
        this.#events.push({ kind: 'message', event, payload, ref });
    }
  }

  /** A second join closes the first channel (portal-protocol 4.7). */
  #handleJoin(payload: unknown, ref: FrameRef): void {
    if (this.#join.kind !== 'none') {
      this.closeChannel();
      this.#events.push({ kind: 'left' });
    }
    this.#join = { kind: 'pending', ref };
    this.#events.push({ kind: 'join-requested', payload });
  }

  #write(frame: Frame): void {
    if (this.#isOver) return;
    if (this.#outgoing.length >= OUTGOING_LIMIT) {
      this.#counters.add('overflow');
      return this.#end(CLOSE_CODE.policyViolation, 'reads too slowly');
    }
    this.#outgoing.push(writeFrame(frame));
  }

  #end(code: number, reason: string): void {
    this.#isOver = true;
    this.#join = { kind: 'none' };
    this.#events.push({ kind: 'ended', code, reason });
  }
}
