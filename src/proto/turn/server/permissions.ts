// The permissions of a relay's allocations (RFC 8656 §9): from which addresses datagrams reach a client without a channel, as Data
// indications, and where its Send indications may go. Firezone's clients never ask for any: a channel is all they need, and
// whatever is not on one is dropped (relay 5.5). Standard clients do.

import { type Endpoint, type IpAddress, writeAddressWords } from '../../../base/address.ts';
import { at } from '../../../base/bytes.ts';
import { type Instant, later } from '../../../base/time.ts';
import { AddressTable } from './address-table.ts';

// Specification
export const PERMISSION_LIFETIME_MS: number = 300_000; // RFC 8656 §9

// Implementation
/** Of one allocation. Peers are the client's choice, so their number is bounded. */
const MAX_PER_ALLOCATION = 256;
/** Of all allocations together: some 10 MB. */
const MAX_PERMISSIONS = 65_536;
/** A permission is for an address, whatever the port (RFC 8656 §9). */
const ANY_PORT = 0;

export class Permissions {
  readonly #table: AddressTable;
  /** By slot. */
  #expiries = new Float64Array(64);
  readonly #freeSlots: number[] = [];
  #slotCount = 0;
  readonly #byAllocation = new Map<number, Map<IpAddress, number>>();
  readonly #words = new Int32Array(4);

  constructor(seed: number) {
    this.#table = new AddressTable(seed);
  }

  /** Installs or refreshes; false: there are too many. */
  add(allocation: number, peer: IpAddress, now: Instant): boolean {
    const own = this.#byAllocation.get(allocation) ?? new Map<IpAddress, number>();
    const known = own.get(peer);
    if (known === undefined && own.size >= MAX_PER_ALLOCATION) this.#expire(allocation, own, now);
    if (known === undefined && own.size >= MAX_PER_ALLOCATION) return false;
    const slot = known ?? this.#takeSlot();
    if (slot === undefined) return false;
    this.#expiries[slot] = later(now, PERMISSION_LIFETIME_MS);
    own.set(peer, slot);
    this.#byAllocation.set(allocation, own);
    writeAddressWords(peer, this.#words, 0);
    this.#table.set(this.#words, 0, ANY_PORT, allocation, slot);
    return true;
  }

  has(allocation: number, { address }: Endpoint, now: Instant): boolean {
    writeAddressWords(address, this.#words, 0);
    return this.isGranted(allocation, this.#words, 0, now);
  }

  /** Hot: the peer's address stands at `words[index]`. Allocates nothing. */
  isGranted(allocation: number, words: Int32Array, index: number, now: Instant): boolean {
    const slot = this.#table.find(words, index, ANY_PORT, allocation);
    return slot >= 0 && at(this.#expiries, slot) > now;
  }

  removeAllocation(allocation: number): void {
    const own = this.#byAllocation.get(allocation);
    if (!own) return;
    for (const [peer, slot] of own) this.#remove(allocation, peer, slot);
    this.#byAllocation.delete(allocation);
  }

  get count(): number {
    return this.#table.count;
  }

  #expire(allocation: number, own: Map<IpAddress, number>, now: Instant): void {
    for (const [peer, slot] of own) {
      if (at(this.#expiries, slot) > now) continue;
      this.#remove(allocation, peer, slot);
      own.delete(peer);
    }
  }

  #remove(allocation: number, peer: IpAddress, slot: number): void {
    writeAddressWords(peer, this.#words, 0);
    this.#table.delete(this.#words, 0, ANY_PORT, allocation);
    this.#freeSlots.push(slot);
  }

  #takeSlot(): number | undefined {
    const free = this.#freeSlots.pop();
    if (free !== undefined) return free;
    if (this.#slotCount >= MAX_PERMISSIONS) return undefined;
    if (this.#slotCount === this.#expiries.length) {
      const larger = new Float64Array(this.#expiries.length * 2);
      larger.set(this.#expiries);
      this.#expiries = larger;
    }
    this.#slotCount += 1;
    return this.#slotCount - 1;
  }
}
