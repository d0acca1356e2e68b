// Named counters: each drop has a reason, each reason a counter. The set of names is closed by the type,
// so remote input cannot grow the table.

export class Counters<Name extends string> {
  readonly #values = new Map<Name, number>();

  add(name: Name, count = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + count);
  }

  get(name: Name): number {
    return this.#values.get(name) ?? 0;
  }

  snapshot(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#values);
  }
}
