// Hot path. Finds rows of a typed array by the tuple they hold: four words of an address, a word of two ports and a protocol. The
// rows themselves are the keys, so that an entry costs four bytes at a load of at most 0.6. Nothing is allocated but when it
// grows. The seed keeps a peer from choosing tuples that collide.
//
// Linear probing with deletion by moving later entries back, so that there are no tombstones.

import { int32At } from '../../base/bytes.ts';

const INITIAL_CAPACITY = 16;
const MAX_LOAD = 0.6;
const PROTOCOL_MASK = 0xff;

/** Where in a row, which has `stride` words, the tuple stands. */
export interface TupleLayout {
  readonly stride: number;
  /** Of four address words, and the word of ports behind them. */
  readonly address: number;
  /** Of the word whose low eight bits are the protocol. */
  readonly protocol: number;
}

export class TupleIndex {
  readonly #seed: number;
  readonly #stride: number;
  readonly #address: number;
  readonly #protocol: number;
  /** Row numbers; -1: free. */
  #slots = new Int32Array(INITIAL_CAPACITY).fill(-1);
  #count = 0;

  constructor(seed: number, { stride, address, protocol }: TupleLayout) {
    this.#seed = seed | 0;
    this.#stride = stride;
    this.#address = address;
    this.#protocol = protocol;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#slots.byteLength;
  }

  /** The row that holds this tuple, or -1. */
  find(
    rows: Int32Array,
    words: Int32Array,
    index: number,
    ports: number,
    protocol: number,
  ): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#hash(words, index, ports, protocol) & mask;
    for (;;) {
      const row = int32At(slots, slot);
      if (row < 0) return -1;
      const base = row * this.#stride;
      const key = base + this.#address;
      if (
        int32At(rows, key + 4) === ports &&
        int32At(rows, key + 3) === int32At(words, index + 3) &&
        int32At(rows, key + 2) === int32At(words, index + 2) &&
        int32At(rows, key + 1) === int32At(words, index + 1) &&
        int32At(rows, key) === int32At(words, index) &&
        (int32At(rows, base + this.#protocol) & PROTOCOL_MASK) === protocol
      )
        return row;
      slot = (slot + 1) & mask;
    }
  }

  /** `row` holds a tuple that no other row of the index holds. */
  add(rows: Int32Array, row: number): void {
    if (this.#count + 1 > this.#slots.length * MAX_LOAD) this.#grow(rows);
    this.#insert(rows, row);
    this.#count++;
  }

  /** Takes `row` out while it still holds its tuple; nothing if it was not in. */
  remove(rows: Int32Array, row: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#home(rows, row);
    while (int32At(slots, hole) !== row) {
      if (int32At(slots, hole) < 0) return;
      hole = (hole + 1) & mask;
    }
    for (let next = (hole + 1) & mask; int32At(slots, next) >= 0; next = (next + 1) & mask) {
      const home = this.#home(rows, int32At(slots, next));
      // It may move back only if its home is not between the hole and where it stands.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      slots[hole] = int32At(slots, next);
      hole = next;
    }
    slots[hole] = -1;
    this.#count--;
  }

  clear(): void {
    this.#slots = new Int32Array(INITIAL_CAPACITY).fill(-1);
    this.#count = 0;
  }

  #home(rows: Int32Array, row: number): number {
    const base = row * this.#stride;
    const key = base + this.#address;
    const protocol = int32At(rows, base + this.#protocol) & PROTOCOL_MASK;
    return this.#hash(rows, key, int32At(rows, key + 4), protocol) & (this.#slots.length - 1);
  }

  #hash(words: Int32Array, index: number, ports: number, protocol: number): number {
    let hash = this.#seed ^ ports ^ Math.imul(protocol, 0x3c6ef372);
    for (let i = 0; i < 4; i++) {
      hash = Math.imul(hash ^ int32At(words, index + i), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }

  #insert(rows: Int32Array, row: number): void {
    const slots = this.#slots;
    let slot = this.#home(rows, row);
    while (int32At(slots, slot) >= 0) slot = (slot + 1) & (slots.length - 1);
    slots[slot] = row;
  }

  #grow(rows: Int32Array): void {
    const before = this.#slots;
    this.#slots = new Int32Array(before.length * 2).fill(-1);
    for (const row of before) if (row >= 0) this.#insert(rows, row);
  }
}
