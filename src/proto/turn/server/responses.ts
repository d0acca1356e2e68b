// What the relay says, attribute by attribute in the reference's order (relay 5.3): SOFTWARE first, MESSAGE-INTEGRITY last.

import type { Endpoint } from '../../../base/address.ts';
import type { CryptoProvider } from '../../../base/crypto.ts';
import type { StunAttribute } from '../../../wire/stun/attributes.ts';
import { errorReason } from '../../../wire/stun/error-codes.ts';
import {
  STUN_METHOD,
  type StunHeader,
  TRANSACTION_ID_LENGTH,
  writeStun,
} from '../../../wire/stun/message.ts';
import { RELAY_REALM } from './credentials.ts';

/** What a response repeats of its request. */
export type RequestId = Pick<StunHeader, 'method' | 'transactionId'>;

export class Responses {
  readonly #software: StunAttribute;
  readonly #crypto: CryptoProvider;

  constructor(software: string, crypto: CryptoProvider) {
    this.#software = { kind: 'software', value: software };
    this.#crypto = crypto;
  }

  success(
    request: RequestId,
    attributes: readonly StunAttribute[],
    key: Uint8Array | undefined,
  ): Uint8Array {
    return this.#write(request, 'success', attributes, key);
  }

  /** Unsigned without a key. */
  error(request: RequestId, code: number, key: Uint8Array | undefined): Uint8Array {
    return this.#write(request, 'error', [errorAttribute(code)], key);
  }

  /** 401 and 438: with what the client needs to try again. */
  challenge(
    request: RequestId,
    code: number,
    nonce: string,
    key: Uint8Array | undefined,
  ): Uint8Array {
    const attributes: readonly StunAttribute[] = [
      errorAttribute(code),
      { kind: 'realm', value: RELAY_REALM },
      { kind: 'nonce', value: nonce },
    ];
    return this.#write(request, 'error', attributes, key);
  }

  /** RFC 8656 §11.7: what a peer sent without a channel. */
  dataIndication(peer: Endpoint, data: Uint8Array): Uint8Array {
    return writeStun(
      {
        method: STUN_METHOD.data,
        class: 'indication',
        transactionId: this.#crypto.randomBytes(TRANSACTION_ID_LENGTH),
        attributes: [
          { kind: 'xor-peer-address', value: peer },
          { kind: 'data', value: data },
        ],
      },
      this.#crypto,
    );
  }

  #write(
    request: RequestId,
    cls: 'success' | 'error',
    attributes: readonly StunAttribute[],
    key: Uint8Array | undefined,
  ): Uint8Array {
    return writeStun(
      {
        method: request.method,
        class: cls,
        transactionId: request.transactionId,
        attributes: [this.#software, ...attributes],
        ...(key && { integrityKey: key }),
      },
      this.#crypto,
    );
  }
}

/** RFC 8656 §7.3: addresses relayed to, the address seen, the lifetime granted. */
export function allocationAttributes(
  relayed: readonly Endpoint[],
  client: Endpoint,
  lifetimeSeconds: number,
): readonly StunAttribute[] {
  return [
    ...relayed.map((value): StunAttribute => ({ kind: 'xor-relayed-address', value })),
    { kind: 'xor-mapped-address', value: client },
    { kind: 'lifetime', value: lifetimeSeconds },
  ];
}

function errorAttribute(code: number): StunAttribute {
  return { kind: 'error-code', value: { code, reason: errorReason(code) } };
}
