// The flow tracker (operations 13.2): owner of the flows of all clients and of the time they are looked at. Events go where the gateway's go.
// The sink that writes them down is not here, nor the switch that turns it on.
//
// A client without flows of its own, because nobody wants to know, costs one comparison for each packet.

import type { ClientId } from '../../../base/ids.ts';
import { type Instant, later } from '../../../base/time.ts';
import { ClientFlows, type FlowClient, type FlowOutput } from './client-flows.ts';
import type { FlowSink } from './flow-record.ts';

// Implementation
/** Silent flows are looked for this often: the reference's state machine wakes as often. */
const SWEEP_INTERVAL_MS = 1_000;
/** Flows looked at without a pause: well below a millisecond. */
const SWEEP_SLICE = 16_384;
/** Packets have this long between two slices. */
const SLICE_PAUSE_MS = 2;

export interface TrackerOptions {
  /** Where events go. */
  readonly events: FlowSink;
  /** Unpredictable, for hash tables. */
  readonly nextSeed: () => number;
  /** A flow is not recorded because its client has too many. */
  readonly noteFull: () => void;
}

export class FlowTracker {
  readonly #clients = new Map<ClientId, ClientFlows>();
  readonly #options: TrackerOptions;
  readonly #output: FlowOutput & { isRecording: boolean };
  /** Whose flows both sides have ended since the last timeout. */
  readonly #finished = new Set<ClientFlows>();
  #sweep: Iterator<ClientFlows> | undefined;
  #sweeping: ClientFlows | undefined;
  #lastSweep: Instant;
  #nextSlice: Instant;

  constructor(options: TrackerOptions, now: Instant) {
    this.#options = options;
    this.#lastSweep = now;
    this.#nextSlice = now;
    const finished = this.#finished;
    this.#output = {
      isRecording: false,
      openCount: 0,
      events: options.events,
      noteFinished: (flows) => void finished.add(flows),
      noteFull: options.noteFull,
    };
  }

  get isRecording(): boolean {
    return this.#output.isRecording;
  }

  /** Off: no new flows; those that are open still end. */
  setRecording(isRecording: boolean): void {
    this.#output.isRecording = isRecording;
  }

  /** The flows of a client, if they are wanted. */
  open(client: FlowClient): ClientFlows | undefined {
    const known = this.#clients.get(client.id);
    if (known || !this.isRecording) return known;
    const flows = new ClientFlows(client, this.#output, this.#options.nextSeed());
    this.#clients.set(client.id, flows);
    return flows;
  }

  /** The client is gone, and its connections with it. */
  close(client: ClientId, now: Instant): void {
    const flows = this.#clients.get(client);
    if (!flows) return;
    flows.completeFinished(now);
    flows.completeAll(now);
    this.#finished.delete(flows);
    this.#clients.delete(client);
    if (this.#sweeping === flows) this.#sweeping = undefined;
  }

  handleTimeout(now: Instant): void {
    for (const flows of this.#finished) flows.completeFinished(now);
    this.#finished.clear();
    this.#sweepSlice(now);
  }

  pollTimeout(): Instant | undefined {
    // In the past: at once.
    if (this.#finished.size > 0) return this.#lastSweep;
    if (this.#sweep) return this.#nextSlice;
    return this.openCount > 0 ? later(this.#lastSweep, SWEEP_INTERVAL_MS) : undefined;
  }

  get openCount(): number {
    return this.#output.openCount;
  }

  #sweepSlice(now: Instant): void {
    if (!this.#sweep) {
      if (now < later(this.#lastSweep, SWEEP_INTERVAL_MS)) return;
      this.#lastSweep = now;
      this.#sweep = this.#clients.values();
    } else if (now < this.#nextSlice) return;
    for (let left = SWEEP_SLICE; left > 0; ) {
      this.#sweeping ??= this.#sweep.next().value;
      if (!this.#sweeping) {
        this.#sweep = undefined;
        return;
      }
      left = this.#sweeping.sweep(now, left);
      if (left > 0) this.#sweeping = undefined;
    }
    this.#nextSlice = later(now, SLICE_PAUSE_MS);
  }
}
