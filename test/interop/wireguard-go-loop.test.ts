// The whole bulk path against wireguard-go: native sockets, cipher and batches, driven by the loop, with an echo server where the
// kernel would be.
//
//   ping in a namespace ── wireguard-go ── 127.0.0.1 ── loop ── stand-in TUN ── echo server

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { endpoint, parseIp } from '../../src/base/address.ts';
import { createTunBatch, TUN_PACKET } from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { createWallClock, monotonicNow, SystemRandom } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { Loop } from '../../src/io/loop.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { nativeProblem } from '../../src/io/packets/native.ts';
import { TunDevice } from '../../src/io/packets/tun.ts';
import { TunnelSockets } from '../../src/io/packets/udp.ts';
import { Tunnel } from '../../src/proto/wireguard/tunnel.ts';
import { WireGuardRole } from '../support/wireguard-role.ts';
import { echoReplyTo, isEchoRequest } from './support/wireguard-end.ts';
import { WireGuardGo, whyNot } from './support/wireguard-go.ts';

const reason = whyNot() ?? nativeProblem();
const loopback = parseIp('127.0.0.1') ?? expect.unreachable();
const crypto = createNodeCrypto();

class LoopEnd {
  readonly privateKey = crypto.randomBytes(32);
  readonly publicKey = crypto.x25519PublicKey(this.privateKey);
  readonly presharedKey = crypto.randomBytes(32);
  readonly sockets = TunnelSockets.open({ port: 0, addresses: [loopback] });
  readonly devices = TunDevice.pair({ tcp: false, udp: false });
  readonly faults: unknown[] = [];
  #loop: Loop | undefined;

  get port(): number {
    return at(this.sockets.sockets, 0).port;
  }

  connectTo(remotePublicKey: Uint8Array, remotePort: number): void {
    const now = monotonicNow();
    const aead = new NativeAead(16);
    const { privateKey, publicKey, presharedKey } = this;
    const timing = { rekeyAttemptMs: 20_000, keepaliveMs: 10_000, rekeyTimeoutMs: 5_000 };
    const tunnel = new Tunnel(
      { ...timing, privateKey, publicKey, presharedKey, remotePublicKey, connectionIndex: 1 },
      {
        crypto,
        random: new SystemRandom(),
        aead,
        wallClock: createWallClock(now),
        log: SILENT_LOG,
      },
      now,
    );
    const peer = endpoint(loopback, remotePort);
    this.#loop = new Loop({
      role: new WireGuardRole(tunnel, this, { crypto, aead }, peer, now),
      aead,
      log: SILENT_LOG,
      onTurn: () => {},
      onFatal: (error) => void this.faults.push(error),
    });
    this.#loop.useSockets(this.sockets);
    this.#loop.useTun(this.devices[0]);
    this.#serveEcho();
  }

  close(): void {
    this.#loop?.stop();
    this.sockets.close();
    for (const device of this.devices) device.close();
  }

  #serveEcho(): void {
    const batch = createTunBatch(160 * 1024, 64);
    const kernel = this.devices[1];
    kernel.onReadable(() => {
      while (kernel.read(batch) > 0) {
        for (let i = 0; i < batch.packetCount; i++) {
          const offset = at(batch.packets, i * TUN_PACKET.stride + TUN_PACKET.offset);
          const length = at(batch.packets, i * TUN_PACKET.stride + TUN_PACKET.length);
          const packet = batch.slab.slice(offset, offset + length);
          if (isEchoRequest(packet)) kernel.writePacket(echoReplyTo(packet));
        }
      }
    });
  }
}

describe.skipIf(reason !== undefined)(
  `wireguard-go and the loop${reason ? ` (skipped: ${reason})` : ''}`,
  () => {
    const go = new WireGuardGo();
    const end = reason === undefined ? new LoopEnd() : undefined;

    beforeEach(async () => {
      if (!end) return;
      await go.start();
      go.addPeer(end, end.port);
      end.connectTo(go.publicKey, go.port);
    });

    afterEach(async () => {
      end?.close();
      await go.stop();
      expect(end?.faults).toEqual([]);
    });

    it('answer each other, slowly and in a flood', async () => {
      expect(await go.ping(5)).toBe(5);
      expect(await go.ping(2000, 0.001)).toBe(2000);
    });
  },
);
