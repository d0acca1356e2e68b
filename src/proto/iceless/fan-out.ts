// The first handshake initiation on its way over every pair (iceless 6.2): relays work for everybody, so one of the copies arrives. It is
// repeated quickly at first, because it may reach the relay before the peer has bound its channel.
//
// Deviates from iceless 6.2.6: pairs without a relay carry it, too. A peer that can be reached directly answers after one direct round trip, and needs
// no relay at all; to a peer it is one more copy, which it answers from memory.

import { earliest, type Instant, later } from '../../base/time.ts';
import type { Pair } from './pair.ts';

// Specification (iceless 6.2.2)

/** After the first copy on a pair; then never again. */
const LADDER_MS: readonly number[] = [50, 50, 50, 100, 200, 400, 800, 1_600];

interface Ladder {
  step: number;
  nextAt: Instant | undefined;
}

export class FanOut {
  #initiation: Uint8Array | undefined;
  #startedAt: Instant | undefined;
  readonly #sent = new Set<string>();
  readonly #ladders = new Map<string, Ladder>();

  /** A fresh initiation takes the place of the last one: once more to each pair, and ladders go on where they are. */
  replace(initiation: Uint8Array, now: Instant): void {
    this.#initiation = initiation;
    this.#startedAt ??= now;
    this.#sent.clear();
  }

  stop(): void {
    this.#initiation = undefined;
    this.#startedAt = undefined;
    this.#sent.clear();
    this.#ladders.clear();
  }

  /** The pairs that carry a copy now. */
  takeDue(pairs: readonly Pair[], now: Instant): readonly Pair[] {
    if (this.#initiation === undefined) return [];
    return pairs.filter((pair) => this.#isDue(pair, now));
  }

  /** In the past as long as a pair has not had its copy. */
  pollTimeout(pairs: readonly Pair[]): Instant | undefined {
    if (this.#initiation === undefined) return undefined;
    let first: Instant | undefined;
    for (const { key } of pairs) {
      if (!this.#sent.has(key)) return this.#startedAt;
      first = earliest(first, this.#ladders.get(key)?.nextAt);
    }
    return first;
  }

  get initiation(): Uint8Array | undefined {
    return this.#initiation;
  }

  #isDue({ key }: Pair, now: Instant): boolean {
    const ladder = this.#ladders.get(key);
    if (ladder === undefined) {
      this.#ladders.set(key, { step: 0, nextAt: later(now, LADDER_MS[0] ?? 0) });
    } else if (ladder.nextAt !== undefined && ladder.nextAt <= now) {
      ladder.step += 1;
      const gap = LADDER_MS[ladder.step];
      ladder.nextAt = gap === undefined ? undefined : later(now, gap);
    } else if (this.#sent.has(key)) return false;
    this.#sent.add(key);
    return true;
  }
}
