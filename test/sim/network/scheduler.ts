// Virtual time: a binary heap of what will happen. Equal times run in the order in which they were asked for. Time moves only when its owner says so;
// nothing here reads a clock.

import { type Instant, instant, later } from '../../../src/base/time.ts';

/** What happens, as an object with a method instead of a closure: most entries are datagrams on their way. */
export interface Happening<T> {
  happen(subject: T, now: Instant): void;
}

/** Times are multiples of this: exact in binary, so that sums and differences of them are. */
export const GRAIN_MS = 0.125;

/** Not earlier than that. */
export function onGrain(at: number): number {
  return Math.ceil(at / GRAIN_MS) * GRAIN_MS;
}

interface Entry {
  readonly at: Instant;
  readonly order: number;
  readonly what: Happening<never>;
  readonly subject: unknown;
}

const CALL: Happening<(now: Instant) => void> = {
  happen(call, now) {
    call(now);
  },
};

export class Scheduler {
  #now: Instant;
  #order = 0;
  readonly #heap: Entry[] = [];

  constructor(start: Instant = instant(0)) {
    this.#now = start;
  }

  get now(): Instant {
    return this.#now;
  }

  get length(): number {
    return this.#heap.length;
  }

  /** Never earlier than now. */
  after<T>(delayMs: number, what: Happening<T>, subject: T): void {
    this.#push({
      at: later(this.#now, onGrain(Math.max(0, delayMs))),
      order: this.#order++,
      what: what as Happening<never>,
      subject,
    });
  }

  /** For what happens seldom. */
  call(delayMs: number, action: (now: Instant) => void): void {
    this.after(delayMs, CALL, action);
  }

  next(): Instant | undefined {
    return this.#heap[0]?.at;
  }

  /** Time passes; what lies between must have happened. */
  advance(to: Instant): void {
    if (to > this.#now) this.#now = to;
  }

  /** Runs the first entry if it is due; false if none is. */
  runOne(): boolean {
    const first = this.#heap[0];
    if (first === undefined || first.at > this.#now) return false;
    this.#pop();
    (first.what as Happening<unknown>).happen(first.subject, this.#now);
    return true;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !isBefore(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      let smaller = left;
      if (right !== undefined && isBefore(right, left)) {
        child++;
        smaller = right;
      }
      if (!isBefore(smaller, last)) break;
      heap[index] = smaller;
      index = child;
    }
    heap[index] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
