// Long-term credentials towards one relay (RFC 8489 §9.2), in the form that suits Firezone's relay and coturn alike (relay 7.2):
// the first request is not signed, so that either answers with a nonce; everything after it is. Answers must verify; the few
// that a relay cannot or will not sign are believed only from a relay that was never seen to sign its errors.

import { utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { StunAttribute } from '../../wire/stun/attributes.ts';
import { STUN_ERROR } from '../../wire/stun/error-codes.ts';
import { longTermKey, verifyIntegrity } from '../../wire/stun/integrity.ts';
import { findAttribute, STUN_METHOD, type StunMessage } from '../../wire/stun/message.ts';

// Specification
const MAX_USERNAME_LENGTH = 512; // relay 4.1
const MAX_REALM_CHARACTERS = 127; // RFC 8489 §14.9
/** relay 5.2: SOFTWARE of a relay that signs every error. */
const SIGNING_SOFTWARE = 'firezone-relay';
/** relay 7.2 rule 4: errors that coturn raises before it has authenticated the request. */
const UNSIGNED_ERRORS: ReadonlySet<number> = new Set([
  STUN_ERROR.badRequest,
  STUN_ERROR.unauthenticated,
  STUN_ERROR.staleNonce,
  STUN_ERROR.wrongCredentials,
]);

export interface TurnCredentials {
  readonly username: string;
  readonly password: string;
  readonly realm: string;
}

/** `unverifiable`: it must not change any state, and the genuine answer may still come. */
export type ResponseJudgement = 'genuine' | 'unverifiable';

export type NonceAdoption = 'adopted' | 'no-nonce' | 'foreign-realm';

/** Whether credentials fit their attributes; those of a relay that does not qualify are not to be used. */
export function areUsable({ username, realm }: TurnCredentials): boolean {
  return (
    utf8Encode(username).length <= MAX_USERNAME_LENGTH && [...realm].length <= MAX_REALM_CHARACTERS
  );
}

export class TurnAuth {
  readonly #credentials: TurnCredentials;
  readonly #key: Uint8Array;
  readonly #crypto: CryptoProvider;
  #nonce: string | undefined;
  #signsErrors = false;

  constructor(credentials: TurnCredentials, crypto: CryptoProvider) {
    const { username, realm, password } = credentials;
    this.#credentials = credentials;
    this.#key = longTermKey(username, realm, password, crypto);
    this.#crypto = crypto;
  }

  /** USERNAME, REALM and, once known, NONCE, in this order (relay 4.3). */
  attributes(): readonly StunAttribute[] {
    const { username, realm } = this.#credentials;
    const attributes: StunAttribute[] = [
      { kind: 'username', value: username },
      { kind: 'realm', value: realm },
    ];
    if (this.#nonce !== undefined) attributes.push({ kind: 'nonce', value: this.#nonce });
    return attributes;
  }

  /** RFC 8489 §9.2.1: the first request is not signed; coturn answers 400 to one that is (relay 7.1 row 1). */
  get integrityKey(): Uint8Array | undefined {
    return this.#nonce === undefined ? undefined : this.#key;
  }

  get nonce(): string | undefined {
    return this.#nonce;
  }

  noteBindingResponse(response: StunMessage): void {
    const software = findAttribute(response, 'software');
    if (software?.startsWith(SIGNING_SOFTWARE)) this.#signsErrors = true;
  }

  /** relay 7.2 rule 4, for responses to anything but BINDING. */
  judge(response: StunMessage): ResponseJudgement {
    const error = findAttribute(response, 'error-code');
    if (response.integrityOffset !== undefined) {
      if (!verifyIntegrity(response, this.#key, this.#crypto)) return 'unverifiable';
      if (error) this.#signsErrors ||= isSignedByFirezoneOnly(error.code, response.method);
      return 'genuine';
    }
    if (error === undefined || this.#signsErrors) return 'unverifiable';
    return mayBeUnsigned(error.code, response.method) ? 'genuine' : 'unverifiable';
  }

  /** Takes over the nonce of a 401 or 438, unless it is for another realm (relay 4.4, 7.2 rule 3). */
  adoptNonce(response: StunMessage): NonceAdoption {
    const nonce = findAttribute(response, 'nonce');
    const realm = findAttribute(response, 'realm');
    if (realm !== undefined && realm !== this.#credentials.realm) return 'foreign-realm';
    if (nonce === undefined) return 'no-nonce';
    this.#nonce = nonce;
    return 'adopted';
  }
}

function mayBeUnsigned(code: number, method: number): boolean {
  return UNSIGNED_ERRORS.has(code) || isMismatchOfAllocate(code, method);
}

/** coturn signs a 400 or 441 that it raises after authentication, these never (relay 7.1 row 3). */
function isSignedByFirezoneOnly(code: number, method: number): boolean {
  return (
    code === STUN_ERROR.unauthenticated ||
    code === STUN_ERROR.staleNonce ||
    isMismatchOfAllocate(code, method)
  );
}

function isMismatchOfAllocate(code: number, method: number): boolean {
  return code === STUN_ERROR.allocationMismatch && method === STUN_METHOD.allocate;
}
