// Searches for inputs that a target does not survive, guided by edges: an input that reaches what none reached before is shortened,
// kept and mutated on. Runs in a worker thread; the input under way stands in memory shared with the owner, which therefore has it
// also when the target hangs or runs out of memory.

import type { FuzzTarget } from '../target.ts';
import { hasFreshEdges, markEdges, seenEdgeCount, takeFreshEdges } from './edges.ts';
import { dictionaryOf, MAX_LENGTH, Mutator } from './mutator.ts';

/** Mutations of one input before another is chosen; fewer where each takes long. */
const LONGEST_ROUND = 128;
/** One input in so many is compared, too. A power of two. */
const COMPARE_EVERY = 16;
/** Tries to shorten a new input, at most. */
const SHORTENINGS = 256;
const SHORTENING_MS = 2_000;
/** The search looks at the clock after so many rounds at most, and sooner when rounds are slow. */
const MAX_ROUNDS_PER_LOOK = 256;
const LOOK_MS = 250;

export interface SearchOptions {
  readonly seed: number;
  readonly milliseconds: number;
  readonly inputs: readonly Uint8Array[];
  readonly literals: readonly (string | number)[];
  /** [length, bytes...] of the input that runs. */
  readonly current: Uint8Array;
}

export interface SearchProgress {
  readonly runs: number;
  readonly milliseconds: number;
  readonly edges: number;
  readonly poolLength: number;
}

export interface Finding {
  readonly bytes: Uint8Array;
  readonly problem: string;
}

export interface SearchHooks {
  clock(): number;
  kept(bytes: Uint8Array): void;
  progress(progress: SearchProgress): void;
}

/** Runs until the time is over or something is found. */
export function search(
  target: FuzzTarget,
  options: SearchOptions,
  hooks: SearchHooks,
): Finding | undefined {
  const loop = new Loop(target, options, hooks);
  try {
    loop.run();
    return undefined;
  } catch (error) {
    return loop.shrink(error);
  } finally {
    loop.report();
  }
}

class Loop {
  readonly #target: FuzzTarget;
  readonly #options: SearchOptions;
  readonly #hooks: SearchHooks;
  readonly #mutator: Mutator;
  readonly #views: Uint8Array[] = [];
  readonly #seeds: readonly Uint8Array[];
  readonly #pool: Uint8Array[];
  readonly #startedAt: number;
  readonly #currentLength: DataView;
  #runs = 0;
  #roundLength = LONGEST_ROUND;

  constructor(target: FuzzTarget, options: SearchOptions, hooks: SearchHooks) {
    this.#target = target;
    this.#options = options;
    this.#hooks = hooks;
    this.#mutator = new Mutator(options.seed, dictionaryOf(options.literals));
    this.#seeds = options.inputs.length > 0 ? options.inputs : [new Uint8Array()];
    this.#pool = [...this.#seeds];
    this.#startedAt = hooks.clock();
    const { buffer, byteOffset } = options.current;
    this.#currentLength = new DataView(buffer, byteOffset, 4);
  }

  run(): void {
    for (const seed of this.#seeds) {
      this.#mutator.load(seed);
      this.#attempt(true);
      if (this.#hooks.clock() - this.#startedAt > LOOK_MS) this.report();
    }
    takeFreshEdges();
    const end = this.#startedAt + this.#options.milliseconds;
    let rounds = 1;
    let lastLook = this.#startedAt;
    for (;;) {
      for (let i = 0; i < rounds; i++) this.#round();
      const now = this.#hooks.clock();
      if (now - lastLook < LOOK_MS / 2) rounds = Math.min(rounds * 2, MAX_ROUNDS_PER_LOOK);
      else if (rounds > 1 && now - lastLook > LOOK_MS) rounds >>= 1;
      else if (now - lastLook > LOOK_MS) this.#roundLength = Math.max(4, this.#roundLength >> 1);
      lastLook = now;
      this.report();
      if (now >= end) return;
    }
  }

  report(): void {
    this.#hooks.progress({
      runs: this.#runs,
      milliseconds: this.#hooks.clock() - this.#startedAt,
      edges: seenEdgeCount(),
      poolLength: this.#pool.length,
    });
  }

  /** Mutates one input for a while. Newer finds are tried more often; every fourth round begins with what was committed. */
  #round(): void {
    const mutator = this.#mutator;
    const pool = this.#pool;
    const seeds = this.#seeds;
    const kind = mutator.below(4);
    const recent = pool.length - 1 - mutator.below(Math.min(pool.length, 16));
    const base =
      kind === 0
        ? seeds[mutator.below(seeds.length)]
        : pool[kind === 1 ? recent : mutator.below(pool.length)];
    const other = pool[mutator.below(pool.length)];
    if (!base || !other) return;
    for (let i = 0; i < this.#roundLength; i++) {
      mutator.load(base);
      mutator.mutate(other);
      this.#attempt((i & (COMPARE_EVERY - 1)) === 0);
      if (hasFreshEdges()) this.#keep();
    }
  }

  #attempt(isCompared: boolean): void {
    const { buffer, length } = this.#mutator;
    let view = this.#views[length];
    if (!view) {
      view = new Uint8Array(buffer.buffer, 0, length);
      this.#views[length] = view;
    }
    this.#currentLength.setUint32(0, length);
    this.#options.current.set(view, 4);
    this.#runs += 1;
    this.#target.run(view);
    if (isCompared) this.#target.compare?.(view);
  }

  #keep(): void {
    const edges = takeFreshEdges();
    const { buffer, length } = this.#mutator;
    const bytes = this.#shorten(buffer.slice(0, length), () => {
      markEdges(edges, 0);
      this.#attempt(true);
      const reached = new Set(takeFreshEdges());
      return edges.every((edge) => reached.has(edge));
    });
    markEdges(edges, 1);
    this.#pool.push(bytes);
    this.#hooks.kept(bytes);
  }

  /** Leaves out what is not needed: halves first, then smaller pieces. */
  #shorten(input: Uint8Array, stillHolds: () => boolean): Uint8Array {
    let best = input;
    let tries = 0;
    const end = this.#hooks.clock() + SHORTENING_MS;
    const mayTry = (): boolean => tries++ < SHORTENINGS && this.#hooks.clock() < end;
    for (let piece = best.length >> 1; piece > 0; piece >>= 1) {
      for (let at = 0; at + piece <= best.length && mayTry(); ) {
        const shorter = new Uint8Array(best.length - piece);
        shorter.set(best.subarray(0, at));
        shorter.set(best.subarray(at + piece), at);
        this.#mutator.load(shorter);
        if (stillHolds()) best = shorter;
        else at += piece;
      }
    }
    return best;
  }

  /** The shortest input with the same complaint. */
  shrink(error: unknown): Finding {
    const { buffer, length } = this.#mutator;
    const complaint = messageOf(error);
    const bytes = this.#shorten(buffer.slice(0, length), () => {
      try {
        this.#attempt(true);
        return false;
      } catch (again) {
        return messageOf(again) === complaint;
      }
    });
    return { bytes, problem: error instanceof Error ? (error.stack ?? complaint) : complaint };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Room for the input that runs, to be shared with the owner of the thread. */
export const CURRENT_LENGTH: number = MAX_LENGTH + 4;
