// Requests that wait for their answer (RFC 8489 §6.2.1): by transaction id, sent again with the same bytes, given up in the
// end. Whether an answer is genuine, and what it means, is decided by the user of this table.

import type { Endpoint } from '../../base/address.ts';
import { earliest, type Instant } from '../../base/time.ts';
import { transactionKey } from '../../wire/stun/message.ts';
import { Retransmission, type RetransmissionSchedule } from './retransmission.ts';

export interface NewStunRequest<Context> {
  readonly transactionId: Uint8Array;
  readonly bytes: Uint8Array;
  readonly destination: Endpoint;
  /** What the user wants to find with the answer. */
  readonly context: Context;
}

export interface StunRequest<Context> extends NewStunRequest<Context> {
  readonly retransmission: Retransmission;
  transmissionCount: number;
}

export type DueRequest<Context> =
  | { readonly kind: 'retransmit'; readonly request: StunRequest<Context> }
  /** Given up; no longer in the table. */
  | { readonly kind: 'expired'; readonly request: StunRequest<Context> };

export class StunRequests<Context> {
  readonly #byTransaction = new Map<string, StunRequest<Context>>();

  /** The first transmission is the caller's, now. */
  start(
    request: NewStunRequest<Context>,
    schedule: RetransmissionSchedule,
    now: Instant,
  ): StunRequest<Context> {
    const retransmission = new Retransmission(schedule, now);
    const started = { ...request, retransmission, transmissionCount: 1 };
    this.#byTransaction.set(transactionKey(request.transactionId), started);
    return started;
  }

  remove(request: StunRequest<Context>): void {
    this.#byTransaction.delete(transactionKey(request.transactionId));
  }

  clear(): void {
    this.#byTransaction.clear();
  }

  /** One request whose time has come; repeat until `undefined`. */
  pollDue(now: Instant): DueRequest<Context> | undefined {
    for (const request of this.#byTransaction.values()) {
      if (request.retransmission.dueAt > now) continue;
      if (request.retransmission.advance(now)) {
        request.transmissionCount += 1;
        return { kind: 'retransmit', request };
      }
      this.remove(request);
      return { kind: 'expired', request };
    }
    return undefined;
  }

  pollTimeout(): Instant | undefined {
    let first: Instant | undefined;
    for (const { retransmission } of this.#byTransaction.values()) {
      first = earliest(first, retransmission.dueAt);
    }
    return first;
  }

  find(transactionId: Uint8Array): StunRequest<Context> | undefined {
    return this.#byTransaction.get(transactionKey(transactionId));
  }

  some(predicate: (context: Context) => boolean): boolean {
    for (const { context } of this.#byTransaction.values()) if (predicate(context)) return true;
    return false;
  }

  get count(): number {
    return this.#byTransaction.size;
  }
}

/**
 * Milliseconds between the request and its answer, `undefined` if it was sent more than once: which of the transmissions was
 * answered is then unknown (Karn's rule, RFC 6298 §3).
 */
export function roundTripMs(request: StunRequest<unknown>, now: Instant): number | undefined {
  return request.transmissionCount > 1 ? undefined : longestRoundTripMs(request, now);
}

/** What it was at most, whichever of the transmissions was answered. */
export function longestRoundTripMs(request: StunRequest<unknown>, now: Instant): number {
  return now - request.retransmission.startedAt;
}
