// How long the packets may be that go to one peer through its tunnel: packetization-layer path MTU discovery (RFC 8899) with probes of the
// size itself, which the peer answers from inside the tunnel. An answer proves three things at once: the path carries the size, the peer
// takes it, and it is the peer. Errors of the network are not believed and not needed.
//
// A search follows each change of the path. What was found is confirmed only while it is used, so that a tunnel without traffic stays
// silent. Without an answer the standard size holds, which every path carries (data-plane 1.2).

import { type Instant, later } from '../../base/time.ts';

// Specification (RFC 8899 §5.1)
/** MAX_PROBES. */
const MAX_ROUNDS = 3;
/** PMTU_RAISE_TIMER. */
const RAISE_AFTER_MS = 600_000;

// Implementation
/** PROBE_TIMER; longer than a round trip around the world through a relay. */
const ROUND_MS = 1_000;
/** RFC 8899 §5.1.1 leaves CONFIRMATION_TIMER to the layer above: a path that got narrower costs at most this and three rounds. */
const CONFIRM_AFTER_MS = 15_000;
/**
 * What ordinary links leave for a packet: 9,000 (jumbo frames), 1,500 (Ethernet), 1,492 (PPPoE) and 1,420 (another tunnel), less 84 bytes for
 * IPv6, UDP, WireGuard and a relay's channel.
 */
const USUAL_SIZES: readonly number[] = [1_336, 1_408, 1_416, 8_916];

export interface PathProbe {
  readonly token: number;
  /** Of the whole packet. */
  readonly size: number;
}

export class PathMtu {
  readonly #base: number;
  readonly #sizes: readonly number[];
  #size: number;
  #rounds = 0;
  #token = 0;
  /** Largest size that was answered in this round. */
  #answered = 0;
  #isUsed = false;
  #isSearching = true;
  #raiseAt: Instant;
  #nextAt: Instant;
  #probes: PathProbe[] = [];

  /** `base`: the size that needs no proof. `largest`: what both ends of the device carry. */
  constructor(base: number, largest: number, now: Instant) {
    this.#base = base;
    const usual = USUAL_SIZES.filter((size) => size > base && size < largest);
    this.#sizes = largest > base ? [...usual, largest] : [];
    this.#size = base;
    this.#raiseAt = later(now, RAISE_AFTER_MS);
    this.#nextAt = now;
  }

  /** Largest packet that may be sent now. */
  get size(): number {
    return this.#size;
  }

  /** The packets go another way from now on. */
  handlePathChange(now: Instant): void {
    this.#size = this.#base;
    this.#search(now);
  }

  /** A packet longer than the base was sent, or wanted to be. Whether that is news. */
  noteUse(): boolean {
    const isNews = !this.#isUsed;
    this.#isUsed = true;
    return isNews;
  }

  handleAnswer({ token, size }: PathProbe): void {
    if (token !== this.#token || !this.#sizes.includes(size)) return;
    this.#answered = Math.max(this.#answered, size);
    this.#size = Math.max(this.#size, size);
  }

  handleTimeout(now: Instant): void {
    if (this.#sizes.length === 0 || !this.#isDue(now)) return;
    if (this.#rounds > 0) this.#judge(now);
    if (this.#isDue(now)) this.#ask(now);
  }

  pollProbe(): PathProbe | undefined {
    return this.#probes.shift();
  }

  pollTimeout(): Instant | undefined {
    const isWaiting = this.#sizes.length > 0 && (this.#isSearching || this.#isUsed);
    return isWaiting ? this.#nextAt : undefined;
  }

  #search(now: Instant): void {
    this.#isSearching = true;
    this.#rounds = 0;
    this.#nextAt = now;
    this.#token = (this.#token + 1) >>> 0;
    this.#raiseAt = later(now, RAISE_AFTER_MS);
  }

  #isDue(now: Instant): boolean {
    return (this.#isSearching || this.#isUsed) && now >= this.#nextAt;
  }

  /** At the end of a round. */
  #judge(now: Instant): void {
    const isProven = this.#answered > 0 && this.#answered >= this.#size;
    // Larger ones may have been lost by chance.
    const mayBeMore = this.#isSearching && this.#size < (this.#sizes.at(-1) ?? 0);
    if (isProven && !mayBeMore) return this.#rest(now);
    if (this.#rounds < MAX_ROUNDS) return;
    if (isProven) return this.#rest(now);
    const wasBase = this.#size === this.#base;
    this.#size = this.#base;
    // What was found holds no more: perhaps less does. Where nothing ever did, only another path or time brings more.
    if (wasBase) this.#rest(now);
    else this.#search(now);
  }

  #rest(now: Instant): void {
    const isFound = this.#size > this.#base;
    this.#isSearching = false;
    this.#isUsed = false;
    this.#rounds = 0;
    this.#nextAt = isFound ? later(now, CONFIRM_AFTER_MS) : this.#raiseAt;
  }

  #ask(now: Instant): void {
    if (this.#rounds === 0 || this.#answered > 0) this.#token = (this.#token + 1) >>> 0;
    this.#answered = 0;
    this.#rounds++;
    if (now >= this.#raiseAt) {
      this.#raiseAt = later(now, RAISE_AFTER_MS);
      this.#isSearching = true;
    }
    this.#nextAt = later(now, ROUND_MS);
    this.#probes = this.#sizes
      .filter((size) => size === this.#size || (this.#isSearching && size > this.#size))
      .map((size) => ({ token: this.#token, size }));
  }
}
