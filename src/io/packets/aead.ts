// WireGuard transport keys in native code: `TransportAead` by the add-on. Its twin is `proto/batch/plain-aead.ts`.

import type { ReceiveBatch, TransportAead } from '../../base/batch.ts';
import { PATH } from '../../base/batch.ts';
import { assert } from '../../base/errors.ts';
import type { AeadHandle, NativeAddon } from './native.ts';
import { NativeAddonError, native, receiveBatchHandle } from './native.ts';

// Specification (WireGuard paper §5.4.6)
const HEADER_LENGTH = 16;
const TAG_LENGTH = 16;
const KEY_LENGTH = 32;

/** `openssl`: the public interface, everywhere; `openssl-kernels`: the same code without its cost per message, where it passes a test. */
export type CipherBackend = 'openssl' | 'openssl-kernels';

let kernelsProblem: string | null | undefined;

/** Why the faster backend cannot be used here, or `null` if it can. */
export function cipherKernelsProblem(): string | null {
  if (kernelsProblem === undefined) kernelsProblem = native().kernelsProblem();
  return kernelsProblem;
}

export class NativeAead implements TransportAead {
  readonly capacity: number;
  readonly sendCounters: Float64Array;
  readonly paths: Int32Array;
  readonly backend: CipherBackend;
  /** For the sender, which seals with it. */
  readonly handle: AeadHandle;
  readonly #addon: NativeAddon = native();

  /** Default: the fastest backend that works here. */
  constructor(capacity: number, backend?: CipherBackend) {
    const fastest = cipherKernelsProblem() === null ? 'openssl-kernels' : 'openssl';
    assert(backend !== 'openssl-kernels' || fastest === backend, 'the backend works here');
    this.backend = backend ?? fastest;
    this.capacity = capacity;
    this.sendCounters = new Float64Array(capacity);
    this.paths = new Int32Array(capacity * PATH.stride);
    this.handle = this.#addon.createAead(
      this.sendCounters,
      this.paths,
      this.backend === 'openssl' ? 0 : 1,
    );
  }

  install(sendKey: Uint8Array, receiveKey: Uint8Array, remoteIndex: number): number {
    assert(
      sendKey.length === KEY_LENGTH && receiveKey.length === KEY_LENGTH,
      'a transport key has 32 bytes',
    );
    const slot = this.#addon.aeadInstall(this.handle, sendKey, receiveKey, remoteIndex >>> 0);
    if (slot < -1) {
      throw new NativeAddonError('OpenSSL refuses ChaCha20-Poly1305 (is it in FIPS mode?)');
    }
    return slot;
  }

  remove(slot: number): void {
    this.#addon.aeadRemove(this.handle, slot);
  }

  sealOne(slot: number, plaintext: Uint8Array): Uint8Array {
    const message = new Uint8Array(HEADER_LENGTH + plaintext.length + TAG_LENGTH);
    message.set(plaintext, HEADER_LENGTH);
    const length = this.#addon.aeadSealOne(this.handle, slot, message);
    assert(length > 0, 'sealing needs an installed slot');
    return message;
  }

  openOne(slot: number, message: Uint8Array): Uint8Array | undefined {
    const copy = message.slice();
    const length = this.#addon.aeadOpenOne(this.handle, slot, copy);
    return length < 0 ? undefined : copy.subarray(HEADER_LENGTH, HEADER_LENGTH + length);
  }

  open(batch: ReceiveBatch): void {
    batch.datagramCount = this.#addon.aeadOpen(
      this.handle,
      receiveBatchHandle(batch),
      batch.runCount,
    );
  }

  gather(batch: ReceiveBatch): void {
    batch.superCount = this.#addon.gather(receiveBatchHandle(batch), batch.datagramCount);
  }
}
