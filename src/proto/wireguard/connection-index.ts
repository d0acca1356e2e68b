// The upper 24 bits of session indexes, one number per connection (connectivity 6.1). A shift register visits every non-zero
// value once per round, and a random mask hides how many connections there were.

import { at } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';

// Specification
const MASK_24 = 0xff_ffff;
/** connectivity 6.1: taps of the shift register, period 2^24 - 1. */
const TAPS = 0xd8_0000;

export class ConnectionIndexes {
  readonly #mask: number;
  readonly #used = new Set<number>();
  #register: number;

  /** Both are non-zero 24-bit numbers. */
  constructor(seed: number, mask: number) {
    assert(
      seed > 0 && seed <= MASK_24,
      'the seed of connection indexes is a non-zero 24-bit number',
    );
    this.#register = seed;
    this.#mask = mask & MASK_24;
  }

  /** The next index that no living connection has; connectivity 14.18: rounds may repeat without end. */
  take(): number {
    assert(this.#used.size < MASK_24, 'there are fewer connections than connection indexes');
    for (;;) {
      const index = this.#step();
      if (this.#used.has(index)) continue;
      this.#used.add(index);
      return index;
    }
  }

  release(index: number): void {
    this.#used.delete(index);
  }

  #step(): number {
    const register = this.#register;
    this.#register = (register >>> 1) ^ ((register & 1) === 1 ? TAPS : 0);
    return (register - 1) ^ this.#mask;
  }
}

export function createConnectionIndexes(crypto: CryptoProvider): ConnectionIndexes {
  return new ConnectionIndexes(randomIndex(crypto), randomIndex(crypto));
}

/** The connection a session index belongs to. */
export function connectionIndexOf(sessionIndex: number): number {
  return sessionIndex >>> 8;
}

export function sessionIndexOf(connectionIndex: number, sessionCounter: number): number {
  return ((connectionIndex << 8) | (sessionCounter & 255)) >>> 0;
}

function randomIndex(crypto: CryptoProvider): number {
  const bytes = crypto.randomBytes(3);
  const value = (at(bytes, 0) << 16) | (at(bytes, 1) << 8) | at(bytes, 2);
  return value === 0 ? 1 : value;
}
