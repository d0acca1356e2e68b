// What passes in front of the handshakes: connectivity 7.4, 11.39, 11.41, 14.1 and 14.2.

import { describe, expect, it } from 'vitest';
import { Pair, Side } from '../../../test/support/wireguard-pair.ts';
import { type Endpoint, endpoint, parseIp } from '../../base/address.ts';
import { type Instant, instant } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { MAX_SOURCES, SourceLimit, WindowLimit } from './rate-limiter.ts';

const crypto = createSeededCrypto(3);
const gatewayKey = Uint8Array.from({ length: 32 }, (_, i) => 0x41 + i);
const publicKey = crypto.x25519PublicKey(gatewayKey);
const start = instant(0);

function source(text: string, port = 1): Endpoint {
  const address = parseIp(text);
  return address ? endpoint(address, port) : expect.unreachable();
}

function initiation(now: Instant = start): Uint8Array {
  const side = new Side('client', 1);
  side.tunnel.startHandshake(now);
  return side.tunnel.pollDatagram() ?? expect.unreachable();
}

/** Sends the same initiation from `count` addresses. */
function flood(gate: HandshakeGate, count: number, now: Instant): string[] {
  const bytes = initiation();
  return Array.from(
    { length: count },
    (_, i) => gate.admit(bytes, source(`10.0.${i >> 8}.${i & 255}`), now).kind,
  );
}

describe('HandshakeGate', () => {
  it('refuses what is no handshake message or not addressed to us', () => {
    const gate = new HandshakeGate({ crypto, publicKey }, start);
    const from = source('192.0.2.1');
    expect(gate.admit(initiation().subarray(1), from, start)).toEqual({
      kind: 'dropped',
      reason: 'malformed',
    });
    const other = new HandshakeGate({ crypto, publicKey: new Uint8Array(32) }, start);
    expect(other.admit(initiation(), from, start)).toEqual({
      kind: 'dropped',
      reason: 'wrong-mac1',
    });
    expect(gate.counters.get('malformed')).toBe(1);
  });

  it('lets 100 messages per second pass, whoever sends them, and asks for cookies beyond', () => {
    const gate = new HandshakeGate({ crypto, publicKey }, start);
    const verdicts = flood(gate, 120, start);
    expect(verdicts.filter((kind) => kind === 'admitted').length).toBe(100);
    expect(verdicts.slice(100)).toEqual(new Array(20).fill('reply'));
    expect(flood(gate, 1, instant(1000))).toEqual(['admitted']);
  });

  it('lets one address have half of that, so that others still pass', () => {
    const gate = new HandshakeGate({ crypto, publicKey }, start);
    const bytes = initiation();
    const kinds = Array.from(
      { length: 80 },
      () => gate.admit(bytes, source('10.9.9.9'), start).kind,
    );
    expect(kinds.filter((kind) => kind === 'admitted').length).toBe(50);
    const others = ['10.9.9.8', '10.9.9.7'].flatMap((address) =>
      Array.from({ length: 25 }, () => gate.admit(bytes, source(address), start).kind),
    );
    expect(others.filter((kind) => kind === 'admitted').length).toBe(40);
  });

  it('counts what it drops and stops answering a flood', () => {
    const gate = new HandshakeGate({ crypto, publicKey }, start);
    const verdicts = flood(gate, 1200, start);
    expect(verdicts.filter((kind) => kind === 'reply').length).toBe(1000);
    expect(gate.counters.snapshot()).toEqual({
      admitted: 100,
      'cookie-replies': 1000,
      overloaded: 100,
    });
  });

  it('does not accept mac2 bytes that no cookie made', () => {
    const gate = new HandshakeGate({ crypto, publicKey }, start);
    flood(gate, 100, start);
    const bytes = initiation();
    bytes.fill(7, 132);
    expect(gate.admit(bytes, source('10.1.1.1'), start).kind).toBe('reply');
  });
});

describe('under load', () => {
  /** A pair whose gateway has spent its window. */
  function loaded(): Pair {
    const pair = new Pair();
    flood(pair.gateway.gate, 100, pair.now);
    return pair;
  }

  it('an initiation is answered by a cookie, and the next one, with that cookie, succeeds', () => {
    const pair = loaded();
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(100);
    expect(pair.sentBy('gateway', 'cookie-reply').length).toBe(1);
    expect(pair.client.countOf('established')).toBe(0);
    pair.run(4800);
    for (let i = 0; i < 6; i++) {
      flood(pair.gateway.gate, 100, pair.now);
      pair.run(100);
    }
    expect(pair.client.countOf('established')).toBe(1);
  });

  it('the cookie is bound to the address but not to the port', () => {
    const pair = loaded();
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(4900);
    pair.rule = () => [];
    pair.run(1000);
    const stamped = pair.sentBy('client', 'initiation')[1]?.bytes ?? expect.unreachable();
    flood(pair.gateway.gate, 100, pair.now);
    const { gate } = pair.gateway;
    expect(gate.admit(stamped, source('192.0.2.9'), pair.now).kind).toBe('reply');
    expect(gate.admit(stamped, source('192.0.2.1', 999), pair.now).kind).toBe('admitted');
  });

  it('one proven address has a limit too', () => {
    const pair = loaded();
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(4900);
    pair.rule = () => [];
    pair.run(1000);
    const stamped = pair.sentBy('client', 'initiation')[1]?.bytes ?? expect.unreachable();
    const { gate } = pair.gateway;
    const verdicts = Array.from({ length: 120 }, () =>
      gate.admit(stamped, source('192.0.2.1'), pair.now),
    );
    expect(verdicts.at(-1)).toEqual({ kind: 'dropped', reason: 'rate-limited' });
  });

  it('a cookie reply nobody asked for is refused', () => {
    const pair = loaded();
    pair.client.tunnel.startHandshake(pair.now);
    pair.run(100);
    const reply = pair.sentBy('gateway', 'cookie-reply')[0]?.bytes ?? expect.unreachable();
    pair.client.deliver(reply, pair.gateway.address, pair.now);
    expect(pair.client.drops).toEqual(['unexpected']);
  });
});

describe('limits', () => {
  it('a source gets its tokens back with time', () => {
    const limit = new SourceLimit(10);
    const { address } = source('10.0.0.1');
    for (let i = 0; i < 10; i++) expect(limit.take(address, start)).toBe(true);
    expect(limit.take(address, start)).toBe(false);
    expect(limit.take(address, instant(100))).toBe(true);
    expect(limit.take(address, instant(100))).toBe(false);
  });

  it('addresses of one IPv6 network share a bucket', () => {
    const limit = new SourceLimit(1);
    expect(limit.take(source('2001:db8::1').address, start)).toBe(true);
    expect(limit.take(source('2001:db8::2').address, start)).toBe(false);
    expect(limit.take(source('2001:db8:0:1::2').address, start)).toBe(true);
  });

  it('a flood of addresses does not grow the table', () => {
    const limit = new SourceLimit(1);
    for (let i = 0; i < MAX_SOURCES + 500; i++) {
      limit.take(source(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`).address, start);
    }
    expect(limit.sourceCount).toBe(MAX_SOURCES);
  });

  it('a window starts again after a second', () => {
    const limit = new WindowLimit(1, start);
    expect([limit.take(start), limit.take(instant(999)), limit.take(instant(1000))]).toEqual([
      true,
      false,
      true,
    ]);
  });
});
