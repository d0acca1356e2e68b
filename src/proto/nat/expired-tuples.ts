// Outside tuples of NAT sessions that are over (data-plane 9.4): replies to them are dropped instead of being taken for
// traffic of another kind. Forgotten after a while, and limited; the oldest make room.

import { at, int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import { TupleIndex } from './tuple-index.ts';

// Implementation
/** TCP gives up retransmitting after about this long (RFC 9293 §3.8.3 asks for at least 100 s, Linux takes 15 min). */
const MEMORY_MS = 900_000;
/** As many as there can be sessions. */
const MAX_TUPLES = 16_384;
const INITIAL_CAPACITY = 16;
/** Row of `#rows`; `isHole`: forgotten early. */
const ROW = { stride: 7, address: 0, ports: 4, protocol: 5, isHole: 6 } as const;

/** A ring of tuples in the order they expired. */
export class ExpiredTuples {
  readonly #index: TupleIndex;
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  #expiredAt = new Float64Array(INITIAL_CAPACITY);
  #first = 0;
  #length = 0;

  constructor(seed: number) {
    this.#index = new TupleIndex(seed, ROW);
  }

  get count(): number {
    return this.#index.count;
  }

  has(words: Int32Array, index: number, ports: number, protocol: number): boolean {
    return this.#index.count > 0 && this.#find(words, index, ports, protocol) >= 0;
  }

  forget(words: Int32Array, index: number, ports: number, protocol: number): void {
    if (this.#index.count === 0) return;
    const place = this.#find(words, index, ports, protocol);
    if (place >= 0) this.#digHole(place);
  }

  remember(words: Int32Array, index: number, ports: number, protocol: number, now: Instant): void {
    this.forget(words, index, ports, protocol);
    if (this.#length === MAX_TUPLES) this.#dropFirst();
    if (this.#length === this.#capacity) this.#grow();
    const place = (this.#first + this.#length++) & (this.#capacity - 1);
    const rows = this.#rows;
    const row = place * ROW.stride;
    for (let i = 0; i < 4; i++) rows[row + ROW.address + i] = int32At(words, index + i);
    rows[row + ROW.ports] = ports;
    rows[row + ROW.protocol] = protocol;
    rows[row + ROW.isHole] = 0;
    this.#expiredAt[place] = now;
    this.#index.add(rows, place);
  }

  /** Forgets what expired long ago, at most `limit` tuples. How many it forgot. */
  handleTimeout(now: Instant, limit: number): number {
    let forgotten = 0;
    while (this.#length > 0 && forgotten < limit) {
      const expiredAt = at(this.#expiredAt, this.#first) as Instant;
      if (now < later(expiredAt, MEMORY_MS)) break;
      this.#dropFirst();
      forgotten++;
    }
    return forgotten;
  }

  clear(): void {
    this.#index.clear();
    this.#first = 0;
    this.#length = 0;
  }

  #find(words: Int32Array, index: number, ports: number, protocol: number): number {
    return this.#index.find(this.#rows, words, index, ports, protocol);
  }

  #digHole(place: number): void {
    this.#index.remove(this.#rows, place);
    this.#rows[place * ROW.stride + ROW.isHole] = 1;
  }

  #dropFirst(): void {
    if (int32At(this.#rows, this.#first * ROW.stride + ROW.isHole) === 0) {
      this.#index.remove(this.#rows, this.#first);
    }
    this.#first = (this.#first + 1) & (this.#capacity - 1);
    this.#length--;
  }

  #grow(): void {
    const before = this.#rows;
    const capacity = this.#capacity;
    const rows = new Int32Array(capacity * 2 * ROW.stride);
    const expiredAt = new Float64Array(capacity * 2);
    this.#index.clear();
    for (let i = 0; i < this.#length; i++) {
      const place = (this.#first + i) & (capacity - 1);
      rows.set(before.subarray(place * ROW.stride, (place + 1) * ROW.stride), i * ROW.stride);
      expiredAt[i] = at(this.#expiredAt, place);
      if (int32At(rows, i * ROW.stride + ROW.isHole) === 0) this.#index.add(rows, i);
    }
    this.#rows = rows;
    this.#expiredAt = expiredAt;
    this.#capacity = capacity * 2;
    this.#first = 0;
  }
}
