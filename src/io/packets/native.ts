// Loads the native add-on (native/README.md) and says its functions in TypeScript. The add-on is `build/firezone.node` of the
// package, or, in a single executable, an asset inside it. Functions return a negative errno where they fail; the classes in
// `udp.ts`, `tun.ts`, `aead.ts` and `interface.ts` make errors of them. Batches are registered on first use.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants as osConstants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { getAsset, isSea } from 'node:sea';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import type { ReceiveBatch, TunBatch } from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import { FzError } from '../../base/errors.ts';
import type { Brand } from '../../base/time.ts';

/** Name of the add-on among the assets of a single executable. */
export const NATIVE_ASSET = 'firezone.node';

export class NativeAddonError extends FzError {
  readonly code = 'FZ_ERR_NATIVE_ADDON';
}

/** Something that native code owns; it is freed when it is no longer reachable. */
export type NativeHandle<Kind extends string> = Brand<object, Kind>;
export type ReceiveBatchHandle = NativeHandle<'receive batch'>;
export type TunBatchHandle = NativeHandle<'TUN batch'>;
export type AeadHandle = NativeHandle<'AEAD'>;
export type UdpHandle = NativeHandle<'UDP socket'>;
export type SenderHandle = NativeHandle<'sender'>;
export type TunHandle = NativeHandle<'TUN'>;
export type NetlinkHandle = NativeHandle<'netlink subscription'>;
export type ReadyCallback = (readable: boolean, writable: boolean) => void;

export interface NativeAddon {
  layout(): Readonly<Record<string, number>>;
  useCounters(values: Float64Array): void;
  cipherProblem(): string | null;
  kernelsProblem(): string | null;
  createReceiveBatch(
    slab: Uint8Array,
    runs: Int32Array,
    datagrams: Int32Array,
    superPackets: Int32Array,
  ): ReceiveBatchHandle;
  createTunBatch(slab: Uint8Array, packets: Int32Array): TunBatchHandle;
  createAead(sendCounters: Float64Array, paths: Int32Array, usesKernels: number): AeadHandle;
  aeadInstall(
    aead: AeadHandle,
    sendKey: Uint8Array,
    receiveKey: Uint8Array,
    remoteIndex: number,
  ): number;
  aeadRemove(aead: AeadHandle, slot: number): void;
  aeadSealOne(aead: AeadHandle, slot: number, message: Uint8Array): number;
  aeadOpenOne(aead: AeadHandle, slot: number, message: Uint8Array): number;
  aeadOpen(aead: AeadHandle, batch: ReceiveBatchHandle, runCount: number): number;
  gather(batch: ReceiveBatchHandle, datagramCount: number): number;
  netlink(request: Uint8Array): Uint8Array | number;
  netlinkSubscribe(groups: number, callback: ReadyCallback): NetlinkHandle | number;
  netlinkHear(netlink: NetlinkHandle, buffer: Uint8Array): number;
  netlinkClose(netlink: NetlinkHandle): void;
  bootTime(): number;
  shareNetAdmin(): number;
  udpOpen(
    family: number,
    address: Uint8Array,
    port: number,
    sendBuffer: number,
    receiveBuffer: number,
    mark: number,
    id: number,
    info: Int32Array,
  ): UdpHandle | number;
  udpReceive(socket: UdpHandle, batch: ReceiveBatchHandle): number;
  udpSend(socket: UdpHandle, route: Int32Array, payload: Uint8Array): number;
  udpForward(
    socket: UdpHandle,
    batch: ReceiveBatchHandle,
    run: number,
    first: number,
    count: number,
    headerLength: number,
    paths: Int32Array,
    row: number,
    ecn: number,
  ): number;
  udpWatch(socket: UdpHandle, callback: ReadyCallback): void;
  udpEvents(socket: UdpHandle, mask: number): void;
  udpClose(socket: UdpHandle): void;
  createSender(v4: UdpHandle | null, v6: UdpHandle | null): SenderHandle;
  senderSeal(
    sender: SenderHandle,
    aead: AeadHandle,
    batch: TunBatchHandle,
    packetCount: number,
  ): number;
  senderSend(sender: SenderHandle, route: Int32Array, payload: Uint8Array): number;
  senderFlush(sender: SenderHandle): number;
  tunOpen(name: string, info: Int32Array, largestPacket: number): TunHandle | number;
  tunPair(offloads: number): readonly [TunHandle, TunHandle] | number;
  tunRead(tun: TunHandle, batch: TunBatchHandle): number;
  tunWrite(tun: TunHandle, batch: ReceiveBatchHandle, superCount: number): void;
  tunWritePacket(tun: TunHandle, packet: Uint8Array): number;
  tunWatch(tun: TunHandle, callback: ReadyCallback): void;
  tunEvents(tun: TunHandle, mask: number): void;
  tunClose(tun: TunHandle): void;
}

/** Order of `enum counter` in native/batch.h. */
export const NATIVE_COUNTERS = [
  'udp-received',
  'udp-received-bytes',
  'udp-received-runs',
  'udp-receive-empty',
  'udp-receive-errors',
  'udp-sent',
  'udp-sent-bytes',
  'udp-sent-runs',
  'udp-send-would-block',
  'udp-send-retried',
  'udp-send-errors',
  'udp-send-too-big',
  'udp-send-unreachable',
  'udp-send-no-buffers',
  'udp-send-queue-full',
  'udp-segmentation-off',
  'seal-sealed',
  'seal-no-key',
  'seal-no-path',
  'seal-no-socket',
  'seal-malformed',
  'seal-oversized',
  'open-opened',
  'open-not-authentic',
  'open-foreign-session',
  'open-short',
  'open-no-room',
  'gather-malformed',
  'gather-oversized',
  'tun-read',
  'tun-read-bytes',
  'tun-read-errors',
  'tun-read-malformed',
  'tun-read-oversized',
  'tun-written',
  'tun-written-bytes',
  'tun-write-would-block',
  'tun-write-errors',
  'tun-coalescing-off',
  'forward-dropped',
] as const;

export type NativeCounter = (typeof NATIVE_COUNTERS)[number];

/** Room for counters that a newer add-on may have. */
const counterValues = new Float64Array(64);
const receiveBatches = new WeakMap<ReceiveBatch, ReceiveBatchHandle>();
const tunBatches = new WeakMap<TunBatch, TunBatchHandle>();
let loaded: NativeAddon | undefined;
let chosenPath: string | undefined;

/** Another build of the add-on, before its first use. For tests. */
export function useNativeFile(path: string): void {
  chosenPath = path;
}

/** The add-on, loaded once. Throws `NativeAddonError`, which says what to do. */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

/** Why the add-on cannot be used here, or `undefined` if it can. */
export function nativeProblem(): string | undefined {
  try {
    native();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export function nativeCounters(): Readonly<Record<NativeCounter, number>> {
  const entries = NATIVE_COUNTERS.map((name, index) => [name, at(counterValues, index)] as const);
  return Object.fromEntries(entries) as Record<NativeCounter, number>;
}

export function receiveBatchHandle(batch: ReceiveBatch): ReceiveBatchHandle {
  const known = receiveBatches.get(batch);
  if (known !== undefined) return known;
  const { slab, runs, datagrams, superPackets } = batch;
  const handle = native().createReceiveBatch(slab, runs, datagrams, superPackets);
  receiveBatches.set(batch, handle);
  return handle;
}

export function tunBatchHandle(batch: TunBatch): TunBatchHandle {
  const known = tunBatches.get(batch);
  if (known !== undefined) return known;
  const handle = native().createTunBatch(batch.slab, batch.packets);
  tunBatches.set(batch, handle);
  return handle;
}

/**
 * Lets programs that this process starts (ip, nft) keep CAP_NET_ADMIN where only the executable file has it. False where this
 * process has no such capability to share.
 */
export function shareNetAdmin(): boolean {
  return native().shareNetAdmin() === 0;
}

/** Name of the error that a native function returned as a negative number, such as `EADDRINUSE`. */
export function errnoName(result: number): string {
  return getSystemErrorName(result);
}

export const WOULD_BLOCK: number = -osConstants.errno.EAGAIN;
export const INTERRUPTED: number = -osConstants.errno.EINTR;

function load(): NativeAddon {
  const addon = isSea() ? loadAsset() : loadFile(chosenPath ?? defaultPath());
  const problem = addon.cipherProblem();
  if (problem !== null) {
    throw new NativeAddonError(
      `this Node binary does not export ${problem} of its OpenSSL; use a build from nodejs.org`,
    );
  }
  addon.useCounters(counterValues);
  return addon;
}

/** In the `build` folder of the checkout or package that this file is part of, compiled or bundled. */
function defaultPath(): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'build', 'firezone.node');
    if (existsSync(file)) return file;
  }
  return join(start, 'build', 'firezone.node');
}

function loadFile(path: string): NativeAddon {
  const holder: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(holder, path);
  } catch (cause) {
    throw new NativeAddonError(
      `the native add-on ${path} cannot be loaded: run \`npm run build:native\``,
      { cause },
    );
  }
  return holder.exports as NativeAddon;
}

/**
 * The loader wants a file: one is written where only this user can look, and removed as soon as it is open. A place whose
 * file system allows no execution is passed over.
 */
function loadAsset(): NativeAddon {
  const places = [tmpdir(), process.env['XDG_RUNTIME_DIR'], '/dev/shm', '/var/tmp'];
  let failure: unknown;
  for (const place of places) {
    if (place === undefined) continue;
    try {
      return loadAssetFrom(place);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

function loadAssetFrom(place: string): NativeAddon {
  const directory = mkdtempSync(join(place, 'firezone-'));
  try {
    const path = join(directory, NATIVE_ASSET);
    writeFileSync(path, new Uint8Array(getAsset(NATIVE_ASSET)), { mode: 0o700 });
    return loadFile(path);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
