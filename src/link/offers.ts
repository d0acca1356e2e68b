// Set-up by offer and answer, for peers of the first generation (connectivity 4.2): the client makes its credentials and the preshared key itself, the
// gateway answers with credentials of its own. This is what stands before a connection on the client: an offer that waits for its answer. Nothing is
// gathered, signalled or sent for it.
//
//   createOffer ─▶ portal ─▶ acceptOffer      a connection is made, its candidates follow the answer
//   acceptAnswer ◀─ portal ◀─ answer          a connection is made, and only now candidates are signalled

import type { CryptoProvider } from '../base/crypto.ts';
import type { PeerId } from '../base/ids.ts';
import { earliest, type Instant, later } from '../base/time.ts';
import type { IceCredentials } from '../proto/ice/binding-messages.ts';

// Specification

/** connectivity 3, no answer to an offer. */
const ANSWER_TIMEOUT_MS = 20_000;
/** connectivity 4.1. */
const UFRAG_LENGTH = 4;
const PASSWORD_LENGTH = 22;
const CHARACTERS = 'abcdefghijklmnopqrstuvxyzABCDEFGHIJKLMNOPQRSTUVXYZ0123456789';
const PRESHARED_KEY_LENGTH = 32;

// Implementation

/** Each is a user's wish to reach another peer; the oldest makes room. */
const MAX_OFFERS = 256;
/** Candidates that overtook the answer; an agent takes no more either. */
const MAX_EARLY_CANDIDATES = 30;

export interface Offer {
  readonly presharedKey: Uint8Array;
  readonly credentials: IceCredentials;
}

interface Waiting {
  readonly offer: Offer;
  readonly deadline: Instant;
  readonly candidates: string[];
}

export class Offers {
  readonly #crypto: CryptoProvider;
  readonly #waiting = new Map<PeerId, Waiting>();

  constructor(crypto: CryptoProvider) {
    this.#crypto = crypto;
  }

  /** Peers whose offers nobody answered; their keys are wiped. */
  takeExpired(now: Instant): readonly PeerId[] {
    const expired = [...this.#waiting].filter(([, { deadline }]) => deadline <= now);
    for (const [id] of expired) this.discard(id);
    return expired.map(([id]) => id);
  }

  /** An offer to the same peer that still waits is superseded. */
  create(id: PeerId, now: Instant): Offer {
    this.discard(id);
    const [oldest] = this.#waiting.keys();
    if (this.#waiting.size >= MAX_OFFERS && oldest !== undefined) this.discard(oldest);
    const offer = {
      presharedKey: this.#crypto.randomBytes(PRESHARED_KEY_LENGTH),
      credentials: createCredentials(this.#crypto),
    };
    const deadline = later(now, ANSWER_TIMEOUT_MS);
    this.#waiting.set(id, { offer, deadline, candidates: [] });
    return offer;
  }

  /** False if no offer to that peer waits. */
  holdCandidate(id: PeerId, text: string): boolean {
    const candidates = this.#waiting.get(id)?.candidates;
    if (candidates === undefined) return false;
    if (candidates.length < MAX_EARLY_CANDIDATES) candidates.push(text);
    return true;
  }

  /** Once: the offer and the candidates that came before its answer. */
  take(id: PeerId): (Offer & { readonly candidates: readonly string[] }) | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting && { ...waiting.offer, candidates: waiting.candidates };
  }

  /** Wipes the key. */
  discard(id: PeerId): void {
    this.take(id)?.presharedKey.fill(0);
  }

  clear(): void {
    for (const id of [...this.#waiting.keys()]) this.discard(id);
  }

  pollTimeout(): Instant | undefined {
    return earliest(...[...this.#waiting.values()].map(({ deadline }) => deadline));
  }

  get count(): number {
    return this.#waiting.size;
  }
}

/** Random ones for one connection; every character is as likely as any other. */
export function createCredentials(crypto: CryptoProvider): IceCredentials {
  return { ufrag: randomText(crypto, UFRAG_LENGTH), password: randomText(crypto, PASSWORD_LENGTH) };
}

function randomText(crypto: CryptoProvider, length: number): string {
  const limit = 256 - (256 % CHARACTERS.length);
  let text = '';
  while (text.length < length) {
    for (const byte of crypto.randomBytes(length)) {
      if (byte < limit && text.length < length) text += CHARACTERS.charAt(byte % CHARACTERS.length);
    }
  }
  return text;
}
