// Reads bytes as a list of operations with arguments. At its end it yields zeros, so that any bytes are a list.

import { concat } from '../../src/base/bytes.ts';

export class Operations {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#position++] ?? 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.byte() % list.length] as T;
  }

  /** Some of the list, in its order. */
  some<T>(list: readonly T[]): T[] {
    const mask = this.byte();
    return list.filter((_, i) => (mask & (1 << (i % 8))) !== 0);
  }

  bytes(limit: number): Uint8Array {
    const length = this.byte() % limit;
    const start = this.#position;
    this.#position += length;
    return this.#bytes.slice(start, start + length);
  }

  /** Mostly as it was; sometimes with a byte changed, cut off, or longer. */
  damage(packet: Uint8Array): Uint8Array {
    const kind = this.byte();
    const at = this.byte();
    switch (kind % 16) {
      case 0: {
        const damaged = packet.slice();
        damaged[at % damaged.length] = this.byte();
        return damaged;
      }
      case 1:
        return packet.slice(0, at % (packet.length + 1));
      case 2:
        return concat(packet, this.bytes(32));
      default:
        return packet;
    }
  }
}
