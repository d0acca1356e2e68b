// The only place where a role meets the world: sockets, TUN, clock and one timer (anchors 10, data-path 4).
//
//   UDP readable ── receive ── handleRuns ── open ── handleOpened ── gather ── handleSuperPackets ── TUN write ──┐
//   TUN readable ── read ── handleTunPackets ── seal and send ───────────────────────────────────────────────────┤
//   timer ───────── handleTimeout ───────────────────────────────────────────────────────────────────────────────┤
//   a stream's bytes like UDP, where there are streams; what becomes of a stream is a turn of its own
//   app ─────────── run(work): a portal message, a resolved name ────────────────────────────────────────────────┤
//                                                                                                                ▼
//                                            drain: transmits, TUN packets, the app's events, then the timer again
//
// Each source becomes one *turn* with one reading of the clock. A turn is limited, so that no source starves another: what is
// left makes its descriptor readable again. Turns never nest: work that is asked for during a turn waits for its end.
// The app's sockets (portal, resolver, health) live beside the loop in the same event loop and enter it through `run`.
//
// Hot path: nothing here allocates per batch.

import {
  createReceiveBatch,
  createTunBatch,
  type ReceiveBatch,
  type TransportAead,
  type TunBatch,
} from '../base/batch.ts';
import { Counters } from '../base/counters.ts';
import { assert, InvariantError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { isStreamAddress } from '../base/stream-endpoint.ts';
import { type Instant, instant, later } from '../base/time.ts';
import type { Transmit } from '../base/transmit.ts';
import type { StreamCommand, StreamEvent } from '../proto/turn/stream-dialer.ts';
import type { TunnelRole } from '../roles/tunnel-role.ts';
import { monotonicNow } from './clock.ts';

// Implementation
/** 16 runs of 64 KiB, the most that one `recvmmsg` of the add-on fills (data-path 4.7). */
const RECEIVE_RUNS = 16;
const RECEIVE_SLAB_LENGTH = RECEIVE_RUNS * 65_536;
/** Twice what the kernel coalesces into full runs; runs of smaller datagrams are cut by the add-on, and counted. */
const RECEIVE_DATAGRAMS = 2048;
/** 64 KiB of packets and room for one more super-packet with its header (data-path 4.7). */
const TUN_SLAB_LENGTH = 160 * 1024;
const TUN_PACKETS = 64;
/** data-path 4.1: batches per readiness; a full one is about 1 ms of work. */
const BATCHES_PER_TURN = 4;
/** A deadline that is due again at once is a fault of ours; the timer then waits its least instead of spinning. */
const ROUNDS_PER_TURN = 8;
/** Control datagrams per round; more wait for the next. */
const TRANSMITS_PER_ROUND = 4096;
const MAX_WAITING_WORK = 10_000;
/** `setTimeout` takes no more. */
const MAX_DELAY_MS = 2 ** 31 - 1;
/** Trouble with the network is logged this often, with a count. */
const PROBLEM_LOG_MS = 60_000;

const NEVER: Instant = instant(Number.POSITIVE_INFINITY);

export interface LoopSocket {
  receive(batch: ReceiveBatch): number;
}

/** `TunnelSockets`. */
export interface LoopSockets {
  onReadable(callback: (socket: LoopSocket) => void): void;
  onDrained(callback: () => void): void;
  readonly isBlocked: boolean;
  sealSend(batch: TunBatch, aead: TransportAead): boolean;
  send(transmit: Transmit): 'sent' | 'no-socket' | 'full' | 'error';
}

/** `ClientStreams`: connections to relays, where UDP is blocked. */
export interface LoopStreams {
  /** Hot: whether there is any. */
  readonly isInUse: boolean;
  onReadable(callback: (stream: LoopSocket) => void): void;
  onEvent(callback: (event: StreamEvent) => void): void;
  execute(command: StreamCommand): void;
  send(transmit: Transmit): 'sent' | 'no-socket' | 'full';
  /** Seals and sends the packets whose path is a stream, and takes their slots away. */
  sealSend(batch: TunBatch, aead: TransportAead): void;
}

/** `TunDevice`. */
export interface LoopTun {
  onReadable(callback: () => void): void;
  pause(paused: boolean): void;
  read(batch: TunBatch): number;
  write(batch: ReceiveBatch): void;
  writePacket(packet: Uint8Array): boolean;
}

export interface LoopOptions {
  readonly role: TunnelRole;
  readonly aead: TransportAead;
  readonly log: Log;
  /** Drains the events of the role; called in each turn after its transmits. May call `run`. */
  readonly onTurn: (now: Instant) => void;
  /** A fault that no link contains, or a device that is gone. The loop has stopped. */
  readonly onFatal: (error: unknown) => void;
  readonly clock?: () => Instant;
}

export type LoopCounter =
  | 'receive-batches'
  | 'tun-batches'
  | 'timeouts'
  | 'transmits'
  | 'transmits-full'
  | 'transmits-failed'
  | 'transmits-no-socket'
  | 'tun-packets'
  | 'tun-packets-refused'
  | 'super-packets-no-tun'
  | 'contained-faults'
  | 'spins';

type Step = (now: Instant) => void;

export class Loop {
  readonly counters: Counters<LoopCounter> = new Counters();
  readonly #role: TunnelRole;
  readonly #aead: TransportAead;
  readonly #log: Log;
  readonly #onTurn: (now: Instant) => void;
  readonly #onFatal: (error: unknown) => void;
  readonly #clock: () => Instant;
  readonly #receiveBatch = createReceiveBatch(RECEIVE_SLAB_LENGTH, RECEIVE_RUNS, RECEIVE_DATAGRAMS);
  readonly #tunBatch = createTunBatch(TUN_SLAB_LENGTH, TUN_PACKETS);
  readonly #waiting: Step[] = [];
  #sockets: LoopSockets | undefined;
  #streams: LoopStreams | undefined;
  #tun: LoopTun | undefined;
  #readable: LoopSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #armedFor: Instant = NEVER;
  #deadline: Instant = NEVER;
  #isInTurn = false;
  #isStopped = false;
  #problems = 0;
  #problemsLoggedAt = Number.NEGATIVE_INFINITY;

  constructor(options: LoopOptions) {
    this.#role = options.role;
    this.#aead = options.aead;
    this.#log = options.log;
    this.#onTurn = options.onTurn;
    this.#onFatal = options.onFatal;
    this.#clock = options.clock ?? monotonicNow;
  }

  /** The sockets from now on. Earlier ones are closed by whoever opened them. */
  useSockets(sockets: LoopSockets): void {
    this.#sockets = sockets;
    sockets.onReadable((socket) => {
      if (sockets !== this.#sockets) return;
      this.#readable = socket;
      this.#turn(this.#receive);
    });
    sockets.onDrained(() => this.#tun?.pause(false));
    this.#tun?.pause(false);
    this.#turn(this.#nothing);
  }

  useStreams(streams: LoopStreams): void {
    this.#streams = streams;
    streams.onReadable((stream) => {
      this.#readable = stream;
      this.#turn(this.#receive);
    });
    streams.onEvent((event) => this.run((now) => this.#role.handleStream?.(event, now)));
  }

  /** The TUN device from now on; until there is one, packets for it are dropped and counted. */
  useTun(tun: LoopTun): void {
    this.#tun = tun;
    tun.onReadable(() => {
      if (tun === this.#tun) this.#turn(this.#readTun);
    });
  }

  /** Feeds the role with what arrived elsewhere, in a turn of its own. */
  run(work: (now: Instant) => void): void {
    this.#turn(work);
  }

  /** Nothing is called back afterwards. Devices are closed by whoever opened them. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting.length = 0;
    clearTimeout(this.#timer);
  }

  #turn(step: Step): void {
    if (this.#isStopped) return;
    if (this.#isInTurn) {
      assert(this.#waiting.length < MAX_WAITING_WORK, 'work asked for during a turn is bounded');
      this.#waiting.push(step);
      return;
    }
    this.#isInTurn = true;
    try {
      let now = this.#clock();
      this.#attempt(step, now);
      this.#drain(now);
      for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
        now = this.#clock();
        this.#attempt(next, now);
        this.#drain(now);
      }
    } finally {
      this.#isInTurn = false;
    }
  }

  /** Up to `BATCHES_PER_TURN` batches from the network to the TUN. */
  readonly #receive: Step = (now) => {
    const batch = this.#receiveBatch;
    for (let i = 0; i < BATCHES_PER_TURN; i++) {
      if (this.#readable === undefined || this.#readable.receive(batch) === 0) return;
      this.counters.add('receive-batches');
      this.#role.handleRuns(batch, now);
      this.#aead.open(batch);
      this.#role.handleOpened(batch, now);
      this.#aead.gather(batch);
      if (batch.superCount === 0) continue;
      this.#role.handleSuperPackets(batch, now);
      if (this.#tun === undefined) this.counters.add('super-packets-no-tun', batch.superCount);
      else this.#tun.write(batch);
    }
  };

  /** Up to `BATCHES_PER_TURN` batches from the TUN to the network; none while the network takes nothing. */
  readonly #readTun: Step = (now) => {
    const batch = this.#tunBatch;
    const tun = this.#tun;
    const sockets = this.#sockets;
    if (tun === undefined) return;
    if (sockets === undefined || sockets.isBlocked) return tun.pause(true);
    for (let i = 0; i < BATCHES_PER_TURN; i++) {
      if (tun.read(batch) === 0) return;
      this.counters.add('tun-batches');
      this.#role.handleTunPackets(batch, now);
      if (this.#streams?.isInUse === true) this.#streams.sealSend(batch, this.#aead);
      if (!sockets.sealSend(batch, this.#aead)) return tun.pause(true);
    }
  };

  readonly #expire: Step = (now) => {
    this.counters.add('timeouts');
    this.#role.handleTimeout(now);
  };

  readonly #onTimer = (): void => {
    this.#armedFor = NEVER;
    this.#turn(this.#nothing);
  };

  /** The drain that ends each turn sees what is due. */
  readonly #nothing: Step = () => {};

  /** Until the role has nothing more to say and nothing is due. */
  #drain(now: Instant): void {
    for (let round = 0; round < ROUNDS_PER_TURN && !this.#isStopped; round++) {
      this.#attempt(this.#flush, now);
      if (this.#deadline > now) return this.#arm(this.#deadline, now);
      this.#attempt(this.#expire, now);
    }
    this.counters.add('spins');
    this.#arm(later(now, 1), now);
  }

  readonly #flush: Step = (now) => {
    const role = this.#role;
    for (let i = 0; i < TRANSMITS_PER_ROUND; i++) {
      const transmit = role.pollTransmit();
      if (transmit === undefined) break;
      this.#send(transmit, now);
    }
    if (this.#streams) this.#commandStreams(this.#streams);
    for (let i = 0; i < TRANSMITS_PER_ROUND; i++) {
      const packet = role.pollTunPacket();
      if (packet === undefined) break;
      const isWritten = this.#tun?.writePacket(packet) === true;
      this.counters.add(isWritten ? 'tun-packets' : 'tun-packets-refused');
    }
    this.#onTurn(now);
    this.#deadline = role.pollTimeout() ?? NEVER;
  };

  #commandStreams(streams: LoopStreams): void {
    for (;;) {
      const command = this.#role.pollStreamCommand?.();
      if (command === undefined) return;
      streams.execute(command);
    }
  }

  #send(transmit: Transmit, now: Instant): void {
    const isForStream = isStreamAddress(transmit.destination.address);
    const way = isForStream ? this.#streams : this.#sockets;
    const outcome = way?.send(transmit) ?? 'no-socket';
    switch (outcome) {
      case 'sent':
        return this.counters.add('transmits');
      case 'no-socket':
        return this.counters.add('transmits-no-socket');
      case 'full':
        this.counters.add('transmits-full');
        return this.#noteProblem(outcome, transmit, now);
      case 'error':
        this.counters.add('transmits-failed');
        return this.#noteProblem(outcome, transmit, now);
    }
  }

  #noteProblem(outcome: string, transmit: Transmit, now: Instant): void {
    this.#problems += 1;
    if (now - this.#problemsLoggedAt < PROBLEM_LOG_MS) return;
    this.#problemsLoggedAt = now;
    const { destination } = transmit;
    this.#log.debug('datagrams could not be sent', {
      outcome,
      count: this.#problems,
      destination: destination.key,
    });
    this.#problems = 0;
  }

  /** One timer. One that comes too early costs less than to set another: it finds nothing due and arms itself again. */
  #arm(deadline: Instant, now: Instant): void {
    if (deadline >= this.#armedFor || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#armedFor = deadline;
    const delay = Math.min(MAX_DELAY_MS, Math.max(1, Math.ceil(deadline - now)));
    this.#timer = setTimeout(this.#onTimer, delay);
  }

  /** anchors 16: a broken invariant closes its link; what no link contains ends the loop. */
  #attempt(step: Step, now: Instant): void {
    if (this.#isStopped) return;
    try {
      step(now);
    } catch (error) {
      if (this.#isContained(error, now)) return;
      this.stop();
      this.#onFatal(error);
    }
  }

  #isContained(error: unknown, now: Instant): boolean {
    if (!(error instanceof InvariantError)) return false;
    const snapshot = this.#role.snapshot();
    if (this.#role.handleFault?.(error, now) !== true) return false;
    this.counters.add('contained-faults');
    this.#log.error('an invariant broke and its link was closed', { error, snapshot });
    return true;
  }
}
