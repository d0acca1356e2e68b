// The smallest role that `io/loop.ts` can drive: one WireGuard peer at a fixed endpoint, no ICE, no policy. It shows what the
// loop expects, and it is the floor that TypeScript adds to the native batches.

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  writeAddressWords,
} from '../../src/base/address.ts';
import {
  DATAGRAM,
  OPEN_FAILURE,
  PATH,
  type ReceiveBatch,
  RUN,
  SUPER,
  type TransportAead,
  TUN_PACKET,
  type TunBatch,
  VERDICT,
} from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import type { CryptoProvider } from '../../src/base/crypto.ts';
import type { Instant } from '../../src/base/time.ts';
import type { Transmit } from '../../src/base/transmit.ts';
import { openInitiationStatic } from '../../src/proto/wireguard/handshake.ts';
import { HandshakeGate } from '../../src/proto/wireguard/handshake-gate.ts';
import type { Tunnel, TunnelOutcome } from '../../src/proto/wireguard/tunnel.ts';
import type { TunnelRole } from '../../src/roles/tunnel-role.ts';
import {
  isDataMessage,
  parseWireGuard,
  readReceiverIndex,
} from '../../src/wire/wireguard/messages.ts';

export class WireGuardRole implements TunnelRole {
  readonly tunnel: Tunnel;
  accepted = 0;
  refused = 0;
  readonly #keys: { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array };
  readonly #crypto: CryptoProvider;
  readonly #aead: TransportAead;
  readonly #peer: Endpoint;
  readonly #gate: HandshakeGate;
  readonly #transmits: Transmit[] = [];
  readonly #tunPackets: Uint8Array[] = [];

  constructor(
    tunnel: Tunnel,
    keys: { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array },
    deps: { readonly crypto: CryptoProvider; readonly aead: TransportAead },
    peer: Endpoint,
    now: Instant,
  ) {
    this.tunnel = tunnel;
    this.#keys = keys;
    this.#crypto = deps.crypto;
    this.#aead = deps.aead;
    this.#peer = peer;
    this.#gate = new HandshakeGate({ crypto: deps.crypto, publicKey: keys.publicKey }, now);
  }

  handleRuns(batch: ReceiveBatch, now: Instant): void {
    const { runs, view, slab } = batch;
    for (let run = 0; run < batch.runCount; run++) {
      const row = run * RUN.stride;
      const start = at(runs, row + RUN.offset);
      const end = start + at(runs, row + RUN.length);
      const segment = at(runs, row + RUN.segmentLength);
      runs[row + RUN.headerLength] = 0;
      runs[row + RUN.slot] = isDataMessage(view, start, Math.min(segment, end - start))
        ? this.tunnel.receiveSlot(readReceiverIndex(view, start))
        : -1;
      if (at(runs, row + RUN.slot) >= 0) continue;
      const from = endpoint(
        addressFromWords(runs, row + RUN.remote),
        at(runs, row + RUN.remotePort),
      );
      for (let offset = start; offset < end; offset += segment) {
        this.#handleDatagram(slab.slice(offset, Math.min(offset + segment, end)), from, now);
      }
    }
  }

  handleOpened(batch: ReceiveBatch, now: Instant): void {
    const { datagrams } = batch;
    for (let i = 0; i < batch.datagramCount; i++) {
      const row = i * DATAGRAM.stride;
      const length = at(datagrams, row + DATAGRAM.length);
      if (length < 0) {
        if (length !== OPEN_FAILURE.foreign) this.refused += 1;
        continue;
      }
      const isAccepted = this.tunnel.acceptCounter(
        at(datagrams, row + DATAGRAM.slot),
        at(datagrams, row + DATAGRAM.counterLow) >>> 0,
        at(datagrams, row + DATAGRAM.counterHigh) >>> 0,
        length,
        now,
      );
      datagrams[row + DATAGRAM.accepted] = isAccepted ? 1 : 0;
      if (isAccepted) this.accepted += 1;
      else this.refused += 1;
    }
  }

  handleSuperPackets(batch: ReceiveBatch): void {
    for (let i = 0; i < batch.superCount; i++) {
      batch.superPackets[i * SUPER.stride + SUPER.verdict] = VERDICT.forward;
    }
  }

  handleTunPackets(batch: TunBatch, now: Instant): void {
    const slot = this.tunnel.sendSlot(now);
    for (let i = 0; i < batch.packetCount; i++) {
      batch.packets[i * TUN_PACKET.stride + TUN_PACKET.slot] = slot;
      batch.packets[i * TUN_PACKET.stride + TUN_PACKET.ecn] = 0;
    }
    if (slot >= 0) this.tunnel.noteSent(now);
  }

  handleTimeout(now: Instant): void {
    this.tunnel.handleTimeout(now);
  }

  pollTransmit(): Transmit | undefined {
    this.#drainTunnel();
    return this.#transmits.shift();
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#tunPackets.shift();
  }

  pollTimeout(): Instant | undefined {
    return this.tunnel.pollTimeout();
  }

  snapshot(): unknown {
    return this.tunnel.snapshot();
  }

  #handleDatagram(bytes: Uint8Array, from: Endpoint, now: Instant): void {
    const kind = parseWireGuard(bytes)?.kind;
    if (kind === 'data') {
      const outcome = this.tunnel.handleData(bytes, now);
      if (outcome.kind === 'packet') this.#tunPackets.push(outcome.bytes);
      else if (outcome.kind === 'dropped') this.refused += 1;
    } else if (kind === 'cookie-reply') {
      this.#note(this.tunnel.handleCookieReply(bytes, now));
    } else if (kind !== undefined && this.#gate.admit(bytes, from, now).kind === 'admitted') {
      if (kind === 'response') return this.#note(this.tunnel.handleResponse(bytes, now));
      const opened = openInitiationStatic(this.#crypto, this.#keys, bytes);
      if (opened) this.#note(this.tunnel.handleInitiation(opened, now));
    }
  }

  #note(outcome: TunnelOutcome): void {
    if (outcome.kind === 'reply') this.#transmit(outcome.datagram);
  }

  #drainTunnel(): void {
    for (let next = this.tunnel.pollDatagram(); next; next = this.tunnel.pollDatagram()) {
      this.#transmit(next);
    }
    for (let event = this.tunnel.pollEvent(); event; event = this.tunnel.pollEvent()) {
      if (event.kind === 'session-installed') this.#setPath(event.slot);
    }
  }

  #setPath(slot: number): void {
    const { paths } = this.#aead;
    const row = slot * PATH.stride;
    writeAddressWords(this.#peer.address, paths, row + PATH.remote);
    paths[row + PATH.remotePort] = this.#peer.port;
    paths.fill(0, row + PATH.local, row + PATH.local + 4);
    paths[row + PATH.channel] = 0;
    paths[row + PATH.usable] = 1;
  }

  #transmit(payload: Uint8Array): void {
    this.#transmits.push({ destination: this.#peer, payload, ecn: 0 });
  }
}
