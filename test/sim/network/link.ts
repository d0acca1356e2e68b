// One direction of a link: delay, loss (independent, and in bursts after Gilbert and Elliott), reordering, duplication, corruption, a rate with a queue,
// an MTU. A chance of zero draws nothing, so a perfect link costs nothing and shifts no other.

import type { SeededRandom } from '../../../src/base/random.ts';
import type { Instant } from '../../../src/base/time.ts';
import { type Datagram, type NetworkDrop, wireLength } from './datagram.ts';
import { onGrain } from './scheduler.ts';

/** Chances are between 0 and 1. */
export interface LinkConditions {
  readonly latencyMs: number;
  /** Up to so much more, evenly; order is kept. */
  readonly jitterMs: number;
  readonly loss: number;
  /** While in a burst each datagram is lost by `loss`; it begins and ends by chance at each datagram. */
  readonly burst?: { readonly begin: number; readonly end: number; readonly loss: number };
  /** Chance to overtake those before it, or to be overtaken, by up to `reorderMs`. */
  readonly reorder: number;
  readonly reorderMs: number;
  readonly duplicate: number;
  /** One bit flips; the UDP checksum does not notice. */
  readonly corrupt: number;
  /** Absent: without limit. */
  readonly kilobitsPerSecond?: number;
  /** What may wait for the rate. */
  readonly queueBytes: number;
  /** Bytes of an IP packet; longer ones are lost without a word. */
  readonly mtu: number;
}

export const GOOD_LINK: LinkConditions = {
  latencyMs: 10,
  jitterMs: 0,
  loss: 0,
  reorder: 0,
  reorderMs: 0,
  duplicate: 0,
  corrupt: 0,
  queueBytes: 256 * 1024,
  mtu: 1500,
};

export type Passage = NetworkDrop | 'passed';

export class LinkDirection {
  conditions: LinkConditions;
  readonly #random: SeededRandom;
  #isBurst = false;
  /** When the last byte that waits has left. */
  #freeAt = 0;
  /** Order is kept up to here. */
  #lastArrival = 0;

  constructor(conditions: LinkConditions, random: SeededRandom) {
    this.conditions = conditions;
    this.#random = random;
  }

  /** Calls `deliver` with the delay for each copy that will arrive. */
  pass(
    datagram: Datagram,
    now: Instant,
    deliver: (datagram: Datagram, delayMs: number) => void,
  ): Passage {
    const { mtu, duplicate, corrupt } = this.conditions;
    if (wireLength(datagram) > mtu) return 'too-big';
    const queued = this.#queue(datagram, now);
    if (queued === undefined) return 'queue-full';
    const lost = this.#lose();
    if (lost) return lost;
    const arriving = this.#happens(corrupt) ? this.#corrupted(datagram) : datagram;
    deliver(arriving, this.#delay(now, queued));
    if (this.#happens(duplicate)) deliver(arriving, this.#delay(now, queued));
    return 'passed';
  }

  /** Milliseconds until the last byte is on the wire; `undefined`: the queue is full. */
  #queue(datagram: Datagram, now: Instant): number | undefined {
    const { kilobitsPerSecond, queueBytes } = this.conditions;
    if (kilobitsPerSecond === undefined) return 0;
    const waiting = Math.max(0, this.#freeAt - now);
    if ((waiting * kilobitsPerSecond) / 8 > queueBytes) return undefined;
    const sending = (wireLength(datagram) * 8) / kilobitsPerSecond;
    this.#freeAt = now + waiting + sending;
    return waiting + sending;
  }

  #lose(): NetworkDrop | undefined {
    const { loss, burst } = this.conditions;
    if (burst !== undefined) {
      if (this.#happens(this.#isBurst ? burst.end : burst.begin)) this.#isBurst = !this.#isBurst;
      if (this.#isBurst && this.#happens(burst.loss)) return 'burst-loss';
    }
    return this.#happens(loss) ? 'loss' : undefined;
  }

  #delay(now: Instant, queued: number): number {
    const { latencyMs, jitterMs, reorder, reorderMs } = this.conditions;
    const jitter = jitterMs > 0 ? this.#random.next() * jitterMs : 0;
    const due = now + queued + latencyMs + jitter;
    if (this.#happens(reorder)) {
      return onGrain(due + this.#random.next() * reorderMs - now);
    }
    const arrival = Math.max(due, this.#lastArrival);
    this.#lastArrival = arrival;
    return onGrain(arrival - now);
  }

  #corrupted(datagram: Datagram): Datagram {
    if (datagram.payload.length === 0) return datagram;
    const payload = datagram.payload.slice();
    const bit = this.#random.nextUint32() % (payload.length * 8);
    payload[bit >> 3] = (payload[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    return { ...datagram, payload };
  }

  #happens(chance: number): boolean {
    return chance > 0 && this.#random.next() < chance;
  }
}
