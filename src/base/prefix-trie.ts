// A map from IP networks to values that finds all networks containing an address. One path-compressed binary trie for each
// family, because `::/0` does not contain IPv4 although IPv4 words look like mapped IPv6 words.

import { familyOf, type IpFamily, type IpNetwork, writeAddressWords } from './address.ts';
import { int32At } from './bytes.ts';

/** Bits of the word form in front of an IPv4 address. */
const MAPPED_BITS = 96;

interface TrieNode<Value> {
  readonly words: Int32Array;
  /** Bits of `words` that count. */
  readonly length: number;
  /** A node without value only holds its children together. */
  value: Value | undefined;
  zero: TrieNode<Value> | undefined;
  one: TrieNode<Value> | undefined;
}

export class PrefixTrie<Value extends object | string | number> {
  #ipv4: TrieNode<Value> | undefined;
  #ipv6: TrieNode<Value> | undefined;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  get(network: IpNetwork): Value | undefined {
    const { words, length } = keyOf(network);
    let node = this.#root(familyOf(network.address));
    while (node && node.length < length && sharesBits(node.words, words, 0, node.length)) {
      node = child(node, words, 0);
    }
    return node?.length === length && sharesBits(node.words, words, 0, length)
      ? node.value
      : undefined;
  }

  /** Replaces the value of an equal network. */
  set(network: IpNetwork, value: Value): void {
    const { words, length } = keyOf(network);
    const leaf: TrieNode<Value> = { words, length, value, zero: undefined, one: undefined };
    const family = familyOf(network.address);
    this.#setRoot(family, this.#insert(this.#root(family), leaf));
  }

  /** Whether it was there. */
  delete(network: IpNetwork): boolean {
    if (this.get(network) === undefined) return false;
    const { words, length } = keyOf(network);
    const family = familyOf(network.address);
    this.#setRoot(family, remove(this.#root(family), words, length));
    this.#count--;
    return true;
  }

  /**
   * Writes the values of all networks that contain the address at `index` to `into`, from the shortest prefix to the longest,
   * and returns how many. Entries of `into` behind that are left as they are.
   */
  collect(family: IpFamily, words: Int32Array, index: number, into: Value[]): number {
    let count = 0;
    let node = this.#root(family);
    while (node && sharesBits(node.words, words, index, node.length)) {
      if (node.value !== undefined) into[count++] = node.value;
      if (node.length === 128) break;
      node = child(node, words, index);
    }
    return count;
  }

  /** The value of the longest network that contains the address at `index`. */
  longest(family: IpFamily, words: Int32Array, index: number): Value | undefined {
    let best: Value | undefined;
    let node = this.#root(family);
    while (node && sharesBits(node.words, words, index, node.length)) {
      if (node.value !== undefined) best = node.value;
      if (node.length === 128) break;
      node = child(node, words, index);
    }
    return best;
  }

  #root(family: IpFamily): TrieNode<Value> | undefined {
    return family === 4 ? this.#ipv4 : this.#ipv6;
  }

  #setRoot(family: IpFamily, root: TrieNode<Value> | undefined): void {
    if (family === 4) this.#ipv4 = root;
    else this.#ipv6 = root;
  }

  #insert(node: TrieNode<Value> | undefined, leaf: TrieNode<Value>): TrieNode<Value> {
    if (!node) {
      this.#count++;
      return leaf;
    }
    const common = commonBits(node.words, leaf.words, Math.min(node.length, leaf.length));
    if (common === node.length && common === leaf.length) {
      if (node.value === undefined) this.#count++;
      node.value = leaf.value;
      return node;
    }
    if (common === node.length) {
      if (bitAt(leaf.words, 0, common)) node.one = this.#insert(node.one, leaf);
      else node.zero = this.#insert(node.zero, leaf);
      return node;
    }
    this.#count++;
    if (common === leaf.length) return withChild(leaf, node);
    const words = leaf.words.slice();
    const fork: TrieNode<Value> = {
      words,
      length: common,
      value: undefined,
      zero: undefined,
      one: undefined,
    };
    return withChild(withChild(fork, node), leaf);
  }
}

function withChild<Value>(parent: TrieNode<Value>, node: TrieNode<Value>): TrieNode<Value> {
  if (bitAt(node.words, 0, parent.length)) parent.one = node;
  else parent.zero = node;
  return parent;
}

function remove<Value>(
  node: TrieNode<Value> | undefined,
  words: Int32Array,
  length: number,
): TrieNode<Value> | undefined {
  if (!node) return undefined;
  if (node.length === length) node.value = undefined;
  else if (bitAt(words, 0, node.length)) node.one = remove(node.one, words, length);
  else node.zero = remove(node.zero, words, length);
  if (node.value !== undefined || (node.zero && node.one)) return node;
  return node.zero ?? node.one;
}

function child<Value>(
  node: TrieNode<Value>,
  words: Int32Array,
  index: number,
): TrieNode<Value> | undefined {
  return bitAt(words, index, node.length) ? node.one : node.zero;
}

function keyOf(network: IpNetwork): { words: Int32Array; length: number } {
  const words = new Int32Array(4);
  writeAddressWords(network.address, words, 0);
  const isIpv4 = familyOf(network.address) === 4;
  return { words, length: isIpv4 ? MAPPED_BITS + network.prefixLength : network.prefixLength };
}

function bitAt(words: Int32Array, index: number, bit: number): boolean {
  return ((int32At(words, index + (bit >> 5)) >>> (31 - (bit & 31))) & 1) === 1;
}

/** Whether the first `length` bits of `a` and of the words at `index` of `b` are equal. */
function sharesBits(a: Int32Array, b: Int32Array, index: number, length: number): boolean {
  let i = 0;
  for (let left = length; left > 0; left -= 32, i++) {
    const mask = left >= 32 ? -1 : ~(-1 >>> left);
    if (((int32At(a, i) ^ int32At(b, index + i)) & mask) !== 0) return false;
  }
  return true;
}

function commonBits(a: Int32Array, b: Int32Array, max: number): number {
  for (let i = 0; i < 4 && i * 32 < max; i++) {
    const difference = int32At(a, i) ^ int32At(b, i);
    if (difference !== 0) return Math.min(max, i * 32 + Math.clz32(difference));
  }
  return max;
}
