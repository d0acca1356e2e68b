// A machine on the virtual network that runs a gateway or client role with its real node: datagrams go the batch path in and out, with the
// plain twin of the native cipher, and packets of its TUN device are kept.

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  writeAddressWords,
} from '../../src/base/address.ts';
import {
  createReceiveBatch,
  createTunBatch,
  PATH,
  RUN,
  SUPER,
  TUN_PACKET,
  VERDICT,
} from '../../src/base/batch.ts';
import { at } from '../../src/base/bytes.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { Instant, WallClock } from '../../src/base/time.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { Node } from '../../src/link/node.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import type { TunnelRole } from '../../src/roles/tunnel-role.ts';
import { writeChannelData } from '../../src/wire/turn/channel-data.ts';
import type { Participant } from './link-world.ts';
import { type Datagram, ep, type Nat, type VirtualNetwork } from './virtual-network.ts';

const KEY_SLOTS = 64;

export interface HostOptions {
  readonly host: string;
  readonly nat?: Nat;
  readonly seed: number;
  /** Without an own address that others reach it needs relays. */
  readonly knowsHost?: boolean;
}

export interface HostedRole extends TunnelRole {
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void;
}

export class TunnelHost<Role extends HostedRole> implements Participant {
  readonly role: Role;
  readonly network: VirtualNetwork;
  /** What came out of the tunnel, and what the role made for its own TUN device. */
  readonly tun: Uint8Array[] = [];
  /** A packet leaves the tunnel here. */
  onTunPacket: (packet: Uint8Array, now: Instant) => void = (packet) => void this.tun.push(packet);
  address: Endpoint;
  readonly #aead: PlainAead;
  readonly #node: Node;
  readonly #nat: Nat | undefined;
  readonly #knowsHost: boolean;
  readonly #received = createReceiveBatch(65_536, 8, 64);
  readonly #read = createTunBatch(65_536, 8);

  constructor(
    network: VirtualNetwork,
    wallClock: WallClock,
    kind: 'client' | 'gateway',
    options: HostOptions,
    createRole: (node: Node) => Role,
  ) {
    this.network = network;
    this.address = ep(options.host);
    this.#nat = options.nat;
    this.#knowsHost = options.knowsHost ?? true;
    const crypto = createSeededCrypto(options.seed);
    this.#aead = new PlainAead(crypto, KEY_SLOTS);
    const random = new SeededRandom(options.seed);
    const deps = { crypto, random, aead: this.#aead, wallClock, log: SILENT_LOG };
    this.#node = new Node({ role: kind, allowNoRelays: true }, deps, network.now);
    this.role = createRole(this.#node);
    this.#attach();
    this.announceAddress();
  }

  announceAddress(): void {
    if (this.#knowsHost) this.role.setLocalAddresses([this.address], this.network.now);
  }

  /** New sockets at another address, as after a change of networks. */
  move(host: string): void {
    this.network.detach(this.address);
    this.address = ep(host);
    this.#attach();
  }

  /** One packet from the TUN device. */
  fromTun(packet: Uint8Array): void {
    const batch = this.#read;
    const offset = 128;
    batch.slab.set(packet, offset);
    batch.packets.fill(0, 0, TUN_PACKET.stride);
    batch.packets[TUN_PACKET.offset] = offset;
    batch.packets[TUN_PACKET.length] = packet.length;
    batch.packetCount = 1;
    this.role.handleTunPackets(batch, this.network.now);
    const slot = at(batch.packets, TUN_PACKET.slot);
    if (slot < 0) return;
    const inner = batch.slab.slice(offset, offset + packet.length);
    this.#sendSealed(slot, this.#aead.sealOne(slot, inner));
  }

  /** Any inner packet, past all rules of the role, to the first peer there is; false if there is no session. */
  sealForGateway(inner: Uint8Array): boolean {
    const [connection] = this.#node.snapshot().connections;
    const slot = connection ? this.#node.sendSlot(connection.peer, this.network.now) : -1;
    if (slot < 0) return false;
    this.#sendSealed(slot, this.#aead.sealOne(slot, inner));
    return true;
  }

  handleTimeout(now: Instant): void {
    this.role.handleTimeout(now);
  }

  pollTimeout(): Instant | undefined {
    return this.role.pollTimeout();
  }

  drain(now: Instant): void {
    const { role } = this;
    for (let out = role.pollTransmit(); out; out = role.pollTransmit()) {
      const { source = this.address, destination, payload } = out;
      // A datagram leaves only from an address that the host has.
      if (source.key === this.address.key) this.network.send({ source, destination, payload });
    }
    for (let packet = role.pollTunPacket(); packet; packet = role.pollTunPacket())
      this.onTunPacket(packet, now);
  }

  #attach(): void {
    this.network.attach(this.address, this.#nat, (datagram, now) => this.#receive(datagram, now));
  }

  #receive({ source, destination, payload }: Datagram, now: Instant): void {
    const batch = this.#received;
    batch.slab.set(payload);
    batch.runs.fill(0);
    batch.runs.set([0, payload.length, payload.length]);
    writeAddressWords(source.address, batch.runs, RUN.remote);
    batch.runs[RUN.remotePort] = source.port;
    writeAddressWords(destination.address, batch.runs, RUN.local);
    batch.runs[RUN.localPort] = destination.port;
    batch.runCount = 1;
    batch.datagramCount = 0;
    batch.superCount = 0;
    this.role.handleRuns(batch, now);
    this.#aead.open(batch);
    this.role.handleOpened(batch, now);
    this.#aead.gather(batch);
    this.role.handleSuperPackets(batch, now);
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      if (at(batch.superPackets, row + SUPER.verdict) !== VERDICT.forward) continue;
      const offset = at(batch.superPackets, row + SUPER.offset);
      const length = at(batch.superPackets, row + SUPER.length);
      this.onTunPacket(batch.slab.slice(offset, offset + length), now);
    }
  }

  /** What `sealSend` does with the row of the slot. */
  #sendSealed(slot: number, datagram: Uint8Array): void {
    const row = slot * PATH.stride;
    const { paths } = this.#aead;
    const remote = addressFromWords(paths, row + PATH.remote);
    const destination = endpoint(remote, at(paths, row + PATH.remotePort));
    const channel = at(paths, row + PATH.channel);
    const payload = channel === 0 ? datagram : writeChannelData(channel, datagram);
    this.network.send({ source: this.address, destination, payload });
  }
}
