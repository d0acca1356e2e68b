// What stands in front of all handshakes of a node: nothing is decrypted for a message that is not addressed to us (`mac1`), and
// under load nothing for a sender that has not shown to receive at its address (`mac2`). WireGuard §5.3 and §5.4.7, connectivity 7.4.
//
//   message ─ length ─ mac1 ─┬─ valid mac2 ────────── bucket of the proven source ──┬─ admitted
//                            └─ bucket of the source ─ window of the node ──────────┘
//                                        └──────────────┴── exhausted: cookie reply
//
// Deviates from connectivity 7.4 as 14.1 and 14.2 ask: all of this comes before the first Diffie-Hellman, and each source has a
// bucket of its own. On the wire it is the same.

import { type Endpoint, ipBytes } from '../../base/address.ts';
import { equalSecrets, viewOf } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Instant } from '../../base/time.ts';
import {
  type Initiation,
  parseWireGuard,
  type Response,
  writeCookieReply,
} from '../../wire/wireguard/messages.ts';
import { cookieKey, mac1Key, mac1Of, mac2Of, readMac1, readMac2 } from './macs.ts';
import {
  HANDSHAKES_PER_WINDOW,
  RELAXED_HANDSHAKES,
  SourceLimit,
  WindowLimit,
} from './rate-limiter.ts';

// Specification
/** connectivity 7.4: a cookie is bound to this much time. */
const COOKIE_BUCKET_MS = 128_000;
const COOKIE_NONCE_LENGTH = 24;
const COOKIE_SECRET_LENGTH = 16;
const ADDRESS_LENGTH = 16;

// Implementation
/** Of one address that receives what we send to it: a NAT with many clients behind it. */
const HANDSHAKES_PER_PROVEN_SOURCE = 100;
/** A reply costs about 30 us; a flood gets at most 3 % of a core. */
const COOKIE_REPLIES_PER_WINDOW = 1000;

export type GateDropReason = 'malformed' | 'wrong-mac1' | 'rate-limited' | 'overloaded';

export type GateVerdict =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'dropped'; readonly reason: GateDropReason }
  | { readonly kind: 'reply'; readonly cookieReply: Uint8Array };

const ADMITTED: GateVerdict = { kind: 'admitted' };

export class HandshakeGate {
  readonly counters: Counters<GateDropReason | 'admitted' | 'cookie-replies'> = new Counters();
  readonly #crypto: CryptoProvider;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  readonly #secret: Uint8Array;
  readonly #createdAt: Instant;
  readonly #sources = new SourceLimit();
  readonly #provenSources = new SourceLimit(HANDSHAKES_PER_PROVEN_SOURCE);
  readonly #all: WindowLimit;
  readonly #cookieReplies: WindowLimit;

  constructor(
    deps: { readonly crypto: CryptoProvider; readonly publicKey: Uint8Array },
    now: Instant,
  ) {
    this.#crypto = deps.crypto;
    this.#mac1Key = mac1Key(deps.crypto, deps.publicKey);
    this.#cookieKey = cookieKey(deps.crypto, deps.publicKey);
    this.#secret = deps.crypto.randomBytes(COOKIE_SECRET_LENGTH);
    this.#createdAt = now;
    this.#all = new WindowLimit(HANDSHAKES_PER_WINDOW, now);
    this.#cookieReplies = new WindowLimit(COOKIE_REPLIES_PER_WINDOW, now);
  }

  /** Judges an initiation or response before anything is decrypted. A cookie reply goes back to `source`. */
  admit(bytes: Uint8Array, source: Endpoint, now: Instant): GateVerdict {
    const message = parseWireGuard(bytes);
    if (message?.kind !== 'initiation' && message?.kind !== 'response') {
      return this.#drop('malformed');
    }
    if (!equalSecrets(readMac1(bytes), mac1Of(this.#crypto, this.#mac1Key, bytes))) {
      return this.#drop('wrong-mac1');
    }
    if (this.#hasValidMac2(bytes, source, now)) {
      return this.#provenSources.take(source.address, now)
        ? this.#admit()
        : this.#drop('rate-limited');
    }
    if (this.#mayPassUnproven(source, now)) return this.#admit();
    if (!this.#cookieReplies.take(now)) return this.#drop('overloaded');
    this.counters.add('cookie-replies');
    return { kind: 'reply', cookieReply: this.#cookieReplyTo(message, bytes, source, now) };
  }

  #mayPassUnproven(source: Endpoint, now: Instant): boolean {
    const hasTokens = this.#sources.take(source.address, now);
    if (!hasTokens && this.#all.taken(now) >= RELAXED_HANDSHAKES) return false;
    return this.#all.take(now);
  }

  /** Cookies of the previous bucket count too, so that one is good for its whole 120 s. */
  #hasValidMac2(bytes: Uint8Array, source: Endpoint, now: Instant): boolean {
    const mac2 = readMac2(bytes);
    if (mac2.every((byte) => byte === 0)) return false;
    const bucket = this.#bucketAt(now);
    return [bucket, bucket - 1].some((candidate) => {
      const cookie = this.#cookieOf(source, candidate);
      return equalSecrets(mac2, mac2Of(this.#crypto, cookie, bytes));
    });
  }

  #cookieReplyTo(
    message: Initiation | Response,
    bytes: Uint8Array,
    source: Endpoint,
    now: Instant,
  ): Uint8Array {
    const nonce = this.#crypto.randomBytes(COOKIE_NONCE_LENGTH);
    const cookie = this.#cookieOf(source, this.#bucketAt(now));
    return writeCookieReply({
      receiverIndex: message.senderIndex,
      nonce,
      encryptedCookie: this.#crypto.xSeal(this.#cookieKey, nonce, cookie, readMac1(bytes)),
    });
  }

  /** MAC(secret, bucket as 64 bits ‖ address padded to 16 bytes). */
  #cookieOf(source: Endpoint, bucket: number): Uint8Array {
    const input = new Uint8Array(8 + ADDRESS_LENGTH);
    viewOf(input).setInt32(0, bucket, true);
    input.set(ipBytes(source.address), 8);
    return this.#crypto.macBlake2s(this.#secret, input);
  }

  #bucketAt(now: Instant): number {
    return Math.floor((now - this.#createdAt) / COOKIE_BUCKET_MS);
  }

  #admit(): GateVerdict {
    this.counters.add('admitted');
    return ADMITTED;
  }

  #drop(reason: GateDropReason): GateVerdict {
    this.counters.add(reason);
    return { kind: 'dropped', reason };
  }
}
