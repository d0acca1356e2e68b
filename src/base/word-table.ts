// Hot path. An open-addressing hash table from five 32-bit words (an address and one more) to a small non-negative number.
// Nothing is allocated but when it grows. The seed keeps a peer from choosing keys that collide.
//
// Linear probing with deletion by moving later entries back, so that there are no tombstones.

import { int32At } from './bytes.ts';

const KEY_WORDS = 5;
const INITIAL_CAPACITY = 32;
const MAX_LOAD = 0.6;

export class WordTable {
  readonly #seed: number;
  #capacity = INITIAL_CAPACITY;
  #count = 0;
  #keys = new Int32Array(INITIAL_CAPACITY * KEY_WORDS);
  /** -1: free. */
  #values = new Int32Array(INITIAL_CAPACITY).fill(-1);

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get count(): number {
    return this.#count;
  }

  /** The value of the four words at `index` and `extra`, or -1. */
  get(words: Int32Array, index: number, extra: number): number {
    return int32At(this.#values, this.#find(words, index, extra));
  }

  set(words: Int32Array, index: number, extra: number, value: number): void {
    let position = this.#find(words, index, extra);
    if (int32At(this.#values, position) < 0) {
      if (this.#count + 1 > this.#capacity * MAX_LOAD) {
        this.#grow();
        position = this.#find(words, index, extra);
      }
      const key = position * KEY_WORDS;
      for (let i = 0; i < 4; i++) this.#keys[key + i] = int32At(words, index + i);
      this.#keys[key + 4] = extra;
      this.#count++;
    }
    this.#values[position] = value;
  }

  /** Whether it was there. */
  delete(words: Int32Array, index: number, extra: number): boolean {
    let hole = this.#find(words, index, extra);
    if (int32At(this.#values, hole) < 0) return false;
    const mask = this.#capacity - 1;
    for (let next = (hole + 1) & mask; int32At(this.#values, next) >= 0; next = (next + 1) & mask) {
      const home = this.#hash(
        this.#keys,
        next * KEY_WORDS,
        int32At(this.#keys, next * KEY_WORDS + 4),
      );
      // It may move back only if its home is not between the hole and where it stands.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      this.#move(next, hole);
      hole = next;
    }
    this.#values[hole] = -1;
    this.#count--;
    return true;
  }

  clear(): void {
    this.#values.fill(-1);
    this.#count = 0;
  }

  #find(words: Int32Array, index: number, extra: number): number {
    const keys = this.#keys;
    const mask = this.#capacity - 1;
    let position = this.#hash(words, index, extra);
    while (int32At(this.#values, position) >= 0) {
      const key = position * KEY_WORDS;
      if (
        int32At(keys, key + 4) === extra &&
        int32At(keys, key + 3) === int32At(words, index + 3) &&
        int32At(keys, key + 2) === int32At(words, index + 2) &&
        int32At(keys, key + 1) === int32At(words, index + 1) &&
        int32At(keys, key) === int32At(words, index)
      )
        return position;
      position = (position + 1) & mask;
    }
    return position;
  }

  #hash(words: Int32Array, index: number, extra: number): number {
    let hash = this.#seed ^ extra;
    for (let i = 0; i < 4; i++) {
      hash = Math.imul(hash ^ int32At(words, index + i), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85ebca6b);
    return (hash ^ (hash >>> 13)) & (this.#capacity - 1);
  }

  #move(from: number, to: number): void {
    const keys = this.#keys;
    keys.copyWithin(to * KEY_WORDS, from * KEY_WORDS, (from + 1) * KEY_WORDS);
    this.#values[to] = int32At(this.#values, from);
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#capacity *= 2;
    this.#keys = new Int32Array(this.#capacity * KEY_WORDS);
    this.#values = new Int32Array(this.#capacity).fill(-1);
    for (let i = 0; i < values.length; i++) {
      const value = int32At(values, i);
      if (value < 0) continue;
      const key = i * KEY_WORDS;
      const position = this.#find(keys, key, int32At(keys, key + 4));
      this.#keys.set(keys.subarray(key, key + KEY_WORDS), position * KEY_WORDS);
      this.#values[position] = value;
    }
  }
}
