// Resources that the client has asked the portal for, and the packets that wait for the answer (client 7.3). A first packet asks at once; traffic
// asks again after two seconds. Beyond upstream (client 19): a request that got no answer is repeated by a timer a few times, so
// that a single lost message does not cost the application its own retry.

import type { ResourceId } from '../../base/ids.ts';
import { type Instant, later } from '../../base/time.ts';
import { PacketBuffer } from './packet-buffer.ts';

// Specification
const REQUEST_INTERVAL_MS = 2_000;
const MAX_WAITING_PACKETS = 128;

// Implementation
/** Repetitions without new traffic: covers a portal restart of some seconds, ends when nobody asks any more. */
const MAX_SILENT_REPEATS = 5;
/** A local application decides how many resources it touches at once; the portal decides how many there are. */
const MAX_PENDING = 1_024;

interface Pending {
  readonly packets: PacketBuffer;
  lastRequestAt: Instant;
  silentRepeats: number;
}

export class PendingAccess {
  readonly #byResource = new Map<ResourceId, Pending>();
  /** While the portal is away nobody hears a request: nothing is asked, repeated or given up. */
  #isPaused = true;

  /** Keeps `packet` until the answer; true if a request has to be sent now. */
  want(resource: ResourceId, packet: Uint8Array | undefined, now: Instant): boolean {
    let pending = this.#byResource.get(resource);
    if (!pending) {
      if (this.#byResource.size >= MAX_PENDING) return false;
      pending = {
        packets: new PacketBuffer(MAX_WAITING_PACKETS),
        lastRequestAt: now,
        silentRepeats: 0,
      };
      this.#byResource.set(resource, pending);
      if (packet) pending.packets.push(packet);
      return !this.#isPaused;
    }
    if (packet) pending.packets.push(packet);
    pending.silentRepeats = 0;
    if (this.#isPaused || now - pending.lastRequestAt < REQUEST_INTERVAL_MS) return false;
    pending.lastRequestAt = now;
    return true;
  }

  /** Keeps one more packet for a resource that is asked for already. */
  keep(resource: ResourceId, packet: Uint8Array): void {
    this.#byResource.get(resource)?.packets.push(packet);
  }

  has(resource: ResourceId): boolean {
    return this.#byResource.has(resource);
  }

  /** Ends the wait; the packets may be sent, or are the caller's to drop. `undefined` if nothing was pending. */
  take(resource: ResourceId): Uint8Array[] | undefined {
    const pending = this.#byResource.get(resource);
    this.#byResource.delete(resource);
    return pending?.packets.takeAll();
  }

  /** The portal refused: only traffic asks again, not the timer. */
  noteAnswer(resource: ResourceId): void {
    const pending = this.#byResource.get(resource);
    if (pending) pending.silentRepeats = MAX_SILENT_REPEATS;
  }

  /** The wait ended without a grant: traffic asks again, but not before the interval is over. */
  coolDown(resource: ResourceId, now: Instant): void {
    this.#byResource.delete(resource);
    this.want(resource, undefined, now);
    this.noteAnswer(resource);
  }

  /** The portal is away. */
  pause(): void {
    this.#isPaused = true;
  }

  /** The portal is back: all that is pending counts as asked for now; returns it. */
  resume(now: Instant): ResourceId[] {
    this.#isPaused = false;
    for (const pending of this.#byResource.values()) {
      pending.lastRequestAt = now;
      pending.silentRepeats = 0;
    }
    return [...this.#byResource.keys()];
  }

  /** Resources whose request has to be repeated now. */
  handleTimeout(now: Instant): ResourceId[] {
    const due: ResourceId[] = [];
    if (this.#isPaused) return due;
    for (const [resource, pending] of this.#byResource) {
      if (now < later(pending.lastRequestAt, REQUEST_INTERVAL_MS)) continue;
      if (pending.silentRepeats >= MAX_SILENT_REPEATS) {
        this.#byResource.delete(resource);
        continue;
      }
      pending.silentRepeats++;
      pending.lastRequestAt = now;
      due.push(resource);
    }
    return due;
  }

  pollTimeout(): Instant | undefined {
    let next: Instant | undefined;
    if (this.#isPaused) return next;
    for (const { lastRequestAt } of this.#byResource.values()) {
      const due = later(lastRequestAt, REQUEST_INTERVAL_MS);
      if (next === undefined || due < next) next = due;
    }
    return next;
  }

  get count(): number {
    return this.#byResource.size;
  }
}
