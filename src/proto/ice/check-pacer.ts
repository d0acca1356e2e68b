// Spreads connectivity checks over time when many agents have many of them (RFC 8445 §14.2, connectivity 14.12): a mass reconnect
// must not become one burst. Shared by all agents of a node. Each agent holds one turn at a time and waits for it, so that
// agents are served in the order in which they asked, and none is woken before its turn.

import { type Instant, instant } from '../../base/time.ts';

// Implementation
/** So many go at once: a single set-up never notices the pacing. */
const BURST_CHECKS = 128;
/** Then one in this time. RFC 8445 asks for 5 ms, meant for one host with one connection; a thousand clients need 400 checks a second to stay as they are. */
const INTERVAL_MS = 0.5;

export class CheckPacer {
  /** When the next turn would be if no burst were allowed. */
  #nextAt: Instant = instant(Number.NEGATIVE_INFINITY);

  /** A turn: the check may go then; now if that is not later. */
  reserve(now: Instant): Instant {
    const turn = Math.max(this.#nextAt, now - BURST_CHECKS * INTERVAL_MS);
    this.#nextAt = instant(turn + INTERVAL_MS);
    return instant(turn);
  }
}
