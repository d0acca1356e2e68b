// When a channel dials, retries, gives up and closes.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChannelHarness as Harness, KEY, LOST } from '../../../test/support/channel-harness.ts';
import { later } from '../../base/time.ts';
import { CONFLICT_BUDGET_MS, CONNECT_TIMEOUT_MS, PREDECESSOR_CLOSE_TIMEOUT_MS } from './channel.ts';

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
    harness.now = later(harness.now, PREDECESSOR_CLOSE_TIMEOUT_MS);
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
