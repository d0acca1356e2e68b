// The handshake messages that were accepted lately (iceless 6.4). The same initiation arrives over several paths and more than once: the
// answer to it is said again without troubling WireGuard, which would take the copy for a replay.

import { equalBytes } from '../../base/bytes.ts';
import { type Instant, later } from '../../base/time.ts';

// Specification (iceless 6.4)

const REPLAY_MS = 10_000;

// Implementation

/** Two relayed addresses against six, nine copies each; whoever resends a captured copy gets no more (iceless 13). */
const MAX_REPLAYS = 128;

/** What to do with a handshake message. */
export type Recollection =
  | { readonly kind: 'new' }
  | { readonly kind: 'answer-again'; readonly response: Uint8Array }
  | { readonly kind: 'repeated' };

const NEW: Recollection = { kind: 'new' };
const REPEATED: Recollection = { kind: 'repeated' };

export class HandshakeMemory {
  #initiation: Uint8Array | undefined;
  /** What was answered to it, for a while. */
  #response: Uint8Array | undefined;
  #expiresAt: Instant | undefined;
  #replays = 0;
  #acceptedResponse: Uint8Array | undefined;

  recallInitiation(bytes: Uint8Array, now: Instant): Recollection {
    if (!isSame(this.#initiation, bytes)) return NEW;
    this.handleTimeout(now);
    if (this.#response === undefined || this.#replays >= MAX_REPLAYS) return REPEATED;
    this.#replays += 1;
    return { kind: 'answer-again', response: this.#response };
  }

  recallResponse(bytes: Uint8Array): Recollection {
    return isSame(this.#acceptedResponse, bytes) ? REPEATED : NEW;
  }

  noteInitiation(bytes: Uint8Array, response: Uint8Array, now: Instant): void {
    this.#initiation = bytes;
    this.#response = response;
    this.#expiresAt = later(now, REPLAY_MS);
    this.#replays = 0;
  }

  noteResponse(bytes: Uint8Array): void {
    this.#acceptedResponse = bytes;
  }

  /** iceless 6.2.5: another one of ours is on its way. */
  forgetResponse(): void {
    this.#acceptedResponse = undefined;
  }

  handleTimeout(now: Instant): void {
    if (this.#expiresAt === undefined || now < this.#expiresAt) return;
    this.#response = undefined;
    this.#expiresAt = undefined;
  }

  clear(): void {
    this.#initiation = undefined;
    this.#response = undefined;
    this.#expiresAt = undefined;
    this.#acceptedResponse = undefined;
  }

  pollTimeout(): Instant | undefined {
    return this.#expiresAt;
  }
}

function isSame(known: Uint8Array | undefined, bytes: Uint8Array): boolean {
  return known !== undefined && equalBytes(known, bytes);
}
