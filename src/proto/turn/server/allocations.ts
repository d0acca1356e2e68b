// The allocations of a relay (RFC 8656 §7, relay 5.3 and 5.5): one per client socket and one per user name, each with one port
// number on one or both address families. Ports are drawn at random, so that they cannot be guessed (RFC 6056).

import type { Endpoint, IpAddress, IpFamily } from '../../../base/address.ts';
import { type Random, randomBelow } from '../../../base/random.ts';
import { earliest, type Instant, later } from '../../../base/time.ts';
import type { RequestId } from './responses.ts';

// Implementation
/** Draws before the range is searched in order. */
const MAX_DRAWS = 32;

export interface PortRange {
  readonly lowest: number;
  /** Inclusive. */
  readonly highest: number;
}

/** The ALLOCATE that made an allocation: repeated, it gets the same answer (RFC 8656 §7.2). */
export interface AllocateExchange {
  readonly transaction: string;
  readonly request: RequestId;
  /** Signs the answer. */
  readonly key: Uint8Array;
  /** `undefined` until the sockets are open. */
  response: Uint8Array | undefined;
}

export interface ServerAllocation {
  readonly index: number;
  readonly client: Endpoint;
  /** The address of ours that the client talks to. */
  readonly local: Endpoint;
  /** Where the client is seen; not the address of `client` if that is a stream. */
  readonly source: IpAddress;
  readonly username: string;
  readonly families: readonly IpFamily[];
  readonly exchange: AllocateExchange;
  readonly lifetimeSeconds: number;
  port: number;
  /** Ports that could not be opened. */
  portFailureCount: number;
  expiresAt: Instant;
}

export type NewAllocation = Pick<
  ServerAllocation,
  'client' | 'local' | 'source' | 'username' | 'families' | 'exchange' | 'lifetimeSeconds'
>;

export class Allocations {
  readonly #range: PortRange;
  readonly #random: Random;
  readonly #byClient = new Map<string, ServerAllocation>();
  readonly #byUsername = new Map<string, ServerAllocation>();
  readonly #byIndex = new Map<number, ServerAllocation>();
  readonly #countBySource = new Map<IpAddress, number>();
  readonly #freeIndexes: number[] = [];
  readonly #ports = new Set<number>();
  #indexCount = 0;
  #deadline: Instant | undefined;
  #deadlineIsStale = false;

  constructor(range: PortRange, random: Random) {
    this.#range = range;
    this.#random = random;
  }

  /** `undefined`: no port is free. */
  create(wish: NewAllocation, now: Instant): ServerAllocation | undefined {
    const port = this.#takePort();
    if (port === undefined) return undefined;
    const index = this.#freeIndexes.pop() ?? this.#indexCount++;
    const expiresAt = later(now, wish.lifetimeSeconds * 1000);
    const allocation = { ...wish, index, port, portFailureCount: 0, expiresAt };
    this.#byClient.set(wish.client.key, allocation);
    this.#byUsername.set(wish.username, allocation);
    this.#byIndex.set(index, allocation);
    this.#countBySource.set(wish.source, this.countFrom(wish.source) + 1);
    this.#deadlineIsStale = true;
    return allocation;
  }

  /** Another port for an allocation whose port cannot be opened. `false`: none is free. */
  changePort(allocation: ServerAllocation): boolean {
    const port = this.#takePort();
    if (port === undefined) return false;
    this.#ports.delete(allocation.port);
    allocation.port = port;
    return true;
  }

  extend(allocation: ServerAllocation, lifetimeSeconds: number, now: Instant): void {
    allocation.expiresAt = later(now, lifetimeSeconds * 1000);
    this.#deadlineIsStale = true;
  }

  remove(allocation: ServerAllocation): void {
    this.#byClient.delete(allocation.client.key);
    this.#byUsername.delete(allocation.username);
    this.#byIndex.delete(allocation.index);
    const left = this.countFrom(allocation.source) - 1;
    if (left > 0) this.#countBySource.set(allocation.source, left);
    else this.#countBySource.delete(allocation.source);
    this.#freeIndexes.push(allocation.index);
    this.#ports.delete(allocation.port);
    this.#deadlineIsStale = true;
  }

  /** One whose lifetime is over. */
  findExpired(now: Instant): ServerAllocation | undefined {
    const first = this.#earliestExpiry();
    if (first === undefined || first > now) return undefined;
    for (const allocation of this.#byIndex.values()) {
      if (allocation.expiresAt <= now) return allocation;
    }
    return undefined;
  }

  pollTimeout(): Instant | undefined {
    return this.#earliestExpiry();
  }

  findByClient(client: Endpoint): ServerAllocation | undefined {
    return this.#byClient.get(client.key);
  }

  findByUsername(username: string): ServerAllocation | undefined {
    return this.#byUsername.get(username);
  }

  findByIndex(index: number): ServerAllocation | undefined {
    return this.#byIndex.get(index);
  }

  countFrom(source: IpAddress): number {
    return this.#countBySource.get(source) ?? 0;
  }

  get count(): number {
    return this.#byIndex.size;
  }

  #earliestExpiry(): Instant | undefined {
    if (this.#deadlineIsStale) {
      this.#deadlineIsStale = false;
      this.#deadline = undefined;
      for (const { expiresAt } of this.#byIndex.values()) {
        this.#deadline = earliest(this.#deadline, expiresAt);
      }
    }
    return this.#deadline;
  }

  #takePort(): number | undefined {
    const { lowest, highest } = this.#range;
    const count = highest - lowest + 1;
    if (this.#ports.size >= count) return undefined;
    let port = lowest + randomBelow(this.#random, count);
    for (let draw = 0; this.#ports.has(port); draw++) {
      if (draw < MAX_DRAWS) port = lowest + randomBelow(this.#random, count);
      else port = port === highest ? lowest : port + 1;
    }
    this.#ports.add(port);
    return port;
  }
}
