// The two MACs that end each handshake message, and cookie replies (WireGuard §5.4.4 and §5.4.7, connectivity 7.4). `MacWriter` is
// the sender's half: it stamps messages and remembers a cookie. The receiver's half, which decides, is `handshake-gate.ts`.

import { concat, utf8Encode } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Instant } from '../../base/time.ts';
import { MAC_LENGTH, mac1Offset, parseWireGuard } from '../../wire/wireguard/messages.ts';

// Specification
/** A cookie is used for this long after its receipt (WireGuard §5.4.7). */
export const COOKIE_LIFETIME_MS = 120_000;
const LABEL_MAC1 = 'mac1----';
const LABEL_COOKIE = 'cookie--';

export type CookieDropReason = 'malformed' | 'unexpected' | 'wrong-index' | 'not-authenticated';

/** Key of `mac1` on messages to the owner of `publicKey`. */
export function mac1Key(crypto: CryptoProvider, publicKey: Uint8Array): Uint8Array {
  return crypto.blake2s(concat(utf8Encode(LABEL_MAC1), publicKey));
}

/** Key that seals cookies from the owner of `publicKey`. */
export function cookieKey(crypto: CryptoProvider, publicKey: Uint8Array): Uint8Array {
  return crypto.blake2s(concat(utf8Encode(LABEL_COOKIE), publicKey));
}

/** MAC over all bytes in front of `mac1`. */
export function mac1Of(crypto: CryptoProvider, key: Uint8Array, message: Uint8Array): Uint8Array {
  return crypto.macBlake2s(key, message.subarray(0, mac1Offset(message)));
}

/** MAC over all bytes in front of `mac2`. */
export function mac2Of(
  crypto: CryptoProvider,
  cookie: Uint8Array,
  message: Uint8Array,
): Uint8Array {
  return crypto.macBlake2s(cookie, message.subarray(0, message.length - MAC_LENGTH));
}

export function readMac1(message: Uint8Array): Uint8Array {
  return message.subarray(mac1Offset(message), message.length - MAC_LENGTH);
}

export function readMac2(message: Uint8Array): Uint8Array {
  return message.subarray(message.length - MAC_LENGTH);
}

/** Stamps the messages to one peer. */
export class MacWriter {
  readonly #crypto: CryptoProvider;
  readonly #mac1Key: Uint8Array;
  readonly #cookieKey: Uint8Array;
  #lastMac1: Uint8Array | undefined;
  #lastIndex = 0;
  #cookie: Uint8Array | undefined;
  #cookieAt: Instant | undefined;

  constructor(crypto: CryptoProvider, remotePublicKey: Uint8Array) {
    this.#crypto = crypto;
    this.#mac1Key = mac1Key(crypto, remotePublicKey);
    this.#cookieKey = cookieKey(crypto, remotePublicKey);
  }

  /** Opens a cookie reply to the last message stamped. Does not cause a retransmission (connectivity 7.4). */
  handleCookieReply(message: Uint8Array, now: Instant): CookieDropReason | undefined {
    const reply = parseWireGuard(message);
    if (reply?.kind !== 'cookie-reply') return 'malformed';
    if (this.#lastMac1 === undefined) return 'unexpected';
    if (reply.receiverIndex !== this.#lastIndex) return 'wrong-index';
    const cookie = this.#crypto.xOpen(
      this.#cookieKey,
      reply.nonce,
      reply.encryptedCookie,
      this.#lastMac1,
    );
    if (cookie === undefined) return 'not-authenticated';
    this.#lastMac1 = undefined;
    this.#cookie = cookie;
    this.#cookieAt = now;
    return undefined;
  }

  /** Fills in `mac1`, and `mac2` while a cookie is held. */
  stamp(message: Uint8Array, senderIndex: number, now: Instant): void {
    const mac1 = mac1Of(this.#crypto, this.#mac1Key, message);
    message.set(mac1, mac1Offset(message));
    this.#lastMac1 = mac1;
    this.#lastIndex = senderIndex;
    this.forgetOldCookie(now);
    if (this.#cookie) {
      message.set(mac2Of(this.#crypto, this.#cookie, message), message.length - MAC_LENGTH);
    }
  }

  forgetOldCookie(now: Instant): void {
    if (this.#cookieAt === undefined || now - this.#cookieAt <= COOKIE_LIFETIME_MS) return;
    this.wipe();
  }

  wipe(): void {
    this.#cookie?.fill(0);
    this.#cookie = undefined;
    this.#cookieAt = undefined;
  }

  get hasCookie(): boolean {
    return this.#cookie !== undefined;
  }
}
