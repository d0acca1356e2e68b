// The symmetric state of the Noise handshake IKpsk2 as WireGuard uses it (WireGuard §5.4, connectivity 7.1 and 7.3): chaining key
// and hash, and how each step feeds them. It knows no message layout: that is `handshake.ts`.

import { concat, utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';

// Specification
const CONSTRUCTION = 'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s';
const IDENTIFIER = 'WireGuard v1 zx2c4 Jason@zx2c4.com';
const NONCE_LENGTH = 12;

// Implementation
const EMPTY = new Uint8Array(0);
/** Each handshake key seals one text, with counter 0. */
const FIRST_NONCE = new Uint8Array(NONCE_LENGTH);

export interface TransportKeys {
  readonly initiatorToResponder: Uint8Array;
  readonly responderToInitiator: Uint8Array;
}

export class NoiseState {
  readonly #crypto: CryptoProvider;
  #chainingKey: Uint8Array;
  #hash: Uint8Array;

  /** The state in front of an initiation to the owner of `responderKey`. */
  constructor(crypto: CryptoProvider, responderKey: Uint8Array) {
    this.#crypto = crypto;
    this.#chainingKey = crypto.blake2s(utf8Encode(CONSTRUCTION));
    const identified = crypto.blake2s(concat(this.#chainingKey, utf8Encode(IDENTIFIER)));
    this.#hash = crypto.blake2s(concat(identified, responderKey));
  }

  /** Two responses may be tried against one initiation, so a trial works on a copy. */
  copy(): NoiseState {
    const state = new NoiseState(this.#crypto, EMPTY);
    state.#chainingKey = this.#chainingKey.slice();
    state.#hash = this.#hash.slice();
    return state;
  }

  /** h = HASH(h ‖ data) */
  mixHash(data: Uint8Array): void {
    this.#hash = this.#crypto.blake2s(concat(this.#hash, data));
  }

  /** An ephemeral public key goes into both: h, then ck = KDF1(ck, key). */
  mixEphemeral(publicKey: Uint8Array): void {
    this.mixHash(publicKey);
    this.#replaceChainingKey(this.#expand(publicKey, 1)[0]);
  }

  /** ck = KDF1(ck, secret) */
  mixSecret(secret: Uint8Array): void {
    this.#replaceChainingKey(this.#expand(secret, 1)[0]);
  }

  /** ck, k = KDF2(ck, secret); yields k. */
  mixSecretForKey(secret: Uint8Array): Uint8Array {
    const [chainingKey, key] = this.#expand(secret, 2);
    this.#replaceChainingKey(chainingKey);
    return present(key);
  }

  /** ck, τ, k = KDF3(ck, psk); h = HASH(h ‖ τ); yields k. */
  mixPresharedKey(presharedKey: Uint8Array): Uint8Array {
    const [chainingKey, tau, key] = this.#expand(presharedKey, 3);
    this.#replaceChainingKey(chainingKey);
    this.mixHash(present(tau));
    return present(key);
  }

  /** Seals bound to all that went before; wipes the key. */
  seal(key: Uint8Array, plaintext: Uint8Array): Uint8Array {
    const sealed = this.#crypto.seal(key, FIRST_NONCE, plaintext, this.#hash);
    key.fill(0);
    this.mixHash(sealed);
    return sealed;
  }

  /** `undefined` if not authentic: this state is then of no further use. Wipes the key. */
  open(key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const plaintext = this.#crypto.open(key, FIRST_NONCE, sealed, this.#hash);
    key.fill(0);
    this.mixHash(sealed);
    return plaintext;
  }

  /** The end of the handshake: transport keys, and nothing remains here. */
  split(): TransportKeys {
    const [initiatorToResponder, responderToInitiator] = this.#expand(EMPTY, 2);
    this.wipe();
    return {
      initiatorToResponder: present(initiatorToResponder),
      responderToInitiator: present(responderToInitiator),
    };
  }

  wipe(): void {
    this.#chainingKey.fill(0);
    this.#hash.fill(0);
  }

  /** KDFn (connectivity 7.1): t0 = HMAC(ck, x), t1 = HMAC(t0, 1), t(i) = HMAC(t0, t(i-1) ‖ i). */
  #expand(input: Uint8Array, count: 1 | 2 | 3): readonly Uint8Array[] {
    const root = this.#crypto.hmacBlake2s(this.#chainingKey, input);
    const outputs: Uint8Array[] = [];
    let previous: Uint8Array = EMPTY;
    for (let i = 1; i <= count; i++) {
      previous = this.#crypto.hmacBlake2s(root, concat(previous, Uint8Array.of(i)));
      outputs.push(previous);
    }
    root.fill(0);
    return outputs;
  }

  #replaceChainingKey(chainingKey: Uint8Array | undefined): void {
    this.#chainingKey.fill(0);
    this.#chainingKey = present(chainingKey);
  }
}

function present(bytes: Uint8Array | undefined): Uint8Array {
  assert(bytes !== undefined, 'a key derivation yields as many keys as it was asked for');
  return bytes;
}
