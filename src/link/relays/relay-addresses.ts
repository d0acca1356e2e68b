// Hot path. Which relay a datagram came from, by its exact server socket: on any port, and asked once per run of ChannelData
// (connectivity 6, step 2; connectivity 14.23). Addresses are compared as the four words of `base/address.ts`.

import { type Endpoint, writeAddressWords } from '../../base/address.ts';

// Implementation

const STRIDE = 5;

export class RelayAddresses<R> {
  readonly #words: Int32Array;
  readonly #relays: (R | undefined)[];
  #count = 0;

  constructor(maxEndpoints: number) {
    this.#words = new Int32Array(maxEndpoints * STRIDE);
    this.#relays = new Array<R | undefined>(maxEndpoints).fill(undefined);
  }

  /** False if there is no room. */
  add(server: Endpoint, relay: R): boolean {
    if (this.#count === this.#relays.length) return false;
    const row = this.#count * STRIDE;
    writeAddressWords(server.address, this.#words, row);
    this.#words[row + 4] = server.port;
    this.#relays[this.#count] = relay;
    this.#count++;
    return true;
  }

  /** Keeps the others in their order. */
  remove(relay: R): void {
    this.#keep((row) => this.#relays[row] !== relay);
  }

  removeSocket(server: Endpoint): void {
    const words = new Int32Array(STRIDE);
    writeAddressWords(server.address, words, 0);
    words[4] = server.port;
    this.#keep((row) => !words.every((word, i) => word === this.#words[row * STRIDE + i]));
  }

  /** `words[offset]` to `words[offset + 4]` are address and port. Dozens at most, so a scan. */
  find(words: Int32Array, offset: number): R | undefined {
    for (let i = 0; i < this.#count; i++) {
      const row = i * STRIDE;
      if (
        this.#words[row + 4] === words[offset + 4] &&
        this.#words[row + 3] === words[offset + 3] &&
        this.#words[row + 2] === words[offset + 2] &&
        this.#words[row + 1] === words[offset + 1] &&
        this.#words[row] === words[offset]
      ) {
        return this.#relays[i];
      }
    }
    return undefined;
  }

  #keep(isKept: (row: number) => boolean): void {
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      if (!isKept(i)) continue;
      this.#words.copyWithin(kept * STRIDE, i * STRIDE, (i + 1) * STRIDE);
      this.#relays[kept] = this.#relays[i];
      kept++;
    }
    this.#relays.fill(undefined, kept, this.#count);
    this.#count = kept;
  }
}
