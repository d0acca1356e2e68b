// The vectors of connectivity 7.6, and a twin: a set of all counters ever marked.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { REPLAY_WINDOW_BITS, ReplayWindow } from './replay-window.ts';

const TWO_32 = 0x1_0000_0000;
const words = (counter: number): [number, number] => [
  counter % TWO_32,
  Math.floor(counter / TWO_32),
];

function receive(window: ReplayWindow, counter: number): string {
  const verdict = window.check(...words(counter));
  expect(window.accept(...words(counter))).toBe(verdict === 'fresh');
  return verdict;
}

/** What the specification says, in the plainest form. */
class Twin {
  readonly #marked = new Set<number>();
  #next = 0;

  receive(counter: number): string {
    const verdict = this.#check(counter);
    if (verdict === 'fresh') {
      this.#marked.add(counter);
      this.#next = Math.max(this.#next, counter + 1);
    }
    return verdict;
  }

  /** The oldest counter of the window shares its bit with the one that is next. */
  #check(counter: number): string {
    if (counter >= this.#next) return 'fresh';
    if (counter + REPLAY_WINDOW_BITS < this.#next) return 'too-old';
    return this.#marked.has(counter) ? 'duplicate' : 'fresh';
  }
}

describe('ReplayWindow', () => {
  it('follows the vector', () => {
    const window = new ReplayWindow();
    expect(receive(window, 0)).toBe('fresh');
    expect(receive(window, 0)).toBe('duplicate');
    for (let counter = 1; counter <= 8192; counter++) {
      expect(window.accept(...words(counter))).toBe(true);
    }
    expect(window.next).toBe(8193);
    expect(receive(window, 0)).toBe('too-old');
    expect(receive(window, 1)).toBe('duplicate');
    expect(receive(window, 20_000)).toBe('fresh');
    expect(window.next).toBe(20_001);
    expect(receive(window, 11_808)).toBe('too-old');
    expect(receive(window, 11_809)).toBe('fresh');
    expect(receive(window, 11_809)).toBe('duplicate');
  });

  it('does not change by a check', () => {
    const window = new ReplayWindow();
    expect(window.check(7, 0)).toBe('fresh');
    expect(window.check(7, 0)).toBe('fresh');
    expect(window.next).toBe(0);
  });

  it('agrees with a set of all counters, over steps, jumps and repetitions', () => {
    const move = fc.oneof(
      { weight: 6, arbitrary: fc.integer({ min: -40, max: 40 }) },
      { weight: 2, arbitrary: fc.integer({ min: -8300, max: 8300 }) },
      { weight: 1, arbitrary: fc.integer({ min: -20_000, max: 20_000 }) },
      { weight: 1, arbitrary: fc.constantFrom(8191, 8192, 8193, -8191, -8192, -8193, 31, 32, 33) },
    );
    const start = fc.constantFrom(0, 1, 8190, TWO_32 - 5000, TWO_32 * 7 + 3, 2 ** 52);
    fc.assert(
      fc.property(start, fc.array(move, { maxLength: 400 }), (first, moves) => {
        const window = new ReplayWindow();
        const twin = new Twin();
        let counter = first;
        for (const step of moves) {
          counter = Math.max(0, counter + step);
          expect(receive(window, counter)).toBe(twin.receive(counter));
        }
      }),
    );
  });
});
