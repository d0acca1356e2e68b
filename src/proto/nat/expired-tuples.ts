// Outside tuples of NAT sessions that are over (data-plane 9.4): replies to them are dropped instead of being taken for
// traffic of another kind. Forgotten after a while, and limited; the oldest make room.

import { at, int32At } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';
import { WordTable } from '../../base/word-table.ts';
import { TRANSPORT } from '../../wire/ip/parsed-packet.ts';

// Implementation
/** TCP gives up retransmitting after about this long (RFC 9293 §3.8.3 asks for at least 100 s, Linux takes 15 min). */
const MEMORY_MS = 900_000;
/** As many as there can be sessions, twice. */
const MAX_TUPLES = 16_384;
const INITIAL_CAPACITY = 8;
const KEY_WORDS = 5;

/** TCP and the others apart, whose tuples could look alike. */
export class ExpiredTuples {
  readonly #ofTcp: TupleRing;
  readonly #ofOthers: TupleRing;

  constructor(seed: number) {
    this.#ofTcp = new TupleRing(seed);
    this.#ofOthers = new TupleRing(seed ^ 0x2545f491);
  }

  get count(): number {
    return this.#ofTcp.count + this.#ofOthers.count;
  }

  has(words: Int32Array, index: number, ports: number, transport: number): boolean {
    return this.#ring(transport).has(words, index, keyOf(ports, transport));
  }

  forget(words: Int32Array, index: number, ports: number, transport: number): void {
    this.#ring(transport).forget(words, index, keyOf(ports, transport));
  }

  remember(words: Int32Array, index: number, ports: number, transport: number, now: Instant): void {
    this.#ring(transport).remember(words, index, keyOf(ports, transport), now);
  }

  /** Forgets what expired long ago, at most about `limit` tuples; how many it were. */
  handleTimeout(now: Instant, limit: number): number {
    return this.#ofTcp.handleTimeout(now, limit) + this.#ofOthers.handleTimeout(now, limit);
  }

  clear(): void {
    this.#ofTcp.clear();
    this.#ofOthers.clear();
  }

  #ring(transport: number): TupleRing {
    return transport === TRANSPORT.tcp ? this.#ofTcp : this.#ofOthers;
  }
}

/** Without TCP the lower half of the ports is free for the transport. */
function keyOf(ports: number, transport: number): number {
  return transport === TRANSPORT.tcp ? ports : ports | transport;
}

/** A ring of tuples in the order they expired; a tuple that was forgotten early stays in it as a hole. */
class TupleRing {
  readonly #index: WordTable;
  #capacity = INITIAL_CAPACITY;
  #keys = new Int32Array(INITIAL_CAPACITY * KEY_WORDS);
  #expiredAt = new Float64Array(INITIAL_CAPACITY);
  #first = 0;
  #length = 0;

  constructor(seed: number) {
    this.#index = new WordTable(seed);
  }

  get count(): number {
    return this.#index.count;
  }

  has(words: Int32Array, index: number, key: number): boolean {
    return this.#index.get(words, index, key) >= 0;
  }

  forget(words: Int32Array, index: number, key: number): void {
    this.#index.delete(words, index, key);
  }

  remember(words: Int32Array, index: number, key: number, now: Instant): void {
    if (this.#length === MAX_TUPLES) this.#dropFirst();
    if (this.#length === this.#capacity) this.#grow();
    const place = (this.#first + this.#length++) & (this.#capacity - 1);
    for (let i = 0; i < 4; i++) this.#keys[place * KEY_WORDS + i] = int32At(words, index + i);
    this.#keys[place * KEY_WORDS + 4] = key;
    this.#expiredAt[place] = now;
    this.#index.set(words, index, key, place);
  }

  handleTimeout(now: Instant, limit: number): number {
    let dropped = 0;
    for (; this.#length > 0 && dropped < limit; dropped++) {
      const expiredAt = at(this.#expiredAt, this.#first) as Instant;
      if (now < later(expiredAt, MEMORY_MS)) return dropped;
      this.#dropFirst();
    }
    return dropped;
  }

  clear(): void {
    this.#index.clear();
    this.#first = 0;
    this.#length = 0;
  }

  #dropFirst(): void {
    const key = this.#first * KEY_WORDS;
    const extra = int32At(this.#keys, key + 4);
    // It may have been forgotten and remembered again further back.
    if (this.#index.get(this.#keys, key, extra) === this.#first) {
      this.#index.delete(this.#keys, key, extra);
    }
    this.#first = (this.#first + 1) & (this.#capacity - 1);
    this.#length--;
  }

  #grow(): void {
    const capacity = this.#capacity;
    const keys = new Int32Array(capacity * 2 * KEY_WORDS);
    const expiredAt = new Float64Array(capacity * 2);
    for (let i = 0; i < this.#length; i++) {
      const place = (this.#first + i) & (capacity - 1);
      const key = this.#keys.subarray(place * KEY_WORDS, (place + 1) * KEY_WORDS);
      keys.set(key, i * KEY_WORDS);
      expiredAt[i] = at(this.#expiredAt, place);
      if (this.#index.get(key, 0, int32At(key, 4)) === place)
        this.#index.set(key, 0, int32At(key, 4), i);
    }
    this.#keys = keys;
    this.#expiredAt = expiredAt;
    this.#capacity = capacity * 2;
    this.#first = 0;
  }
}
