// Takes the bytes of a TURN connection over TCP or TLS apart into messages (RFC 8489 §6.2.2, RFC 8656 §12.5): STUN messages say
// their length, ChannelData is padded to a multiple of four. Whatever else appears, the stream can never be understood again.
//
// A message that lies whole in a chunk is given out where it lies; only one that is cut by a chunk's end is copied, into a buffer of
// its own size. So a connection holds at most one message of `maxLength` bytes, whatever its sender does.

import { at, viewOf } from '../../base/bytes.ts';
import { MAGIC_COOKIE, STUN_HEADER_LENGTH } from '../../wire/stun/message.ts';
import { CHANNEL_DATA_HEADER_LENGTH, isChannelDataByte } from '../../wire/turn/channel-data.ts';

// Specification
/** Enough of either header to know the length. */
const PREFIX_LENGTH = 4;
const COOKIE_END = 8; // RFC 8489 §5
/** RFC 8656 §12.5: the padding is not part of the length. */
const ALIGNMENT = 4;

const EMPTY = new Uint8Array();

export type StreamFault = 'not-turn' | 'too-long';

export class StreamFramer {
  readonly #maxLength: number;
  #chunk: Uint8Array = EMPTY;
  #position = 0;
  /** A message whose beginning came with an earlier chunk. */
  #partial: Uint8Array = EMPTY;
  #partialLength = 0;
  #fault: StreamFault | undefined;
  #bytes: Uint8Array = EMPTY;
  #offset = 0;
  #length = 0;

  /** Longer messages are a fault. */
  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  /** The next bytes of the stream. Messages of the chunk before must have been taken. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#position = 0;
  }

  /** Whether there is another whole message; `bytes`, `offset` and `length` then say where, until the next call. */
  next(): boolean {
    if (this.#fault) return false;
    return this.#partialLength > 0 ? this.#completePartial() : this.#takeFromChunk();
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  get offset(): number {
    return this.#offset;
  }

  /** Without padding. */
  get length(): number {
    return this.#length;
  }

  /** Once there is one, nothing more comes. */
  get fault(): StreamFault | undefined {
    return this.#fault;
  }

  /** Bytes that are held for a message that is not complete. */
  get heldLength(): number {
    return this.#partialLength;
  }

  #takeFromChunk(): boolean {
    const available = this.#chunk.length - this.#position;
    if (available < PREFIX_LENGTH) return this.#hold(PREFIX_LENGTH);
    const size = this.#sizeAt(this.#chunk, this.#position);
    if (size < 0) return false;
    if (available < size) return this.#hold(size);
    const start = this.#position;
    this.#position += size;
    return this.#give(this.#chunk, start);
  }

  #completePartial(): boolean {
    if (!this.#fill()) return false;
    if (this.#partial.length === PREFIX_LENGTH) {
      const size = this.#sizeAt(this.#partial, 0);
      if (size < 0) return false;
      if (size > PREFIX_LENGTH) {
        const prefix = this.#partial;
        this.#partial = new Uint8Array(size);
        this.#partial.set(prefix);
        if (!this.#fill()) return false;
      }
    }
    const whole = this.#partial;
    this.#partial = EMPTY;
    this.#partialLength = 0;
    return this.#give(whole, 0);
  }

  /** Keeps the rest of the chunk as the beginning of a message of `size` bytes, or of its first bytes. */
  #hold(size: number): false {
    const rest = this.#chunk.subarray(this.#position);
    this.#chunk = EMPTY;
    this.#position = 0;
    if (rest.length === 0) return false;
    this.#partial = new Uint8Array(size);
    this.#partial.set(rest);
    this.#partialLength = rest.length;
    return false;
  }

  /** Whether the partial message is complete now. */
  #fill(): boolean {
    const missing = this.#partial.length - this.#partialLength;
    const piece = this.#chunk.subarray(this.#position, this.#position + missing);
    this.#partial.set(piece, this.#partialLength);
    this.#partialLength += piece.length;
    this.#position += piece.length;
    return piece.length === missing;
  }

  #give(bytes: Uint8Array, offset: number): boolean {
    const view = viewOf(bytes);
    const isChannelData = isChannelDataByte(at(bytes, offset));
    if (!isChannelData && view.getUint32(offset + COOKIE_END - 4) !== MAGIC_COOKIE) {
      this.#fault = 'not-turn';
      return false;
    }
    const header = isChannelData ? CHANNEL_DATA_HEADER_LENGTH : STUN_HEADER_LENGTH;
    this.#bytes = bytes;
    this.#offset = offset;
    this.#length = header + view.getUint16(offset + 2);
    return true;
  }

  /** Bytes of the message that begins there, with its padding; -1 after a fault. */
  #sizeAt(bytes: Uint8Array, offset: number): number {
    const first = at(bytes, offset);
    const length = viewOf(bytes).getUint16(offset + 2);
    const isChannelData = isChannelDataByte(first);
    const isStun = (first & 0xc0) === 0 && length % ALIGNMENT === 0;
    const size = isChannelData
      ? CHANNEL_DATA_HEADER_LENGTH + padded(length)
      : STUN_HEADER_LENGTH + length;
    if (!isChannelData && !isStun) this.#fault = 'not-turn';
    else if (size > this.#maxLength) this.#fault = 'too-long';
    return this.#fault ? -1 : size;
  }
}

/** Bytes of zero that follow a message of this length on a stream. */
export function paddingOf(length: number): number {
  return padded(length) - length;
}

function padded(length: number): number {
  return (length + ALIGNMENT - 1) & -ALIGNMENT;
}
