// The vector of connectivity 13.5, and that indexes never collide.

import { describe, expect, it } from 'vitest';
import { viewOf } from '../../base/bytes.ts';
import { createSeededCrypto } from '../../io/crypto/seeded-crypto.ts';
import {
  ConnectionIndexes,
  connectionIndexOf,
  createConnectionIndexes,
  sessionIndexOf,
} from './connection-index.ts';

describe('ConnectionIndexes', () => {
  it('follows the vector', () => {
    const indexes = new ConnectionIndexes(0x000001, 0xabcdef);
    const first = Array.from({ length: 6 }, () => indexes.take());
    expect(first).toEqual([0xabcdef, 0x7c3210, 0xc03210, 0x9e3210, 0xb13210, 0xa6b210]);
  });

  it('gives the first session of a connection the counter one, little-endian on the wire', () => {
    const index = sessionIndexOf(0xabcdef, 1);
    expect(index).toBe(0xabcdef01);
    expect(connectionIndexOf(index)).toBe(0xabcdef);
    const bytes = new Uint8Array(4);
    viewOf(bytes).setUint32(0, index, true);
    expect([...bytes]).toEqual([0x01, 0xef, 0xcd, 0xab]);
  });

  it('goes on after all 2^24 - 1 values and skips those in use', () => {
    const indexes = new ConnectionIndexes(0x123456, 0x654321);
    const kept = indexes.take();
    const seen = new Set([kept]);
    for (let i = 1; i < 0xffffff; i++) {
      const index = indexes.take();
      if (i < 1000) {
        expect(seen.has(index)).toBe(false);
        seen.add(index);
      }
      indexes.release(index);
    }
    const second = indexes.take();
    expect(second).not.toBe(kept);
    expect(second).toBeLessThanOrEqual(0xffffff);
  });

  it('differs between nodes', () => {
    const a = createConnectionIndexes(createSeededCrypto(1)).take();
    const b = createConnectionIndexes(createSeededCrypto(2)).take();
    expect(a).not.toBe(b);
  });
});
