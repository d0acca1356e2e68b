// WireGuard transport keys by slot, in TypeScript over `CryptoProvider`: the twin of the native cipher, for tests and for
// hosts without the add-on. Data messages are those of the WireGuard paper §5.4.6; nonces are four zero bytes and the counter.
// Replay windows are not its business: `Node.handleOpened` and the tunnel look at counters.

import type { ReceiveBatch, TransportAead } from '../../base/batch.ts';
import { DATAGRAM, OPEN_FAILURE, PATH, RUN } from '../../base/batch.ts';
import { at, viewOf } from '../../base/bytes.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import { assert } from '../../base/errors.ts';
import { Coalescer } from './coalesce.ts';

// Specification (WireGuard paper §5.4.6)
const DATA_MESSAGE_TYPE = 4;
const HEADER_LENGTH = 16;
const TAG_LENGTH = 16;
const KEY_LENGTH = 32;

const NO_AAD = new Uint8Array();
const TWO_TO_32 = 0x1_0000_0000;

interface Session {
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
  readonly remoteIndex: number;
}

export class PlainAead implements TransportAead {
  readonly capacity: number;
  readonly sendCounters: Float64Array;
  readonly paths: Int32Array;
  readonly #crypto: CryptoProvider;
  readonly #sessions: (Session | undefined)[];
  readonly #nonce = new Uint8Array(12);
  readonly #nonceView: DataView = viewOf(this.#nonce);
  readonly #coalescer: Coalescer = new Coalescer();
  #nextSlot = 0;

  constructor(crypto: CryptoProvider, capacity: number) {
    this.capacity = capacity;
    this.sendCounters = new Float64Array(capacity);
    this.paths = new Int32Array(capacity * PATH.stride);
    this.#crypto = crypto;
    this.#sessions = new Array<Session | undefined>(capacity).fill(undefined);
  }

  install(sendKey: Uint8Array, receiveKey: Uint8Array, remoteIndex: number): number {
    assert(
      sendKey.length === KEY_LENGTH && receiveKey.length === KEY_LENGTH,
      'a transport key has 32 bytes',
    );
    for (let tried = 0; tried < this.capacity; tried++) {
      const slot = this.#nextSlot;
      this.#nextSlot = (slot + 1) % this.capacity;
      if (this.#sessions[slot] !== undefined) continue;
      this.#sessions[slot] = {
        sendKey: sendKey.slice(),
        receiveKey: receiveKey.slice(),
        remoteIndex: remoteIndex >>> 0,
      };
      this.sendCounters[slot] = 0;
      this.paths.fill(0, slot * PATH.stride, (slot + 1) * PATH.stride);
      return slot;
    }
    return -1;
  }

  remove(slot: number): void {
    const session = this.#sessions[slot];
    if (session === undefined) return;
    session.sendKey.fill(0);
    session.receiveKey.fill(0);
    this.#sessions[slot] = undefined;
    this.paths[slot * PATH.stride + PATH.usable] = 0;
  }

  sealOne(slot: number, plaintext: Uint8Array): Uint8Array {
    const session = this.#sessions[slot];
    assert(session !== undefined, 'sealing needs an installed slot');
    const counter = at(this.sendCounters, slot);
    this.sendCounters[slot] = counter + 1;
    const message = new Uint8Array(HEADER_LENGTH + plaintext.length + TAG_LENGTH);
    const view = viewOf(message);
    const low = (counter % TWO_TO_32) | 0;
    const high = Math.floor(counter / TWO_TO_32);
    view.setUint32(0, DATA_MESSAGE_TYPE, true);
    view.setUint32(4, session.remoteIndex, true);
    view.setInt32(8, low, true);
    view.setInt32(12, high, true);
    this.#setNonce(low, high);
    message.set(this.#crypto.seal(session.sendKey, this.#nonce, plaintext, NO_AAD), HEADER_LENGTH);
    return message;
  }

  openOne(slot: number, message: Uint8Array): Uint8Array | undefined {
    const session = this.#sessions[slot];
    if (session === undefined || message.length < HEADER_LENGTH + TAG_LENGTH) return undefined;
    const view = viewOf(message);
    if (view.getUint32(0, true) !== DATA_MESSAGE_TYPE) return undefined;
    this.#setNonce(view.getInt32(8, true), view.getInt32(12, true));
    return this.#crypto.open(
      session.receiveKey,
      this.#nonce,
      message.subarray(HEADER_LENGTH),
      NO_AAD,
    );
  }

  open(batch: ReceiveBatch): void {
    batch.datagramCount = 0;
    for (let run = 0; run < batch.runCount; run++) {
      const row = run * RUN.stride;
      batch.runs[row + RUN.firstDatagram] = batch.datagramCount;
      batch.runs[row + RUN.datagramCount] = 0;
      const session = this.#sessions[at(batch.runs, row + RUN.slot)];
      if (session !== undefined) this.#openRun(batch, run, session);
    }
  }

  /** What `gather` dropped, by reason. */
  get gatherDrops(): { readonly malformed: number; readonly oversized: number } {
    return { malformed: this.#coalescer.malformed, oversized: this.#coalescer.oversized };
  }

  gather(batch: ReceiveBatch): void {
    this.#coalescer.gather(batch);
  }

  #openRun(batch: ReceiveBatch, run: number, session: Session): void {
    const { runs, datagrams } = batch;
    const row = run * RUN.stride;
    const start = at(runs, row + RUN.offset);
    const end = start + at(runs, row + RUN.length);
    const segment = at(runs, row + RUN.segmentLength);
    const capacity = Math.floor(datagrams.length / DATAGRAM.stride);
    const first = batch.datagramCount;
    if (segment <= 0) return;
    for (let offset = start; offset < end && batch.datagramCount < capacity; offset += segment) {
      const target = batch.datagramCount * DATAGRAM.stride;
      datagrams[target + DATAGRAM.run] = run;
      datagrams[target + DATAGRAM.slot] = at(runs, row + RUN.slot);
      datagrams[target + DATAGRAM.accepted] = 0;
      datagrams[target + DATAGRAM.rawLength] = Math.min(segment, end - offset);
      datagrams[target + DATAGRAM.next] = -1;
      this.#openDatagram(batch, target, offset, session);
      batch.datagramCount++;
    }
    runs[row + RUN.datagramCount] = batch.datagramCount - first;
  }

  #openDatagram(batch: ReceiveBatch, target: number, offset: number, session: Session): void {
    const { slab, view, runs, datagrams } = batch;
    const row = at(datagrams, target + DATAGRAM.run) * RUN.stride;
    const headerLength = at(runs, row + RUN.headerLength);
    const rawLength = at(datagrams, target + DATAGRAM.rawLength);
    const length = rawLength - headerLength;
    datagrams[target + DATAGRAM.offset] = offset;
    datagrams[target + DATAGRAM.counterLow] = 0;
    datagrams[target + DATAGRAM.counterHigh] = 0;
    if (length < HEADER_LENGTH + TAG_LENGTH) {
      datagrams[target + DATAGRAM.length] = OPEN_FAILURE.truncated;
      return;
    }
    if (!belongsToRun(view, offset, at(runs, row + RUN.offset), headerLength, length)) {
      datagrams[target + DATAGRAM.length] = OPEN_FAILURE.foreign;
      return;
    }
    const message = offset + headerLength;
    const low = view.getInt32(message + 8, true);
    const high = view.getInt32(message + 12, true);
    datagrams[target + DATAGRAM.counterLow] = low;
    datagrams[target + DATAGRAM.counterHigh] = high;
    this.#setNonce(low, high);
    const plaintext = this.#crypto.open(
      session.receiveKey,
      this.#nonce,
      slab.subarray(message + HEADER_LENGTH, message + length),
      NO_AAD,
    );
    if (plaintext === undefined) {
      datagrams[target + DATAGRAM.length] = OPEN_FAILURE.notAuthenticated;
      return;
    }
    slab.set(plaintext, message + HEADER_LENGTH);
    datagrams[target + DATAGRAM.offset] = message + HEADER_LENGTH;
    datagrams[target + DATAGRAM.length] = plaintext.length;
  }

  #setNonce(low: number, high: number): void {
    this.#nonceView.setInt32(4, low, true);
    this.#nonceView.setInt32(8, high, true);
  }
}

/**
 * Whether the datagram at `offset` is a data message of the same session as the run's first one: same type, reserved bytes
 * and receiver index, and behind a ChannelData header (RFC 8656 §12.4) same channel and a length that fits.
 */
function belongsToRun(
  view: DataView,
  offset: number,
  first: number,
  headerLength: number,
  messageLength: number,
): boolean {
  if (headerLength === 4) {
    if (view.getUint16(offset) !== view.getUint16(first)) return false;
    if (view.getUint16(offset + 2) !== messageLength) return false;
  }
  return (
    view.getUint32(offset + headerLength, true) === DATA_MESSAGE_TYPE &&
    view.getUint32(offset + headerLength + 4) === view.getUint32(first + headerLength + 4)
  );
}
