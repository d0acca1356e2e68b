import { describe, expect, it } from 'vitest';
import {
  gatewayUrl,
  ChannelHarness as Harness,
  KEY,
  LOST,
  refOf,
  relayUrl,
} from '../../../test/support/channel-harness.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { SeededRandom } from '../../base/random.ts';
import { instant, unixMillis, WallClock } from '../../base/time.ts';
import { PhoenixChannel } from './channel.ts';
import { QUEUE_LIMIT } from './connection.ts';

const JOIN = '{"topic":"gateway","event":"phx_join","payload":null,"ref":0}';

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
