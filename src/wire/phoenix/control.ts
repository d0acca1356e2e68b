// The events of a Phoenix channel itself: join, replies, heartbeats, close and error pushes (portal-protocol 3.2 to 3.5),
// and `disconnect`, the one push by which the portal ends a session (3.4). Meaning only; reactions are in `proto/phoenix`.

import { type Frame, type FrameRef, isRecord } from './frame.ts';

// Specification
/** Topic of heartbeats (3.5). */
export const PHOENIX_TOPIC = 'phoenix';
export const EVENT = {
  join: 'phx_join',
  leave: 'phx_leave',
  reply: 'phx_reply',
  error: 'phx_error',
  close: 'phx_close',
  heartbeat: 'heartbeat',
  disconnect: 'disconnect',
} as const;
/** Reason of the reply to a message for a topic that was not joined (4.7). */
export const UNMATCHED_TOPIC = 'unmatched topic';

export type ReplyOutcome =
  /** `response` is exactly `{}`: what confirms joins and heartbeats (3.2). */
  | { readonly kind: 'ok' }
  /** Success with anything else in it: components before 1.4 are answered so; later ones ignore it (3.3). */
  | { readonly kind: 'response'; readonly response: unknown }
  | { readonly kind: 'error'; readonly reason: string };

export type ControlFrame =
  | {
      readonly kind: 'reply';
      readonly topic: string;
      readonly ref: number;
      readonly outcome: ReplyOutcome;
    }
  | { readonly kind: 'close' }
  | { readonly kind: 'error' }
  | { readonly kind: 'disconnect'; readonly reason: string };

/** What a frame says to the channel, `undefined` if it is not for it, `malformed` if it is but makes no sense. */
export function parseControl(frame: Frame): ControlFrame | 'malformed' | undefined {
  switch (frame.event) {
    case EVENT.reply:
      return parseReply(frame);
    case EVENT.close:
      return isEmpty(frame.payload) ? { kind: 'close' } : 'malformed';
    case EVENT.error:
      return { kind: 'error' };
    case EVENT.disconnect: {
      if (!isRecord(frame.payload)) return 'malformed';
      const { reason } = frame.payload;
      return typeof reason === 'string' ? { kind: 'disconnect', reason } : 'malformed';
    }
    default:
      return undefined;
  }
}

export function replyFrame(topic: string, ref: FrameRef, outcome: ReplyOutcome): Frame {
  return { topic, event: EVENT.reply, payload: replyPayload(outcome), ref };
}

function replyPayload(outcome: ReplyOutcome): unknown {
  switch (outcome.kind) {
    case 'ok':
      return { status: 'ok', response: {} };
    case 'response':
      return { status: 'ok', response: outcome.response };
    case 'error':
      return { status: 'error', response: { reason: outcome.reason } };
  }
}

function parseReply(frame: Frame): ControlFrame | 'malformed' {
  const { topic, payload, ref } = frame;
  if (typeof ref !== 'number' || !isRecord(payload)) return 'malformed';
  const { status, response } = payload;
  if (status === 'ok') {
    const outcome: ReplyOutcome = isEmpty(response)
      ? { kind: 'ok' }
      : { kind: 'response', response };
    return { kind: 'reply', topic, ref, outcome };
  }
  if (status === 'error' && isRecord(response) && typeof response['reason'] === 'string') {
    return { kind: 'reply', topic, ref, outcome: { kind: 'error', reason: response['reason'] } };
  }
  return 'malformed';
}

function isEmpty(value: unknown): boolean {
  return isRecord(value) && Object.keys(value).length === 0;
}
