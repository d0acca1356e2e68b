// The three messages of ICE (connectivity 5.10; RFC 8445 §7.1, RFC 8489 §9.1): Binding request, success, and the role conflict.
// Framing, integrity and fingerprint are wire/stun's; which attributes, in which order and under which password is said here.

import type { Endpoint } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { StunAttribute } from '../../wire/stun/attributes.ts';
import { errorReason, STUN_ERROR } from '../../wire/stun/error-codes.ts';
import { verifyFingerprint } from '../../wire/stun/fingerprint.ts';
import { shortTermKey, verifyIntegrity } from '../../wire/stun/integrity.ts';
import {
  findAttribute,
  STUN_METHOD,
  type StunClass,
  type StunMessage,
  writeStun,
} from '../../wire/stun/message.ts';
import type { IceRole } from './candidate-pair.ts';

/** RFC 8445 §5.3. */
export interface IceCredentials {
  readonly ufrag: string;
  readonly password: string;
}

export interface BindingRequest {
  readonly receiverUfrag: string;
  readonly senderUfrag: string;
  readonly priority: number;
  readonly useCandidate: boolean;
  /** The role that the sender believes to have. */
  readonly role: IceRole;
  readonly tieBreaker: bigint;
}

export interface BindingRequestInput extends BindingRequest {
  readonly transactionId: Uint8Array;
  /** The receiver's. */
  readonly password: string;
}

/** RFC 8445 §7.1 and §7.2.2. */
export function writeBindingRequest(
  request: BindingRequestInput,
  crypto: CryptoProvider,
): Uint8Array {
  const isControlling = request.role === 'controlling';
  const attributes: StunAttribute[] = [
    { kind: 'username', value: `${request.receiverUfrag}:${request.senderUfrag}` },
    { kind: isControlling ? 'ice-controlling' : 'ice-controlled', value: request.tieBreaker },
    { kind: 'priority', value: request.priority },
  ];
  if (request.useCandidate) attributes.push({ kind: 'use-candidate', value: true });
  return write('request', request.transactionId, attributes, request.password, crypto);
}

/** RFC 8445 §7.3.1.2; `password` is the responder's own. */
export function writeBindingSuccess(
  transactionId: Uint8Array,
  mapped: Endpoint,
  password: string,
  crypto: CryptoProvider,
): Uint8Array {
  const attributes: StunAttribute[] = [{ kind: 'xor-mapped-address', value: mapped }];
  return write('success', transactionId, attributes, password, crypto);
}

/** RFC 8445 §7.3.1.1. */
export function writeRoleConflict(
  transactionId: Uint8Array,
  password: string,
  crypto: CryptoProvider,
): Uint8Array {
  const code = STUN_ERROR.roleConflict;
  const attributes: StunAttribute[] = [
    { kind: 'error-code', value: { code, reason: errorReason(code) } },
  ];
  return write('error', transactionId, attributes, password, crypto);
}

export type AuthenticationFailure = 'no-fingerprint' | 'not-authenticated';

/** RFC 8489 §9.1.3: requests are signed with our password, responses with the peer's. FINGERPRINT: RFC 8445 §7.1.1. */
export function authenticationFailure(
  message: StunMessage,
  password: string,
  crypto: CryptoProvider,
): AuthenticationFailure | undefined {
  if (!verifyFingerprint(message)) return 'no-fingerprint';
  const isAuthentic = verifyIntegrity(message, shortTermKey(password), crypto);
  return isAuthentic ? undefined : 'not-authenticated';
}

export type RequestFailure = AuthenticationFailure | 'malformed' | 'wrong-username';

/** Connectivity 5.10: what is not for `own` or not signed with its password gets no answer at all. */
export function acceptBindingRequest(
  message: StunMessage,
  own: IceCredentials,
  crypto: CryptoProvider,
): BindingRequest | RequestFailure {
  const request = parseBindingRequest(message);
  if (!request) return 'malformed';
  if (request.receiverUfrag !== own.ufrag) return 'wrong-username';
  return authenticationFailure(message, own.password, crypto) ?? request;
}

/** RFC 8445 §7.3.1.1. `refuse`: the other side has to switch; `switch`: we have to. */
export function judgeRoles(
  own: { readonly role: IceRole; readonly tieBreaker: bigint },
  request: BindingRequest,
): 'agree' | 'switch' | 'refuse' {
  if (request.role !== own.role) return 'agree';
  const isOursLarger = own.tieBreaker >= request.tieBreaker;
  return isOursLarger === (own.role === 'controlling') ? 'refuse' : 'switch';
}

/** `undefined` if USERNAME, PRIORITY or the role is missing. */
export function parseBindingRequest(message: StunMessage): BindingRequest | undefined {
  const username = findAttribute(message, 'username');
  const priority = findAttribute(message, 'priority');
  const controlling = findAttribute(message, 'ice-controlling');
  const tieBreaker = controlling ?? findAttribute(message, 'ice-controlled');
  const colon = username?.indexOf(':') ?? -1;
  if (username === undefined || colon < 0 || priority === undefined) return undefined;
  if (tieBreaker === undefined) return undefined;
  return {
    receiverUfrag: username.slice(0, colon),
    senderUfrag: username.slice(colon + 1),
    priority,
    useCandidate: findAttribute(message, 'use-candidate') === true,
    role: controlling === undefined ? 'controlled' : 'controlling',
    tieBreaker,
  };
}

/** RFC 8445 §7.2.5.1. */
export function isRoleConflict(message: StunMessage): boolean {
  return findAttribute(message, 'error-code')?.code === STUN_ERROR.roleConflict;
}

function write(
  cls: StunClass,
  transactionId: Uint8Array,
  attributes: readonly StunAttribute[],
  password: string,
  crypto: CryptoProvider,
): Uint8Array {
  const method = STUN_METHOD.binding;
  const integrityKey = shortTermKey(password);
  return writeStun(
    { method, class: cls, transactionId, attributes, integrityKey, fingerprint: true },
    crypto,
  );
}
