// A map from IP networks to values that finds the networks containing an address: a hash table of masked addresses, asked once for each
// prefix length that occurs. What a look-up costs depends on how many lengths there are, a handful in any real policy, and not on how
// many networks: with 100,000 of them a trie needed 17 steps to as many places in memory (bench/policy, 2026-11-25).
//
// IPv4 and IPv6 are apart: `::/0` does not contain IPv4, although IPv4 words look like mapped IPv6 words.

import { familyOf, type IpFamily, type IpNetwork, writeAddressWords } from './address.ts';
import { int32At } from './bytes.ts';
import { WordTable } from './word-table.ts';

/** Bits of the word form in front of an IPv4 address. */
const MAPPED_BITS = 96;
/** In the fifth word of a key, beside the length. */
const IPV4 = 0x100;

/** The prefix lengths of one family. */
class Lengths {
  /** How many networks have each length. */
  readonly #counts = new Int32Array(129);
  /** Those that occur, ascending. */
  list: Int32Array = new Int32Array(0);

  add(length: number): void {
    this.#counts[length] = int32At(this.#counts, length) + 1;
    if (this.#counts[length] === 1) this.#list();
  }

  remove(length: number): void {
    this.#counts[length] = int32At(this.#counts, length) - 1;
    if (this.#counts[length] === 0) this.#list();
  }

  #list(): void {
    const lengths: number[] = [];
    for (const [length, count] of this.#counts.entries()) if (count > 0) lengths.push(length);
    this.list = Int32Array.from(lengths);
  }
}

export class PrefixTable<Value extends object | string | number> {
  readonly #places: WordTable;
  readonly #values: (Value | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #ipv4 = new Lengths();
  readonly #ipv6 = new Lengths();
  readonly #probe = new Int32Array(4);

  /** `seed`: unpredictable where a peer can choose the addresses that are looked up. */
  constructor(seed = 0) {
    this.#places = new WordTable(seed);
  }

  get count(): number {
    return this.#places.count;
  }

  get(network: IpNetwork): Value | undefined {
    return this.#values[this.#placeOf(network)];
  }

  /** Replaces the value of an equal network. */
  set(network: IpNetwork, value: Value): void {
    const known = this.#placeOf(network);
    if (known >= 0) {
      this.#values[known] = value;
      return;
    }
    const { family, length } = sizeOf(network);
    const place = this.#free.pop() ?? this.#values.length;
    this.#values[place] = value;
    this.#places.set(this.#probe, 0, keyOf(family, length), place);
    this.#lengthsOf(family).add(length);
  }

  /** Whether it was there. */
  delete(network: IpNetwork): boolean {
    const place = this.#placeOf(network);
    if (place < 0) return false;
    const { family, length } = sizeOf(network);
    this.#places.delete(this.#probe, 0, keyOf(family, length));
    this.#values[place] = undefined;
    this.#free.push(place);
    this.#lengthsOf(family).remove(length);
    return true;
  }

  /** How many prefix lengths occur in a family: so many networks may contain one address. */
  lengthCount(family: IpFamily): number {
    return this.#lengthsOf(family).list.length;
  }

  /** The value of the network that contains the address at `index`, and has the length of that rank; 0 is the shortest. */
  ofLength(family: IpFamily, rank: number, words: Int32Array, index: number): Value | undefined {
    return this.#find(family, int32At(this.#lengthsOf(family).list, rank), words, index);
  }

  /** The value of the longest network that contains the address at `index`. */
  longest(family: IpFamily, words: Int32Array, index: number): Value | undefined {
    for (let rank = this.lengthCount(family) - 1; rank >= 0; rank--) {
      const value = this.ofLength(family, rank, words, index);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  #find(family: IpFamily, length: number, words: Int32Array, index: number): Value | undefined {
    const probe = this.#probe;
    let left = length;
    for (let i = 0; i < 4; i++, left -= 32) {
      const mask = left >= 32 ? -1 : left <= 0 ? 0 : ~(-1 >>> left);
      probe[i] = int32At(words, index + i) & mask;
    }
    const place = this.#places.get(probe, 0, keyOf(family, length));
    return place < 0 ? undefined : this.#values[place];
  }

  /** Or -1; leaves the network's words in `#probe`. */
  #placeOf(network: IpNetwork): number {
    writeAddressWords(network.address, this.#probe, 0);
    const { family, length } = sizeOf(network);
    return this.#places.get(this.#probe, 0, keyOf(family, length));
  }

  #lengthsOf(family: IpFamily): Lengths {
    return family === 4 ? this.#ipv4 : this.#ipv6;
  }
}

/** The length counts bits of the word form. */
function sizeOf({ address, prefixLength }: IpNetwork): { family: IpFamily; length: number } {
  const family = familyOf(address);
  return { family, length: family === 4 ? MAPPED_BITS + prefixLength : prefixLength };
}

function keyOf(family: IpFamily, length: number): number {
  return family === 4 ? IPV4 | length : length;
}
