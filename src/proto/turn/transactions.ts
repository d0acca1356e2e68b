// Authenticated transactions with one relay (RFC 8489 §9.2.5): builds and signs requests, sends them again, matches and verifies
// answers, and repeats a request by itself when the relay wants another nonce (401, 438) or fewer attributes (420). What remains
// - an answer, an error, silence - is told to the allocation.

import type { Endpoint } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Log } from '../../base/log.ts';
import { isStreamAddress } from '../../base/stream-endpoint.ts';
import type { Instant } from '../../base/time.ts';
import type { Transmit } from '../../base/transmit.ts';
import { ATTRIBUTE_TYPE } from '../../wire/stun/attributes.ts';
import { STUN_ERROR } from '../../wire/stun/error-codes.ts';
import {
  findAttribute,
  type StunMessage,
  TRANSACTION_ID_LENGTH,
  writeStun,
} from '../../wire/stun/message.ts';
import {
  longestRoundTripMs,
  roundTripMs,
  type StunRequest,
  StunRequests,
} from '../stun/requests.ts';
import type { RetransmissionSchedule } from '../stun/retransmission.ts';
import { TurnAuth, type TurnCredentials } from './auth.ts';
import { methodOf, requestAttributes, type TurnRequest, type TurnRequestKind } from './requests.ts';

// Specification
const SCHEDULE: RetransmissionSchedule = {
  firstIntervalMs: 1000,
  multiplier: 1.5,
  giveUpMs: 8000,
}; // relay 4.5
/** RFC 8489 §6.2.2: over a stream a request is sent once. */
const STREAM_SCHEDULE: RetransmissionSchedule = {
  firstIntervalMs: SCHEDULE.giveUpMs,
  multiplier: 1,
  giveUpMs: SCHEDULE.giveUpMs,
};

// Implementation
/** relay 7.2 rules 6 and 5: new nonces that one request may meet in a row. */
const MAX_STALE_NONCES = 3;
const MAX_REJECTED_NONCES = 1;
/** Refusals with our transaction id that do not verify: the relay has another secret by now (relay 10). */
const MAX_UNVERIFIABLE = 2;
const MAX_REFUSED_ATTRIBUTES = 16;

/** Without these a request means something else. */
const INDISPENSABLE: ReadonlySet<number> = new Set([
  ATTRIBUTE_TYPE.username,
  ATTRIBUTE_TYPE.realm,
  ATTRIBUTE_TYPE.nonce,
  ATTRIBUTE_TYPE['message-integrity'],
  ATTRIBUTE_TYPE['xor-peer-address'],
  ATTRIBUTE_TYPE['channel-number'],
  ATTRIBUTE_TYPE.lifetime,
]);

export type TransactionDrop =
  | 'not-a-response'
  | 'unknown-transaction'
  | 'wrong-method'
  | 'unverifiable'
  | 'foreign-realm'
  | 'malformed-response';

interface Ended {
  readonly request: TurnRequest;
  readonly destination: Endpoint;
}

export type TransactionOutcome =
  | { readonly kind: 'dropped'; readonly reason: TransactionDrop }
  | (Ended & { readonly kind: 'answered' })
  | (Ended & { readonly kind: 'refused'; readonly code: number; readonly isSigned: boolean })
  | (Ended & { readonly kind: 'gave-up' })
  /** Sent again in another form. */
  | { readonly kind: 'repeated' }
  | { readonly kind: 'failed'; readonly reason: 'authentication' | 'protocol' };

interface Pending {
  readonly request: TurnRequest;
  readonly schedule: RetransmissionSchedule;
  /** The nonce that the request carried. */
  readonly nonce: string | undefined;
  readonly attempts: Attempts;
  unverifiableCount: number;
}

/** How often one wish met a 438, and a 401 in spite of a nonce. */
interface Attempts {
  readonly stale: number;
  readonly rejected: number;
}

export interface RoundTrip {
  /** Unknown if the request was sent more than once (Karn's rule). */
  readonly exactMs: number | undefined;
  /** Since the first transmission. */
  readonly longestMs: number;
}

export class Transactions {
  readonly #software: string;
  readonly #crypto: CryptoProvider;
  readonly #log: Log;
  readonly #auth: TurnAuth;
  readonly #requests = new StunRequests<Pending>();
  readonly #transmits: Transmit[] = [];
  /** Types that the relay does not understand, by method. */
  readonly #refused = new Map<number, Set<number>>();
  #latestRoundTrip: RoundTrip | undefined;

  constructor(
    credentials: TurnCredentials,
    software: string,
    deps: { readonly crypto: CryptoProvider; readonly log: Log },
  ) {
    this.#software = software;
    this.#crypto = deps.crypto;
    this.#log = deps.log;
    this.#auth = new TurnAuth(credentials, deps.crypto);
  }

  handleResponse(message: StunMessage, now: Instant): TransactionOutcome {
    if (message.class === 'request' || message.class === 'indication') {
      return dropped('not-a-response');
    }
    const entry = this.#requests.find(message.transactionId);
    if (!entry) return dropped('unknown-transaction');
    const { request } = entry.context;
    if (methodOf(request) !== message.method) return dropped('wrong-method');
    const error = findAttribute(message, 'error-code');
    if (message.class === 'error' && !error) return dropped('malformed-response');
    if (request.kind === 'binding') {
      this.#auth.noteBindingResponse(message);
    } else if (this.#auth.judge(message) === 'unverifiable') {
      return this.#handleUnverifiable(entry, error?.code);
    }
    this.#latestRoundTrip = {
      exactMs: roundTripMs(entry, now),
      longestMs: longestRoundTripMs(entry, now),
    };
    if (!error) {
      this.#requests.remove(entry);
      return { kind: 'answered', request, destination: entry.destination };
    }
    return this.#handleError(entry, message, now);
  }

  /** Sends again what is due; `undefined` when nothing (more) was given up. */
  pollGivenUp(now: Instant): TransactionOutcome | undefined {
    for (;;) {
      const due = this.#requests.pollDue(now);
      if (!due) return undefined;
      if (due.kind === 'expired') return gaveUp(due.request);
      this.#transmit(due.request.destination, due.request.bytes);
    }
  }

  send(
    request: TurnRequest,
    destination: Endpoint,
    now: Instant,
    schedule: RetransmissionSchedule = isStreamAddress(destination.address)
      ? STREAM_SCHEDULE
      : SCHEDULE,
  ): void {
    this.#start({ request, schedule, attempts: { stale: 0, rejected: 0 } }, destination, now);
  }

  clear(): void {
    this.#requests.clear();
  }

  pollTransmit(): Transmit | undefined {
    return this.#transmits.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.#requests.pollTimeout();
  }

  /** The round trip of the last response, once. */
  takeRoundTrip(): RoundTrip | undefined {
    const latest = this.#latestRoundTrip;
    this.#latestRoundTrip = undefined;
    return latest;
  }

  isInFlight(kind: TurnRequestKind): boolean {
    return this.#requests.some(({ request }) => request.kind === kind);
  }

  get inFlightCount(): number {
    return this.#requests.count;
  }

  /** The relay gave us a nonce, so requests are signed. */
  get isAuthenticated(): boolean {
    return this.#auth.nonce !== undefined;
  }

  #start(
    wish: Pick<Pending, 'request' | 'schedule' | 'attempts'>,
    destination: Endpoint,
    now: Instant,
  ): void {
    const { request, schedule } = wish;
    const transactionId = this.#crypto.randomBytes(TRANSACTION_ID_LENGTH);
    const method = methodOf(request);
    const refused = this.#refused.get(method) ?? new Set<number>();
    const attributes = requestAttributes(request, this.#software, this.#auth, refused);
    const key = request.kind === 'binding' ? undefined : this.#auth.integrityKey;
    const bytes = writeStun(
      {
        method,
        class: 'request',
        transactionId,
        attributes,
        ...(key && { integrityKey: key }),
      },
      this.#crypto,
    );
    const context = { ...wish, nonce: key && this.#auth.nonce, unverifiableCount: 0 };
    this.#requests.start({ transactionId, bytes, destination, context }, schedule, now);
    this.#transmit(destination, bytes);
  }

  /** STUN and TURN messages are not ECN-capable (relay 3). */
  #transmit(destination: Endpoint, payload: Uint8Array): void {
    this.#transmits.push({ destination, payload, ecn: 0 });
  }

  /** relay 4.7 step 4: the genuine answer may still come. But a relay with a new secret never sends one. */
  #handleUnverifiable(entry: StunRequest<Pending>, code: number | undefined): TransactionOutcome {
    this.#log.debug('a response of the relay does not verify', { code });
    if (code === STUN_ERROR.unauthenticated || code === STUN_ERROR.staleNonce) {
      entry.context.unverifiableCount += 1;
    }
    if (entry.context.unverifiableCount < MAX_UNVERIFIABLE) return dropped('unverifiable');
    this.#requests.remove(entry);
    return gaveUp(entry);
  }

  #handleError(
    entry: StunRequest<Pending>,
    message: StunMessage,
    now: Instant,
  ): TransactionOutcome {
    const code = findAttribute(message, 'error-code')?.code ?? 0;
    const { request } = entry.context;
    if (request.kind !== 'binding') {
      switch (code) {
        case STUN_ERROR.unauthenticated:
        case STUN_ERROR.staleNonce:
          return this.#handleNonce(entry, message, now);
        case STUN_ERROR.unknownAttribute:
          return this.#handleUnknownAttributes(entry, message, now);
      }
    }
    this.#requests.remove(entry);
    const isSigned = message.integrityOffset !== undefined;
    return { kind: 'refused', request, destination: entry.destination, code, isSigned };
  }

  /** RFC 8489 §9.2.5, relay 4.4: a nonce for a request that had none, a new one for a stale one. */
  #handleNonce(
    entry: StunRequest<Pending>,
    message: StunMessage,
    now: Instant,
  ): TransactionOutcome {
    const { request, schedule, nonce, attempts } = entry.context;
    switch (this.#auth.adoptNonce(message)) {
      case 'foreign-realm':
        this.#log.warn('the relay asks for credentials of another realm');
        return dropped('foreign-realm');
      case 'no-nonce':
        return dropped('malformed-response');
      case 'adopted':
        break;
    }
    this.#requests.remove(entry);
    const next = nonce === undefined ? attempts : this.#countAttempt(entry, message);
    if (next === 'credentials-rejected') return { kind: 'failed', reason: 'authentication' };
    if (next === 'too-many') return gaveUp(entry);
    this.#start({ request, schedule, attempts: next }, entry.destination, now);
    return { kind: 'repeated' };
  }

  #countAttempt(
    entry: StunRequest<Pending>,
    message: StunMessage,
  ): Attempts | 'credentials-rejected' | 'too-many' {
    const { nonce, attempts } = entry.context;
    if (findAttribute(message, 'error-code')?.code === STUN_ERROR.staleNonce) {
      const stale = attempts.stale + 1;
      return stale > MAX_STALE_NONCES ? 'too-many' : { ...attempts, stale };
    }
    const rejected = attempts.rejected + 1;
    const isSameNonce = this.#auth.nonce === nonce;
    if (isSameNonce || rejected > MAX_REJECTED_NONCES) return 'credentials-rejected';
    return { ...attempts, rejected };
  }

  /** relay 7.2 rule 10: once without what the relay does not know. */
  #handleUnknownAttributes(
    entry: StunRequest<Pending>,
    message: StunMessage,
    now: Instant,
  ): TransactionOutcome {
    const { request, schedule, attempts } = entry.context;
    const types = findAttribute(message, 'unknown-attributes') ?? [];
    this.#log.warn('the relay does not know attributes of a request', { types });
    this.#requests.remove(entry);
    const refused = this.#refused.get(message.method) ?? new Set<number>();
    const fresh = types.filter((type) => !refused.has(type));
    const isHopeless = fresh.length === 0 || fresh.some((type) => INDISPENSABLE.has(type));
    if (isHopeless || refused.size + fresh.length > MAX_REFUSED_ATTRIBUTES) {
      return { kind: 'failed', reason: 'protocol' };
    }
    for (const type of fresh) refused.add(type);
    this.#refused.set(message.method, refused);
    this.#start({ request, schedule, attempts }, entry.destination, now);
    return { kind: 'repeated' };
  }
}

function dropped(reason: TransactionDrop): TransactionOutcome {
  return { kind: 'dropped', reason };
}

function gaveUp({ context, destination }: StunRequest<Pending>): TransactionOutcome {
  return { kind: 'gave-up', request: context.request, destination };
}
