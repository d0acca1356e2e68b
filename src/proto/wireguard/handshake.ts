// The Noise handshake as four steps, without state of its own (WireGuard §5.4.2 and §5.4.3, connectivity 7.3):
//
//   initiator                                       responder
//   createInitiation  ── initiation ──>  openInitiationStatic, openInitiationTimestamp
//   openResponse      <──  response  ──  createResponse
//
// It does not judge: which peer, which timestamp and which session is `tunnel.ts`'s affair; MACs are `macs.ts`'s.

import type { CryptoProvider } from '../../base/crypto.ts';
import {
  type Initiation,
  parseWireGuard,
  type Response,
  writeInitiation,
  writeResponse,
} from '../../wire/wireguard/messages.ts';
import { NoiseState, type TransportKeys } from './noise.ts';

// Specification
const KEY_LENGTH = 32;

// Implementation
const EMPTY = new Uint8Array(0);

/** Both static keys of one tunnel, and the secret they share. */
export interface StaticKeys {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly remotePublicKey: Uint8Array;
  readonly sharedSecret: Uint8Array;
  /** 32 zero bytes if there is none. */
  readonly presharedKey: Uint8Array;
}

/** An initiation on its way: what is needed to read its response. */
export interface SentInitiation {
  readonly senderIndex: number;
  readonly ephemeralPrivate: Uint8Array;
  readonly noise: NoiseState;
}

/** An initiation whose sender is known, but not yet proven to be recent. */
export interface OpenedInitiation {
  readonly remotePublicKey: Uint8Array;
  readonly initiation: Initiation;
  readonly noise: NoiseState;
}

/** `undefined`: the remote key is of low order. The message's MACs are still zero. */
export function createInitiation(
  crypto: CryptoProvider,
  keys: StaticKeys,
  senderIndex: number,
  timestamp: Uint8Array,
): { readonly message: Uint8Array; readonly sent: SentInitiation } | undefined {
  const noise = new NoiseState(crypto, keys.remotePublicKey);
  const ephemeralPrivate = crypto.randomBytes(KEY_LENGTH);
  const ephemeral = crypto.x25519PublicKey(ephemeralPrivate);
  noise.mixEphemeral(ephemeral);
  const secret = crypto.x25519(ephemeralPrivate, keys.remotePublicKey);
  if (secret === undefined) return undefined;
  const encryptedStatic = noise.seal(noise.mixSecretForKey(secret), keys.publicKey);
  const encryptedTimestamp = noise.seal(noise.mixSecretForKey(keys.sharedSecret), timestamp);
  secret.fill(0);
  return {
    message: writeInitiation({ senderIndex, ephemeral, encryptedStatic, encryptedTimestamp }),
    sent: { senderIndex, ephemeralPrivate, noise },
  };
}

/**
 * Who claims to have sent an initiation: one Diffie-Hellman and one AEAD, so only after `HandshakeGate` has admitted it.
 * `undefined` if it was not made for us or was altered.
 */
export function openInitiationStatic(
  crypto: CryptoProvider,
  own: { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array },
  message: Uint8Array,
): OpenedInitiation | undefined {
  const initiation = parseWireGuard(message);
  if (initiation?.kind !== 'initiation') return undefined;
  const noise = new NoiseState(crypto, own.publicKey);
  noise.mixEphemeral(initiation.ephemeral);
  const secret = crypto.x25519(own.privateKey, initiation.ephemeral);
  if (secret === undefined) return undefined;
  const remotePublicKey = noise.open(noise.mixSecretForKey(secret), initiation.encryptedStatic);
  secret.fill(0);
  return remotePublicKey && { remotePublicKey, initiation, noise };
}

/** Proves that the sender owns its static key; yields the timestamp. */
export function openInitiationTimestamp(
  opened: OpenedInitiation,
  sharedSecret: Uint8Array,
): Uint8Array | undefined {
  const { noise, initiation } = opened;
  return noise.open(noise.mixSecretForKey(sharedSecret), initiation.encryptedTimestamp);
}

/** After `openInitiationTimestamp`. `undefined`: the initiator's ephemeral or static key is of low order. */
export function createResponse(
  crypto: CryptoProvider,
  opened: OpenedInitiation,
  presharedKey: Uint8Array,
  senderIndex: number,
): { readonly message: Uint8Array; readonly keys: TransportKeys } | undefined {
  const { noise, initiation, remotePublicKey } = opened;
  const ephemeralPrivate = crypto.randomBytes(KEY_LENGTH);
  const ephemeral = crypto.x25519PublicKey(ephemeralPrivate);
  const secrets = sharedSecrets(
    crypto.x25519(ephemeralPrivate, initiation.ephemeral),
    crypto.x25519(ephemeralPrivate, remotePublicKey),
  );
  ephemeralPrivate.fill(0);
  if (secrets === undefined) return undefined;
  const encryptedNothing = noise.seal(mixResponse(noise, ephemeral, secrets, presharedKey), EMPTY);
  const receiverIndex = initiation.senderIndex;
  return {
    message: writeResponse({ senderIndex, receiverIndex, ephemeral, encryptedNothing }),
    keys: noise.split(),
  };
}

/** `undefined` if not authentic; `sent` stays usable then, because anybody can send a forged response. */
export function openResponse(
  crypto: CryptoProvider,
  sent: SentInitiation,
  own: StaticKeys,
  response: Response,
): TransportKeys | undefined {
  const noise = sent.noise.copy();
  const { ephemeral, encryptedNothing } = response;
  const secrets = sharedSecrets(
    crypto.x25519(sent.ephemeralPrivate, ephemeral),
    crypto.x25519(own.privateKey, ephemeral),
  );
  if (secrets === undefined) return undefined;
  const key = mixResponse(noise, ephemeral, secrets, own.presharedKey);
  if (noise.open(key, encryptedNothing) === undefined) {
    noise.wipe();
    return undefined;
  }
  return noise.split();
}

export function wipeInitiation(sent: SentInitiation): void {
  sent.ephemeralPrivate.fill(0);
  sent.noise.wipe();
}

/** The secrets of the response in the order of mixing: ephemeral with ephemeral, ephemeral with the initiator's static. */
type ResponseSecrets = readonly [Uint8Array, Uint8Array];

function sharedSecrets(
  ephemeral: Uint8Array | undefined,
  staticSecret: Uint8Array | undefined,
): ResponseSecrets | undefined {
  return ephemeral && staticSecret && [ephemeral, staticSecret];
}

function mixResponse(
  noise: NoiseState,
  ephemeral: Uint8Array,
  secrets: ResponseSecrets,
  presharedKey: Uint8Array,
): Uint8Array {
  noise.mixEphemeral(ephemeral);
  for (const secret of secrets) {
    noise.mixSecret(secret);
    secret.fill(0);
  }
  return noise.mixPresharedKey(presharedKey);
}

/** Keys of a tunnel; `undefined` if the remote public key is of low order. */
export function staticKeys(
  crypto: CryptoProvider,
  keys: Omit<StaticKeys, 'sharedSecret'>,
): StaticKeys | undefined {
  const sharedSecret = crypto.x25519(keys.privateKey, keys.remotePublicKey);
  return sharedSecret && { ...keys, sharedSecret };
}
