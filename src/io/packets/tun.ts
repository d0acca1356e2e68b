// The TUN device of the native add-on (operations 6.1, 6.4, 6.5): super-packets in both directions where the kernel offers them.
// The interface lives as long as the descriptor; addresses and routes are set by `interface.ts`.

import type { ReceiveBatch, TunBatch } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import { FzError } from '../../base/errors.ts';
import type { NativeAddon, TunHandle } from './native.ts';
import {
  errnoName,
  INTERRUPTED,
  native,
  receiveBatchHandle,
  tunBatchHandle,
  WOULD_BLOCK,
} from './native.ts';

/** Name of the interface (operations 6.1). */
export const DEFAULT_TUN_NAME = 'tun-firezone';

export class TunError extends FzError {
  readonly code = 'FZ_ERR_TUN';
  readonly errno: string;

  constructor(what: string, errno: string) {
    super(`${what}: ${errno}${adviceOn(errno)}`);
    this.errno = errno;
  }
}

/** Super-packets the kernel takes and gives: none, TCP, or TCP and UDP. */
export interface TunOffloads {
  readonly tcp: boolean;
  readonly udp: boolean;
}

export class TunDevice {
  readonly name: string;
  readonly offloads: TunOffloads;
  readonly #addon: NativeAddon = native();
  readonly #handle: TunHandle;

  private constructor(name: string, handle: TunHandle, offloads: TunOffloads) {
    this.name = name;
    this.#handle = handle;
    this.offloads = offloads;
  }

  /**
   * Creates the interface. Throws `TunError`. What the kernel sends that is longer than `largestPacket` (0: the tunnel's MTU) and not to be
   * segmented is dropped and counted.
   */
  static open(name: string = DEFAULT_TUN_NAME, largestPacket = 0): TunDevice {
    const info = new Int32Array(2);
    const result = native().tunOpen(name, info, largestPacket);
    if (typeof result === 'number') {
      throw new TunError(`cannot create the TUN interface ${name}`, errnoName(result));
    }
    return new TunDevice(name, result, { tcp: at(info, 0) === 1, udp: at(info, 1) === 1 });
  }

  /** Two stand-ins without any interface: what one writes the other reads. For tests. */
  static pair(offloads: TunOffloads): readonly [TunDevice, TunDevice] {
    const result = native().tunPair((offloads.tcp ? 1 : 0) | (offloads.udp ? 2 : 0));
    if (typeof result === 'number') throw new TunError('cannot make a pair', errnoName(result));
    return [
      new TunDevice('pair-a', result[0], offloads),
      new TunDevice('pair-b', result[1], offloads),
    ];
  }

  onReadable(callback: () => void): void {
    this.#addon.tunWatch(this.#handle, callback);
  }

  /** While paused nothing calls back; the kernel queues and then drops. */
  pause(paused: boolean): void {
    this.#addon.tunEvents(this.#handle, paused ? 0 : 1);
  }

  /** Fills the packet rows; returns their number, 0 when nothing is there. Throws `TunError` if the interface is gone. */
  read(batch: TunBatch): number {
    const packets = this.#addon.tunRead(this.#handle, tunBatchHandle(batch));
    batch.packetCount = Math.max(0, packets);
    if (packets < 0 && packets !== WOULD_BLOCK && packets !== INTERRUPTED) {
      throw new TunError(`cannot read from the TUN interface ${this.name}`, errnoName(packets));
    }
    return batch.packetCount;
  }

  /** Writes every super-packet whose verdict is to forward. What the kernel refuses is counted. */
  write(batch: ReceiveBatch): void {
    this.#addon.tunWrite(this.#handle, receiveBatchHandle(batch), batch.superCount);
  }

  /** Writes one complete packet; false if the kernel refused it. */
  writePacket(packet: Uint8Array): boolean {
    return this.#addon.tunWritePacket(this.#handle, packet) === 0;
  }

  close(): void {
    this.#addon.tunClose(this.#handle);
  }
}

function adviceOn(errno: string): string {
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return ' (this needs root or CAP_NET_ADMIN)';
    case 'ENOENT':
    case 'ENODEV':
      return ' (is the kernel module tun loaded, and /dev/net/tun there?)';
    case 'EBUSY':
      return ' (another process holds an interface of this name: is a gateway or client already running here?)';
    default:
      return '';
  }
}
