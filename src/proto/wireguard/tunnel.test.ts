// What a pair of tunnels accepts and refuses, and that it stays connected over a bad link: connectivity 7.3 to 7.7 and 11.38 to 11.42.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { echoPacket, Pair, Side, type SideName } from '../../../test/support/wireguard-pair.ts';
import { concat, viewOf } from '../../base/bytes.ts';
import { instant } from '../../base/time.ts';
import { SESSION_SLOTS } from './limits.ts';

const SECOND = 1000;

/** The first message of a kind that a side sent. */
function firstOf(pair: Pair, name: SideName, kind: string): Uint8Array {
  return pair.sentBy(name, kind)[0]?.bytes ?? expect.unreachable();
}

function lastDrop(side: Side): string | undefined {
  return side.drops.at(-1);
}

describe('a handshake', () => {
  it('takes an initiation, a response and a keepalive', () => {
    const pair = new Pair();
    pair.connect();
    expect(pair.sent.map(({ from, kind, at }) => [from, kind, at])).toEqual([
      ['client', 'initiation', 0],
      ['gateway', 'response', 10],
      ['client', 'keepalive', 20],
    ]);
    expect(pair.client.events.map((event) => event.kind)).toEqual([
      'session-installed',
      'established',
    ]);
    expect(pair.gateway.events.map((event) => event.kind)).toEqual([
      'session-installed',
      'established',
    ]);
    expect(pair.client.tunnel.snapshot().sessions[0]?.localIndex).toBe(0x00c11e01);
    expect(pair.gateway.tunnel.snapshot().sessions[0]?.localIndex).toBe(0xfa7e1101);
  });

  it('that is replayed is refused by its timestamp', () => {
    const pair = new Pair();
    pair.connect();
    pair.gateway.deliver(firstOf(pair, 'client', 'initiation'), pair.client.address, pair.now);
    expect(lastDrop(pair.gateway)).toBe('old-timestamp');
    expect(pair.gateway.countOf('session-installed')).toBe(1);
  });

  it('that was altered is refused by its mac, before any decryption', () => {
    const pair = new Pair();
    pair.rule = () => [];
    pair.client.tunnel.startHandshake(pair.now);
    pair.flush();
    const altered = firstOf(pair, 'client', 'initiation').slice();
    altered[60] = (altered[60] ?? 0) ^ 1;
    pair.gateway.deliver(altered, pair.client.address, pair.now);
    expect(lastDrop(pair.gateway)).toBe('wrong-mac1');
  });

  it('of another key pair is refused in silence', () => {
    const pair = new Pair();
    const stranger = new Side('client', 5, { privateKey: new Uint8Array(32).fill(3) });
    stranger.tunnel.startHandshake(pair.now);
    const bytes = stranger.tunnel.pollDatagram() ?? expect.unreachable();
    pair.gateway.deliver(bytes, stranger.address, pair.now);
    expect(lastDrop(pair.gateway)).toBe('wrong-key');
    expect(pair.gateway.takeOutput()).toEqual([]);
  });

  it('with a response that answers no initiation is refused', () => {
    const pair = new Pair();
    pair.connect();
    pair.client.deliver(firstOf(pair, 'gateway', 'response'), pair.gateway.address, pair.now);
    expect(lastDrop(pair.client)).toBe('unexpected');
  });

  it('is completed by a response to the initiation before the last', () => {
    const pair = new Pair();
    pair.rule = (_, from) => (from === 'client' ? [10] : [5500]);
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(5.6 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(2);
    expect(pair.client.countOf('established')).toBe(1);
    pair.rule = () => [10];
    pair.run(10 * SECOND);
    pair.send('client');
    pair.run(SECOND);
    expect(pair.gateway.received.length).toBe(1);
  });

  it('started by both sides at once converges', () => {
    const pair = new Pair();
    pair.client.tunnel.startHandshake(pair.now);
    pair.gateway.tunnel.startHandshake(pair.now);
    pair.run(100);
    expect(pair.send('client')).toBe('sealed');
    expect(pair.send('gateway')).toBe('sealed');
    pair.run(100);
    expect(pair.client.received.length + pair.gateway.received.length).toBe(2);
    pair.run(60 * SECOND);
    expect(pair.sentBy('client', 'initiation').length).toBe(1);
    expect(pair.sentBy('gateway', 'initiation').length).toBe(1);
  });

  it('with a key of low order is neither started nor answered', () => {
    const pair = new Pair();
    const weak = new Side('gateway', 5, { remotePublicKey: new Uint8Array(32) });
    weak.tunnel.startHandshake(pair.now);
    expect(weak.takeOutput()).toEqual([]);
    pair.client.tunnel.startHandshake(pair.now);
    pair.flush();
    weak.deliver(firstOf(pair, 'client', 'initiation'), pair.client.address, pair.now);
    expect(lastDrop(weak)).toBe('weak-key');
  });
});

describe('sessions', () => {
  it('the old one still opens what is under way while the new one takes over', () => {
    const pair = new Pair();
    pair.connect();
    pair.rule = (bytes) => (bytes.length === 60 ? [500] : [10]);
    pair.send('gateway');
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(100);
    expect(pair.client.countOf('established')).toBe(2);
    pair.run(SECOND);
    expect(pair.client.received.length).toBe(1);
  });

  it('twelve handshakes in a row keep the connection, and the eighth before is removed', () => {
    const pair = new Pair();
    for (let i = 0; i < 12; i++) {
      pair.connect();
      pair.send('client');
      pair.send('gateway');
      pair.run(100);
      expect(pair.gateway.received.length).toBe(i + 1);
      expect(pair.client.received.length).toBe(i + 1);
    }
    expect(pair.gateway.tunnel.snapshot().sessions.length).toBe(SESSION_SLOTS);
    expect(pair.gateway.countOf('session-removed')).toBe(12 - SESSION_SLOTS);
    pair.run(200 * SECOND);
    expect(pair.gateway.tunnel.snapshot().sessions.length).toBeLessThanOrEqual(1);
  });

  it('are refused when no key slot is free', () => {
    const pair = new Pair();
    while (pair.gateway.aead.install(new Uint8Array(32), new Uint8Array(32), 1) >= 0);
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(100);
    expect(lastDrop(pair.gateway)).toBe('no-slot');
  });

  it('end below 2^53 messages, and are renewed long before', () => {
    const pair = new Pair();
    pair.connect();
    const slot = pair.client.tunnel.sendSlot(pair.now);
    pair.client.aead.sendCounters[slot] = 2 ** 52;
    pair.client.tunnel.noteSent(pair.now);
    expect(pair.client.tunnel.sendSlot(pair.now)).toBe(slot);
    expect(pair.client.tunnel.pollTimeout()).toBe(pair.now);
    pair.client.aead.sendCounters[slot] = 2 ** 53 - 2 ** 13 - 1;
    expect(pair.client.tunnel.sendSlot(pair.now)).toBe(-1);
    pair.run(SECOND);
    expect(pair.client.countOf('established')).toBe(2);
  });

  it('leave no key behind after close', () => {
    const pair = new Pair();
    pair.connect();
    pair.client.tunnel.close();
    for (let slot = 0; slot < pair.client.aead.capacity; slot++) {
      expect(pair.client.aead.openOne(slot, new Uint8Array(32))).toBeUndefined();
    }
  });
});

describe('data messages', () => {
  function sealed(pair: Pair, packet: Uint8Array): Uint8Array {
    pair.rule = () => [];
    pair.send('client', packet);
    return pair.sent.at(-1)?.bytes ?? expect.unreachable();
  }

  function connected(padding: 'none' | 'to-16' = 'none'): Pair {
    const pair = new Pair(1, { padding });
    pair.connect();
    return pair;
  }

  it('cost 32 bytes more than their packet, and up to 15 more with padding', () => {
    expect(sealed(connected(), echoPacket()).length).toBe(28 + 32);
    expect(sealed(connected('to-16'), echoPacket()).length).toBe(32 + 32);
    expect(sealed(connected('to-16'), echoPacket(1280 - 28)).length).toBe(1280 + 32);
  });

  it('lose their padding on receipt', () => {
    const pair = connected('to-16');
    pair.send('client');
    pair.run(100);
    expect(pair.gateway.received).toEqual([echoPacket()]);
  });

  it('with a flipped bit, a wrong index or no session are refused', () => {
    const pair = connected();
    const bytes = sealed(pair, echoPacket());
    const from = pair.client.address;
    const altered = bytes.slice();
    altered[30] = (altered[30] ?? 0) ^ 4;
    pair.gateway.deliver(altered, from, pair.now);
    expect(lastDrop(pair.gateway)).toBe('not-authenticated');
    const otherIndex = bytes.slice();
    viewOf(otherIndex).setUint32(4, 0xfa7e1109, true);
    pair.gateway.deliver(otherIndex, from, pair.now);
    expect(lastDrop(pair.gateway)).toBe('wrong-index');
    viewOf(otherIndex).setUint32(4, 0xfa7e1102, true);
    pair.gateway.deliver(otherIndex, from, pair.now);
    expect(lastDrop(pair.gateway)).toBe('no-session');
    pair.gateway.deliver(bytes, from, pair.now);
    pair.gateway.deliver(bytes, from, pair.now);
    expect(lastDrop(pair.gateway)).toBe('replayed');
    expect(pair.gateway.received.length).toBe(1);
  });

  it('that were not authentic do not move the window', () => {
    const pair = connected();
    const bytes = sealed(pair, echoPacket());
    const forged = bytes.slice();
    viewOf(forged).setUint32(8, 1_000_000, true);
    pair.gateway.deliver(forged, pair.client.address, pair.now);
    pair.gateway.deliver(bytes, pair.client.address, pair.now);
    expect(pair.gateway.received.length).toBe(1);
  });

  it('whose content is no IP packet or shorter than it claims are refused', () => {
    const noise = new Uint8Array(40).fill(0x11);
    const tooShort = echoPacket();
    tooShort[3] = 29;
    const v6 = concat(Uint8Array.of(0x60, 0, 0, 0, 0, 1), new Uint8Array(34));
    for (const content of [noise, tooShort, v6, new Uint8Array(1), echoPacket().subarray(0, 19)]) {
      const pair = connected();
      pair.gateway.deliver(sealed(pair, content), pair.client.address, pair.now);
      expect(lastDrop(pair.gateway)).toBe('not-ip');
      expect(pair.gateway.received).toEqual([]);
    }
  });

  it('are cut to the length of their IP packet', () => {
    const pair = connected();
    const padded = concat(echoPacket(), new Uint8Array(20));
    pair.gateway.deliver(sealed(pair, padded), pair.client.address, pair.now);
    expect(pair.gateway.received).toEqual([echoPacket()]);
  });

  it('larger than any MTU are not sealed', () => {
    expect(connected().send('client', echoPacket(9000))).toBe('too-large');
  });

  it('that a batch opened pass the same window by slot', () => {
    const pair = connected();
    const tunnel = pair.gateway.tunnel;
    const slot = tunnel.receiveSlot(0xfa7e1101);
    expect(slot).toBeGreaterThanOrEqual(0);
    expect(tunnel.receiveSlot(0xfa7e1102)).toBe(-1);
    expect(tunnel.acceptCounter(slot, 5, 0, 28, pair.now)).toBe(true);
    expect(tunnel.acceptCounter(slot, 5, 0, 28, pair.now)).toBe(false);
    expect(tunnel.acceptCounter(slot, 0, 0x20_0000, 28, pair.now)).toBe(false);
    expect(tunnel.acceptCounter(slot, 0xffff_ff00 | 0, 0, 28, pair.now)).toBe(true);
    expect(tunnel.acceptCounter(slot, 0xffff_ff00 | 0, 0, 28, pair.now)).toBe(false);
    expect(tunnel.acceptCounter(slot, 0, -1, 28, pair.now)).toBe(false);
    expect(tunnel.acceptCounter(slot + 1, 6, 0, 28, pair.now)).toBe(false);
    expect(tunnel.acceptCounter(slot, 6, 0, 28, instant(181 * SECOND))).toBe(false);
    expect(tunnel.drops.snapshot()).toEqual({
      replayed: 2,
      'too-old': 2,
      'no-session': 1,
      'expired-session': 1,
    });
  });
});

describe('any link', () => {
  it('that loses, delays, reorders and repeats messages leaves the pair connected and delivers nothing twice', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1e6 }),
        fc.double({ min: 0, max: 0.3 }),
        (seed, loss) => {
          const pair = new Pair(seed);
          let state = seed;
          const chance = (): number => {
            state = (Math.imul(state, 1103515245) + 12345) >>> 0;
            return state / 0x1_0000_0000;
          };
          pair.rule = () => {
            if (chance() < loss) return [];
            const delay = 5 + chance() * 200;
            return chance() < 0.2 ? [delay, delay + chance() * 1000] : [delay];
          };
          pair.client.tunnel.startHandshake(pair.now);
          let sent = 0;
          for (let i = 0; i < 60; i++) {
            pair.run(7 * SECOND);
            if (pair.client.tunnel.isExpired) pair.client.tunnel.startHandshake(pair.now);
            for (const name of ['client', 'gateway'] as const) {
              if (pair.send(name) === 'sealed') sent += 1;
            }
          }
          const received = pair.client.received.length + pair.gateway.received.length;
          expect(received).toBeLessThanOrEqual(sent);
          pair.rule = () => [10];
          pair.run(30 * SECOND);
          if (pair.client.tunnel.isExpired) pair.connect();
          expect(pair.send('client')).toBe('sealed');
          expect(pair.send('gateway')).toBe('sealed');
        },
      ),
      { numRuns: 12 },
    );
  });
});

describe('timeouts', () => {
  it('never lie in the past, and a call at the deadline moves it', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(fc.integer({ min: 0, max: 7 }), fc.double({ min: 0, max: 60_000, noNaN: true })),
          { maxLength: 60 },
        ),
        (steps) => {
          const pair = new Pair();
          for (const [step, wait] of steps) {
            const { tunnel } = pair.client;
            if (step === 0) tunnel.startHandshake(pair.now);
            if (step === 1) pair.send('client');
            if (step === 2) pair.send('gateway');
            if (step === 3) pair.rule = () => [];
            if (step === 4) pair.rule = () => [10.1];
            pair.run(wait);
            const deadline = tunnel.pollTimeout();
            if (deadline === undefined) continue;
            let next: number | undefined = deadline;
            for (let i = 0; i < 4 && next === deadline; i++) {
              tunnel.handleTimeout(deadline);
              next = tunnel.pollTimeout();
              expect(next === undefined || next >= deadline).toBe(true);
            }
            expect(next).not.toBe(deadline);
            pair.now = instant(Math.max(pair.now, deadline));
            pair.flush();
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
