// Finds the connection a datagram belongs to (connectivity 6, steps 3 and 4) by what is inside it, never by its sender:
//
//   Binding request          USERNAME                 (both fragments)
//   Binding response         transaction id           (10 s after the request went out, once)
//   WireGuard initiation     static key of the sender
//   other WireGuard          receiver index >> 8
//
// Deviates from connectivity 6, step 3: requests are found by both fragments instead of the left one. The agent demands
// both anyway, and four characters alone collide among a few hundred connections.

import { toHex } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';

// Specification

/** connectivity 3, in-flight STUN transactions. */
const TRANSACTION_MS = 10_000;

// Implementation

/** Own requests under way: 100 pairs of 600 connections. Beyond that the oldest are forgotten. */
const MAX_TRANSACTIONS = 65_536;

/** What a connection is found by. */
export interface Addressee {
  /** 24 bits (connectivity 6.1). */
  readonly index: number;
  readonly remotePublicKey: Uint8Array;
  /** Of the requests it receives: `<own fragment>:<remote fragment>`. */
  readonly username: string;
}

interface Transaction<T> {
  readonly target: T;
  readonly expiresAt: Instant;
}

export class Demux<T extends Addressee> {
  readonly #byIndex = new Map<number, T>();
  readonly #byUsername = new Map<string, T>();
  /** Two peers may claim one key; the first of them has it until it goes (connectivity 6, "first match"). */
  readonly #byPublicKey = new Map<string, T[]>();
  /** By id; insertion order is order of expiry. */
  readonly #transactions = new Map<string, Transaction<T>>();

  handleTimeout(now: Instant): void {
    for (const [id, { expiresAt }] of this.#transactions) {
      if (expiresAt > now) break;
      this.#transactions.delete(id);
    }
  }

  add(target: T): void {
    this.#byIndex.set(target.index, target);
    this.#byUsername.set(target.username, target);
    const key = toHex(target.remotePublicKey);
    this.#byPublicKey.set(key, [...(this.#byPublicKey.get(key) ?? []), target]);
  }

  /** Also forgets its transactions (connectivity 11.28). */
  remove(target: T): void {
    if (this.#byIndex.get(target.index) === target) this.#byIndex.delete(target.index);
    if (this.#byUsername.get(target.username) === target) this.#byUsername.delete(target.username);
    const key = toHex(target.remotePublicKey);
    const others = (this.#byPublicKey.get(key) ?? []).filter((other) => other !== target);
    if (others.length > 0) this.#byPublicKey.set(key, others);
    else this.#byPublicKey.delete(key);
    for (const [id, transaction] of this.#transactions) {
      if (transaction.target === target) this.#transactions.delete(id);
    }
  }

  clear(): void {
    this.#byIndex.clear();
    this.#byUsername.clear();
    this.#byPublicKey.clear();
    this.#transactions.clear();
  }

  /** `id` as `transactionKey` makes it. */
  rememberTransaction(id: string, target: T, now: Instant): void {
    this.#transactions.set(id, { target, expiresAt: later(now, TRANSACTION_MS) });
    if (this.#transactions.size <= MAX_TRANSACTIONS) return;
    for (const oldest of this.#transactions.keys()) {
      this.#transactions.delete(oldest);
      return;
    }
  }

  /** The first response takes the entry; a second one finds nothing. */
  takeTransaction(id: string, now: Instant): T | undefined {
    const transaction = this.#transactions.get(id);
    this.#transactions.delete(id);
    return transaction && transaction.expiresAt > now ? transaction.target : undefined;
  }

  findByIndex(connectionIndex: number): T | undefined {
    return this.#byIndex.get(connectionIndex);
  }

  findByUsername(username: string): T | undefined {
    return this.#byUsername.get(username);
  }

  findByPublicKey(publicKey: Uint8Array): T | undefined {
    return this.#byPublicKey.get(toHex(publicKey))?.[0];
  }

  pollTimeout(): Instant | undefined {
    for (const { expiresAt } of this.#transactions.values()) return expiresAt;
    return undefined;
  }

  get transactionCount(): number {
    return this.#transactions.size;
  }

  snapshot(): Readonly<Record<string, number>> {
    return {
      indices: this.#byIndex.size,
      usernames: this.#byUsername.size,
      publicKeys: this.#byPublicKey.size,
      transactions: this.#transactions.size,
    };
  }
}
