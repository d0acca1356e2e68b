// The nonces of a relay (relay 5.2; RFC 8489 §9.2): one per client socket, in the form of a random UUID, good for many uses. The
// table is bounded: who is forgotten gets a 438 and a new nonce.

import { toHex } from '../../../base/bytes.ts';
import type { CryptoProvider } from '../../../base/crypto.ts';

// Specification
export const USES_PER_NONCE = 10_000; // relay 1
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i; // RFC 9562 §4

// Implementation
/** Source addresses can be invented, so the oldest makes room. */
const MAX_NONCES = 32_768;

interface NonceState {
  readonly nonce: string;
  usesLeft: number;
}

export class Nonces {
  readonly #crypto: CryptoProvider;
  readonly #byClient = new Map<string, NonceState>();

  constructor(crypto: CryptoProvider) {
    this.#crypto = crypto;
  }

  /** The nonce of a client socket; the same one again while it has uses left. */
  issue(client: string): string {
    const known = this.#byClient.get(client);
    if (known && known.usesLeft > 0) return known.nonce;
    this.#byClient.delete(client);
    for (const oldest of this.#byClient.keys()) {
      if (this.#byClient.size < MAX_NONCES) break;
      this.#byClient.delete(oldest);
    }
    const nonce = formatUuid(this.#crypto.randomBytes(16));
    this.#byClient.set(client, { nonce, usesLeft: USES_PER_NONCE });
    return nonce;
  }

  get count(): number {
    return this.#byClient.size;
  }

  isValid(client: string, nonce: string): boolean {
    const known = this.#byClient.get(client);
    return known !== undefined && known.nonce === nonce.toLowerCase() && known.usesLeft > 0;
  }

  /** To be called when the request proved to be genuine; the nonce becomes the most recent one. */
  use(client: string): void {
    const known = this.#byClient.get(client);
    if (!known) return;
    known.usesLeft -= 1;
    this.#byClient.delete(client);
    this.#byClient.set(client, known);
  }
}

export function isNonce(text: string): boolean {
  return UUID.test(text);
}

/** All bits are random, as the reference's are: no version is marked. */
function formatUuid(random: Uint8Array): string {
  const hex = toHex(random);
  const cuts = [0, 8, 12, 16, 20, 32];
  return cuts
    .slice(1)
    .map((end, i) => hex.slice(cuts[i], end))
    .join('-');
}
