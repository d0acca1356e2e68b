// What answers a client believes, and what it makes of refusals (relay 7.2, 8.4): against a relay that is scripted by hand.

import { describe, expect, it } from 'vitest';
import { PEER, parsed, RELAY_V4, RELAY_V6 } from '../../../test/support/turn-world.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { type Instant, instant, later } from '../../base/time.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import type { StunAttribute } from '../../wire/stun/attributes.ts';
import { longTermKey } from '../../wire/stun/integrity.ts';
import { findAttribute, parseStun, type StunMessage, writeStun } from '../../wire/stun/message.ts';
import { Allocation } from './allocation.ts';

const crypto = createSeededCrypto(5);
const LOCAL = parsed('203.0.113.9:40000');
const RELAYED = parsed('198.51.100.7:50000');
const KEY = longTermKey('user', 'firezone', 'password', crypto);
const NAMES: Readonly<Record<number, string>> = {
  1: 'binding',
  3: 'allocate',
  4: 'refresh',
  9: 'channel-bind',
};

interface Answer {
  readonly code?: number;
  readonly attributes?: readonly StunAttribute[];
  readonly signed?: boolean;
  readonly from?: typeof RELAY_V4;
  readonly key?: Uint8Array;
}

class Script {
  now: Instant = instant(0);
  readonly allocation = new Allocation(
    {
      addresses: [RELAY_V4, RELAY_V6],
      credentials: { username: 'user', password: 'password', realm: 'firezone' },
      software: 'snownet',
    },
    { crypto, log: SILENT_LOG },
    this.now,
  );

  /** The next request, which must be of that kind. */
  expect(kind: string): StunMessage {
    const transmit = this.allocation.pollTransmit();
    const message = transmit && parseStun(transmit.payload);
    if (!message) throw new Error(`nothing was sent, not ${kind}`);
    expect(NAMES[message.method]).toBe(kind);
    return message;
  }

  takeRequests(): StunMessage[] {
    const requests: StunMessage[] = [];
    for (let next = this.allocation.pollTransmit(); next; next = this.allocation.pollTransmit()) {
      requests.push(...[parseStun(next.payload)].filter((message) => message !== undefined));
    }
    return requests;
  }

  expectNothing(): void {
    expect(this.allocation.pollTransmit()).toBeUndefined();
  }

  answer(request: StunMessage, answer: Answer = {}): void {
    const { code, attributes = [], signed = false, from = RELAY_V4, key = KEY } = answer;
    const error: StunAttribute[] = code
      ? [{ kind: 'error-code', value: { code, reason: '' } }]
      : [];
    const bytes = writeStun(
      {
        method: request.method,
        class: code ? 'error' : 'success',
        transactionId: request.transactionId,
        attributes: [...error, ...attributes],
        ...(signed && { integrityKey: key }),
      },
      crypto,
    );
    expect(this.allocation.handleDatagram(bytes, from, LOCAL, this.now)).toBe(true);
  }

  pass(milliseconds: number): void {
    this.now = later(this.now, milliseconds);
    this.allocation.handleTimeout(this.now);
  }

  challenge(nonce: string, realm = 'firezone'): readonly StunAttribute[] {
    return [
      { kind: 'nonce', value: nonce },
      { kind: 'realm', value: realm },
    ];
  }

  /** Up to an ALLOCATE with nonce, as coturn does it: the 401 is not signed. */
  untilAuthenticated(software = 'Coturn'): StunMessage {
    this.answer(this.expect('binding'), { attributes: [{ kind: 'software', value: software }] });
    this.expect('binding');
    const signed = software.startsWith('firezone');
    const attributes = this.challenge('one');
    this.answer(this.expect('allocate'), { code: 401, attributes, signed });
    return this.expect('allocate');
  }

  untilAllocated(software?: string): void {
    const attributes: readonly StunAttribute[] = [
      { kind: 'xor-relayed-address', value: RELAYED },
      { kind: 'lifetime', value: 600 },
    ];
    this.answer(this.untilAuthenticated(software), { attributes, signed: true });
    expect(this.allocation.hasAllocation).toBe(true);
    this.takeEvents();
  }

  takeEvents(): string[] {
    const kinds: string[] = [];
    for (let event = this.allocation.pollEvent(); event; event = this.allocation.pollEvent()) {
      kinds.push(event.kind === 'failed' ? `failed ${event.reason}` : event.kind);
    }
    return kinds;
  }
}

describe('believing', () => {
  it('a success without or with a wrong signature is not believed, the genuine one is', () => {
    const script = new Script();
    const request = script.untilAuthenticated();
    const attributes: readonly StunAttribute[] = [
      { kind: 'xor-relayed-address', value: RELAYED },
      { kind: 'lifetime', value: 600 },
    ];
    script.answer(request, { attributes });
    script.answer(request, { attributes, signed: true, key: new Uint8Array(16) });
    expect(script.allocation.hasAllocation).toBe(false);
    expect(script.allocation.counters.get('unverifiable')).toBe(2);
    script.answer(request, { attributes, signed: true, from: RELAY_V6 });
    expect(script.allocation.hasAllocation).toBe(true);
  });

  it.each([401, 437, 438, 441])(
    'an unsigned %i is believed of a relay that does not sign',
    (code) => {
      const script = new Script();
      const request = script.untilAuthenticated();
      script.answer(request, { code, attributes: script.challenge('two') });
      expect(script.allocation.counters.get('unverifiable')).toBe(0);
    },
  );

  it.each([401, 437, 438, 441])('an unsigned %i is not believed of Firezone’s relay', (code) => {
    const script = new Script();
    const request = script.untilAuthenticated('firezone-relay; rev=12345678');
    script.answer(request, { code, attributes: script.challenge('two') });
    script.expectNothing();
    expect(script.allocation.counters.get('unverifiable')).toBe(1);
  });

  it.each([403, 420, 443, 486, 500, 508])('an unsigned %i is believed of nobody', (code) => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code });
    expect(script.allocation.counters.get('unverifiable')).toBe(1);
  });

  it('an answer from elsewhere, of another method or to no request changes nothing', () => {
    const script = new Script();
    const request = script.untilAuthenticated();
    const stranger = parsed('192.0.2.200:3478');
    const bytes = request.raw;
    expect(script.allocation.handleDatagram(bytes, stranger, LOCAL, script.now)).toBe(false);
    script.answer({ ...request, method: 4 }, { code: 437, signed: true });
    script.answer({ ...request, transactionId: new Uint8Array(12) }, { code: 437, signed: true });
    expect(script.allocation.counters.snapshot()).toEqual({
      'wrong-method': 1,
      'unknown-transaction': 1,
    });
    expect(script.allocation.handleDatagram(bytes, RELAY_V4, LOCAL, script.now)).toBe(true);
    expect(script.allocation.counters.get('not-a-response')).toBe(1);
  });

  it('a datagram that is not STUN is not ours, whoever sent it', () => {
    const script = new Script();
    const initiation = new Uint8Array(148);
    initiation[0] = 1;
    expect(script.allocation.handleDatagram(initiation, RELAY_V4, LOCAL, script.now)).toBe(false);
  });

  it('a challenge of another realm is not answered', () => {
    const script = new Script();
    script.answer(script.expect('binding'));
    script.expect('binding');
    const attributes = script.challenge('one', 'elsewhere');
    script.answer(script.expect('allocate'), { code: 401, attributes });
    script.expectNothing();
    expect(script.allocation.counters.get('foreign-realm')).toBe(1);
  });
});

describe('nonces', () => {
  it('the nonce of a 438 is in the next request', () => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code: 438, attributes: script.challenge('two') });
    expect(findAttribute(script.expect('allocate'), 'nonce')).toBe('two');
  });

  it('a relay that always answers 438 is left after four', () => {
    const script = new Script();
    let request = script.untilAuthenticated();
    for (let i = 0; i < 3; i++) {
      script.answer(request, { code: 438, attributes: script.challenge(`n${i}`) });
      request = script.expect('allocate');
    }
    script.answer(request, { code: 438, attributes: script.challenge('last') });
    expect(script.allocation.activeEndpoint).toBeUndefined();
  });

  it('401 with the nonce that was sent: the credentials are wrong, and that is the end', () => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code: 401, attributes: script.challenge('one') });
    script.expectNothing();
    expect(script.takeEvents().at(-1)).toBe('failed authentication');
    expect(script.allocation.pollTimeout()).toBeUndefined();
  });

  it('401 with another nonce is worth one more attempt', () => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code: 401, attributes: script.challenge('two') });
    const again = script.expect('allocate');
    script.answer(again, { code: 401, attributes: script.challenge('three') });
    expect(script.takeEvents().at(-1)).toBe('failed authentication');
  });
});

describe('refusals', () => {
  it('437 to ALLOCATE, unsigned: delete, wait a second, allocate; twice as long the next time', () => {
    const script = new Script();
    let request = script.untilAuthenticated();
    for (const waitMs of [1000, 2000, 4000, 8000, 8000]) {
      script.answer(request, { code: 437 });
      script.answer(script.expect('refresh'), {
        signed: true,
        attributes: [{ kind: 'lifetime', value: 0 }],
      });
      script.pass(waitMs - 1);
      script.expectNothing();
      script.pass(1);
      request = script.expect('allocate');
    }
    expect(script.takeEvents().some((event) => event.startsWith('failed'))).toBe(false);
  });

  it('441: another user has our socket; asked again every 10 s', () => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code: 441 });
    script.pass(9999);
    script.expectNothing();
    script.pass(1);
    script.expect('allocate');
  });

  it('420: once more without what the relay does not know, then never', () => {
    const script = new Script();
    const unknown: readonly StunAttribute[] = [{ kind: 'unknown-attributes', value: [0x8000] }];
    script.answer(script.untilAuthenticated(), { code: 420, signed: true, attributes: unknown });
    const reduced = script.expect('allocate');
    expect(findAttribute(reduced, 'additional-address-family')).toBeUndefined();
    expect(findAttribute(reduced, 'early-additional-address-family')).toBe(6);
    script.answer(reduced, { code: 420, signed: true, attributes: unknown });
    expect(script.takeEvents().at(-1)).toBe('failed protocol');
  });

  it('508: wishes are dropped, asked again after 10 s, 20 s, 40 s', () => {
    const script = new Script();
    let request = script.untilAuthenticated();
    script.allocation.bindChannel(PEER, script.now);
    for (const waitMs of [10_000, 20_000, 40_000]) {
      script.answer(request, { code: 508, signed: true });
      expect(script.allocation.isSuspended).toBe(true);
      script.pass(waitMs - 1);
      script.expectNothing();
      script.pass(1);
      request = script.expect('allocate');
    }
  });

  it('refresh() wakes a suspended one at once, beginning with a BINDING', () => {
    const script = new Script();
    script.answer(script.untilAuthenticated(), { code: 486, signed: true });
    script.allocation.refresh(script.now);
    const names = script.takeRequests().map(({ method }) => NAMES[method]);
    expect(names).toEqual(['binding', 'binding']);
  });

  it('refresh() does nothing while an ALLOCATE is under way', () => {
    const script = new Script();
    script.untilAuthenticated();
    script.allocation.refresh(script.now);
    script.expectNothing();
  });

  it('400 to CHANNEL-BIND, as coturn says it has no allocation: asked, then made anew and bound', () => {
    const script = new Script();
    script.untilAllocated();
    script.allocation.bindChannel(PEER, script.now);
    script.answer(script.expect('channel-bind'), { code: 400, signed: true });
    script.answer(script.expect('refresh'), { code: 437, signed: true });
    const attributes: readonly StunAttribute[] = [
      { kind: 'xor-relayed-address', value: RELAYED },
      { kind: 'lifetime', value: 600 },
    ];
    script.answer(script.expect('allocate'), { attributes, signed: true });
    script.pass(5000);
    expect(script.allocation.hasAllocation).toBe(true);
  });

  it('an error to REFRESH is not answered at the pace of the relay', () => {
    const script = new Script();
    script.untilAllocated();
    let refreshCount = 0;
    for (let second = 0; second < 331; second++) {
      script.pass(1000);
      for (const request of script.takeRequests()) {
        const isRefresh = NAMES[request.method] === 'refresh';
        if (isRefresh) refreshCount += 1;
        script.answer(request, isRefresh ? { code: 500, signed: true } : {});
      }
    }
    expect(refreshCount).toBe(4);
  });

  it('an allocation without a usable address is none', () => {
    const script = new Script();
    const attributes: readonly StunAttribute[] = [
      { kind: 'xor-relayed-address', value: parsed('0.0.0.0:0') },
      { kind: 'lifetime', value: 600 },
    ];
    script.answer(script.untilAuthenticated(), { attributes, signed: true });
    expect(script.allocation.hasAllocation).toBe(false);
    expect(script.allocation.isSuspended).toBe(true);
  });
});
