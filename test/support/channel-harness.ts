// A `PhoenixChannel` with a clock of its own and a socket that is only a list of commands, for its tests.

import { expect } from 'vitest';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Instant, instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import {
  type ChannelEvent,
  PhoenixChannel,
  type SocketCommand,
} from '../../src/proto/phoenix/channel.ts';
import type { HiccupCause } from '../../src/proto/phoenix/failures.ts';
import {
  gatewayLoginUrl,
  type LoginUrl,
  type NoParams,
  type PublicKeyParams,
  relayLoginUrl,
} from '../../src/proto/phoenix/login-url.ts';

export const KEY: PublicKeyParams = { publicKey: new Uint8Array(32).fill(1) };
export const LOST: HiccupCause = { kind: 'connection-lost', detail: 'gone' };

export function gatewayUrl(): LoginUrl<PublicKeyParams> {
  const login = { apiUrl: 'wss://portal.test/', firezoneId: 'id', name: 'gw' };
  const result = gatewayLoginUrl(login, createSeededCrypto(1));
  if (result.kind === 'invalid') throw new Error(result.problem);
  return result.url;
}

export function relayUrl(): LoginUrl<NoParams> {
  const result = relayLoginUrl({ apiUrl: 'wss://portal.test/', port: 3478 });
  if (result.kind === 'invalid') throw new Error(result.problem);
  return result.url;
}

export class ChannelHarness {
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

export function refOf(frame: unknown): unknown {
  return (frame as { ref: unknown }).ref;
}
