// How fast an allocation that a relay refuses is asked for again. connlib waits for the portal's next list of relays (relay 4.10)
// or asks without pause (relay 4.8); neither is good for a relay in trouble (relay 10).

import type { Instant } from '../../base/time.ts';

// Implementation
const FIRST_SUSPENSION_MS = 10_000;
const MAX_SUSPENSION_MS = 300_000;
/** relay 7.2 rule 7: coturn keeps a deleted allocation for one second. */
const FIRST_MISMATCH_MS = 1000;
const MAX_MISMATCH_MS = 8000;
const OTHER_USER_MS = 10_000;
/** Without our help the old allocation is gone after its default lifetime (RFC 8656 §3.2). */
const MAX_MISMATCH_TOTAL_MS = 600_000;

/** After an error that says nothing about when to come back (403, 486, 500, 508): doubling waits. */
export class SuspensionPacing {
  #waitMs = FIRST_SUSPENSION_MS;

  nextWaitMs(): number {
    const wait = this.#waitMs;
    this.#waitMs = Math.min(wait * 2, MAX_SUSPENSION_MS);
    return wait;
  }

  reset(): void {
    this.#waitMs = FIRST_SUSPENSION_MS;
  }
}

/** 437 to ALLOCATE: the relay still holds an allocation of our 5-tuple. Delete it, wait, allocate; again and again. */
export class MismatchPacing {
  #since: Instant | undefined;
  #waitMs = 0;

  /** One more round; `exhausted` when the old allocation must have ended by itself long ago. */
  begin(wasSigned: boolean, now: Instant): 'go-on' | 'exhausted' {
    if (this.#since === undefined) {
      this.#since = now;
      // Firezone's relay deletes at once and signs; coturn does neither (relay 7.1 rows 19 and 20).
      this.#waitMs = wasSigned ? 0 : FIRST_MISMATCH_MS;
      return 'go-on';
    }
    this.#waitMs = Math.min(Math.max(FIRST_MISMATCH_MS, this.#waitMs * 2), MAX_MISMATCH_MS);
    return now - this.#since > MAX_MISMATCH_TOTAL_MS ? 'exhausted' : 'go-on';
  }

  /** The 5-tuple is another user's (441). */
  beginForOtherUser(now: Instant): 'go-on' | 'exhausted' {
    this.#since ??= now;
    this.#waitMs = OTHER_USER_MS;
    return now - this.#since > MAX_MISMATCH_TOTAL_MS ? 'exhausted' : 'go-on';
  }

  reset(): void {
    this.#since = undefined;
    this.#waitMs = 0;
  }

  get waitMs(): number {
    return this.#waitMs;
  }

  get isPending(): boolean {
    return this.#since !== undefined;
  }
}
