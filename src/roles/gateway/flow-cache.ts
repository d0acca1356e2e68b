// Hot path. Remembers what the policy said about an address, transport and port, for all clients: a direct-mapped table of
// fixed size, so that nothing is allocated and nothing needs to be evicted. Every change of a client's policy gives it a new
// *epoch*, which is part of the key; old answers are never found again (data-plane P16).

import { int32At } from '../../base/bytes.ts';

// Implementation
/**
 * A power of two; 8 words each: 1 MiB. As many as a gateway has busy flows: an answer found here costs one place in memory, asked of
 * 100,000 routes about ten, all of them far away (bench/policy).
 */
const ENTRIES = 32_768;
const STRIDE = 8;

export class FlowCache {
  readonly #rows = new Int32Array(ENTRIES * STRIDE);
  #epoch = 0;
  #asked = 0;

  /** A new epoch, never 0. */
  nextEpoch(): number {
    this.#epoch = (this.#epoch + 1) & 0x7fffffff;
    if (this.#epoch === 0) {
      // After 2^31 changes of policy: what is left of the first round must not be found.
      this.#rows.fill(0);
      this.#epoch = 1;
    }
    return this.#epoch;
  }

  /** The answer for the four words at `index`, or -1; then `remember` takes the answer. `flow` joins family, transport and port. */
  find(epoch: number, flow: number, words: Int32Array, index: number): number {
    const rows = this.#rows;
    const row = rowOf(epoch, flow, words, index);
    if (
      int32At(rows, row) === epoch &&
      int32At(rows, row + 1) === flow &&
      int32At(rows, row + 5) === int32At(words, index + 3) &&
      int32At(rows, row + 4) === int32At(words, index + 2) &&
      int32At(rows, row + 3) === int32At(words, index + 1) &&
      int32At(rows, row + 2) === int32At(words, index)
    )
      return int32At(rows, row + 6);
    rows[row] = epoch;
    rows[row + 1] = flow;
    for (let i = 0; i < 4; i++) rows[row + 2 + i] = int32At(words, index + i);
    rows[row + 6] = -1;
    this.#asked = row;
    return -1;
  }

  /** The answer, not negative, to the last question `find` did not know. */
  remember(answer: number): void {
    this.#rows[this.#asked + 6] = answer;
  }
}

function rowOf(epoch: number, flow: number, words: Int32Array, index: number): number {
  let hash = Math.imul(epoch, 0x9e3779b1) ^ flow;
  for (let i = 0; i < 4; i++) {
    hash = Math.imul(hash ^ int32At(words, index + i), 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  return ((hash ^ (hash >>> 13)) & (ENTRIES - 1)) * STRIDE;
}
