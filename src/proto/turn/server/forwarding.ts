// Hot path. Where received runs go: ChannelData of clients to peers, datagrams of peers to clients (RFC 8656 §12.5 to §12.7, relay
// 5.5). It writes rows that say what to forward; the bytes stay where they are, and `io` sends them. Nothing is allocated.
//
//   client --ChannelData--> listening socket | relay socket --payload--> peer      the header of each datagram is cut off
//   client <--ChannelData-- listening socket | relay socket <--payload-- peer      a header is put in front

import { type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { int32At } from '../../../base/bytes.ts';
import {
  CHANNEL_DATA_HEADER_LENGTH,
  channelAt,
  channelPayloadLength,
  isChannelDataByte,
} from '../../../wire/turn/channel-data.ts';
import { allocationOfSocket, type ChannelBindings, LINK, linkOf } from './channel-bindings.ts';

const FULL = -1;

/** Row of `ForwardBatch.rows`. */
export const FORWARD = {
  stride: 8,
  /** Index of the run, and which of its datagrams. */
  run: 0,
  firstDatagram: 1,
  datagramCount: 2,
  /** Bytes to cut off the front of each datagram. */
  headerLength: 3,
  /** Row of `ChannelBindings.paths`: destination, source address, ChannelData number to put in front. */
  path: 4,
  /** Number of the socket to leave from (`channel-bindings.ts`). */
  socket: 5,
  /** 0, or the payload bytes to send of a single datagram that is longer than its ChannelData header says. */
  exactLength: 6,
} as const;

export interface ForwardBatch {
  readonly rows: Int32Array;
  count: number;
}

export type ForwardDrop =
  | 'malformed-channel-data'
  | 'empty-channel-data'
  | 'no-channel'
  | 'too-many-datagrams';

/** Where drops are counted. */
export interface DropCounter {
  add(reason: ForwardDrop, count?: number): void;
}

export interface ForwardTotals {
  toPeerPackets: number;
  toPeerBytes: number;
  toClientPackets: number;
  toClientBytes: number;
}

export function createForwardBatch(maxRows: number): ForwardBatch {
  return { rows: new Int32Array(maxRows * FORWARD.stride), count: 0 };
}

export class Forwarding {
  readonly totals: ForwardTotals = {
    toPeerPackets: 0,
    toPeerBytes: 0,
    toClientPackets: 0,
    toClientBytes: 0,
  };
  readonly #bindings: ChannelBindings;
  readonly #drops: DropCounter;

  constructor(bindings: ChannelBindings, drops: DropCounter) {
    this.#bindings = bindings;
    this.#drops = drops;
  }

  /** A run of datagrams of one peer, received on the relay socket of an allocation. False: the peer has no channel. */
  forwardToClient(batch: ReceiveBatch, run: number, socket: number, out: ForwardBatch): boolean {
    const { runs } = batch;
    const source = run * RUN.stride;
    const port = int32At(runs, source + RUN.remotePort);
    const allocation = allocationOfSocket(socket);
    const slot = this.#bindings.findByPeer(runs, source + RUN.remote, port, allocation);
    if (slot < 0) return false;
    const count = datagramCount(runs, source);
    const row = this.#append(out, run);
    if (row === FULL) {
      this.#drops.add('too-many-datagrams', count);
      return true;
    }
    out.rows[row + FORWARD.firstDatagram] = 0;
    out.rows[row + FORWARD.datagramCount] = count;
    out.rows[row + FORWARD.headerLength] = 0;
    out.rows[row + FORWARD.path] = 2 * slot + 1;
    out.rows[row + FORWARD.socket] = linkOf(this.#bindings.links, slot, LINK.clientSocket);
    out.rows[row + FORWARD.exactLength] = 0;
    this.totals.toClientPackets += count;
    this.totals.toClientBytes += int32At(runs, source + RUN.length);
    return true;
  }

  /**
   * Takes the ChannelData of a run that a client sent to a listening socket, from the datagram `first` on: datagrams on one
   * channel that follow each other make one row. Returns the index of the first that is something else, -1 if there is none.
   */
  forwardToPeers(batch: ReceiveBatch, run: number, first: number, out: ForwardBatch): number {
    const { runs, view, slab } = batch;
    const source = run * RUN.stride;
    const start = int32At(runs, source + RUN.offset);
    const end = start + int32At(runs, source + RUN.length);
    const segment = int32At(runs, source + RUN.segmentLength);
    for (let index = first; start + index * segment < end; ) {
      const offset = start + index * segment;
      if (!isChannelDataByte(slab[offset] ?? 0)) return index;
      const payload = channelPayloadLength(view, offset, Math.min(segment, end - offset));
      const count = Math.max(1, groupLength(view, offset, end, segment));
      if (payload <= 0) {
        const drop = payload === 0 ? 'empty-channel-data' : 'malformed-channel-data';
        this.#drops.add(drop, count);
      } else {
        this.#forwardGroup(batch, run, index, count, out);
      }
      index += count;
    }
    return -1;
  }

  #forwardGroup(
    { runs, view }: ReceiveBatch,
    run: number,
    first: number,
    count: number,
    out: ForwardBatch,
  ): void {
    const source = run * RUN.stride;
    const segment = int32At(runs, source + RUN.segmentLength);
    const length = int32At(runs, source + RUN.length);
    const offset = int32At(runs, source + RUN.offset) + first * segment;
    const port = int32At(runs, source + RUN.remotePort);
    const channel = channelAt(view, offset);
    const slot = this.#bindings.findByClient(runs, source + RUN.remote, port, channel);
    const row = slot < 0 ? FULL : this.#append(out, run);
    if (row === FULL) {
      this.#drops.add(slot < 0 ? 'no-channel' : 'too-many-datagrams', count);
      return;
    }
    const bytes = Math.min(length - first * segment, count * segment);
    const payload = channelPayloadLength(view, offset, Math.min(bytes, segment));
    const isExact = count > 1 || payload === bytes - CHANNEL_DATA_HEADER_LENGTH;
    out.rows[row + FORWARD.firstDatagram] = first;
    out.rows[row + FORWARD.datagramCount] = count;
    out.rows[row + FORWARD.headerLength] = CHANNEL_DATA_HEADER_LENGTH;
    out.rows[row + FORWARD.path] = 2 * slot;
    out.rows[row + FORWARD.socket] = linkOf(this.#bindings.links, slot, LINK.relaySocket);
    out.rows[row + FORWARD.exactLength] = isExact ? 0 : payload;
    this.totals.toPeerPackets += count;
    this.totals.toPeerBytes += isExact ? bytes - count * CHANNEL_DATA_HEADER_LENGTH : payload;
  }

  #append(out: ForwardBatch, run: number): number {
    const row = out.count * FORWARD.stride;
    if (row === out.rows.length) return FULL;
    out.count += 1;
    out.rows[row + FORWARD.run] = run;
    return row;
  }
}

export function datagramCount(runs: Int32Array, row: number): number {
  return Math.ceil(int32At(runs, row + RUN.length) / int32At(runs, row + RUN.segmentLength));
}

/** How many datagrams from `offset` on are on the channel of the first and as long as their header says. */
function groupLength(view: DataView, offset: number, end: number, segment: number): number {
  let count = 0;
  for (let next = offset; next < end; next += segment) {
    const length = Math.min(segment, end - next);
    const payload = length - CHANNEL_DATA_HEADER_LENGTH;
    if (payload < 0 || channelPayloadLength(view, next, length) !== payload) break;
    if (channelAt(view, next) !== channelAt(view, offset)) break;
    count += 1;
  }
  return count;
}
