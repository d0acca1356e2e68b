// Changes an input in place, in a buffer of fixed size: bits, bytes, big-endian numbers, lengths, copies, pieces of other inputs
// and words of a dictionary. Allocates nothing.

export const MAX_LENGTH = 4096;

const INTERESTING = [0, 1, 2, 4, 15, 16, 20, 28, 31, 32, 63, 64, 65, 127, 128, 192, 254, 255];
const MAX_INSERTION = 64;

export class Mutator {
  readonly buffer: Uint8Array = new Uint8Array(MAX_LENGTH);
  length = 0;
  readonly #dictionary: readonly Uint8Array[];
  #state: number;

  constructor(seed: number, dictionary: readonly Uint8Array[]) {
    this.#state = seed | 1;
    this.#dictionary = dictionary;
  }

  /** Uniform enough in [0, bound): xorshift32 and a multiplication. */
  below(bound: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.floor(((x >>> 0) / 0x1_0000_0000) * bound);
  }

  load(input: Uint8Array): void {
    this.length = Math.min(input.length, MAX_LENGTH);
    this.buffer.set(this.length === input.length ? input : input.subarray(0, MAX_LENGTH));
  }

  /** One to four changes; `other` is an input to take pieces from. */
  mutate(other: Uint8Array): void {
    for (let round = 1 + (this.below(256) & this.below(4)); round > 0; round--) this.#change(other);
  }

  /** A changed copy, for those who need no speed. */
  mutated(input: Uint8Array): Uint8Array {
    this.load(input);
    this.mutate(input);
    return this.buffer.slice(0, this.length);
  }

  #change(other: Uint8Array): void {
    const { buffer, length } = this;
    const at = this.below(length);
    if (length === 0) return this.#insertNoise(0);
    switch (this.below(16)) {
      case 0:
      case 1:
        buffer[at] = (buffer[at] ?? 0) ^ (1 << this.below(8));
        return;
      case 2:
        buffer[at] = this.below(256);
        return;
      case 3:
      case 4:
        buffer[at] = INTERESTING[this.below(INTERESTING.length)] ?? 0;
        return;
      case 5:
        buffer[at] = (buffer[at] ?? 0) + this.below(33) - 16;
        return;
      case 6:
        return this.#writeNumber(at, 2);
      case 7:
        return this.#writeNumber(at, 4);
      case 8:
        this.length = this.below(4) === 0 ? at : Math.max(0, length - 1 - this.below(8));
        return;
      case 9:
        return this.#insertNoise(at);
      case 10:
        return this.#remove(at, 1 + this.below(Math.min(MAX_INSERTION, length - at)));
      case 11:
        return this.#copyWithin(at);
      case 12:
        return this.#splice(at, other);
      case 13:
        return this.#word(at, true);
      default:
        return this.#word(at, false);
    }
  }

  /** A length of something, a limit, or the number that stands there and a little. */
  #writeNumber(at: number, width: 2 | 4): void {
    const { buffer, length } = this;
    if (at + width > length) return;
    const last = at + width - 1;
    const kind = this.below(4);
    const old = ((buffer[last - 1] ?? 0) << 8) | (buffer[last] ?? 0);
    let value = old + this.below(65) - 32;
    if (kind === 0) value = length - at - this.below(32);
    else if (kind === 1) value = 1 << this.below(16);
    else if (kind === 2) value = (1 << this.below(17)) - 1;
    if (width === 4) buffer[at] = buffer[at + 1] = this.below(8) === 0 ? 0xff : 0;
    buffer[last - 1] = value >>> 8;
    buffer[last] = value;
  }

  /** Makes room for `count` bytes and returns how many fit. */
  #open(at: number, count: number): number {
    const room = Math.min(count, MAX_LENGTH - this.length);
    this.buffer.copyWithin(at + room, at, this.length);
    this.length += room;
    return room;
  }

  #insertNoise(at: number): void {
    const room = this.#open(at, 1 + this.below(MAX_INSERTION));
    const isRandom = this.below(2) === 0;
    const fill = this.below(256);
    for (let i = 0; i < room; i++) this.buffer[at + i] = isRandom ? this.below(256) : fill;
  }

  #remove(at: number, count: number): void {
    this.buffer.copyWithin(at, at + count, this.length);
    this.length -= count;
  }

  #copyWithin(at: number): void {
    const from = this.below(this.length);
    const count = 1 + this.below(Math.min(MAX_INSERTION, this.length - from));
    if (this.below(2) === 0) {
      // Once more, in between: repeated attributes, labels, operations.
      const room = this.#open(at, count);
      this.buffer.copyWithin(at, from, from + room);
    } else {
      this.buffer.copyWithin(at, from, Math.min(from + count, from + MAX_LENGTH - at));
      this.length = Math.max(this.length, Math.min(at + count, this.length));
    }
  }

  #splice(at: number, other: Uint8Array): void {
    if (other.length === 0) return;
    const from = this.below(other.length);
    const count = 1 + this.below(Math.min(2 * MAX_INSERTION, other.length - from));
    const isInserted = this.below(2) === 0;
    const room = isInserted ? this.#open(at, count) : Math.min(count, this.length - at);
    for (let i = 0; i < room; i++) this.buffer[at + i] = other[from + i] ?? 0;
  }

  #word(at: number, isInserted: boolean): void {
    const word = this.#dictionary[this.below(this.#dictionary.length)];
    if (!word) return;
    const room = isInserted ? this.#open(at, word.length) : Math.min(word.length, this.length - at);
    for (let i = 0; i < room; i++) this.buffer[at + i] = word[i] ?? 0;
  }
}

/** Literals of the program as bytes: texts as they are, numbers big-endian in their width. */
export function dictionaryOf(literals: readonly (string | number)[]): Uint8Array[] {
  return literals.map((literal) => {
    if (typeof literal === 'string')
      return Uint8Array.from(literal, (character) => character.charCodeAt(0));
    const bytes = [24, 16, 8, 0].map((shift) => (literal >>> shift) & 255);
    return Uint8Array.from(bytes.slice(literal > 0xffff ? 0 : literal > 0xff ? 2 : 3));
  });
}
