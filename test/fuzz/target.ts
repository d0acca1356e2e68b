// What a fuzz target is: a name, which is also its corpus folder, and a function that must neither throw nor hang on any bytes.
// It may throw on purpose when two readings of the same bytes disagree. The bytes are the caller's: who keeps them copies them.

export interface FuzzTarget {
  readonly name: string;
  /** Whether the bytes are a hostile message, or a list of operations for a machine. */
  readonly kind: 'bytes' | 'operations';
  /** A run takes tens of milliseconds: `npm test` does few. */
  readonly isHeavy?: boolean;
  run(bytes: Uint8Array): void;
  /**
   * Checks that cost more than the parser itself: writing what was read, reading it again, a twin. The search does them for every
   * sixteenth input and for each that reaches something new.
   */
  compare?(bytes: Uint8Array): void;
}
