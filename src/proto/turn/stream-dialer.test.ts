// The order in which streams to a relay are tried (RFC 8305 §5).

import { describe, expect, it } from 'vitest';
import { type Endpoint, parseEndpoint } from '../../base/address.ts';
import { streamEndpoint } from '../../base/stream-endpoint.ts';
import { type Instant, instant } from '../../base/time.ts';
import { StreamDialer, type StreamTarget } from './stream-dialer.ts';

const at = (text: string): Endpoint => parseEndpoint(text) as Endpoint;
const TARGETS: readonly StreamTarget[] = [
  { remote: at('203.0.113.1:3478'), isSecure: false },
  { remote: at('203.0.113.1:443'), isSecure: true },
  { remote: at('203.0.113.1:5349'), isSecure: true },
];

class Trial {
  readonly dialer: StreamDialer;
  readonly names: Endpoint[] = [];

  constructor(targets = TARGETS) {
    this.dialer = new StreamDialer(targets, (target) => this.#name(target), instant(0));
  }

  at(ms: number): Instant {
    this.dialer.handleTimeout(instant(ms));
    return instant(ms);
  }

  name(index: number): Endpoint {
    return this.names[index] ?? expect.unreachable();
  }

  commands(): string[] {
    const lines: string[] = [];
    for (let next = this.dialer.pollCommand(); next; next = this.dialer.pollCommand()) {
      const port = next.kind === 'open-stream' ? next.target.remote.port : next.stream.port;
      lines.push(`${next.kind} ${port}`);
    }
    return lines;
  }

  #name({ remote }: StreamTarget): Endpoint {
    const name = streamEndpoint(this.names.length + 1, remote.port);
    this.names.push(name);
    return name;
  }
}

describe('a dialer', () => {
  it('tries the next kind half a second after the one before, or when that has failed', () => {
    const trial = new Trial();
    expect(trial.commands()).toEqual(['open-stream 3478']);
    trial.at(499);
    expect(trial.commands()).toEqual([]);
    trial.at(500);
    expect(trial.commands()).toEqual(['open-stream 443']);
    trial.dialer.handleClosed(trial.name(1), instant(600));
    expect(trial.commands()).toEqual(['open-stream 5349']);
    expect(trial.dialer.pollTimeout()).toBe(5000);
  });

  it('takes the first that opens, and ends the others', () => {
    const trial = new Trial();
    trial.at(500);
    trial.commands();
    expect(trial.dialer.handleOpened(trial.name(1))).toBe(TARGETS[1]);
    expect(trial.commands()).toEqual(['close-stream 3478']);
    expect(trial.dialer.handleOpened(trial.name(0))).toBeUndefined();
    expect(trial.dialer.pollTimeout()).toBeUndefined();
    expect(trial.dialer.isExhausted).toBe(false);
  });

  it('goes on with what was interrupted or not tried when the winner was nothing', () => {
    const trial = new Trial();
    trial.at(500);
    trial.dialer.handleOpened(trial.name(1));
    trial.commands();
    trial.dialer.resume(instant(9000));
    expect(trial.commands()).toEqual(['open-stream 3478']);
    trial.at(9500);
    expect(trial.commands()).toEqual(['open-stream 5349']);
  });

  it('gives each five seconds, and is exhausted when all have failed', () => {
    const trial = new Trial();
    for (let ms = 0; ms <= 6000; ms += 100) trial.at(ms);
    expect(trial.commands()).toEqual([
      'open-stream 3478',
      'open-stream 443',
      'open-stream 5349',
      'close-stream 3478',
      'close-stream 443',
      'close-stream 5349',
    ]);
    expect(trial.dialer.isExhausted).toBe(true);
    expect(trial.dialer.pollTimeout()).toBeUndefined();
  });

  it('has nothing to do without targets', () => {
    const trial = new Trial([]);
    expect(trial.commands()).toEqual([]);
    expect(trial.dialer.isExhausted).toBe(true);
  });
});
