// Which key slot a receiver index means, and whose it is. Hot path: `find` and `ownerOf` are asked once per run of datagrams
// and allocate nothing; keys are the index as a signed 32-bit integer, which needs no heap number.

export class SessionSlots<T> {
  readonly #slotByIndex = new Map<number, number>();
  readonly #owners: (T | undefined)[];
  readonly #indices: Int32Array;

  constructor(capacity: number) {
    this.#owners = new Array<T | undefined>(capacity).fill(undefined);
    this.#indices = new Int32Array(capacity);
  }

  /** `receiverIndex` is what the peer's data messages carry. */
  add(slot: number, receiverIndex: number, owner: T): void {
    this.#slotByIndex.set(receiverIndex | 0, slot);
    this.#owners[slot] = owner;
    this.#indices[slot] = receiverIndex | 0;
  }

  /** Does nothing if the slot belongs to another one by now. */
  remove(slot: number, owner: T): void {
    if (this.#owners[slot] !== owner) return;
    this.#owners[slot] = undefined;
    const index = this.#indices[slot] ?? 0;
    if (this.#slotByIndex.get(index) === slot) this.#slotByIndex.delete(index);
  }

  /** `receiverIndex` as `DataView.getInt32` reads it; -1 if it is nobody's. */
  find(receiverIndex: number): number {
    const slot = this.#slotByIndex.get(receiverIndex);
    return slot === undefined ? -1 : slot;
  }

  ownerOf(slot: number): T | undefined {
    return this.#owners[slot];
  }

  get count(): number {
    return this.#slotByIndex.size;
  }
}
