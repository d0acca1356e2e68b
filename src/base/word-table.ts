// Hot path. An open-addressing hash table from five 32-bit words (an address and one more) to a small non-negative number.
// Nothing is allocated but when it grows. The seed keeps a peer from choosing keys that collide.
//
// Linear probing with deletion by moving later entries back, so that there are no tombstones.

import { int32At } from './bytes.ts';

/** A row: the value and one, 0: free; then the five words of the key. Together, because both are far away in a large table. */
const STRIDE = 6;
const KEY = 1;
const INITIAL_CAPACITY = 32;
const MAX_LOAD = 0.6;

export class WordTable {
  readonly #seed: number;
  #capacity = INITIAL_CAPACITY;
  #count = 0;
  #rows = new Int32Array(INITIAL_CAPACITY * STRIDE);

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  get count(): number {
    return this.#count;
  }

  /** The value of the four words at `index` and `extra`, or -1. */
  get(words: Int32Array, index: number, extra: number): number {
    return int32At(this.#rows, this.#find(words, index, extra)) - 1;
  }

  set(words: Int32Array, index: number, extra: number, value: number): void {
    let row = this.#find(words, index, extra);
    if (int32At(this.#rows, row) === 0) {
      if (this.#count + 1 > this.#capacity * MAX_LOAD) {
        this.#grow();
        row = this.#find(words, index, extra);
      }
      const key = row + KEY;
      for (let i = 0; i < 4; i++) this.#rows[key + i] = int32At(words, index + i);
      this.#rows[key + 4] = extra;
      this.#count++;
    }
    this.#rows[row] = value + 1;
  }

  /** Whether it was there. */
  delete(words: Int32Array, index: number, extra: number): boolean {
    const rows = this.#rows;
    const row = this.#find(words, index, extra);
    if (int32At(rows, row) === 0) return false;
    const mask = this.#capacity - 1;
    let hole = row / STRIDE;
    for (
      let next = (hole + 1) & mask;
      int32At(rows, next * STRIDE) !== 0;
      next = (next + 1) & mask
    ) {
      const key = next * STRIDE + KEY;
      const home = this.#hash(rows, key, int32At(rows, key + 4));
      // It may move back only if its home is not between the hole and where it stands.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      rows.copyWithin(hole * STRIDE, next * STRIDE, (next + 1) * STRIDE);
      hole = next;
    }
    rows[hole * STRIDE] = 0;
    this.#count--;
    return true;
  }

  clear(): void {
    this.#rows.fill(0);
    this.#count = 0;
  }

  /** Index of the row with this key, or of the free one where it belongs. */
  #find(words: Int32Array, index: number, extra: number): number {
    const rows = this.#rows;
    const mask = this.#capacity - 1;
    let position = this.#hash(words, index, extra);
    for (;;) {
      const row = position * STRIDE;
      if (int32At(rows, row) === 0) return row;
      const key = row + KEY;
      if (
        int32At(rows, key + 4) === extra &&
        int32At(rows, key + 3) === int32At(words, index + 3) &&
        int32At(rows, key + 2) === int32At(words, index + 2) &&
        int32At(rows, key + 1) === int32At(words, index + 1) &&
        int32At(rows, key) === int32At(words, index)
      )
        return row;
      position = (position + 1) & mask;
    }
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

  #grow(): void {
    const before = this.#rows;
    this.#capacity *= 2;
    this.#rows = new Int32Array(this.#capacity * STRIDE);
    for (let row = 0; row < before.length; row += STRIDE) {
      if (int32At(before, row) === 0) continue;
      const key = row + KEY;
      const place = this.#find(before, key, int32At(before, key + 4));
      this.#rows.set(before.subarray(row, row + STRIDE), place);
    }
  }
}
