// UDP sockets of the native add-on (operations 9): packet info, ECN, segmentation offload both ways. `UdpSocket` is one
// socket; `TunnelSockets` is the pair (IPv4, IPv6) through which a gateway or client reaches relays and peers, and the bulk
// sender on top of it. Nothing here blocks; a send that would block waits in a small native queue.

import type { Endpoint, IpAddress, IpFamily } from '../../base/address.ts';
import {
  addressFromWords,
  endpoint,
  familyOf,
  ipBytes,
  parseIp,
  writeAddressWords,
} from '../../base/address.ts';
import type { ReceiveBatch, TransportAead, TunBatch } from '../../base/batch.ts';
import { PATH } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import { FzError } from '../../base/errors.ts';
import type { Ecn, Transmit } from '../../base/transmit.ts';
import { sealBatch } from '../../proto/batch/segment.ts';
import { NativeAead } from './aead.ts';
import type { NativeAddon, ReadyCallback, SenderHandle, UdpHandle } from './native.ts';
import { errnoName, native, receiveBatchHandle, tunBatchHandle, WOULD_BLOCK } from './native.ts';

// Specification

/** 10 Gbit/s for 1 ms and for 10 ms, next power of two (operations 9). */
const SEND_BUFFER = 2 * 1024 * 1024;
const RECEIVE_BUFFER = 16 * 1024 * 1024;
/** 49152 + 3473 (operations 9); in use: any. */
export const DEFAULT_TUNNEL_PORT = 52_625;
/** Mark of the sockets that must not be routed into a tunnel (operations 7.3). */
export const SOCKET_MARK = 0xfd00_2021;

// Implementation

/** Native route row: remote address, port, local address, ECN. */
const ROUTE_LENGTH = 10;
const READABLE = 1;
const WRITABLE = 2;

export class UdpError extends FzError {
  readonly code = 'FZ_ERR_UDP_SOCKET';
  /** Name of the operating system's error, such as `EADDRINUSE`. */
  readonly errno: string;

  constructor(what: string, result: number) {
    const errno = errnoName(result);
    super(`${what}: ${errno}`);
    this.errno = errno;
  }
}

export interface UdpOptions {
  readonly family: IpFamily;
  /** Default: any. */
  readonly address?: IpAddress;
  /** 0: any. */
  readonly port: number;
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  /** SO_MARK; needs CAP_NET_ADMIN. */
  readonly mark?: number;
}

/** What became of a datagram. An `error` is of the network and was counted; there is nothing to do about it. */
export type SendOutcome = 'sent' | 'no-socket' | 'full' | 'error';

let nextSocketId = 0;

export class UdpSocket {
  /** `RUN.socket` of what it receives. */
  readonly id: number;
  readonly family: IpFamily;
  readonly address: IpAddress;
  readonly port: number;
  /** Buffer sizes as the kernel granted them, and its offloads. */
  readonly sendBuffer: number;
  readonly receiveBuffer: number;
  readonly segments: boolean;
  readonly coalesces: boolean;
  readonly handle: UdpHandle;
  readonly #addon: NativeAddon = native();
  readonly #route = new Int32Array(ROUTE_LENGTH);

  private constructor(options: UdpOptions, id: number, handle: UdpHandle, info: Int32Array) {
    this.id = id;
    this.family = options.family;
    this.address = options.address ?? anyAddress(options.family);
    this.handle = handle;
    this.port = at(info, 0);
    this.sendBuffer = at(info, 1);
    this.receiveBuffer = at(info, 2);
    this.segments = at(info, 3) === 1;
    this.coalesces = at(info, 4) === 1;
  }

  /** Throws `UdpError`. */
  static open(options: UdpOptions): UdpSocket {
    const info = new Int32Array(5);
    const address = options.address ?? anyAddress(options.family);
    const id = nextSocketId++;
    const result = native().udpOpen(
      options.family,
      ipBytes(address),
      options.port,
      options.sendBuffer ?? SEND_BUFFER,
      options.receiveBuffer ?? RECEIVE_BUFFER,
      options.mark ?? 0,
      id,
      info,
    );
    if (typeof result === 'number') {
      throw new UdpError(`cannot open UDP socket ${address} port ${options.port}`, result);
    }
    return new UdpSocket(options, id, result, info);
  }

  /** Calls back whenever something can be received (and, if asked for with `awaitWritable`, sent). */
  onReady(callback: ReadyCallback): void {
    this.#addon.udpWatch(this.handle, callback);
  }

  awaitWritable(wanted: boolean): void {
    this.#addon.udpEvents(this.handle, wanted ? READABLE | WRITABLE : READABLE);
  }

  /** Stops or resumes calling back, without closing. */
  pause(paused: boolean): void {
    this.#addon.udpEvents(this.handle, paused ? 0 : READABLE);
  }

  /** Fills the run rows; returns their number, 0 when nothing is there. Errors are counted and look like nothing. */
  receive(batch: ReceiveBatch): number {
    const runs = this.#addon.udpReceive(this.handle, receiveBatchHandle(batch));
    batch.runCount = Math.max(0, runs);
    return batch.runCount;
  }

  /** Sends one datagram now or not at all. */
  send(transmit: Transmit): SendOutcome {
    if (familyOf(transmit.destination.address) !== this.family) return 'no-socket';
    writeRoute(this.#route, transmit);
    const result = this.#addon.udpSend(this.handle, this.#route, transmit.payload);
    return result === 0 ? 'sent' : result === WOULD_BLOCK ? 'full' : 'error';
  }

  /**
   * Forwards `count` datagrams of a received run from the `first` on, without copying: cuts `headerLength` bytes off each and,
   * where `PATH.channel` of the path row is not 0, puts a ChannelData header in front. Returns how many went out, or a negative errno.
   */
  forward(
    batch: ReceiveBatch,
    run: number,
    first: number,
    count: number,
    headerLength: number,
    paths: Int32Array,
    row: number,
    ecn: Ecn,
  ): number {
    const handle = receiveBatchHandle(batch);
    return this.#addon.udpForward(
      this.handle,
      handle,
      run,
      first,
      count,
      headerLength,
      paths,
      row,
      ecn,
    );
  }

  close(): void {
    this.#addon.udpClose(this.handle);
  }
}

export interface TunnelSocketOptions {
  readonly port: number;
  readonly mark?: number;
  readonly sendBuffer?: number;
  readonly receiveBuffer?: number;
  /** Default: both families at any address. */
  readonly addresses?: readonly IpAddress[];
}

export class TunnelSockets {
  /** One or two; a family that the host lacks is missing. */
  readonly sockets: readonly UdpSocket[];
  /** Why a family is missing, for the log. */
  readonly problems: readonly UdpError[];
  readonly #addon: NativeAddon = native();
  readonly #sender: SenderHandle;
  readonly #route = new Int32Array(ROUTE_LENGTH);
  /** Families with waiting sends: bit 0 IPv4, bit 1 IPv6. */
  #waiting = 0;
  #onDrained: (() => void) | undefined;

  private constructor(sockets: readonly UdpSocket[], problems: readonly UdpError[]) {
    this.sockets = sockets;
    this.problems = problems;
    const of = (family: IpFamily): UdpHandle | null =>
      sockets.find((socket) => socket.family === family)?.handle ?? null;
    this.#sender = this.#addon.createSender(of(4), of(6));
  }

  /** Opens what can be opened; a port in use becomes any port. Throws `UdpError` if neither family works. */
  static open(options: TunnelSocketOptions): TunnelSockets {
    const sockets: UdpSocket[] = [];
    const problems: UdpError[] = [];
    const addresses = options.addresses ?? [anyAddress(4), anyAddress(6)];
    for (const address of addresses) {
      try {
        sockets.push(openAtPortOrAny({ ...options, address, family: familyOf(address) }));
      } catch (error) {
        if (!(error instanceof UdpError)) throw error;
        problems.push(error);
      }
    }
    if (sockets.length === 0) throw at(problems, 0);
    return new TunnelSockets(sockets, problems);
  }

  /** Where we listen; a socket bound to any address is given as such. */
  get endpoints(): readonly { readonly address: IpAddress; readonly port: number }[] {
    return this.sockets.map(({ address, port }) => ({ address, port }));
  }

  /** Calls back when a socket has something to receive. */
  onReadable(callback: (socket: UdpSocket) => void): void {
    for (const socket of this.sockets) {
      socket.onReady((readable, writable) => {
        if (writable && this.#waiting !== 0) this.#flush();
        if (readable) callback(socket);
      });
    }
  }

  /** Called when everything that waited for the kernel has gone out: reading from the TUN may go on. */
  onDrained(callback: () => void): void {
    this.#onDrained = callback;
  }

  /** Whether sends wait for the kernel. Whoever then still calls `sealSend` risks drops. */
  get isBlocked(): boolean {
    return this.#waiting !== 0;
  }

  /** Segments, seals and sends every packet of the batch that has a slot. False if sends now wait (see `onDrained`). */
  sealSend(batch: TunBatch, aead: TransportAead): boolean {
    if (!(aead instanceof NativeAead)) return this.#sealInTypeScript(batch, aead);
    const waiting = this.#addon.senderSeal(
      this.#sender,
      aead.handle,
      tunBatchHandle(batch),
      batch.packetCount,
    );
    this.#setWaiting(waiting);
    return waiting === 0;
  }

  /** One control datagram; it waits behind bulk sends if the kernel is full. */
  send(transmit: Transmit): SendOutcome {
    writeRoute(this.#route, transmit);
    const family = familyOf(transmit.destination.address);
    if (!this.sockets.some((socket) => socket.family === family)) return 'no-socket';
    const result = this.#addon.senderSend(this.#sender, this.#route, transmit.payload);
    if (result !== 0) return 'full';
    if (this.#waiting === 0) this.#setWaiting(this.#addon.senderFlush(this.#sender));
    return 'sent';
  }

  close(): void {
    for (const socket of this.sockets) socket.close();
  }

  /** For a cipher that native code cannot use: the twin seals, each datagram is one send. */
  #sealInTypeScript(batch: TunBatch, aead: TransportAead): boolean {
    for (const { slot, ecn, bytes } of sealBatch(batch, aead).datagrams) {
      const row = slot * PATH.stride;
      const address = addressFromWords(aead.paths, row + PATH.remote);
      const destination = endpoint(address, at(aead.paths, row + PATH.remotePort));
      const source = endpoint(addressFromWords(aead.paths, row + PATH.local), 0);
      this.send({ source, destination, payload: bytes, ecn });
    }
    return this.#waiting === 0;
  }

  #flush(): void {
    this.#setWaiting(this.#addon.senderFlush(this.#sender));
    if (this.#waiting === 0) this.#onDrained?.();
  }

  /** Only sockets that are full are watched for room: a socket with room would call back without end. */
  #setWaiting(waiting: number): void {
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    for (const socket of this.sockets) {
      socket.awaitWritable((waiting & (socket.family === 4 ? 1 : 2)) !== 0);
    }
  }
}

function openAtPortOrAny(options: UdpOptions): UdpSocket {
  try {
    return UdpSocket.open(options);
  } catch (error) {
    if (!(error instanceof UdpError) || error.errno !== 'EADDRINUSE' || options.port === 0)
      throw error;
    return UdpSocket.open({ ...options, port: 0 });
  }
}

function anyAddress(family: IpFamily): IpAddress {
  return parseIp(family === 4 ? '0.0.0.0' : '::') as IpAddress;
}

function writeRoute(route: Int32Array, transmit: Transmit): void {
  const { destination, source } = transmit;
  writeAddressWords(destination.address, route, 0);
  route[4] = destination.port;
  if (source === undefined || isAny(source)) route.fill(0, 5, 9);
  else writeAddressWords(source.address, route, 5);
  route[9] = transmit.ecn;
}

function isAny(source: Endpoint): boolean {
  return source.address === '0.0.0.0' || source.address === '::';
}
