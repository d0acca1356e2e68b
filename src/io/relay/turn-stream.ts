// One TURN connection over TCP or TLS (RFC 8656 §2.1, §12.5), at either end: bytes that arrive become runs of a batch, as if they had
// been received by a UDP socket; datagrams that leave become frames. It carries datagrams, so it loses them like UDP where the
// connection is too slow: nothing waits here beyond a bounded queue.

import type { Duplex } from 'node:stream';
import { type Endpoint, writeAddressWords } from '../../base/address.ts';
import { PATH, type ReceiveBatch, RUN } from '../../base/batch.ts';
import { at, concat, int32At } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { Transmit } from '../../base/transmit.ts';
import { paddingOf, type StreamFault, StreamFramer } from '../../proto/turn/stream-framer.ts';
import {
  CHANNEL_DATA_HEADER_LENGTH,
  isChannelDataByte,
  writeChannelHeader,
} from '../../wire/turn/channel-data.ts';
import type { ForwardOrder } from './relay-sockets.ts';

// Implementation
/** Of one message. What Firezone's peers send fits into 1,500 bytes; standard clients may send larger datagrams. */
const MAX_MESSAGE_LENGTH = 8192;
/** Bytes given to the connection ahead of its pace; what waits here can no longer be taken back. */
const MAX_WRITTEN = 128 * 1024;
/** Bytes of datagrams that wait for it: some 50 ms at 40 Mbit/s. More would only be delay; beyond it the oldest are dropped. */
const MAX_QUEUED = 256 * 1024;
/** Requests and answers do not wait behind data, and none is lost while the connection takes anything at all. */
const MAX_CONTROL_QUEUED = 1024 * 1024;
/** Datagrams in a run, as many as a kernel coalesces. */
const MAX_RUN_DATAGRAMS = 64;
/** Between runs in the slab. */
const RUN_ALIGNMENT = 64;
/** After we have closed: who does not take what was sent and close, too, by then is cut off, or would occupy a socket for ever. */
const CLOSE_GRACE_MS = 5000;

export type StreamDrop = 'queue-full' | 'no-channel-data';

/** Why it ended. */
export type StreamEnd = 'closed' | 'local' | StreamFault;

export interface TurnStreamOptions {
  /** What stands in the rows as sender (`base/stream-endpoint.ts`). */
  readonly name: Endpoint;
  /** Our end. */
  readonly local: Endpoint;
  /** `RUN.socket`. */
  readonly socketId: number;
  /** There is something to receive. It is called again while `receive` leaves something. */
  readonly onReadable: () => void;
  /** Once; nothing is called afterwards. */
  readonly onClosed: (reason: StreamEnd) => void;
}

export class TurnStream {
  readonly drops: Counters<StreamDrop> = new Counters();
  readonly #socket: Duplex;
  readonly #options: TurnStreamOptions;
  readonly #framer = new StreamFramer(MAX_MESSAGE_LENGTH);
  readonly #row = new Int32Array(RUN.stride);
  /** A message that did not fit into the batch before. */
  #isWaiting = false;
  /** The framer has a chunk that is not taken apart completely. */
  #hasChunk = false;
  #isClosed = false;
  /** Frames that wait, oldest first, and how many datagrams each holds. */
  readonly #queue: { readonly bytes: Uint8Array; readonly datagrams: number }[] = [];
  #queued = 0;

  constructor(socket: Duplex, options: TurnStreamOptions) {
    this.#socket = socket;
    this.#options = options;
    const { name, local, socketId } = options;
    writeAddressWords(name.address, this.#row, RUN.remote);
    this.#row[RUN.remotePort] = name.port;
    writeAddressWords(local.address, this.#row, RUN.local);
    this.#row[RUN.localPort] = local.port;
    this.#row[RUN.slot] = -1;
    this.#row[RUN.socket] = socketId;
    socket.on('data', (chunk: Uint8Array) => this.#receiveChunk(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.#end('closed'));
    socket.on('end', () => this.close());
    socket.on('drain', () => this.#flush());
    socket.resume();
  }

  get port(): number {
    return this.#options.local.port;
  }

  get name(): Endpoint {
    return this.#options.name;
  }

  /** Fills the run rows; 0: nothing is left. ChannelData messages of one length that follow each other make one run. */
  receive(batch: ReceiveBatch): number {
    batch.runCount = 0;
    const maxRuns = Math.floor(batch.runs.length / RUN.stride);
    let position = 0;
    while (batch.runCount < maxRuns && this.#hasMessage()) {
      const room = batch.slab.length - position;
      if (this.#framer.length > room) break;
      const end = this.#fillRun(batch, position);
      position = (end + RUN_ALIGNMENT - 1) & -RUN_ALIGNMENT;
    }
    return batch.runCount;
  }

  /** One message as it is. */
  send({ payload }: Pick<Transmit, 'payload'>): 'sent' | 'full' {
    const padding = paddingOf(payload.length);
    const bytes = padding === 0 ? payload : concat(payload, new Uint8Array(padding));
    if (isChannelDataByte(at(payload, 0))) return this.#enqueue(bytes, 1);
    if (this.#isClosed || this.#socket.writableLength >= MAX_CONTROL_QUEUED) {
      this.drops.add('queue-full');
      return 'full';
    }
    this.#socket.write(bytes);
    return 'sent';
  }

  /** Frames with their padding, one after the other, that hold so many datagrams. The bytes are kept. */
  sendFrames(bytes: Uint8Array, datagrams: number): void {
    this.#enqueue(bytes, datagrams);
  }

  /** Datagrams of a run as ChannelData of the path's channel: one copy, one write. */
  forward(batch: ReceiveBatch, order: ForwardOrder): number {
    const source = order.run * RUN.stride;
    const channel = int32At(order.paths, order.row * PATH.stride + PATH.channel);
    if (channel === 0) this.drops.add('no-channel-data', order.count);
    if (channel === 0) return 0;
    const segment = int32At(batch.runs, source + RUN.segmentLength);
    const runStart = int32At(batch.runs, source + RUN.offset);
    const end = runStart + int32At(batch.runs, source + RUN.length);
    const start = runStart + order.first * segment;
    const most = CHANNEL_DATA_HEADER_LENGTH + segment;
    const bytes = new Uint8Array(order.count * (most + paddingOf(most)));
    const view = new DataView(bytes.buffer);
    let length = 0;
    for (let index = 0; index < order.count; index++) {
      const from = start + index * segment + order.headerLength;
      const to = Math.min(start + (index + 1) * segment, end);
      writeChannelHeader(view, length, channel, to - from);
      bytes.set(batch.slab.subarray(from, to), length + CHANNEL_DATA_HEADER_LENGTH);
      length += CHANNEL_DATA_HEADER_LENGTH + to - from + paddingOf(to - from);
    }
    return this.#enqueue(bytes.subarray(0, length), order.count) === 'sent' ? order.count : 0;
  }

  /** What was sent still goes out, for a while. */
  close(): void {
    if (this.#isClosed) return;
    for (const { bytes } of this.#queue.splice(0)) this.#socket.write(bytes);
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_GRACE_MS).unref();
    this.#socket.once('close', () => clearTimeout(timer));
    this.#end('local');
  }

  #receiveChunk(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    this.#framer.push(chunk);
    this.#hasChunk = true;
    this.#announce();
  }

  /** While something is left, nothing more is read, and others get their turn first. */
  readonly #announce = (): void => {
    if (this.#isClosed) return;
    this.#options.onReadable();
    if (this.#isClosed) return;
    const { fault } = this.#framer;
    if (fault) {
      this.#socket.destroy();
      this.#end(fault);
    } else if (this.#hasChunk) {
      this.#socket.pause();
      setImmediate(this.#announce);
    } else {
      this.#socket.resume();
    }
  };

  #hasMessage(): boolean {
    if (!this.#hasChunk) return false;
    this.#isWaiting = this.#isWaiting || this.#framer.next();
    if (!this.#isWaiting) this.#hasChunk = false;
    return this.#isWaiting;
  }

  /** One run from the waiting message on; returns the end of its bytes. */
  #fillRun(batch: ReceiveBatch, start: number): number {
    const { slab, runs } = batch;
    const framer = this.#framer;
    const segment = framer.length;
    const mayGrow = isChannelDataByte(at(framer.bytes, framer.offset));
    const row = batch.runCount * RUN.stride;
    runs.set(this.#row, row);
    let end = start;
    for (let count = 0; count < MAX_RUN_DATAGRAMS && end + segment <= slab.length; count++) {
      const { bytes, offset, length } = framer;
      slab.set(bytes.subarray(offset, offset + length), end);
      end += length;
      this.#isWaiting = false;
      const hasNext = mayGrow && length === segment && this.#hasMessage();
      if (!hasNext || framer.length > segment) break;
      if (!isChannelDataByte(at(framer.bytes, framer.offset))) break;
    }
    runs[row + RUN.offset] = start;
    runs[row + RUN.length] = end - start;
    runs[row + RUN.segmentLength] = segment;
    batch.runCount += 1;
    return end;
  }

  #enqueue(bytes: Uint8Array, datagrams: number): 'sent' | 'full' {
    if (this.#isClosed) {
      this.drops.add('queue-full', datagrams);
      return 'full';
    }
    this.#queue.push({ bytes, datagrams });
    this.#queued += bytes.length;
    this.#flush();
    while (this.#queued > MAX_QUEUED) {
      const oldest = this.#queue.shift();
      if (!oldest) break;
      this.#queued -= oldest.bytes.length;
      this.drops.add('queue-full', oldest.datagrams);
    }
    return 'sent';
  }

  #flush(): void {
    while (this.#socket.writableLength < MAX_WRITTEN) {
      const next = this.#queue.shift();
      if (!next) return;
      this.#queued -= next.bytes.length;
      this.#socket.write(next.bytes);
    }
  }

  #end(reason: StreamEnd): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.onClosed(reason);
  }
}
