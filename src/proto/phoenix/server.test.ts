import { describe, expect, it } from 'vitest';
import { type Instant, instant, later } from '../../base/time.ts';
import { CLOSE_CODE, OUTGOING_LIMIT, type ServerEvent, ServerSocket } from './server.ts';

class Harness {
  now: Instant = instant(0);
  readonly socket = new ServerSocket({ topic: 'gateway', idleTimeoutMs: 37_000 }, instant(0));

  receive(frame: unknown): void {
    const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
    this.socket.handleText(text, this.now);
  }

  sent(): unknown[] {
    const frames: unknown[] = [];
    for (let text = this.socket.pollText(); text; text = this.socket.pollText()) {
      frames.push(JSON.parse(text));
    }
    return frames;
  }

  events(): ServerEvent[] {
    const events: ServerEvent[] = [];
    for (let next = this.socket.pollEvent(); next; next = this.socket.pollEvent()) {
      events.push(next);
    }
    return events;
  }

  join(ref: number | string = 0): void {
    this.receive({ topic: 'gateway', event: 'phx_join', payload: null, ref });
    expect(this.events()).toContainEqual({ kind: 'join-requested', payload: null });
    this.socket.acceptJoin();
  }
}

const reply = (ref: unknown, payload: unknown, topic = 'gateway'): unknown => ({
  topic,
  event: 'phx_reply',
  payload,
  ref,
});
const OK = { status: 'ok', response: {} };
const error = (reason: string): unknown => ({ status: 'error', response: { reason } });

describe("the portal's half of a socket", () => {
  it.each([0, '1'])('confirms a join with {} and the ref as it came: %j', (ref) => {
    const harness = new Harness();
    harness.join(ref);
    expect(harness.socket.push('init', { a: 1 })).toBe(true);
    expect(harness.sent()).toEqual([
      reply(ref, OK),
      { topic: 'gateway', event: 'init', payload: { a: 1 }, ref: null },
    ]);
  });

  it('refuses a join with a reason', () => {
    const harness = new Harness();
    harness.receive({ topic: 'gateway', event: 'phx_join', payload: null, ref: 0 });
    harness.socket.refuseJoin('disabled');
    expect(harness.sent()).toEqual([reply(0, error('disabled'))]);
    expect(harness.socket.isJoined).toBe(false);
  });

  it('answers heartbeats before and after the join', () => {
    const harness = new Harness();
    harness.receive({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 7 });
    expect(harness.sent()).toEqual([reply(7, OK, 'phoenix')]);
    expect(harness.events()).toEqual([]);
  });

  it('answers messages for topics that were not joined', () => {
    const harness = new Harness();
    harness.receive({ topic: 'gateway', event: 'no_relays', payload: {}, ref: 1 });
    harness.receive({ topic: 'client', event: 'phx_join', payload: null, ref: 2 });
    harness.receive({ topic: 'gateway', event: 'phx_leave', payload: {}, ref: 3 });
    expect(harness.sent()).toEqual([
      reply(1, error('unmatched topic')),
      reply(2, error('unmatched topic'), 'client'),
      reply(3, error('unmatched topic')),
    ]);
    expect(harness.events()).toEqual([]);
  });

  it('hands on messages with the ref to answer', () => {
    const harness = new Harness();
    harness.join();
    harness.receive({ topic: 'gateway', event: 'x', payload: { ref: 'inner' }, ref: 4 });
    expect(harness.events()).toEqual([
      { kind: 'message', event: 'x', payload: { ref: 'inner' }, ref: 4 },
    ]);
    harness.socket.reply(4, { kind: 'error', reason: 'unknown_message' });
    harness.socket.reply(5, { kind: 'response', response: { id: 1 } });
    expect(harness.sent().slice(1)).toEqual([
      reply(4, error('unknown_message')),
      reply(5, { status: 'ok', response: { id: 1 } }),
    ]);
  });

  it('closes the old channel when the topic is joined again', () => {
    const harness = new Harness();
    harness.join();
    harness.sent();
    harness.receive({ topic: 'gateway', event: 'phx_join', payload: null, ref: 9 });
    harness.socket.acceptJoin();
    expect(harness.events()).toEqual([{ kind: 'left' }, { kind: 'join-requested', payload: null }]);
    expect(harness.sent()).toEqual([
      { topic: 'gateway', event: 'phx_close', payload: {}, ref: null },
      reply(9, OK),
    ]);
  });

  it('confirms that the component leaves', () => {
    const harness = new Harness();
    harness.join();
    harness.receive({ topic: 'gateway', event: 'phx_leave', payload: {}, ref: 2 });
    expect(harness.events()).toEqual([{ kind: 'left' }]);
    expect(harness.socket.push('init', {})).toBe(false);
    expect(harness.sent()).toHaveLength(3);
  });

  it('ends when it hears nothing, and only then', () => {
    const harness = new Harness();
    harness.now = later(harness.now, 36_999);
    harness.socket.handleTimeout(harness.now);
    harness.socket.handleActivity(harness.now);
    harness.now = later(harness.now, 36_999);
    harness.socket.handleTimeout(harness.now);
    expect(harness.events()).toEqual([]);
    expect(harness.socket.pollTimeout()).toBe(2 * 36_999 + 1);
    harness.now = later(harness.now, 1);
    harness.socket.handleTimeout(harness.now);
    expect(harness.events()).toEqual([
      { kind: 'ended', code: CLOSE_CODE.goingAway, reason: 'idle' },
    ]);
    expect(harness.socket.pollTimeout()).toBeUndefined();
  });

  it.each(['', '[]', '{"event":"x"}', '{"topic":"gateway"'])(
    'ends at the malformed frame %j',
    (text) => {
      const harness = new Harness();
      harness.receive(text);
      expect(harness.events()).toMatchObject([{ kind: 'ended', code: CLOSE_CODE.protocolError }]);
      harness.receive({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 1 });
      expect(harness.sent()).toEqual([]);
    },
  );

  it('cuts off a component that does not read', () => {
    const harness = new Harness();
    harness.join();
    for (let i = 1; i < OUTGOING_LIMIT; i++) expect(harness.socket.push('m', i)).toBe(true);
    expect(harness.socket.push('m', 'one too many')).toBe(false);
    expect(harness.events()).toMatchObject([{ kind: 'ended', code: CLOSE_CODE.policyViolation }]);
  });
});
