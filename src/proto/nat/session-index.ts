// Hot path. Finds sessions of a NAT table by one of their two tuples: address, ports and transport. Only row numbers are stored, four bytes
// each, and keys are compared where they stand in the table's rows. The seed keeps a peer from choosing tuples that collide.
//
// Open addressing with linear probing; deletion moves later entries back, so that there are no tombstones.

import { int32At } from '../../base/bytes.ts';
import { ROW, transportOfRow } from './session-rows.ts';

// Implementation
const INITIAL_CAPACITY = 32;

export class SessionIndex {
  readonly #seed: number;
  /** Where the tuple stands in a row: its address, and behind it the word with its ports. */
  readonly #tuple: number;
  #count = 0;
  /** Session plus one; 0: free. */
  #slots = new Int32Array(INITIAL_CAPACITY);

  constructor(seed: number, tuple: typeof ROW.inside | typeof ROW.outside) {
    this.#seed = seed | 0;
    this.#tuple = tuple;
  }

  /** The session with the address at `index` of `words`, or -1. */
  find(
    rows: Int32Array,
    words: Int32Array,
    index: number,
    ports: number,
    transport: number,
  ): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#hash(words, index, ports, transport) & mask;
    for (let value = int32At(slots, slot); value !== 0; value = int32At(slots, slot)) {
      const tuple = (value - 1) * ROW.stride + this.#tuple;
      if (
        int32At(rows, tuple + 4) === ports &&
        int32At(rows, tuple + 3) === int32At(words, index + 3) &&
        int32At(rows, tuple + 2) === int32At(words, index + 2) &&
        int32At(rows, tuple + 1) === int32At(words, index + 1) &&
        int32At(rows, tuple) === int32At(words, index) &&
        transportOfRow(rows, value - 1) === transport
      )
        return value - 1;
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  /** The session's row must be filled; no other may have its tuple. */
  add(rows: Int32Array, session: number): void {
    // At most half full, so that probing stays short.
    if ((this.#count + 1) * 2 > this.#slots.length) this.#grow(rows);
    this.#place(rows, session);
    this.#count++;
  }

  /** The session's row must still be filled. */
  remove(rows: Int32Array, session: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#home(rows, session);
    while (int32At(slots, hole) !== session + 1) hole = (hole + 1) & mask;
    for (let next = (hole + 1) & mask; int32At(slots, next) !== 0; next = (next + 1) & mask) {
      const home = this.#home(rows, int32At(slots, next) - 1);
      // It may move back only if its home is not between the hole and where it stands.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      slots[hole] = int32At(slots, next);
      hole = next;
    }
    slots[hole] = 0;
    this.#count--;
  }

  clear(): void {
    this.#slots.fill(0);
    this.#count = 0;
  }

  get bytes(): number {
    return this.#slots.byteLength;
  }

  #grow(rows: Int32Array): void {
    const before = this.#slots;
    this.#slots = new Int32Array(before.length * 2);
    for (const value of before) if (value !== 0) this.#place(rows, value - 1);
  }

  #place(rows: Int32Array, session: number): void {
    const slots = this.#slots;
    let slot = this.#home(rows, session);
    while (int32At(slots, slot) !== 0) slot = (slot + 1) & (slots.length - 1);
    slots[slot] = session + 1;
  }

  #home(rows: Int32Array, session: number): number {
    const tuple = session * ROW.stride + this.#tuple;
    const ports = int32At(rows, tuple + 4);
    return this.#hash(rows, tuple, ports, transportOfRow(rows, session)) & (this.#slots.length - 1);
  }

  #hash(words: Int32Array, index: number, ports: number, transport: number): number {
    let hash = this.#seed ^ ports ^ Math.imul(transport, 0x27d4eb2f);
    for (let i = 0; i < 4; i++) {
      hash = Math.imul(hash ^ int32At(words, index + i), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }
}
