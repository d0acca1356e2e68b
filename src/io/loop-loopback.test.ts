// Two loops over loopback UDP, each with the native cipher and one end of a stand-in TUN: what goes into one TUN comes out of the
// other, in both directions, also while sessions change.
//
//   kernel A ── pair ── loop A ── WireGuard over 127.0.0.1 ── loop B ── pair ── kernel B

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { echoPacket } from '../../test/support/wireguard-pair.ts';
import { WireGuardRole } from '../../test/support/wireguard-role.ts';
import { endpoint, parseIp } from '../base/address.ts';
import { createReceiveBatch, createTunBatch, TUN_PACKET } from '../base/batch.ts';
import { at } from '../base/bytes.ts';
import { SILENT_LOG } from '../base/log.ts';
import { Tunnel } from '../proto/wireguard/tunnel.ts';
import { createWallClock, monotonicNow, SystemRandom } from './clock.ts';
import { createNodeCrypto } from './crypto/node-crypto.ts';
import { Loop } from './loop.ts';
import { NativeAead } from './packets/aead.ts';
import { nativeCounters, nativeProblem } from './packets/native.ts';
import { TunDevice } from './packets/tun.ts';
import { TunnelSockets } from './packets/udp.ts';

const crypto = createNodeCrypto();
const loopback = parseIp('127.0.0.1') ?? expect.unreachable();
const problem = nativeProblem();

class End {
  readonly sockets = TunnelSockets.open({ port: 0, addresses: [loopback] });
  readonly privateKey = crypto.randomBytes(32);
  readonly publicKey = crypto.x25519PublicKey(this.privateKey);
  readonly aead = new NativeAead(16);
  readonly devices = TunDevice.pair({ tcp: false, udp: false });
  readonly received: Uint8Array[] = [];
  readonly faults: unknown[] = [];
  role: WireGuardRole | undefined;
  loop: Loop | undefined;

  connect(other: End): void {
    const now = monotonicNow();
    const { privateKey, publicKey } = this;
    const tunnel = new Tunnel(
      {
        privateKey,
        publicKey,
        remotePublicKey: other.publicKey,
        presharedKey: new Uint8Array(32),
        connectionIndex: 7,
        rekeyAttemptMs: 20_000,
        keepaliveMs: 10_000,
        rekeyTimeoutMs: 5_000,
      },
      {
        crypto,
        random: new SystemRandom(),
        aead: this.aead,
        wallClock: createWallClock(now),
        log: SILENT_LOG,
      },
      now,
    );
    const peer = endpoint(loopback, at(other.sockets.sockets, 0).port);
    this.role = new WireGuardRole(tunnel, this, { crypto, aead: this.aead }, peer, now);
    this.loop = new Loop({
      role: this.role,
      aead: this.aead,
      log: SILENT_LOG,
      onTurn: () => {},
      onFatal: (error) => void this.faults.push(error),
    });
    this.loop.useSockets(this.sockets);
    this.loop.useTun(this.devices[0]);
    this.#listen();
  }

  send(packet: Uint8Array): boolean {
    return this.devices[1].writePacket(packet);
  }

  close(): void {
    this.loop?.stop();
    this.sockets.close();
    for (const device of this.devices) device.close();
  }

  /** The kernel's side of the TUN. */
  #listen(): void {
    const batch = createTunBatch(160 * 1024, 64);
    this.devices[1].onReadable(() => {
      while (this.devices[1].read(batch) > 0) {
        for (let i = 0; i < batch.packetCount; i++) {
          const offset = at(batch.packets, i * TUN_PACKET.stride + TUN_PACKET.offset);
          const length = at(batch.packets, i * TUN_PACKET.stride + TUN_PACKET.length);
          this.received.push(batch.slab.slice(offset, offset + length));
        }
      }
    });
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000 && !condition(); i++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

describe.skipIf(problem !== undefined)(`two loops${problem ? ` (${problem})` : ''}`, () => {
  let a: End;
  let b: End;

  beforeEach(async () => {
    a = new End();
    b = new End();
    a.connect(b);
    b.connect(a);
    a.loop?.run((now) => a.role?.tunnel.startHandshake(now));
    await until(() => (b.role?.tunnel.sendSlot(monotonicNow()) ?? -1) >= 0);
  });

  afterEach(() => {
    a.close();
    b.close();
    expect([...a.faults, ...b.faults]).toEqual([]);
  });

  it('carry single packets both ways', async () => {
    a.send(echoPacket(100));
    b.send(echoPacket(7));
    await until(() => a.received.length + b.received.length === 2);
    expect(b.received).toEqual([echoPacket(100)]);
    expect(a.received).toEqual([echoPacket(7)]);
  });

  it('lose nothing of a stream that comes in bursts', async () => {
    const bursts = 50;
    for (let i = 1; i <= bursts; i++) {
      for (let k = 0; k < 20; k++) a.send(echoPacket(k));
      await until(() => b.received.length === i * 20);
    }
    expect(b.received.length).toBe(bursts * 20);
    expect(b.role?.refused).toBe(0);
    expect(nativeCounters()['udp-send-errors']).toBe(0);
  });

  it('follow a new session in the middle of a stream', async () => {
    for (let i = 1; i <= 5; i++) {
      a.loop?.run((now) => a.role?.tunnel.startHandshake(now));
      for (let k = 0; k < 10; k++) a.send(echoPacket(k));
      await until(() => b.received.length === i * 10);
    }
    expect(b.received.length).toBe(50);
  });

  it('stop without a call afterwards', async () => {
    b.loop?.stop();
    a.send(echoPacket());
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(b.received).toEqual([]);
  });

  it('have batches that native code accepts', () => {
    expect(a.devices[0].read(createTunBatch(160 * 1024, 64))).toBe(0);
    expect(at(a.sockets.sockets, 0).receive(createReceiveBatch(65_536, 1, 64))).toBe(0);
  });
});
