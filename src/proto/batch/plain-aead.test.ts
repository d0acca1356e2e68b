// What only the twin shows; the behaviour both implementations share is in test/compliance.

import { describe, expect, it } from 'vitest';
import { createReceiveBatch, DATAGRAM, OPEN_FAILURE, PATH, RUN } from '../../base/batch.ts';
import { at, concat, viewOf } from '../../base/bytes.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import { PlainAead } from './plain-aead.ts';

const crypto = createSeededCrypto(1);
const A = new Uint8Array(32).fill(1);
const B = new Uint8Array(32).fill(2);

describe('PlainAead', () => {
  it('opens what the other side sealed, one message at a time', () => {
    const left = new PlainAead(crypto, 4);
    const right = new PlainAead(crypto, 4);
    const out = left.install(A, B, 0xfedcba98);
    const back = right.install(B, A, 7);
    const message = left.sealOne(out, Uint8Array.of(1, 2, 3));
    expect(message.length).toBe(35);
    expect(viewOf(message).getUint32(4, true)).toBe(0xfedcba98);
    expect(right.openOne(back, message)).toEqual(Uint8Array.of(1, 2, 3));
    expect(left.sendCounters[out]).toBe(1);
    message[20] = at(message, 20) ^ 1;
    expect(right.openOne(back, message)).toBeUndefined();
  });

  it('gives out each slot once, refuses when full, and does not reuse a removed slot at once', () => {
    const aead = new PlainAead(crypto, 3);
    expect([0, 1, 2, 3].map((index) => aead.install(A, B, index))).toEqual([0, 1, 2, -1]);
    aead.paths[1 * PATH.stride + PATH.usable] = 1;
    aead.remove(1);
    expect(aead.paths[1 * PATH.stride + PATH.usable]).toBe(0);
    expect(aead.openOne(1, new Uint8Array(40))).toBeUndefined();
    expect(aead.install(A, B, 9)).toBe(1);
  });

  it('opens a run in place and tells foreign, truncated and forged datagrams apart', () => {
    const left = new PlainAead(crypto, 2);
    const right = new PlainAead(crypto, 2);
    const out = left.install(A, B, 5);
    const back = right.install(B, A, 7);
    const good = left.sealOne(out, new Uint8Array(48).fill(9));
    const forged = left.sealOne(out, new Uint8Array(48));
    forged[79] = at(forged, 79) ^ 1;
    const foreign = left.sealOne(out, new Uint8Array(48));
    foreign[4] = 6;
    const batch = createReceiveBatch(4096, 4, 16);
    const bytes = concat(good, forged, foreign, good.subarray(0, 31));
    batch.slab.set(bytes);
    batch.runs.set([0, bytes.length, good.length]);
    batch.runs[RUN.slot] = back;
    batch.runCount = 1;
    right.open(batch);
    const lengths = [0, 1, 2, 3].map((i) => batch.datagrams[i * DATAGRAM.stride + DATAGRAM.length]);
    expect(lengths).toEqual([
      48,
      OPEN_FAILURE.notAuthenticated,
      OPEN_FAILURE.foreign,
      OPEN_FAILURE.truncated,
    ]);
    expect(batch.runs[RUN.datagramCount]).toBe(4);
    const offset = at(batch.datagrams, DATAGRAM.offset);
    expect(batch.slab.subarray(offset, offset + 48)).toEqual(new Uint8Array(48).fill(9));
  });
});
