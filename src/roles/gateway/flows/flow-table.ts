// Hot path. The open flows of one client: rows of typed arrays, found by the resource's address, both ports and the protocol as the resource sees
// them. Only memory and sums; when a flow begins and ends is `client-flows.ts`'s.

import { int32At } from '../../../base/bytes.ts';
import { type Instant, instant } from '../../../base/time.ts';
import { TupleIndex } from '../../../proto/nat/tuple-index.ts';
import type { FlowTotals, OuterPath } from './flow-record.ts';

// Implementation
/** As many as a client can have sessions. */
export const MAX_FLOWS = 16_384;
const INITIAL_CAPACITY = 16;

/** In the word `ROW.state`, above the protocol. */
export const FLOW = {
  finToResource: 0x100,
  finToClient: 0x200,
  /** The client sent something behind its SYN. */
  hasBegun: 0x400,
  used: 0x1000,
} as const;

/** Row of `#rows`. The address has the word of ports behind it, as `TupleIndex` wants it. */
const ROW = { stride: 9, address: 0, ports: 4, state: 5, epoch: 6, path: 7, nextFree: 8 } as const;
const SUM = {
  stride: 6,
  start: 0,
  lastPacket: 1,
  packetsToResource: 2,
  packetsToClient: 3,
  bytesToResource: 4,
  bytesToClient: 5,
} as const;

/** A flow as others know it; its paths grow. */
export type OpenFlow<Known> = Known & { readonly outers: OuterPath[] };

/** Where a flow's key stands: four words of the resource's address, and the ports, the client's in the high half. */
export interface FlowKeyWords {
  readonly words: Int32Array;
  readonly index: number;
  readonly ports: number;
  readonly protocol: number;
}

export class FlowTable<Known> {
  readonly #index: TupleIndex;
  readonly #known: (OpenFlow<Known> | undefined)[] = [];
  #capacity = INITIAL_CAPACITY;
  #rows = new Int32Array(INITIAL_CAPACITY * ROW.stride);
  #sums = new Float64Array(INITIAL_CAPACITY * SUM.stride);
  #used = 0;
  #free = -1;

  constructor(seed: number) {
    this.#index = new TupleIndex(seed, {
      stride: ROW.stride,
      address: ROW.address,
      protocol: ROW.state,
    });
  }

  get count(): number {
    return this.#index.count;
  }

  /** Rows that are or were in use. */
  get rowCount(): number {
    return this.#used;
  }

  /** The open flow, or -1. */
  find(words: Int32Array, index: number, ports: number, protocol: number): number {
    return this.#index.find(this.#rows, words, index, ports, protocol);
  }

  /** -1: the table is full. */
  add(
    { words, index, ports, protocol }: FlowKeyWords,
    known: OpenFlow<Known>,
    now: Instant,
  ): number {
    if (this.count >= MAX_FLOWS) return -1;
    const flow = this.#takeRow();
    const row = flow * ROW.stride;
    for (let i = 0; i < 4; i++) this.#rows[row + ROW.address + i] = int32At(words, index + i);
    this.#rows[row + ROW.ports] = ports;
    this.#rows[row + ROW.state] = protocol | FLOW.used;
    this.#rows[row + ROW.epoch] = 0;
    this.#rows[row + ROW.path] = 0;
    this.#sums.fill(0, flow * SUM.stride, (flow + 1) * SUM.stride);
    this.#sums[flow * SUM.stride + SUM.start] = now;
    this.#sums[flow * SUM.stride + SUM.lastPacket] = now;
    this.#known[flow] = known;
    this.#index.add(this.#rows, flow);
    return flow;
  }

  /** What is known of it, after it was removed. */
  take(flow: number): OpenFlow<Known> | undefined {
    const known = this.#known[flow];
    this.#index.remove(this.#rows, flow);
    this.#known[flow] = undefined;
    this.#rows[flow * ROW.stride + ROW.state] = 0;
    this.#rows[flow * ROW.stride + ROW.nextFree] = this.#free;
    this.#free = flow;
    return known;
  }

  get(flow: number): OpenFlow<Known> | undefined {
    return this.#known[flow];
  }

  totalsOf(flow: number, end: Instant): FlowTotals {
    const sums = this.#sums;
    const row = flow * SUM.stride;
    return {
      end,
      lastPacket: instant(sums[row + SUM.lastPacket] ?? 0),
      packetsToResource: sums[row + SUM.packetsToResource] ?? 0,
      packetsToClient: sums[row + SUM.packetsToClient] ?? 0,
      bytesToResource: sums[row + SUM.bytesToResource] ?? 0,
      bytesToClient: sums[row + SUM.bytesToClient] ?? 0,
    };
  }

  countToResource(flow: number, packets: number, bytes: number, now: Instant): void {
    this.#count(flow * SUM.stride, SUM.packetsToResource, packets, bytes);
    this.#sums[flow * SUM.stride + SUM.lastPacket] = now;
  }

  countToClient(flow: number, packets: number, bytes: number, now: Instant): void {
    this.#count(flow * SUM.stride, SUM.packetsToClient, packets, bytes);
    this.#sums[flow * SUM.stride + SUM.lastPacket] = now;
  }

  /** Whether the last packet is at least `ms` ago; false for rows without a flow. */
  isIdle(flow: number, ms: number, now: Instant): boolean {
    return (
      this.stateOf(flow) !== 0 && now - (this.#sums[flow * SUM.stride + SUM.lastPacket] ?? 0) > ms
    );
  }

  /** `FLOW` bits above the protocol; 0: no flow. */
  stateOf(flow: number): number {
    return int32At(this.#rows, flow * ROW.stride + ROW.state);
  }

  setState(flow: number, bits: number): void {
    this.#rows[flow * ROW.stride + ROW.state] = this.stateOf(flow) | bits;
  }

  /** Under which policy its resource was last looked up. */
  epochOf(flow: number): number {
    return int32At(this.#rows, flow * ROW.stride + ROW.epoch);
  }

  setEpoch(flow: number, epoch: number): void {
    this.#rows[flow * ROW.stride + ROW.epoch] = epoch;
  }

  /** The number of the client's path that its last packet took. */
  pathOf(flow: number): number {
    return int32At(this.#rows, flow * ROW.stride + ROW.path);
  }

  setPath(flow: number, path: number): void {
    this.#rows[flow * ROW.stride + ROW.path] = path;
  }

  #count(row: number, field: 2 | 3, packets: number, bytes: number): void {
    const sums = this.#sums;
    sums[row + field] = (sums[row + field] ?? 0) + packets;
    sums[row + field + 2] = (sums[row + field + 2] ?? 0) + bytes;
  }

  #takeRow(): number {
    if (this.#free >= 0) {
      const flow = this.#free;
      this.#free = int32At(this.#rows, flow * ROW.stride + ROW.nextFree);
      return flow;
    }
    if (this.#used === this.#capacity) this.#grow();
    return this.#used++;
  }

  #grow(): void {
    this.#capacity *= 2;
    const rows = new Int32Array(this.#capacity * ROW.stride);
    rows.set(this.#rows);
    this.#rows = rows;
    const sums = new Float64Array(this.#capacity * SUM.stride);
    sums.set(this.#sums);
    this.#sums = sums;
  }
}
