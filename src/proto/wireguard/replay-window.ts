// Which counters of a session were received already (WireGuard §5.4.6, RFC 6479, connectivity 7.6): the counter after the highest,
// and a ring of bits for those below it. A counter is checked before decryption and marked only after it.
//
// Hot path. Counters are two 32-bit words, made one exact number; sessions end long before 2^53 (`limits.ts`).

// Specification
/** connectivity 7.6: bits of the window. */
export const REPLAY_WINDOW_BITS = 8192;

// Implementation
const WORD_BITS = 32;
const WORD_COUNT = REPLAY_WINDOW_BITS / WORD_BITS;
const ALL = -1;
const TWO_32 = 0x1_0000_0000;

export type CounterVerdict = 'fresh' | 'duplicate' | 'too-old';

export class ReplayWindow {
  /** Signed, because words above 2^31 would not be small integers. */
  readonly #bits = new Int32Array(WORD_COUNT);
  #next = 0;

  /** Checks and marks at once, for messages that are authentic already. */
  accept(counterLow: number, counterHigh: number): boolean {
    if (this.check(counterLow, counterHigh) !== 'fresh') return false;
    this.mark(counterLow, counterHigh);
    return true;
  }

  check(counterLow: number, counterHigh: number): CounterVerdict {
    const counter = counterHigh * TWO_32 + counterLow;
    if (counter >= this.#next) return 'fresh';
    if (counter + REPLAY_WINDOW_BITS < this.#next) return 'too-old';
    const bit = counterLow & (REPLAY_WINDOW_BITS - 1);
    const isSet = ((this.#bits[bit >>> 5] ?? 0) >>> (bit & 31)) & 1;
    return isSet === 1 ? 'duplicate' : 'fresh';
  }

  mark(counterLow: number, counterHigh: number): void {
    const counter = counterHigh * TWO_32 + counterLow;
    const skipped = counter - this.#next;
    if (skipped >= REPLAY_WINDOW_BITS) this.#bits.fill(0);
    else if (skipped > 0) this.#clear(this.#next % REPLAY_WINDOW_BITS, skipped);
    if (skipped >= 0) this.#next = counter + 1;
    const bit = counterLow & (REPLAY_WINDOW_BITS - 1);
    this.#bits[bit >>> 5] = (this.#bits[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  /** The highest counter received, plus one. */
  get next(): number {
    return this.#next;
  }

  /** Clears `count` bits from bit `first` on, around the end of the ring; word by word. */
  #clear(first: number, count: number): void {
    let bit = first;
    let left = count;
    while (left > 0) {
      const inWord = bit & 31;
      const span = Math.min(left, WORD_BITS - inWord);
      const mask = span === WORD_BITS ? ALL : ((1 << span) - 1) << inWord;
      this.#bits[bit >>> 5] = (this.#bits[bit >>> 5] ?? 0) & ~mask;
      bit = (bit + span) & (REPLAY_WINDOW_BITS - 1);
      left -= span;
    }
  }
}
