// Our end of a WireGuard tunnel on a real UDP socket and a real clock, with an "application" that answers ICMP echo requests.

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { type Endpoint, endpoint, parseIp } from '../../../src/base/address.ts';
import { at } from '../../../src/base/bytes.ts';
import type { CryptoProvider } from '../../../src/base/crypto.ts';
import { SILENT_LOG } from '../../../src/base/log.ts';
import { createWallClock, monotonicNow, SystemRandom } from '../../../src/io/clock.ts';
import { createNodeCrypto } from '../../../src/io/crypto/node-crypto.ts';
import { PlainAead } from '../../../src/proto/batch/plain-aead.ts';
import { openInitiationStatic } from '../../../src/proto/wireguard/handshake.ts';
import { HandshakeGate } from '../../../src/proto/wireguard/handshake-gate.ts';
import { Tunnel, type TunnelOutcome } from '../../../src/proto/wireguard/tunnel.ts';
import { parseWireGuard } from '../../../src/wire/wireguard/messages.ts';

const TIMING = { rekeyAttemptMs: 90_000, keepaliveMs: 10_000, rekeyTimeoutMs: 5_000 };

export class WireGuardEnd {
  readonly crypto: CryptoProvider = createNodeCrypto();
  readonly privateKey: Uint8Array = this.crypto.randomBytes(32);
  readonly publicKey: Uint8Array = this.crypto.x25519PublicKey(this.privateKey);
  readonly presharedKey: Uint8Array = this.crypto.randomBytes(32);
  readonly received: Uint8Array[] = [];
  readonly outcomes: TunnelOutcome[] = [];
  readonly kinds: string[] = [];
  establishedCount = 0;
  readonly gate: HandshakeGate = new HandshakeGate(this, monotonicNow());
  readonly #socket: Socket = createSocket('udp4');
  #tunnel: Tunnel | undefined;
  #remotePort = 0;
  #timer: NodeJS.Timeout | undefined;

  async bind(): Promise<number> {
    this.#socket.on('message', (bytes, from) => this.#onMessage(Uint8Array.from(bytes), from));
    this.#socket.bind(0, '127.0.0.1');
    await once(this.#socket, 'listening');
    return this.#socket.address().port;
  }

  connectTo(remotePublicKey: Uint8Array, remotePort: number): void {
    this.#remotePort = remotePort;
    const now = monotonicNow();
    this.#tunnel = new Tunnel(
      {
        ...TIMING,
        privateKey: this.privateKey,
        publicKey: this.publicKey,
        remotePublicKey,
        presharedKey: this.presharedKey,
        connectionIndex: 0x0abcde,
      },
      {
        crypto: this.crypto,
        random: new SystemRandom(),
        aead: new PlainAead(this.crypto, 16),
        wallClock: createWallClock(now),
        log: SILENT_LOG,
      },
      now,
    );
  }

  get tunnel(): Tunnel {
    if (this.#tunnel === undefined) throw new Error('connectTo comes first');
    return this.#tunnel;
  }

  startHandshake(): void {
    this.tunnel.startHandshake(monotonicNow());
    this.#drain();
  }

  send(packet: Uint8Array): string {
    const outcome = this.tunnel.sealPacket(packet, monotonicNow());
    if (outcome.kind === 'sealed') this.sendRaw(outcome.datagram);
    this.#drain();
    return outcome.kind;
  }

  sendRaw(datagram: Uint8Array): void {
    this.#socket.send(datagram, this.#remotePort, '127.0.0.1');
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#socket.close();
    this.#tunnel?.close();
  }

  #onMessage(bytes: Uint8Array, info: RemoteInfo): void {
    const kind = parseWireGuard(bytes)?.kind;
    this.kinds.push(kind ?? 'malformed');
    const source = endpointOf(info);
    if (kind === 'initiation' || kind === 'response') this.#onHandshake(bytes, kind, source);
    if (kind === 'cookie-reply') this.#note(this.tunnel.handleCookieReply(bytes, monotonicNow()));
    if (kind === 'data') this.#onData(bytes);
    this.#drain();
  }

  #onHandshake(bytes: Uint8Array, kind: 'initiation' | 'response', source: Endpoint): void {
    const now = monotonicNow();
    const verdict = this.gate.admit(bytes, source, now);
    if (verdict.kind === 'reply') this.sendRaw(verdict.cookieReply);
    if (verdict.kind !== 'admitted') return;
    if (kind === 'response') return this.#note(this.tunnel.handleResponse(bytes, now));
    const opened = openInitiationStatic(this.crypto, this, bytes);
    if (opened) this.#note(this.tunnel.handleInitiation(opened, now));
  }

  #onData(bytes: Uint8Array): void {
    const outcome = this.tunnel.handleData(bytes, monotonicNow());
    if (outcome.kind !== 'packet') return;
    this.received.push(outcome.bytes);
    if (isEchoRequest(outcome.bytes)) this.send(echoReplyTo(outcome.bytes));
  }

  #note(outcome: TunnelOutcome): void {
    this.outcomes.push(outcome);
    if (outcome.kind === 'reply') this.sendRaw(outcome.datagram);
  }

  #drain(): void {
    const { tunnel } = this;
    for (let next = tunnel.pollDatagram(); next; next = tunnel.pollDatagram()) this.sendRaw(next);
    for (let event = tunnel.pollEvent(); event; event = tunnel.pollEvent()) {
      if (event.kind === 'established') this.establishedCount += 1;
    }
    clearTimeout(this.#timer);
    const deadline = tunnel.pollTimeout();
    if (deadline === undefined) return;
    this.#timer = setTimeout(
      () => {
        tunnel.handleTimeout(monotonicNow());
        this.#drain();
      },
      Math.max(0, Math.ceil(deadline - monotonicNow())),
    );
  }
}

/** ICMP echo request `sequence` from `source` to `destination`. */
export function echoRequest(source: string, destination: string, sequence: number): Uint8Array {
  const packet = new Uint8Array(84);
  packet.set([0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1]);
  packet.set(source.split('.').map(Number), 12);
  packet.set(destination.split('.').map(Number), 16);
  packet.set([8, 0, 0, 0, 0x12, 0x34, sequence >> 8, sequence & 255], 20);
  setChecksum(packet, 0, 20, 10);
  setChecksum(packet, 20, 84, 22);
  return packet;
}

export function isEchoReply(packet: Uint8Array): boolean {
  return packet[9] === 1 && packet[20] === 0;
}

export function isEchoRequest(packet: Uint8Array): boolean {
  return packet[9] === 1 && packet[20] === 8;
}

export function echoReplyTo(request: Uint8Array): Uint8Array {
  const reply = request.slice();
  reply.set(request.subarray(16, 20), 12);
  reply.set(request.subarray(12, 16), 16);
  reply[20] = 0;
  setChecksum(reply, 20, reply.length, 22);
  return reply;
}

/** RFC 1071 over [start, end), stored at `position`. */
function setChecksum(bytes: Uint8Array, start: number, end: number, position: number): void {
  bytes[position] = 0;
  bytes[position + 1] = 0;
  let sum = 0;
  for (let i = start; i < end; i += 2) sum += (at(bytes, i) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  bytes[position] = ~sum >> 8;
  bytes[position + 1] = ~sum;
}

function endpointOf(info: RemoteInfo): Endpoint {
  const address = parseIp(info.address);
  if (address === undefined) throw new Error('the kernel names senders by address');
  return endpoint(address, info.port);
}
