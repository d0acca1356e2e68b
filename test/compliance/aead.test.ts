// One behaviour for both implementations of `TransportAead`: the native one and the twin in TypeScript.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReceiveBatch, TransportAead } from '../../src/base/batch.ts';
import { createReceiveBatch, DATAGRAM, OPEN_FAILURE, PATH, RUN } from '../../src/base/batch.ts';
import { at, concat, viewOf } from '../../src/base/bytes.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { cipherKernelsProblem, NativeAead } from '../../src/io/packets/aead.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import { copyBatch } from './packets.ts';

const crypto = createSeededCrypto(7);
const A = new Uint8Array(32).fill(3);
const B = new Uint8Array(32).fill(4);

const IMPLEMENTATIONS: readonly (readonly [string, (capacity: number) => TransportAead])[] = [
  ['twin', (capacity) => new PlainAead(crypto, capacity)],
  ['native, openssl', (capacity) => new NativeAead(capacity, 'openssl')],
  ...(cipherKernelsProblem() === null
    ? [['native, openssl-kernels', (capacity: number) => new NativeAead(capacity)] as const]
    : []),
];
const NATIVE = IMPLEMENTATIONS.slice(1);

function fill(
  batch: ReceiveBatch,
  datagrams: readonly Uint8Array[],
  slot: number,
  header = 0,
): void {
  const bytes = concat(...datagrams);
  batch.slab.set(bytes);
  const segment = datagrams[0]?.length ?? 0;
  batch.runs.fill(0, 0, RUN.stride);
  batch.runs.set([0, bytes.length, segment]);
  batch.runs[RUN.slot] = slot;
  batch.runs[RUN.headerLength] = header;
  batch.runCount = 1;
}

function lengthsOf(batch: ReceiveBatch): number[] {
  return Array.from({ length: batch.datagramCount }, (_, i) =>
    at(batch.datagrams, i * DATAGRAM.stride + DATAGRAM.length),
  );
}

describe.each(IMPLEMENTATIONS)('TransportAead, %s', (_name, create) => {
  it('opens what it sealed and nothing else', () => {
    const left = create(2);
    const right = create(2);
    const out = left.install(A, B, 0x0102_0304);
    const back = right.install(B, A, 5);
    const message = left.sealOne(out, new Uint8Array(100).fill(1));
    expect([...message.subarray(0, 16)]).toEqual([4, 0, 0, 0, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(right.openOne(back, message)).toEqual(new Uint8Array(100).fill(1));
    expect(left.openOne(out, message)).toBeUndefined();
    for (const i of [0, 8, 16, 115, 131]) {
      const forged = message.slice();
      forged[i] = at(forged, i) ^ 0x80;
      expect(right.openOne(back, forged), `byte ${i}`).toBeUndefined();
    }
    expect(right.openOne(back, message.subarray(0, 31))).toBeUndefined();
    expect(right.openOne(back, new Uint8Array())).toBeUndefined();
  });

  it('numbers messages from the shared counter, also beyond 32 bits', () => {
    const aead = create(1);
    const slot = aead.install(A, B, 1);
    aead.sendCounters[slot] = 2 ** 32 + 5;
    const view = viewOf(aead.sealOne(slot, new Uint8Array()));
    expect([view.getUint32(8, true), view.getUint32(12, true)]).toEqual([5, 1]);
    expect(aead.sendCounters[slot]).toBe(2 ** 32 + 6);
  });

  it('gives slots in turn, refuses when full, and forgets a removed session', () => {
    const aead = create(3);
    expect([0, 1, 2, 3].map((index) => aead.install(A, B, index))).toEqual([0, 1, 2, -1]);
    aead.paths[2 * PATH.stride + PATH.usable] = 1;
    aead.remove(2);
    aead.remove(2);
    aead.remove(99);
    expect(aead.paths[2 * PATH.stride + PATH.usable]).toBe(0);
    expect(aead.openOne(2, new Uint8Array(64))).toBeUndefined();
    expect(aead.install(A, B, 9)).toBe(2);
  });

  it('opens runs behind ChannelData headers and refuses other channels and lengths', () => {
    const left = create(1);
    const right = create(1);
    const out = left.install(A, B, 5);
    const back = right.install(B, A, 7);
    const framed = (channel: number, length?: number): Uint8Array => {
      const message = left.sealOne(out, new Uint8Array(8));
      const header = new Uint8Array(4);
      viewOf(header).setUint16(0, channel);
      viewOf(header).setUint16(2, length ?? message.length);
      return concat(header, message);
    };
    const batch = createReceiveBatch(4096, 2, 8);
    fill(batch, [framed(0x4001), framed(0x4002), framed(0x4001, 39), framed(0x4001)], back, 4);
    right.open(batch);
    expect(lengthsOf(batch)).toEqual([8, OPEN_FAILURE.foreign, OPEN_FAILURE.foreign, 8]);
  });

  it('leaves runs without a session alone', () => {
    const aead = create(1);
    const batch = createReceiveBatch(4096, 2, 8);
    for (const slot of [-1, 0, 1, 1000]) {
      fill(batch, [new Uint8Array(40)], slot);
      aead.open(batch);
      expect(batch.datagramCount).toBe(0);
      expect(batch.runs[RUN.datagramCount]).toBe(0);
    }
  });

  it('stops at the end of the datagram rows', () => {
    const aead = create(1);
    const slot = aead.install(A, B, 1);
    const batch = createReceiveBatch(4096, 2, 3);
    fill(
      batch,
      Array.from({ length: 6 }, () => aead.sealOne(slot, new Uint8Array())),
      slot,
    );
    aead.open(batch);
    expect(batch.datagramCount).toBe(3);
  });
});

describe.each(NATIVE)('twin and %s', (_name, create) => {
  it('open each other’s messages', () => {
    const twin = new PlainAead(crypto, 1);
    const native = create(1);
    twin.install(A, B, 1);
    native.install(B, A, 2);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1300 }), (plaintext) => {
        expect(native.openOne(0, twin.sealOne(0, plaintext))).toEqual(plaintext);
        expect(twin.openOne(0, native.sealOne(0, plaintext))).toEqual(plaintext);
      }),
    );
  });

  it('fill the same rows for any run, good, forged, foreign, truncated or random', () => {
    const sender = new PlainAead(crypto, 1);
    const twin = new PlainAead(crypto, 1);
    const native = create(1);
    sender.install(A, B, 1);
    twin.install(B, A, 2);
    native.install(B, A, 2);
    const datagram = fc.oneof(
      fc.record({ size: fc.nat(60), change: fc.constantFrom(-1, -1, -1, 0, 5, 9, 17, 40) }),
      fc.uint8Array({ maxLength: 100 }),
    );
    fc.assert(
      fc.property(
        fc.array(datagram, { minLength: 1, maxLength: 12 }),
        fc.constantFrom(0, 4),
        fc.integer({ min: 1, max: 120 }),
        (parts, header, segment) => {
          const bytes = concat(
            ...parts.map((part) => {
              if (part instanceof Uint8Array) return part;
              const message = concat(
                new Uint8Array(header),
                sender.sealOne(0, new Uint8Array(part.size)),
              );
              if (part.change >= 0) message[part.change] = (message[part.change] ?? 0) ^ 1;
              return message;
            }),
          );
          const first = createReceiveBatch(8192, 2, 64);
          fill(first, [bytes], 0, header);
          first.runs[RUN.segmentLength] = segment;
          const second = copyBatch(first);
          twin.open(first);
          native.open(second);
          expect(second.datagramCount).toBe(first.datagramCount);
          expect(second.datagrams).toEqual(first.datagrams);
          expect(second.runs).toEqual(first.runs);
        },
      ),
      { numRuns: 500 },
    );
  });
});
