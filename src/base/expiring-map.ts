// A map whose entries may have an end. An entry is over when `now` reaches its end (inclusive, data-plane P5); it stays until
// `takeExpired` removes it, so that its owner notices.
//
// The next end is kept as long as it can be known without looking at all entries, so that filling a large map is linear.

import { earliest, type Instant } from './time.ts';

interface Entry<Value> {
  value: Value;
  /** `undefined`: never. */
  expiresAt: Instant | undefined;
}

export class ExpiringMap<Key, Value> {
  readonly #entries = new Map<Key, Entry<Value>>();
  #next: Instant | undefined;
  /** The entry that ended first was changed or removed: `#next` may be too early. */
  #isStale = false;

  get size(): number {
    return this.#entries.size;
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key)?.value;
  }

  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  /** End of an entry; `undefined` if it has none or is not there. */
  expiryOf(key: Key): Instant | undefined {
    return this.#entries.get(key)?.expiresAt;
  }

  /** Replaces value and end of an equal key. */
  set(key: Key, value: Value, expiresAt: Instant | undefined): void {
    const before = this.#entries.get(key)?.expiresAt;
    this.#entries.set(key, { value, expiresAt });
    this.#noteChange(before, expiresAt);
  }

  /** False if the key is unknown. */
  setExpiry(key: Key, expiresAt: Instant | undefined): boolean {
    const entry = this.#entries.get(key);
    if (!entry) return false;
    const before = entry.expiresAt;
    entry.expiresAt = expiresAt;
    this.#noteChange(before, expiresAt);
    return true;
  }

  /** Removes and returns a value. */
  take(key: Key): Value | undefined {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    this.#noteChange(entry?.expiresAt, undefined);
    return entry?.value;
  }

  clear(): void {
    this.#entries.clear();
    this.#next = undefined;
    this.#isStale = false;
  }

  /** Removes and returns all entries that are over, in order of insertion. */
  takeExpired(now: Instant): [Key, Value][] {
    if (this.#next === undefined || now < this.#next) return [];
    const taken: [Key, Value][] = [];
    for (const [key, { value, expiresAt }] of this.#entries) {
      if (expiresAt === undefined || now < expiresAt) continue;
      taken.push([key, value]);
      this.#entries.delete(key);
    }
    this.#isStale = true;
    return taken;
  }

  /** When the next entry will be over. */
  get nextExpiry(): Instant | undefined {
    if (this.#isStale) this.#findNext();
    return this.#next;
  }

  keys(): IterableIterator<Key> {
    return this.#entries.keys();
  }

  *values(): IterableIterator<Value> {
    for (const { value } of this.#entries.values()) yield value;
  }

  *entries(): IterableIterator<[Key, Value]> {
    for (const [key, { value }] of this.#entries) yield [key, value];
  }

  #noteChange(before: Instant | undefined, after: Instant | undefined): void {
    if (before !== undefined && before === this.#next) this.#isStale = true;
    this.#next = earliest(this.#next, after);
  }

  #findNext(): void {
    let next: Instant | undefined;
    for (const { expiresAt } of this.#entries.values()) next = earliest(next, expiresAt);
    this.#next = next;
    this.#isStale = false;
  }
}
