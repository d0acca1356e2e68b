import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SILENT_LOG } from '../../base/log.ts';
import { SeededRandom } from '../../base/random.ts';
import { type Instant, instant, later, unixMillis, WallClock } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import {
  type ChannelEvent,
  CLOSE_TIMEOUT_MS,
  CONFLICT_BUDGET_MS,
  CONNECT_TIMEOUT_MS,
  PhoenixChannel,
  type SocketCommand,
} from './channel.ts';
import { QUEUE_LIMIT } from './connection.ts';
import type { HiccupCause } from './failures.ts';
import {
  gatewayLoginUrl,
  type LoginUrl,
  type NoParams,
  type PublicKeyParams,
  relayLoginUrl,
} from './login-url.ts';

const KEY = { publicKey: new Uint8Array(32).fill(1) };
const LOST: HiccupCause = { kind: 'connection-lost', detail: 'gone' };
const JOIN = '{"topic":"gateway","event":"phx_join","payload":null,"ref":0}';

function gatewayUrl(): LoginUrl<PublicKeyParams> {
  const login = { apiUrl: 'wss://portal.test/', firezoneId: 'id', name: 'gw' };
  const result = gatewayLoginUrl(login, createSeededCrypto(1));
  if (result.kind === 'invalid') throw new Error(result.problem);
  return result.url;
}

function relayUrl(): LoginUrl<NoParams> {
  const result = relayLoginUrl({ apiUrl: 'wss://portal.test/', port: 3478 });
  if (result.kind === 'invalid') throw new Error(result.problem);
  return result.url;
}

/** A channel with a clock of its own and a socket that is only a list of commands. */
class Harness {
  now: Instant = instant(0);
  readonly channel: PhoenixChannel<PublicKeyParams>;
  readonly texts: string[] = [];

  constructor(partitionBudgetMs = 3_600_000, token: string | undefined = 'token') {
    this.channel = new PhoenixChannel(
      {
        loginUrl: gatewayUrl(),
        token,
        userAgent: 'agent',
        joinPayload: null,
        partitionBudgetMs,
      },
      {
        random: new SeededRandom(1),
        wallClock: new WallClock(instant(0), unixMillis(784_111_777_000)),
        log: SILENT_LOG,
      },
    );
  }

  /** Texts go to `texts`, other commands are returned. */
  commands(): SocketCommand[] {
    const commands: SocketCommand[] = [];
    for (let next = this.channel.pollTransmit(); next; next = this.channel.pollTransmit()) {
      if (next.kind === 'send') this.texts.push(next.text);
      else commands.push(next);
    }
    return commands;
  }

  events(): ChannelEvent[] {
    const events: ChannelEvent[] = [];
    for (let next = this.channel.pollEvent(); next; next = this.channel.pollEvent()) {
      events.push(next);
    }
    return events;
  }

  /** Sends what is to be sent and returns it. */
  sent(): unknown[] {
    this.commands();
    return this.texts.splice(0).map((text) => JSON.parse(text) as unknown);
  }

  advance(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    for (let at = this.channel.pollTimeout(); at !== undefined && at <= end; ) {
      this.now = at;
      this.channel.handleTimeout(at);
      this.commands();
      const next = this.channel.pollTimeout();
      if (next === at) throw new Error('a deadline that stays');
      at = next;
    }
    this.now = end;
  }

  receive(frame: unknown): void {
    this.channel.handleText(JSON.stringify(frame), this.now);
  }

  reply(ref: unknown, response: unknown = {}, status = 'ok', topic = 'gateway'): void {
    this.receive({ topic, event: 'phx_reply', payload: { status, response }, ref });
  }

  open(): void {
    if (this.channel.snapshot().state === 'closed') this.channel.connect(KEY, this.now);
    this.commands();
    this.channel.handleOpened(this.now);
    this.commands();
  }

  join(): void {
    this.open();
    const join = this.sent()[0];
    this.reply(refOf(join));
    expect(this.events()).toContainEqual({ kind: 'connected' });
  }

  refuse(status: number, more: { retryAfter?: string; contentType?: string; body?: string } = {}) {
    const { retryAfter, contentType, body = '' } = more;
    this.channel.handleRefused({ status, retryAfter, contentType, body }, this.now);
  }

  /** Waits for the next attempt and fails it; the delay that the hiccup names. */
  failAttempt(cause: HiccupCause = LOST): number | undefined {
    this.channel.handleDialFailed(cause, this.now);
    const [event] = this.events();
    if (event?.kind !== 'hiccup') return undefined;
    this.advance(event.delayMs);
    expect(this.channel.snapshot().state).toBe('connecting');
    return event.delayMs;
  }
}

function refOf(frame: unknown): unknown {
  return (frame as { ref: unknown }).ref;
}

describe('the channel at construction', () => {
  it('does nothing until it is told to connect', () => {
    const harness = new Harness();
    expect(harness.commands()).toEqual([]);
    expect(harness.channel.pollTimeout()).toBeUndefined();
    expect(harness.channel.snapshot().state).toBe('closed');
  });

  it('does not compile a gateway without public key, nor a relay with one', () => {
    const deps = {
      random: new SeededRandom(1),
      wallClock: new WallClock(instant(0), unixMillis(0)),
      log: SILENT_LOG,
    };
    const common = { token: undefined, userAgent: '', joinPayload: null, partitionBudgetMs: 1 };
    const gateway = new PhoenixChannel({ ...common, loginUrl: gatewayUrl() }, deps);
    const relay = new PhoenixChannel({ ...common, loginUrl: relayUrl() }, deps);
    const never = (): void => {
      // @ts-expect-error a gateway's portal derives credentials from its key: connecting without one is a bug of ours
      gateway.connect({}, instant(0));
      // @ts-expect-error a relay has no key to send
      relay.connect(KEY, instant(0));
    };
    expect(never).toBeTypeOf('function');
    relay.connect({}, instant(0));
    expect(relay.pollTransmit()).toMatchObject({
      kind: 'dial',
      request: { target: { path: '/relay/websocket?port=3478' } },
    });
  });

  it('asks for the completed URL with the token in a header, white space removed', () => {
    const harness = new Harness(1, ' to\nk\ren ');
    harness.channel.connect(KEY, harness.now);
    expect(harness.commands()).toEqual([
      {
        kind: 'dial',
        request: {
          target: expect.objectContaining({ host: 'portal.test', port: 443 }),
          headers: [
            ['Host', 'portal.test'],
            ['User-Agent', 'agent'],
            ['X-Authorization', 'Bearer token'],
          ],
        },
      },
    ]);
  });

  it('sends no authorization header without a token', () => {
    const channel = new PhoenixChannel(
      {
        loginUrl: gatewayUrl(),
        token: undefined,
        userAgent: 'agent',
        joinPayload: null,
        partitionBudgetMs: 1,
      },
      {
        random: new SeededRandom(1),
        wallClock: new WallClock(instant(0), unixMillis(0)),
        log: SILENT_LOG,
      },
    );
    channel.connect(KEY, instant(0));
    expect(JSON.stringify(channel.pollTransmit())).not.toContain('Authorization');
  });
});

describe('the join', () => {
  it('is the first frame, with ref 0, and nothing else is written until it is confirmed', () => {
    const harness = new Harness();
    harness.open();
    expect(harness.texts.splice(0)).toEqual([JOIN]);
    expect(harness.channel.send('no_relays', {})).toBe('queued');
    expect(harness.sent()).toEqual([]);
    harness.reply(0);
    expect(harness.events()).toEqual([{ kind: 'connected' }]);
    expect(harness.sent()).toEqual([{ topic: 'gateway', event: 'no_relays', payload: {}, ref: 1 }]);
  });

  it.each([
    ['a ref that is a text', { status: 'ok', response: {} }, '0'],
    ['a response of null', { status: 'ok', response: null }, 0],
    ['a response with members', { status: 'ok', response: { x: 1 } }, 0],
    ['a foreign ref', { status: 'ok', response: {} }, 9],
  ])('is not confirmed by a reply with %s, and times out after 5 s', (_, payload, ref) => {
    const harness = new Harness();
    harness.open();
    harness.receive({ topic: 'gateway', event: 'phx_reply', payload, ref });
    expect(harness.events()).toEqual([]);
    harness.advance(4999);
    expect(harness.events()).toEqual([]);
    harness.advance(1);
    expect(harness.events()).toMatchObject([{ kind: 'hiccup', cause: { kind: 'join-timeout' } }]);
  });

  it('is final when it is refused', () => {
    const harness = new Harness();
    harness.open();
    harness.reply(0, { reason: 'disabled' }, 'error');
    expect(harness.events()).toEqual([
      { kind: 'failed', failure: { kind: 'join-refused', reason: 'disabled' } },
    ]);
    expect(harness.commands()).toEqual([{ kind: 'abort' }]);
    expect(harness.channel.pollTimeout()).toBeUndefined();
  });

  it('is repeated on the same socket when the portal does not know the topic (any more)', () => {
    const harness = new Harness();
    harness.join();
    harness.reply(5, { reason: 'unmatched topic' }, 'error');
    expect(harness.sent()).toEqual([
      { topic: 'gateway', event: 'phx_join', payload: null, ref: 1 },
    ]);
    harness.channel.send('no_relays', {});
    harness.reply(5, { reason: 'unmatched topic' }, 'error');
    expect(harness.sent()).toEqual([]);
    harness.reply(1);
    expect(harness.events()).toEqual([{ kind: 'connected' }]);
    expect(harness.sent()).toMatchObject([{ event: 'no_relays', ref: 2 }]);
  });
});

describe('messages', () => {
  it('that are equal to one still queued are sent once', () => {
    const harness = new Harness();
    harness.open();
    harness.sent();
    const outcomes = [1, 2, 3, 4].map(() => harness.channel.send('a', { b: [1] }));
    expect(outcomes).toEqual(['queued', 'duplicate', 'duplicate', 'duplicate']);
    harness.reply(0);
    expect(harness.sent()).toEqual([{ topic: 'gateway', event: 'a', payload: { b: [1] }, ref: 1 }]);
    expect(harness.channel.send('a', { b: [1] })).toBe('queued');
  });

  it('are refused while not connected and never sent later', () => {
    const harness = new Harness();
    expect(harness.channel.send('early', {})).toBe('not-connected');
    harness.join();
    expect(harness.sent()).toEqual([]);
    harness.channel.send('late', {});
    expect(harness.sent()).toMatchObject([{ event: 'late', ref: 1 }]);
  });

  it('are forgotten with their connection, and refs start again', () => {
    const harness = new Harness();
    harness.open();
    harness.channel.send('old', {});
    harness.channel.handleClosed(LOST, harness.now);
    harness.texts.splice(0);
    harness.advance(1000);
    harness.join();
    expect(harness.sent()).toEqual([]);
  });

  it('wait in a bounded queue', () => {
    const harness = new Harness();
    harness.open();
    for (let i = 0; i < QUEUE_LIMIT; i++) expect(harness.channel.send('m', { i })).toBe('queued');
    expect(harness.channel.send('m', { i: -1 })).toBe('queue-full');
    expect(harness.channel.snapshot().drops).toEqual({ 'queue-full': 1 });
  });

  it('wait while the socket is blocked; commands do not', () => {
    const harness = new Harness();
    harness.join();
    harness.channel.handleBackpressure(true);
    harness.channel.send('m', {});
    expect(harness.sent()).toEqual([]);
    harness.channel.close(harness.now);
    expect(harness.commands()).toEqual([{ kind: 'close', code: 1000 }]);
  });

  it('from the portal are handed on whatever their topic, with or without ref and join_ref', () => {
    const harness = new Harness();
    harness.join();
    harness.receive({ topic: 'x', event: 'init', payload: { a: 1 }, ref: null, join_ref: '4' });
    harness.receive({ topic: 'gateway', event: 'resource_deleted', payload: 'id' });
    expect(harness.events()).toEqual([
      { kind: 'message', event: 'init', payload: { a: 1 } },
      { kind: 'message', event: 'resource_deleted', payload: 'id' },
    ]);
  });

  it('that the portal refuses are named', () => {
    const harness = new Harness();
    harness.join();
    harness.channel.send('authorization_created', { ref: 'x' });
    harness.sent();
    harness.reply(1, { reason: 'invalid_ref', extra: 1 }, 'error');
    expect(harness.events()).toEqual([
      { kind: 'message-refused', event: 'authorization_created', reason: 'invalid_ref' },
    ]);
  });
});

describe('control frames', () => {
  it.each([
    ['phx_error', { topic: 'gateway', event: 'phx_error', payload: {}, ref: 0 }],
    ['a disconnect for another reason', { event: 'disconnect', payload: { reason: 'other' } }],
    ['a disconnect without reason', { event: 'disconnect', payload: {} }],
    ['phx_close with members', { event: 'phx_close', payload: { a: 1 } }],
    ['an error reply without reason', { event: 'phx_reply', payload: { status: 'error' }, ref: 0 }],
  ])('%s is ignored', (_, frame) => {
    const harness = new Harness();
    harness.join();
    harness.receive({ topic: 'gateway', ...frame });
    expect(harness.events()).toEqual([]);
    expect(harness.channel.isConnected).toBe(true);
  });

  it.each(['[null,"1","gateway","phx_reply",{}]', '"text"', 'nonsense', '{"topic":1}'])(
    'a text that is no frame is ignored: %s',
    (text) => {
      const harness = new Harness();
      harness.join();
      harness.channel.handleText(text, harness.now);
      harness.channel.handleBinary();
      expect(harness.events()).toEqual([]);
      expect(harness.channel.snapshot().drops).toEqual({ 'malformed-frame': 1, 'binary-frame': 1 });
    },
  );

  it.each([
    [
      'phx_close',
      '{"topic":"gateway","event":"phx_close","payload":{},"ref":null}',
      'channel-closed',
    ],
    ['truncated JSON', '{"topic":"gateway","event":"init"', 'truncated-frame'],
    ['an empty text', '', 'truncated-frame'],
  ])('%s leads to a reconnect', (_, text, kind) => {
    const harness = new Harness();
    harness.join();
    harness.channel.handleText(text, harness.now);
    expect(harness.commands()).toEqual([{ kind: 'abort' }]);
    expect(harness.events()).toMatchObject([{ kind: 'hiccup', cause: { kind } }]);
  });

  it('an expired token is final', () => {
    const harness = new Harness();
    harness.join();
    harness.receive({ topic: 'g', event: 'disconnect', payload: { reason: 'token_expired' } });
    expect(harness.events()).toEqual([{ kind: 'failed', failure: { kind: 'invalid-token' } }]);
  });
});

describe('heartbeats', () => {
  it('go out every 10 s whatever else is sent', () => {
    const harness = new Harness();
    harness.join();
    for (let second = 0; second < 25; second += 1) {
      harness.advance(1000);
      if (second % 3 === 0) harness.channel.send('m', { second });
    }
    const heartbeats = harness.sent().filter((frame) => JSON.stringify(frame).includes('phoenix'));
    expect(heartbeats).toMatchObject([
      { topic: 'phoenix', event: 'heartbeat', payload: {} },
      { topic: 'phoenix', event: 'heartbeat', payload: {} },
    ]);
  });

  it('end the connection at the fourth without an answer; wrong refs do not count', () => {
    const harness = new Harness();
    harness.join();
    for (let i = 0; i < 3; i++) {
      harness.advance(10_000);
      harness.reply(777, {}, 'ok', 'phoenix');
    }
    expect(harness.events()).toEqual([]);
    harness.advance(10_000);
    expect(harness.events()).toMatchObject([
      { kind: 'hiccup', cause: { kind: 'heartbeats-unanswered' } },
    ]);
    expect(harness.sent()).toHaveLength(4);
  });

  it('keep the connection as long as they are answered', () => {
    const harness = new Harness();
    harness.join();
    for (let i = 0; i < 100; i++) {
      harness.advance(10_000);
      const [heartbeat] = harness.sent();
      harness.reply(refOf(heartbeat), {}, 'ok', 'phoenix');
    }
    expect(harness.events()).toEqual([]);
  });
});

describe('retries', () => {
  it('before the first join come every second, 16 attempts in all', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    const delays = Array.from({ length: 15 }, () => harness.failAttempt());
    expect(delays).toEqual(delays.map(() => 1000));
    harness.channel.handleDialFailed(LOST, harness.now);
    expect(harness.events()).toEqual([
      { kind: 'failed', failure: { kind: 'retries-exhausted', cause: LOST } },
    ]);
  });

  it('after it back off from half a second, with jitter, until the partition budget is spent', () => {
    const harness = new Harness(600_000);
    harness.join();
    harness.channel.handleClosed(LOST, harness.now);
    const [event] = harness.events();
    const delays = [event?.kind === 'hiccup' ? event.delayMs : 0];
    harness.advance(delays[0] ?? 0);
    for (let next = harness.failAttempt(); next !== undefined; next = harness.failAttempt()) {
      delays.push(next);
    }
    let base = 500;
    for (const delay of delays) {
      expect(delay).toBeGreaterThanOrEqual(base);
      expect(delay).toBeLessThanOrEqual(2 * base);
      base = Math.min(60_000, base * 1.5);
    }
    const total = delays.reduce((sum, delay) => sum + delay, 0);
    expect(total).toBeLessThanOrEqual(600_000);
    expect(total).toBeGreaterThan(480_000);
    expect(harness.channel.snapshot().state).toBe('failed');
  });

  it('start afresh after a join and after connect', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    for (let i = 0; i < 14; i++) harness.failAttempt();
    harness.channel.connect({ publicKey: new Uint8Array(32).fill(2) }, harness.now);
    for (let i = 0; i < 15; i++) expect(harness.failAttempt()).toBe(1000);
    harness.open();
    harness.reply(0);
    harness.events();
    for (let i = 0; i < 5; i++) {
      harness.channel.handleClosed(LOST, harness.now);
      const [event] = harness.events();
      expect(event?.kind === 'hiccup' && event.delayMs).toBeLessThanOrEqual(1000);
      harness.advance(1000);
      harness.join();
    }
  });

  it.each([429, 408, 400, 403, 404, 500, 503, 302, 200])('follow status %i', (status) => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    harness.refuse(status);
    expect(harness.events()).toMatchObject([
      { kind: 'hiccup', cause: { kind: 'http-status', status }, delayMs: 1000 },
    ]);
  });

  it('wait at least as long as Retry-After says, a little spread, and use no budget', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    for (let i = 0; i < 100; i++) {
      harness.refuse(i % 2 === 0 ? 429 : 503, { retryAfter: '30' });
      const [event] = harness.events();
      const delay = event?.kind === 'hiccup' ? event.delayMs : 0;
      expect(delay).toBeGreaterThanOrEqual(30_000);
      expect(delay).toBeLessThan(31_000);
      harness.advance(delay);
    }
    for (let i = 0; i < 15; i++) expect(harness.failAttempt()).toBe(1000);
  });

  it('understand Retry-After as a date', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    harness.refuse(503, { retryAfter: 'Sun, 06 Nov 1994 08:50:37 GMT' });
    const [event] = harness.events();
    const delay = event?.kind === 'hiccup' ? event.delayMs : 0;
    expect(delay).toBeGreaterThanOrEqual(60_000);
    expect(delay).toBeLessThan(61_000);
  });

  it('outlast a portal that still holds our previous socket', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    while (harness.now < CONFLICT_BUDGET_MS) {
      harness.refuse(409);
      const [event] = harness.events();
      const delay = event?.kind === 'hiccup' ? event.delayMs : Number.POSITIVE_INFINITY;
      expect(delay).toBeLessThan(2000);
      harness.advance(delay);
    }
    for (let i = 0; i < 14; i++) expect(harness.failAttempt()).toBe(1000);
  });

  it('end at 401, which tells a bad token from a failed authentication', () => {
    const contentType = 'Application/Problem+JSON; charset=utf-8';
    const failure = (more: { contentType?: string; body?: string }): unknown => {
      const harness = new Harness();
      harness.channel.connect(KEY, harness.now);
      harness.refuse(401, more);
      return harness.events();
    };
    const failed = (kind: string, detail?: string): unknown => [
      { kind: 'failed', failure: detail === undefined ? { kind } : { kind, detail } },
    ];
    for (const code of ['invalid_token', 'missing_token']) {
      expect(failure({ contentType, body: JSON.stringify({ code }) })).toEqual(
        failed('invalid-token'),
      );
    }
    const detail = 'no such account';
    expect(failure({ contentType, body: JSON.stringify({ detail, code: 'other' }) })).toEqual(
      failed('authentication-failed', detail),
    );
    const unexplained = failed('authentication-failed', 'no reason provided');
    expect(failure({ contentType, body: '{' })).toEqual(unexplained);
    expect(failure({ contentType: 'text/plain', body: '{"code":"invalid_token"}' })).toEqual(
      unexplained,
    );
    expect(failure({ body: '{"code":"invalid_token"}' })).toEqual(unexplained);
  });
});

describe('dialling and closing', () => {
  it('an attempt ends after 15 s', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    harness.commands();
    harness.now = later(harness.now, CONNECT_TIMEOUT_MS);
    harness.channel.handleTimeout(harness.now);
    expect(harness.commands()).toEqual([{ kind: 'abort' }]);
    expect(harness.events()).toMatchObject([{ cause: { kind: 'connect-timeout' } }]);
  });

  it('connecting again with the same key while dialling changes nothing', () => {
    const harness = new Harness();
    harness.channel.connect(KEY, harness.now);
    expect(harness.commands()).toHaveLength(1);
    harness.channel.connect(KEY, harness.now);
    expect(harness.commands()).toEqual([]);
  });

  it('connecting with a new key closes the old connection before it dials', () => {
    const harness = new Harness();
    harness.join();
    harness.channel.connect({ publicKey: new Uint8Array(32).fill(9) }, harness.now);
    expect(harness.commands()).toEqual([{ kind: 'close', code: 1000 }]);
    harness.receive({ topic: 'gateway', event: 'init', payload: {}, ref: null });
    harness.channel.handleClosed({ kind: 'close-frame', code: 1000, reason: '' }, harness.now);
    expect(harness.commands()).toMatchObject([
      { kind: 'dial', request: { target: { path: expect.stringContaining('CQkJ') } } },
    ]);
    expect(harness.events()).toEqual([]);
  });

  it('a predecessor that does not finish its close is dropped', () => {
    const harness = new Harness();
    harness.join();
    harness.channel.connect(KEY, harness.now);
    harness.commands();
    harness.now = later(harness.now, CLOSE_TIMEOUT_MS);
    harness.channel.handleTimeout(harness.now);
    expect(harness.commands()).toMatchObject([{ kind: 'abort' }, { kind: 'dial' }]);
  });

  it('close ends in closed, from every state', () => {
    const closed = [{ kind: 'closed' }];
    const idle = new Harness();
    idle.channel.close(idle.now);
    expect(idle.events()).toEqual(closed);
    const dialling = new Harness();
    dialling.channel.connect(KEY, dialling.now);
    dialling.channel.close(dialling.now);
    expect(dialling.events()).toEqual(closed);
    const waiting = new Harness();
    waiting.channel.connect(KEY, waiting.now);
    waiting.channel.handleDialFailed(LOST, waiting.now);
    waiting.events();
    waiting.channel.close(waiting.now);
    expect(waiting.events()).toEqual(closed);
    expect(waiting.channel.pollTimeout()).toBeUndefined();
    const open = new Harness();
    open.join();
    open.channel.close(open.now);
    open.channel.handleClosed(LOST, open.now);
    expect(open.events()).toEqual(closed);
  });

  it('survives any order of inputs, and always knows when to wake or that it is over', () => {
    const input = fc.oneof(
      fc.constantFrom('connect', 'close', 'opened', 'closed', 'dial-failed', 'timeout', 'send'),
      fc.constantFrom(
        { topic: 'gateway', event: 'phx_reply', payload: { status: 'ok', response: {} }, ref: 0 },
        { topic: 'gateway', event: 'phx_close', payload: {}, ref: null },
        {
          topic: 'gateway',
          event: 'phx_reply',
          payload: { status: 'error', response: { reason: 'unmatched topic' } },
          ref: 1,
        },
      ),
      fc.string(),
      fc.constantFrom(401, 409, 503),
    );
    fc.assert(
      fc.property(fc.array(input, { maxLength: 60 }), (inputs) => {
        const harness = new Harness();
        for (const step of inputs) {
          harness.now = later(harness.now, 700);
          if (step === 'connect') harness.channel.connect(KEY, harness.now);
          else if (step === 'close') harness.channel.close(harness.now);
          else if (step === 'opened') harness.channel.handleOpened(harness.now);
          else if (step === 'closed') harness.channel.handleClosed(LOST, harness.now);
          else if (step === 'dial-failed') harness.channel.handleDialFailed(LOST, harness.now);
          else if (step === 'timeout') harness.channel.handleTimeout(harness.now);
          else if (step === 'send') harness.channel.send('m', {});
          else if (typeof step === 'number') harness.refuse(step, { retryAfter: '1' });
          else if (typeof step === 'string') harness.channel.handleText(step, harness.now);
          else harness.receive(step);
          harness.commands();
          const { state } = harness.channel.snapshot();
          const isAtRest = state === 'closed' || state === 'failed';
          expect(harness.channel.pollTimeout() === undefined).toBe(isAtRest);
        }
      }),
      { numRuns: 200 },
    );
  });
});
