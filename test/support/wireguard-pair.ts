// Two tunnels, each behind its gate, joined by a virtual link with a virtual clock.
//
//   client ── Tunnel ── HandshakeGate ── link: delay, loss, order, copies ── HandshakeGate ── Tunnel ── gateway
//
// The client has the lower keys and is the one that usually initiates.

import { type Endpoint, endpoint, parseIp } from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Instant, instant, later, unixMillis, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import { openInitiationStatic } from '../../src/proto/wireguard/handshake.ts';
import { HandshakeGate } from '../../src/proto/wireguard/handshake-gate.ts';
import { Tunnel, type TunnelEvent, type TunnelOutcome } from '../../src/proto/wireguard/tunnel.ts';
import { parseWireGuard } from '../../src/wire/wireguard/messages.ts';

export type SideName = 'client' | 'gateway';

/** Delays of each copy of a message in milliseconds; empty: lost. */
export type LinkRule = (message: Uint8Array, from: SideName, now: Instant) => readonly number[];

export interface SentMessage {
  readonly at: number;
  readonly from: SideName;
  readonly kind: string;
  readonly bytes: Uint8Array;
}

export const ICE_TIMING = { rekeyAttemptMs: 20_000, keepaliveMs: 10_000, rekeyTimeoutMs: 5_000 };

export interface SideOptions {
  readonly padding?: 'none' | 'to-16';
  readonly privateKey?: Uint8Array;
  readonly remotePublicKey?: Uint8Array;
}

export class Side {
  readonly name: SideName;
  readonly gate: HandshakeGate;
  readonly tunnel: Tunnel;
  readonly aead: PlainAead;
  readonly events: TunnelEvent[] = [];
  readonly received: Uint8Array[] = [];
  readonly drops: string[] = [];
  readonly address: Endpoint;
  readonly #crypto: ReturnType<typeof createSeededCrypto>;
  readonly #keys: { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array };
  readonly #outbox: Uint8Array[] = [];

  constructor(name: SideName, seed: number, options: SideOptions = {}) {
    const crypto = createSeededCrypto(seed);
    const own = options.privateKey ?? privateKeyOf(name);
    const remote = privateKeyOf(name === 'client' ? 'gateway' : 'client');
    const now = instant(0);
    const publicKey = crypto.x25519PublicKey(own);
    this.name = name;
    this.#crypto = crypto;
    this.#keys = { privateKey: own, publicKey };
    this.aead = new PlainAead(crypto, 16);
    this.gate = new HandshakeGate({ crypto, publicKey }, now);
    const address = parseIp(name === 'client' ? '192.0.2.1' : '192.0.2.2');
    if (address === undefined) throw new Error('the addresses of the pair are addresses');
    this.address = endpoint(address, 52_625);
    this.tunnel = new Tunnel(
      {
        ...this.#keys,
        ...ICE_TIMING,
        remotePublicKey: options.remotePublicKey ?? crypto.x25519PublicKey(remote),
        presharedKey: new Uint8Array(32).fill(9),
        connectionIndex: name === 'client' ? 0x00c11e : 0xfa7e11,
        padding: options.padding ?? 'none',
      },
      {
        crypto,
        random: new SeededRandom(seed),
        aead: this.aead,
        wallClock: new WallClock(now, unixMillis(1_700_000_000_000)),
        log: SILENT_LOG,
      },
      now,
    );
  }

  send(packet: Uint8Array, now: Instant): string {
    const outcome = this.tunnel.sealPacket(packet, now);
    if (outcome.kind === 'sealed') this.#outbox.push(outcome.datagram);
    return outcome.kind === 'dropped' ? outcome.reason : outcome.kind;
  }

  deliver(bytes: Uint8Array, from: Endpoint, now: Instant): void {
    const message = parseWireGuard(bytes);
    switch (message?.kind) {
      case 'initiation':
      case 'response':
        return this.#deliverHandshake(bytes, message.kind, from, now);
      case 'cookie-reply':
        return this.#note(this.tunnel.handleCookieReply(bytes, now));
      case 'data':
        return this.#deliverData(bytes, now);
      case undefined:
        this.drops.push('malformed');
    }
  }

  takeOutput(): readonly Uint8Array[] {
    const out = this.#outbox.splice(0);
    for (let next = this.tunnel.pollDatagram(); next; next = this.tunnel.pollDatagram()) {
      out.push(next);
    }
    for (let event = this.tunnel.pollEvent(); event; event = this.tunnel.pollEvent()) {
      this.events.push(event);
    }
    return out;
  }

  countOf(kind: TunnelEvent['kind']): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  #deliverHandshake(
    bytes: Uint8Array,
    kind: 'initiation' | 'response',
    from: Endpoint,
    now: Instant,
  ): void {
    const verdict = this.gate.admit(bytes, from, now);
    if (verdict.kind === 'reply') this.#outbox.push(verdict.cookieReply);
    if (verdict.kind === 'dropped') this.drops.push(verdict.reason);
    if (verdict.kind !== 'admitted') return;
    if (kind === 'response') return this.#note(this.tunnel.handleResponse(bytes, now));
    const opened = openInitiationStatic(this.#crypto, this.#keys, bytes);
    if (opened === undefined) this.drops.push('not-authenticated');
    else this.#note(this.tunnel.handleInitiation(opened, now));
  }

  #deliverData(bytes: Uint8Array, now: Instant): void {
    const outcome = this.tunnel.handleData(bytes, now);
    if (outcome.kind === 'packet') this.received.push(outcome.bytes);
    if (outcome.kind === 'dropped') this.drops.push(outcome.reason);
  }

  #note(outcome: TunnelOutcome): void {
    if (outcome.kind === 'reply') this.#outbox.push(outcome.datagram);
    if (outcome.kind === 'dropped') this.drops.push(outcome.reason);
  }
}

export class Pair {
  now: Instant = instant(0);
  rule: LinkRule;
  readonly client: Side;
  readonly gateway: Side;
  readonly sent: SentMessage[] = [];
  #inFlight: { readonly at: Instant; readonly to: Side; readonly bytes: Uint8Array }[] = [];

  constructor(seed = 1, options: SideOptions = {}) {
    this.client = new Side('client', seed, options);
    this.gateway = new Side('gateway', seed + 1000, options);
    this.rule = () => [10];
  }

  /** Lets `milliseconds` pass: each deadline and each delivery happens at its own instant. */
  run(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    this.flush();
    for (let turn = 0; ; turn++) {
      if (turn > 100_000) throw new Error('the pair does not come to rest');
      const next = this.#nextInstant();
      if (next > end) break;
      this.now = instant(Math.max(next, this.now));
      this.#deliverDue();
      for (const side of [this.client, this.gateway]) {
        const deadline = side.tunnel.pollTimeout();
        if (deadline !== undefined && deadline <= this.now) side.tunnel.handleTimeout(this.now);
      }
      this.flush();
    }
    this.now = end;
  }

  /** A handshake by the client, complete on both sides. */
  connect(): void {
    this.client.tunnel.startHandshake(this.now);
    this.run(100);
  }

  send(from: SideName, packet: Uint8Array = echoPacket()): string {
    const result = this[from].send(packet, this.now);
    this.flush();
    return result;
  }

  /** Messages of one kind and side since `from`. */
  sentBy(name: SideName, kind: string, since = 0): readonly SentMessage[] {
    return this.sent.filter(
      (message) => message.from === name && message.kind === kind && message.at >= since,
    );
  }

  flush(): void {
    for (const [side, other] of [
      [this.client, this.gateway],
      [this.gateway, this.client],
    ] as const) {
      for (const bytes of side.takeOutput()) {
        this.sent.push({ at: this.now, from: side.name, kind: kindOf(bytes), bytes });
        for (const delay of this.rule(bytes, side.name, this.now)) {
          this.#inFlight.push({ at: later(this.now, delay), to: other, bytes: bytes.slice() });
        }
      }
    }
  }

  #deliverDue(): void {
    const due = this.#inFlight.filter((message) => message.at <= this.now);
    this.#inFlight = this.#inFlight.filter((message) => message.at > this.now);
    due.sort((a, b) => a.at - b.at);
    for (const { to, bytes } of due) {
      const from = to === this.client ? this.gateway : this.client;
      to.deliver(bytes, from.address, this.now);
    }
  }

  #nextInstant(): Instant {
    const times = this.#inFlight.map((message) => message.at);
    for (const side of [this.client, this.gateway]) {
      const deadline = side.tunnel.pollTimeout();
      if (deadline !== undefined) times.push(deadline);
    }
    return instant(Math.min(Number.POSITIVE_INFINITY, ...times));
  }
}

/** ICMP echo 100.64.0.1 to 10.0.0.5 (connectivity 13.1), with `extra` bytes behind. */
export function echoPacket(extra = 0): Uint8Array {
  const packet = new Uint8Array(28 + extra);
  packet.set([
    0x45, 0, 0, 0x1c, 0, 0, 0x40, 0, 0x40, 1, 0xcc, 0x9b, 0x64, 0x40, 0, 1, 10, 0, 0, 5, 8, 0, 0xf7,
    0xf7, 0, 7, 0, 1,
  ]);
  packet[2] = packet.length >> 8;
  packet[3] = packet.length & 255;
  return packet;
}

function kindOf(bytes: Uint8Array): string {
  const kind = parseWireGuard(bytes)?.kind ?? 'malformed';
  return kind === 'data' && bytes.length === 32 ? 'keepalive' : kind;
}

function privateKeyOf(name: SideName): Uint8Array {
  const first = name === 'client' ? 0x01 : 0x41;
  return Uint8Array.from({ length: 32 }, (_, i) => first + i);
}
