// When a pair of tunnels speaks: connectivity 7.8 and 11.33 to 11.44, message by message over a virtual link.

import { describe, expect, it } from 'vitest';
import { Pair, type SideName } from '../../../test/support/wireguard-pair.ts';
import { instant } from '../../base/time.ts';

const SECOND = 1000;

/** Sends one packet each `interval` for `count` times. */
function stream(pair: Pair, from: SideName, interval: number, count: number): void {
  for (let i = 0; i < count; i++) {
    pair.send(from);
    pair.run(interval);
  }
}

describe('an unanswered initiation', () => {
  it('is repeated every 5 s to 5.333 s, ends after 20 s, and an explicit handshake revives the tunnel', () => {
    const pair = new Pair();
    pair.rule = () => [];
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(19_999);
    const times = pair.sentBy('client', 'initiation').map((message) => message.at);
    expect(times.length).toBe(4);
    for (const [i, time] of times.slice(1).entries()) {
      const gap = time - (times[i] ?? 0);
      expect(gap).toBeGreaterThanOrEqual(5000);
      expect(gap).toBeLessThan(5333);
    }
    expect(pair.client.tunnel.isExpired).toBe(false);
    pair.run(1);
    expect(pair.client.tunnel.isExpired).toBe(true);
    expect(pair.client.countOf('expired')).toBe(1);
    pair.run(1200 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(4);
    expect(pair.client.tunnel.pollTimeout()).toBeUndefined();

    pair.rule = () => [10];
    pair.connect();
    expect(pair.send('client')).toBe('sealed');
    pair.run(100);
    expect(pair.gateway.received.length).toBe(1);
  });

  it('is not sent twice by two wishes', () => {
    const pair = new Pair();
    pair.client.tunnel.startHandshake(pair.now);
    pair.client.tunnel.startHandshake(pair.now);
    pair.flush();
    expect(pair.sentBy('client', 'initiation').length).toBe(1);
  });

  it('has the same jitter for the same seed', () => {
    const times = [7, 7, 8].map((seed) => {
      const pair = new Pair(seed);
      pair.rule = () => [];
      pair.client.tunnel.startHandshake(pair.now);
      pair.run(18 * SECOND);
      return pair.sentBy('client', 'initiation').map((message) => message.at);
    });
    expect(times[0]).toEqual(times[1]);
    expect(times[0]).not.toEqual(times[2]);
  });
});

describe('the initiator', () => {
  it('renews a session of 120 s that it sent data on', () => {
    const pair = new Pair();
    pair.connect();
    pair.send('client');
    pair.run(10);
    pair.send('gateway');
    pair.run(119 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(1);
    pair.run(2 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(2);
    expect(pair.sentBy('gateway', 'initiation').length).toBe(0);
    expect(pair.client.countOf('established')).toBe(2);
  });

  it('renews a session of 165 s that it received data on', () => {
    const pair = new Pair();
    pair.connect();
    pair.send('gateway');
    pair.run(164 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(1);
    pair.run(2 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(2);
  });

  it('does not send on a session older than 170 s, and renews it by itself at 180 s', () => {
    const pair = new Pair();
    pair.connect();
    pair.run(169 * SECOND);
    expect(pair.client.tunnel.sendSlot(pair.now)).toBeGreaterThanOrEqual(0);
    pair.run(1 * SECOND);
    expect(pair.client.tunnel.sendSlot(pair.now)).toBe(-1);
    expect(pair.send('client')).toBe('no-session');
    expect(pair.client.tunnel.snapshot().sessions.length).toBe(1);
    expect(pair.sentBy('client', 'initiation').length).toBe(1);
    pair.run(11 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(2);
    expect(pair.send('client')).toBe('sealed');
  });

  it('keeps an idle connection alive with one handshake each 180 s', () => {
    const pair = new Pair();
    pair.connect();
    pair.run(3600 * SECOND);
    const count = pair.sentBy('client', 'initiation').length;
    expect(count).toBeGreaterThanOrEqual(19);
    expect(count).toBeLessThanOrEqual(21);
    expect(pair.client.countOf('expired') + pair.gateway.countOf('expired')).toBe(0);
    expect(pair.sentBy('gateway', 'initiation').length).toBe(0);
  });
});

describe('the responder', () => {
  it('never renews by age, sends until 180 s, and is silent afterwards', () => {
    const pair = new Pair();
    pair.connect();
    pair.rule = (_, from) => (from === 'client' ? [] : [10]);
    pair.run(179 * SECOND);
    expect(pair.gateway.tunnel.sendSlot(pair.now)).toBeGreaterThanOrEqual(0);
    pair.run(1 * SECOND);
    expect(pair.send('gateway')).toBe('no-session');
    const before = pair.sent.filter((message) => message.from === 'gateway').length;
    pair.run(300 * SECOND);
    expect(pair.sent.filter((message) => message.from === 'gateway').length).toBe(before);
  });

  it('does not send on a new session until something authentic arrives on it', () => {
    const pair = new Pair();
    pair.rule = (bytes) => (bytes.length === 32 ? [] : [10]);
    pair.connect();
    expect(pair.gateway.tunnel.sendSlot(pair.now)).toBe(-1);
    expect(pair.gateway.countOf('session-installed')).toBe(1);
    expect(pair.gateway.countOf('established')).toBe(0);
    pair.rule = () => [10];
    pair.send('client');
    pair.run(20);
    expect(pair.gateway.tunnel.sendSlot(pair.now)).toBeGreaterThanOrEqual(0);
    expect(pair.gateway.countOf('established')).toBe(1);
  });
});

describe('unanswered data', () => {
  it.each(['client', 'gateway'] as const)(
    'of the %s leads to one initiation 15 s after the first packet; later ones do not postpone it',
    (name) => {
      const pair = new Pair();
      pair.connect();
      pair.rule = () => [];
      const start = pair.now;
      const before = pair.sentBy(name, 'initiation').length;
      stream(pair, name, SECOND, 15);
      expect(pair.sentBy(name, 'initiation').length).toBe(before);
      stream(pair, name, 100, 4);
      const initiations = pair.sentBy(name, 'initiation').slice(before);
      expect(initiations.length).toBe(1);
      expect((initiations[0]?.at ?? 0) - start).toBeGreaterThanOrEqual(15_000);
      expect((initiations[0]?.at ?? 0) - start).toBeLessThan(15_334);
    },
  );
});

describe('one-way data', () => {
  it('is answered by exactly one keepalive after 10 s, which is not answered and suppresses a handshake', () => {
    const pair = new Pair();
    pair.connect();
    pair.run(SECOND);
    const start = pair.now;
    pair.send('client');
    pair.run(100 * SECOND);
    const keepalives = pair.sentBy('gateway', 'keepalive', start);
    expect(keepalives.map((message) => message.at)).toEqual([start + 10 + 10_000]);
    expect(pair.sentBy('client', 'keepalive', start).length).toBe(0);
    expect(pair.sentBy('client', 'initiation', start).length).toBe(0);
  });

  it('that never pauses is answered every 10 s and needs no handshake (14.24)', () => {
    const pair = new Pair();
    pair.connect();
    const start = pair.now;
    stream(pair, 'gateway', 500, 200);
    expect(pair.sentBy('client', 'keepalive', start + 1000).length).toBe(9);
    expect(pair.sentBy('gateway', 'initiation').length).toBe(0);
    expect(pair.gateway.countOf('established')).toBe(1);
  });
});

describe('the end of a tunnel', () => {
  it('does not come from an unanswered initiation when the peer set up a session meanwhile', () => {
    const pair = new Pair();
    pair.connect();
    pair.rule = (bytes, from) => (from === 'gateway' && bytes.length === 148 ? [] : [10]);
    pair.gateway.tunnel.startHandshake(pair.now);
    pair.run(2 * SECOND);
    pair.connect();
    pair.run(60 * SECOND);
    expect(pair.gateway.tunnel.isExpired).toBe(false);
    expect(pair.sentBy('gateway', 'initiation').length).toBe(1);
  });

  it('comes 540 s after the last handshake', () => {
    const pair = new Pair();
    pair.connect();
    pair.rule = () => [];
    pair.run(539 * SECOND);
    expect(pair.gateway.tunnel.isExpired).toBe(false);
    pair.run(2 * SECOND);
    expect(pair.gateway.tunnel.isExpired).toBe(true);
    expect(pair.gateway.tunnel.snapshot().sessions).toEqual([]);
  });

  it('comes 540 s after creation if there never was a handshake', () => {
    const pair = new Pair();
    pair.run(539_999);
    expect(pair.gateway.tunnel.isExpired).toBe(false);
    pair.run(1);
    expect(pair.gateway.tunnel.isExpired).toBe(true);
  });

  it('is seen by a single very late call', () => {
    const pair = new Pair();
    pair.connect();
    pair.gateway.tunnel.handleTimeout(instant(10_000 * SECOND));
    expect(pair.gateway.tunnel.isExpired).toBe(true);
    expect(pair.gateway.tunnel.sendSlot(instant(10_000 * SECOND))).toBe(-1);
  });
});

describe('without a session', () => {
  it('sealing has no side effect and no handshake follows', () => {
    const pair = new Pair();
    expect(pair.send('gateway')).toBe('no-session');
    expect(pair.send('client')).toBe('no-session');
    pair.run(100 * SECOND);
    expect(pair.sent).toEqual([]);
  });

  it('packets wait for a handshake that is under way, on both sides (14.25)', () => {
    const pair = new Pair();
    pair.client.tunnel.startHandshake(pair.now);
    expect(pair.send('client')).toBe('waiting');
    pair.run(15);
    expect(pair.send('gateway')).toBe('waiting');
    pair.run(100);
    expect(pair.client.received.length).toBe(1);
    expect(pair.gateway.received.length).toBe(1);
  });

  it('waiting packets are bounded and do not wait for ever', () => {
    const pair = new Pair();
    pair.rule = () => [];
    pair.client.tunnel.startHandshake(pair.now);
    for (let i = 0; i < 40; i++) pair.send('client');
    expect(pair.client.tunnel.snapshot().waitingPackets).toBe(32);
    expect(pair.client.tunnel.drops.get('waiting-too-many')).toBe(8);
    pair.run(4.9 * SECOND);
    pair.rule = () => [200];
    pair.run(2 * SECOND);
    expect(pair.client.countOf('established')).toBe(1);
    expect(pair.gateway.received.length).toBe(0);
  });
});
