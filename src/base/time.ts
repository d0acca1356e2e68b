// Time as the pure layers know it: a monotonic instant handed in by the owner, and wall-clock time that
// enters once, as a pair with an instant. Durations are plain numbers with their unit in the name.

declare const brand: unique symbol;

/** Nominal typing: `Brand<string, 'X'>` is a string that only X's constructor function makes. */
export type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Milliseconds of a monotonic clock with an arbitrary zero; fractions allowed. */
export type Instant = Brand<number, 'Instant'>;

/** Milliseconds since 1970-01-01T00:00:00Z. */
export type UnixMillis = Brand<number, 'UnixMillis'>;

export function instant(milliseconds: number): Instant {
  return milliseconds as Instant;
}

export function unixMillis(milliseconds: number): UnixMillis {
  return milliseconds as UnixMillis;
}

/** The only way to make a later instant, so that `now + 5000` does not compile. */
export function later(at: Instant, milliseconds: number): Instant {
  return (at + milliseconds) as Instant;
}

/** The earliest of some deadlines, ignoring those that are not set. */
export function earliest(...deadlines: readonly (Instant | undefined)[]): Instant | undefined {
  let first: Instant | undefined;
  for (const deadline of deadlines) {
    if (deadline !== undefined && (first === undefined || deadline < first)) first = deadline;
  }
  return first;
}

/** Wall-clock time read once and carried forward by the monotonic clock: steps of the wall clock do not show. */
export class WallClock {
  readonly #zero: Instant;
  readonly #unixAtZero: UnixMillis;

  constructor(now: Instant, unixNow: UnixMillis) {
    this.#zero = now;
    this.#unixAtZero = unixNow;
  }

  at(now: Instant): UnixMillis {
    return (this.#unixAtZero + (now - this.#zero)) as UnixMillis;
  }

  /** The instant at which the wall clock, undisturbed, shows `unix`. */
  instantOf(unix: UnixMillis): Instant {
    return (this.#zero + (unix - this.#unixAtZero)) as Instant;
  }
}
