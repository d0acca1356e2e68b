// Hot path. A hash table from an address, a port and a 16-bit tag to a small integer, on one typed array: open addressing,
// linear probing, deletion by shifting back. No lookup allocates. The seed keeps remote parties from choosing collisions.

import { int32At } from '../../../base/bytes.ts';

// Implementation
/** Four address words, tag and port in one word, value; -1 marks a free row. */
const STRIDE = 6;
const VALUE = 5;
const FREE = -1;
const SMALLEST = 64;

export class AddressTable {
  readonly #seed: number;
  #rows: Int32Array;
  #mask: number;
  #count = 0;

  constructor(seed: number) {
    this.#seed = seed | 0;
    this.#rows = new Int32Array(SMALLEST * STRIDE);
    this.#mask = SMALLEST - 1;
    this.#clearRows();
  }

  /** `words[index..index+3]` is the address, as in `base/address.ts`. -1: not there. */
  find(words: Int32Array, index: number, port: number, tag: number): number {
    const row = this.#locate(words, index, (tag << 16) | port);
    return int32At(this.#rows, row * STRIDE + VALUE);
  }

  /** `value` is not negative. */
  set(words: Int32Array, index: number, port: number, tag: number, value: number): void {
    if (this.#count * 2 > this.#mask) this.#grow();
    const tail = (tag << 16) | port;
    const row = this.#locate(words, index, tail);
    const offset = row * STRIDE;
    if (int32At(this.#rows, offset + VALUE) === FREE) this.#count += 1;
    for (let i = 0; i < 4; i++) this.#rows[offset + i] = int32At(words, index + i);
    this.#rows[offset + 4] = tail;
    this.#rows[offset + VALUE] = value;
  }

  delete(words: Int32Array, index: number, port: number, tag: number): void {
    let hole = this.#locate(words, index, (tag << 16) | port);
    if (int32At(this.#rows, hole * STRIDE + VALUE) === FREE) return;
    this.#count -= 1;
    for (let next = (hole + 1) & this.#mask; ; next = (next + 1) & this.#mask) {
      const offset = next * STRIDE;
      if (int32At(this.#rows, offset + VALUE) === FREE) break;
      const home = this.#hash(this.#rows, offset, int32At(this.#rows, offset + 4));
      // The row may move into the hole unless its home lies behind the hole.
      if (((next - home) & this.#mask) < ((next - hole) & this.#mask)) continue;
      this.#rows.copyWithin(hole * STRIDE, offset, offset + STRIDE);
      hole = next;
    }
    this.#rows[hole * STRIDE + VALUE] = FREE;
  }

  get count(): number {
    return this.#count;
  }

  /** The row of the key, or the free row where it would stand. */
  #locate(words: Int32Array, index: number, tail: number): number {
    const rows = this.#rows;
    for (let row = this.#hash(words, index, tail); ; row = (row + 1) & this.#mask) {
      const offset = row * STRIDE;
      if (int32At(rows, offset + VALUE) === FREE) return row;
      if (
        rows[offset + 4] === tail &&
        rows[offset + 3] === words[index + 3] &&
        rows[offset + 2] === words[index + 2] &&
        rows[offset + 1] === words[index + 1] &&
        rows[offset] === words[index]
      ) {
        return row;
      }
    }
  }

  /** MurmurHash3's mixing steps. */
  #hash(words: Int32Array, index: number, tail: number): number {
    let hash = this.#seed;
    for (let i = 0; i < 4; i++) hash = mix(hash, int32At(words, index + i));
    hash = mix(hash, tail);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) & this.#mask;
  }

  #grow(): void {
    const old = this.#rows;
    this.#mask = this.#mask * 2 + 1;
    this.#rows = new Int32Array((this.#mask + 1) * STRIDE);
    this.#clearRows();
    for (let offset = 0; offset < old.length; offset += STRIDE) {
      if (int32At(old, offset + VALUE) === FREE) continue;
      const row = this.#locate(old, offset, int32At(old, offset + 4));
      this.#rows.set(old.subarray(offset, offset + STRIDE), row * STRIDE);
    }
  }

  #clearRows(): void {
    for (let offset = VALUE; offset < this.#rows.length; offset += STRIDE)
      this.#rows[offset] = FREE;
  }
}

function mix(hash: number, word: number): number {
  let block = Math.imul(word, 0xcc9e2d51);
  block = (block << 15) | (block >>> 17);
  let mixed = hash ^ Math.imul(block, 0x1b873593);
  mixed = (mixed << 13) | (mixed >>> 19);
  return (Math.imul(mixed, 5) + 0xe6546b64) | 0;
}
