// Who a request is from (RFC 8489 §9.2.4, relay 5.2), in the order of checks that clients of Firezone expect.

import type { Endpoint } from '../../../base/address.ts';
import type { CryptoProvider } from '../../../base/crypto.ts';
import type { UnixMillis } from '../../../base/time.ts';
import { STUN_ERROR } from '../../../wire/stun/error-codes.ts';
import { verifyIntegrity } from '../../../wire/stun/integrity.ts';
import { findAttribute, type StunMessage } from '../../../wire/stun/message.ts';
import { findUser, type RelayUser } from './credentials.ts';
import { isNonce, Nonces } from './nonces.ts';

export type Authentication =
  | { readonly kind: 'authenticated'; readonly user: RelayUser }
  /** An error with REALM and NONCE, signed if the request named a user. */
  | { readonly kind: 'challenged'; readonly code: number; readonly key: Uint8Array | undefined }
  /** The user name is none of ours: not even an error can be signed. */
  | { readonly kind: 'unanswerable' };

export class Authenticator {
  readonly #secret: string;
  readonly #crypto: CryptoProvider;
  readonly #nonces: Nonces;

  constructor(secret: string, crypto: CryptoProvider) {
    this.#secret = secret;
    this.#crypto = crypto;
    this.#nonces = new Nonces(crypto);
  }

  authenticate(request: StunMessage, client: Endpoint, unixNow: UnixMillis): Authentication {
    const username = findAttribute(request, 'username');
    const user =
      username === undefined ? undefined : findUser(username, this.#secret, this.#crypto, unixNow);
    if (username !== undefined && user === undefined) return { kind: 'unanswerable' };
    const challenge = (code: number): Authentication => ({
      kind: 'challenged',
      code,
      key: user?.key,
    });
    const nonce = findAttribute(request, 'nonce');
    if (request.integrityOffset === undefined || user === undefined || nonce === undefined) {
      return challenge(STUN_ERROR.unauthenticated);
    }
    if (!isNonce(nonce)) return challenge(STUN_ERROR.unauthenticated);
    if (!this.#nonces.isValid(client.key, nonce)) return challenge(STUN_ERROR.staleNonce);
    if (user.isExpired || !verifyIntegrity(request, user.key, this.#crypto)) {
      return challenge(STUN_ERROR.unauthenticated);
    }
    this.#nonces.use(client.key);
    return { kind: 'authenticated', user };
  }

  get nonceCount(): number {
    return this.#nonces.count;
  }

  nonceFor(client: Endpoint): string {
    return this.#nonces.issue(client.key);
  }
}
