// The root of what may be thrown. Remote input never throws (it is dropped with a named, counted reason);
// errors are for operators (`FzError`, with a code from docs/errors.md) and for bugs (`InvariantError`).

export abstract class FzError extends Error {
  /** `FZ_ERR_...`; match on this, never on the message. */
  abstract readonly code: string;
  override get name(): string {
    return this.constructor.name;
  }
}

/** One of our own invariants broke. */
export class InvariantError extends FzError {
  readonly code = 'FZ_ERR_INVARIANT';
}

/** States a precondition or invariant that the types cannot say. */
export function assert(condition: boolean, sentence: string): asserts condition {
  if (!condition) throw new InvariantError(sentence);
}

/** Proves at compile time that a union is exhausted. */
export function unreachable(value: never): never {
  throw new InvariantError(`unreachable: ${String(value)}`);
}
