// Back-off between attempts to reach the portal (portal-protocol 4.3): a series of delays with a budget. The budget is the sum
// of the delays handed out, not time that passed, so that slow failures do not eat it.

import type { Random } from '../../base/random.ts';

export interface BackoffPolicy {
  readonly initialMs: number;
  readonly factor: number;
  readonly ceilingMs: number;
  /** Sum of all delays, at most; Infinity for no end. */
  readonly budgetMs: number;
  /** Adds a uniform part of up to once the delay. */
  readonly hasJitter: boolean;
}

// Specification
/** Before the first join of this process (portal-protocol 4.3): a wrong setting shows soon. */
export const FIRST_CONNECTION: BackoffPolicy = {
  initialMs: 1000,
  factor: 1,
  ceilingMs: 1000,
  budgetMs: 15_000,
  hasJitter: false,
};

/** After it; the budget is `FIREZONE_MAX_PARTITION_TIME`. */
export function reconnection(budgetMs: number): BackoffPolicy {
  return { initialMs: 500, factor: 1.5, ceilingMs: 60_000, budgetMs, hasJitter: true };
}

export class Backoff {
  readonly #policy: BackoffPolicy;
  readonly #random: Random;
  #intervalMs: number;
  #spentMs = 0;

  constructor(policy: BackoffPolicy, random: Random) {
    this.#policy = policy;
    this.#random = random;
    this.#intervalMs = policy.initialMs;
  }

  /** The next delay, `undefined` when the budget does not cover it. */
  next(): number | undefined {
    const { factor, ceilingMs, budgetMs, hasJitter } = this.#policy;
    const intervalMs = Math.min(this.#intervalMs, ceilingMs);
    const delayMs = hasJitter ? intervalMs * (1 + this.#random.next()) : intervalMs;
    if (this.#spentMs + delayMs > budgetMs) return undefined;
    this.#intervalMs = intervalMs * factor;
    this.#spentMs += delayMs;
    return delayMs;
  }
}
