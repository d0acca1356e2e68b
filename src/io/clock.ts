// Where time and chance enter the program: the monotonic clock, the pair that ties it to the wall clock, and the system's
// randomness. The clock is read once per turn of the loop and handed down as `now`.

import { randomFillSync } from 'node:crypto';
import type { Random } from '../base/random.ts';
import { type Instant, instant, unixMillis, WallClock } from '../base/time.ts';
import { native } from './packets/native.ts';

// Implementation
/** Random words drawn from the system at once: one draw costs more than 64 words. */
const RANDOM_WORDS = 64;

/** Milliseconds since the process started, with fractions; never goes backwards. */
export function monotonicNow(): Instant {
  return instant(performance.now());
}

/**
 * Milliseconds since the machine started, with fractions: goes on while the machine sleeps, so that what has a lifetime ends in time (CLOCK_BOOTTIME).
 * Steps of the wall clock do not show. Not to be mixed with `monotonicNow`.
 */
export function bootNow(): Instant {
  return instant(native().bootTime());
}

/** Ties `now` to the wall clock of this moment. */
export function createWallClock(now: Instant = monotonicNow()): WallClock {
  return new WallClock(now, unixMillis(Date.now()));
}

export class SystemRandom implements Random {
  readonly #words = new Uint32Array(RANDOM_WORDS);
  #used = RANDOM_WORDS;

  next(): number {
    if (this.#used === RANDOM_WORDS) {
      randomFillSync(this.#words);
      this.#used = 0;
    }
    const word = this.#words[this.#used] ?? 0;
    this.#used += 1;
    return word / 0x1_0000_0000;
  }
}
