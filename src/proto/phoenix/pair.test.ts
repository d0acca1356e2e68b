// Both halves of the protocol on a virtual wire with a virtual clock: a component's channel and the portal's socket.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SILENT_LOG } from '../../base/log.ts';
import { SeededRandom } from '../../base/random.ts';
import { earliest, type Instant, instant, later, unixMillis, WallClock } from '../../base/time.ts';
import { PhoenixChannel } from './channel.ts';
import { type NoParams, relayLoginUrl } from './login-url.ts';
import { IDLE_TIMEOUT_MS, ServerSocket } from './server.ts';

/** Texts arrive at once; a broken wire loses what is under way and is noticed by both. */
class Wire {
  now: Instant = instant(0);
  readonly channel: PhoenixChannel<NoParams>;
  server: ServerSocket | undefined;
  readonly atPortal: unknown[] = [];
  readonly atComponent: unknown[] = [];
  readonly lifecycle: string[] = [];

  constructor() {
    const login = relayLoginUrl({ apiUrl: 'wss://portal.test', port: 3478 });
    if (login.kind === 'invalid') throw new Error(login.problem);
    this.channel = new PhoenixChannel(
      {
        loginUrl: login.url,
        token: undefined,
        userAgent: '',
        joinPayload: { stamp_secret: 's' },
        partitionBudgetMs: Number.POSITIVE_INFINITY,
      },
      {
        random: new SeededRandom(7),
        wallClock: new WallClock(instant(0), unixMillis(0)),
        log: SILENT_LOG,
      },
    );
    this.channel.connect({}, this.now);
    this.exchange();
  }

  exchange(): void {
    for (let isBusy = true; isBusy; ) {
      isBusy = this.#pumpChannel() || this.#pumpServer();
    }
  }

  break(): void {
    this.server = undefined;
    this.channel.handleClosed({ kind: 'connection-lost', detail: 'broken' }, this.now);
    this.exchange();
  }

  advance(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    for (;;) {
      const next = earliest(this.channel.pollTimeout(), this.server?.pollTimeout());
      if (next === undefined || next > end) break;
      this.now = next;
      this.channel.handleTimeout(next);
      this.server?.handleTimeout(next);
      this.exchange();
    }
    this.now = end;
  }

  #pumpChannel(): boolean {
    const command = this.channel.pollTransmit();
    if (command?.kind === 'dial') {
      const config = { topic: 'relay', idleTimeoutMs: IDLE_TIMEOUT_MS.relay };
      this.server = new ServerSocket(config, this.now);
      this.channel.handleOpened(this.now);
    } else if (command?.kind === 'send') {
      this.server?.handleText(command.text, this.now);
    } else if (command !== undefined) {
      this.server = undefined;
      if (command.kind === 'close') {
        this.channel.handleClosed({ kind: 'close-frame', code: 1000, reason: '' }, this.now);
      }
    }
    const event = this.channel.pollEvent();
    if (event?.kind === 'message') this.atComponent.push(event.payload);
    else if (event !== undefined) this.lifecycle.push(event.kind);
    return command !== undefined || event !== undefined;
  }

  #pumpServer(): boolean {
    const text = this.server?.pollText();
    if (text !== undefined) this.channel.handleText(text, this.now);
    const event = this.server?.pollEvent();
    if (event?.kind === 'join-requested') {
      expect(event.payload).toEqual({ stamp_secret: 's' });
      this.server?.acceptJoin();
    } else if (event?.kind === 'message') {
      this.atPortal.push(event.payload);
      this.server?.reply(event.ref, { kind: 'ok' });
    } else if (event?.kind === 'ended') {
      this.lifecycle.push(`portal: ${event.reason}`);
      this.break();
    }
    return text !== undefined || event !== undefined;
  }
}

describe('both halves together', () => {
  it('stay connected for a day on heartbeats alone', () => {
    const wire = new Wire();
    wire.advance(86_400_000);
    expect(wire.lifecycle).toEqual(['connected']);
    expect(wire.channel.snapshot().drops).toEqual({});
    expect(wire.server?.snapshot().drops).toEqual({});
  });

  it('notice a channel that the portal closes, and join again', () => {
    const wire = new Wire();
    wire.server?.closeChannel();
    wire.exchange();
    wire.advance(1000);
    expect(wire.lifecycle).toEqual(['connected', 'hiccup', 'connected']);
  });

  it('lose nothing and reorder nothing while the wire holds, whatever happened before', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constantFrom('up', 'down') }),
      fc.record({ kind: fc.constant('break') }),
      fc.record({ kind: fc.constant('wait'), ms: fc.integer({ min: 1, max: 60_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const wire = new Wire();
        const [sentUp, sentDown]: [number[], number[]] = [[], []];
        for (const [n, { kind, ...more }] of steps.entries()) {
          if (kind === 'up' && wire.channel.send('n', n) === 'queued') sentUp.push(n);
          if (kind === 'down' && wire.server?.push('n', n)) sentDown.push(n);
          if (kind === 'break') wire.break();
          if ('ms' in more) wire.advance(more.ms);
          wire.exchange();
        }
        expect(wire.atPortal).toEqual(sentUp);
        expect(wire.atComponent).toEqual(sentDown);
        wire.advance(180_000);
        expect(wire.channel.isConnected).toBe(true);
      }),
    );
  });
});
