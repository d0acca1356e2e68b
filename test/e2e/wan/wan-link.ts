// A wide-area network in user space, for kernels without netem: two TUN devices, and between them, in each direction, a link of the simulated
// Internet (test/sim/network) in real time. Packets are whole when they are delayed, lost or reordered: what the kernel hands over as a super-packet
// is segmented first. Which packets are lost follows from the seed and their order alone.
//
//   device left ── read, segment ── LinkDirection ── scheduler ── write ── device right        and back

import { type Endpoint, endpoint, type IpAddress } from '../../../src/base/address.ts';
import { createTunBatch, TUN_PACKET, type TunBatch } from '../../../src/base/batch.ts';
import { Counters } from '../../../src/base/counters.ts';
import { SeededRandom } from '../../../src/base/random.ts';
import { monotonicNow } from '../../../src/io/clock.ts';
import { TunDevice, TunError } from '../../../src/io/packets/tun.ts';
import { segmentTunPacket } from '../../../src/proto/batch/segment.ts';
import type { NetworkDrop } from '../../sim/network/datagram.ts';
import { GOOD_LINK, type LinkConditions, LinkDirection } from '../../sim/network/link.ts';
import { type Happening, Scheduler } from '../../sim/network/scheduler.ts';

export type WanConditions = Omit<LinkConditions, 'corrupt' | 'mtu'>;

export type WanCount = NetworkDrop | 'passed' | 'malformed' | 'oversized' | 'refused';

/** A wire: no delay, no loss, no limit. */
export const PERFECT: WanConditions = { ...GOOD_LINK, latencyMs: 0 };

// Implementation
const LARGEST_PACKET = 1_500;
const SLAB_BYTES = 160 * 1024;
const PACKETS_PER_READ = 64;
/** Timers are this coarse; what is due sooner is waited for in turns of the event loop. */
const TIMER_MS = 1;
/** `LinkDirection` reckons with datagrams; these headers are part of the packet here. */
const HEADER_LENGTH = 28;
const ANYWHERE: Endpoint = endpoint('0.0.0.0' as IpAddress, 0);

/** One direction: what it read from a device arrives at the other one. */
class WanDirection implements Happening<Uint8Array> {
  readonly counters = new Counters<WanCount>();
  readonly #link: LinkDirection;
  readonly #from: TunDevice;
  readonly #to: TunDevice;
  readonly #scheduler: Scheduler;
  readonly #batch: TunBatch = createTunBatch(SLAB_BYTES, PACKETS_PER_READ);

  constructor(from: TunDevice, to: TunDevice, scheduler: Scheduler, seed: number) {
    this.#from = from;
    this.#to = to;
    this.#scheduler = scheduler;
    this.#link = new LinkDirection(complete(PERFECT), new SeededRandom(seed));
  }

  change(conditions: WanConditions): void {
    this.#link.conditions = complete(conditions);
  }

  read(): void {
    while (this.#from.read(this.#batch) > 0) {
      this.#scheduler.advance(monotonicNow());
      for (let i = 0; i < this.#batch.packetCount; i++) {
        const packets = segmentTunPacket(this.#batch, i * TUN_PACKET.stride, LARGEST_PACKET);
        if (typeof packets !== 'string') for (const packet of packets) this.#pass(packet);
        else this.counters.add(packets === 'oversized' ? 'oversized' : 'malformed');
      }
    }
  }

  happen(packet: Uint8Array): void {
    if (!this.#to.writePacket(packet)) this.counters.add('refused');
  }

  #pass(packet: Uint8Array): void {
    const payload = packet.subarray(HEADER_LENGTH);
    const datagram = { source: ANYWHERE, destination: ANYWHERE, payload, ecn: 0, origin: '' };
    const passage = this.#link.pass(datagram, this.#scheduler.now, (_, delayMs) =>
      this.#scheduler.after(delayMs, this, packet),
    );
    this.counters.add(passage);
  }
}

export class WanLink {
  readonly left: TunDevice;
  readonly right: TunDevice;
  readonly #scheduler = new Scheduler(monotonicNow());
  readonly #toRight: WanDirection;
  readonly #toLeft: WanDirection;
  #timer: NodeJS.Timeout | undefined;
  #isTurning = false;

  /** Opens the devices; whoever called it moves them to where they belong and gives them addresses. */
  constructor(leftName: string, rightName: string, seed: number) {
    this.left = TunDevice.open(leftName, LARGEST_PACKET);
    this.right = TunDevice.open(rightName, LARGEST_PACKET);
    this.#toRight = new WanDirection(this.left, this.right, this.#scheduler, seed);
    this.#toLeft = new WanDirection(this.right, this.left, this.#scheduler, seed + 1);
  }

  /** `onGone`: a device was removed, with its namespace for instance. */
  start(onGone: () => void): void {
    this.left.onReadable(() => this.#turn(this.#toRight, onGone));
    this.right.onReadable(() => this.#turn(this.#toLeft, onGone));
  }

  change(toRight: WanConditions, toLeft: WanConditions): void {
    this.#toRight.change(toRight);
    this.#toLeft.change(toLeft);
  }

  counters(): { readonly toRight: object; readonly toLeft: object } {
    return {
      toRight: this.#toRight.counters.snapshot(),
      toLeft: this.#toLeft.counters.snapshot(),
    };
  }

  close(): void {
    clearTimeout(this.#timer);
    this.left.close();
    this.right.close();
  }

  #turn(direction: WanDirection, onGone: () => void): void {
    try {
      direction.read();
    } catch (error) {
      if (!(error instanceof TunError)) throw error;
      return onGone();
    }
    this.#deliver();
  }

  #deliver(): void {
    this.#scheduler.advance(monotonicNow());
    while (this.#scheduler.runOne());
    const next = this.#scheduler.next();
    clearTimeout(this.#timer);
    if (next === undefined) return;
    const waitMs = next - this.#scheduler.now;
    if (waitMs > TIMER_MS) {
      this.#timer = setTimeout(() => this.#deliver(), Math.floor(waitMs));
    } else if (!this.#isTurning) {
      this.#isTurning = true;
      setImmediate(() => {
        this.#isTurning = false;
        this.#deliver();
      });
    }
  }
}

function complete(conditions: WanConditions): LinkConditions {
  return { ...conditions, corrupt: 0, mtu: LARGEST_PACKET };
}
