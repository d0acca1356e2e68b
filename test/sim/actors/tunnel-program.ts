// A gateway or client as a running program on a host: the real role over the real node, with the plain twin of the native cipher, taken the batch path in and
// out. Mirrors `io/loop.ts` (a turn, then a drain) and the process classes of `app`; restart, crash, loss of power and sleep are its own.

import {
  addressFromWords,
  type Endpoint,
  endpoint,
  writeAddressWords,
} from '../../../src/base/address.ts';
import {
  createReceiveBatch,
  createTunBatch,
  PATH,
  type ReceiveBatch,
  RUN,
  SUPER,
  TUN_PACKET,
  type TunBatch,
  VERDICT,
} from '../../../src/base/batch.ts';
import { at, concat, toBase64 } from '../../../src/base/bytes.ts';
import { InvariantError } from '../../../src/base/errors.ts';
import { earliest, type Instant, WallClock } from '../../../src/base/time.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import type { NodeSnapshot } from '../../../src/link/node-types.ts';
import { PlainAead } from '../../../src/proto/batch/plain-aead.ts';
import { sealBatch, segmentSuperPacket } from '../../../src/proto/batch/segment.ts';
import type { ChannelSnapshot } from '../../../src/proto/phoenix/channel.ts';
import type { PublicKeyParams } from '../../../src/proto/phoenix/login-url.ts';
import type { TunnelRole } from '../../../src/roles/tunnel-role.ts';
import { writeChannelData } from '../../../src/wire/turn/channel-data.ts';
import type { Actor, Context } from '../context.ts';
import type { Datagram } from '../network/datagram.ts';
import type { Host } from '../network/host.ts';
import type { TunnelProgramView } from '../world-view.ts';
import type { PortalLink } from './portal-link.ts';
import type { PortalService } from './portal-service.ts';
import { WatchedNode } from './watched-node.ts';

// Implementation
/** `DEFAULT_TUNNEL_PORT` of `io/packets/udp.ts`. */
export const TUNNEL_PORT = 52_625;
const KEY_SLOTS = 256;
const ROUNDS_PER_TURN = 8;
const PACKET_OFFSET = 128;
/** Datagrams of one sender that arrive together are one run, as UDP GRO makes it. */
const MAX_RUN = 64;
/** How many turns in a row may ask to be called at once before it is a bug. */
const MAX_SPINS = 50;

export interface HostedRole extends TunnelRole {
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void;
}

/** One running instance, from start to end. */
export interface Instance<Role extends HostedRole> {
  readonly role: Role;
  readonly node: WatchedNode;
  readonly aead: CountedAead;
  readonly link: PortalLink<PublicKeyParams>;
}

/** Counts the key slots in use. */
export class CountedAead extends PlainAead {
  inUse = 0;

  override install(sendKey: Uint8Array, receiveKey: Uint8Array, remoteIndex: number): number {
    const slot = super.install(sendKey, receiveKey, remoteIndex);
    if (slot >= 0) this.inUse++;
    return slot;
  }

  override remove(slot: number): void {
    super.remove(slot);
    this.inUse--;
  }
}

/** A packet, or a super-packet, on its way into a TUN device. */
export interface TunInput {
  readonly packet: Uint8Array;
  /** Absent: one packet. */
  readonly gso?: { readonly type: number; readonly segment: number; readonly headers: number };
}

export type StopKind = 'orderly' | 'crash' | 'power';

export abstract class TunnelProgram<Role extends HostedRole> implements Actor, TunnelProgramView {
  due: Instant | undefined;
  readonly name: string;
  readonly host: Host;
  protected readonly context: Context;
  protected readonly portal: PortalService;
  protected instance: Instance<Role> | undefined;
  protected abstract readonly kind: 'client' | 'gateway';
  readonly #received = createReceiveBatch(131_072, 4, MAX_RUN);
  readonly #read = createTunBatch(160 * 1024, 64);
  #run: Datagram[] = [];
  #generation = 0;
  #spins = 0;

  constructor(context: Context, portal: PortalService, host: Host) {
    this.context = context;
    this.portal = portal;
    this.host = host;
    this.name = host.name;
  }

  /** Whatever the role is made of. */
  protected abstract createInstance(seedName: string, now: Instant): Instance<Role>;
  protected abstract handleTunPacket(packet: Uint8Array): void;
  protected abstract drainEvents(instance: Instance<Role>): void;
  protected abstract sayGoodbye(instance: Instance<Role>, now: Instant): void;

  get isRunning(): boolean {
    return this.instance !== undefined;
  }

  get isAsleep(): boolean {
    return this.host.isAsleep;
  }

  get isConnectedToPortal(): boolean {
    return this.instance?.link.isConnected ?? false;
  }

  get publicKey(): string {
    const { instance } = this;
    return instance ? toBase64(instance.node.publicKey) : '';
  }

  get keySlotsInUse(): number {
    return this.instance?.aead.inUse ?? 0;
  }

  nodeSnapshot(): NodeSnapshot | undefined {
    return this.instance?.node.snapshot();
  }

  channelSnapshot(): ChannelSnapshot | undefined {
    return this.instance?.link.snapshot();
  }

  start(): void {
    if (this.instance || this.host.isAsleep) return;
    const { now } = this.host;
    this.instance = this.createInstance(`${this.name} ${this.#generation++}`, now);
    this.openSockets();
    this.turn((at_) => this.announceAddresses(at_));
    this.instance.link.connect({ publicKey: this.instance.node.publicKey });
    this.#tell('started');
    this.turn(() => {});
  }

  stop(how: StopKind): void {
    const { instance } = this;
    if (!instance) return;
    if (how === 'orderly' && !this.host.isAsleep) {
      this.turn((now) => this.sayGoodbye(instance, now));
      instance.link.close();
    }
    instance.link.abandon(how === 'power' ? 'silence' : 'reset');
    this.host.closeAll();
    this.#run = [];
    this.instance = undefined;
    this.due = undefined;
    this.#tell(how === 'orderly' ? 'stopped' : 'killed');
  }

  sleep(): void {
    this.host.sleep();
    this.due = undefined;
    this.#tell('asleep');
  }

  wake(): void {
    this.host.wake();
    this.#tell('awake');
    this.turn(() => {});
  }

  handleDue(): void {
    this.turn(() => {});
  }

  /** One turn of the loop: an input, then all outputs. */
  turn(work: (now: Instant) => void): void {
    const { instance } = this;
    if (!instance || this.host.isAsleep) return;
    const { now } = this.host;
    this.#attempt(work, now);
    for (let round = 0; ; round++) {
      this.#attempt(() => this.#flush(instance), now);
      if (this.instance !== instance) return;
      const due = earliest(instance.role.pollTimeout(), instance.link.pollTimeout());
      if (due === undefined || due > now) return this.#arm(due);
      if (round === ROUNDS_PER_TURN) return this.#spin(instance);
      this.#attempt(() => this.#expire(instance, now), now);
    }
  }

  /** Packets from its TUN device. */
  fromTun(inputs: readonly TunInput[]): void {
    this.turn((now) => {
      const { instance } = this;
      if (!instance) return;
      const batch = this.#read;
      batch.packetCount = inputs.length;
      let offset = PACKET_OFFSET;
      for (const [index, { packet, gso }] of inputs.entries()) {
        const row = index * TUN_PACKET.stride;
        batch.slab.set(packet, offset);
        batch.packets.fill(0, row, row + TUN_PACKET.stride);
        batch.packets[row + TUN_PACKET.offset] = offset;
        batch.packets[row + TUN_PACKET.length] = packet.length;
        batch.packets[row + TUN_PACKET.gsoType] = gso?.type ?? 0;
        batch.packets[row + TUN_PACKET.gsoSegment] = gso?.segment ?? 0;
        batch.packets[row + TUN_PACKET.headerLength] = gso?.headers ?? 0;
        offset += packet.length + PACKET_OFFSET;
      }
      this.decideTunPackets(instance, batch, now);
      for (const { slot, ecn, bytes } of sealBatch(batch, instance.aead).datagrams) {
        this.sendOnPath(instance, slot, bytes, ecn);
      }
    });
  }

  /** Any inner packet past all rules of the role, sealed for the first peer that has a session; false if none has. */
  sealPastRules(inner: Uint8Array): boolean {
    const { instance } = this;
    if (!instance || this.host.isAsleep) return false;
    for (const { peer } of instance.node.snapshot().connections) {
      const slot = instance.node.sendSlot(peer, this.host.now);
      if (slot < 0) continue;
      const channel = at(instance.aead.paths, slot * PATH.stride + PATH.channel);
      const message = instance.aead.sealOne(slot, inner);
      const bytes = channel === 0 ? message : writeChannelData(channel, message);
      this.turn(() => this.sendOnPath(instance, slot, bytes, 0));
      return true;
    }
    return false;
  }

  /** What came out of tunnels: the role decides, and what it forwards goes to the TUN device. */
  protected decideSuperPackets({ role }: Instance<Role>, batch: ReceiveBatch, now: Instant): void {
    role.handleSuperPackets(batch, now);
    for (let index = 0; index < batch.superCount; index++) {
      const row = index * SUPER.stride;
      if (at(batch.superPackets, row + SUPER.verdict) !== VERDICT.forward) continue;
      for (const packet of segmentSuperPacket(batch, row)) this.handleTunPacket(packet);
    }
  }

  protected decideTunPackets({ role }: Instance<Role>, batch: TunBatch, now: Instant): void {
    role.handleTunPackets(batch, now);
  }

  /** `forwarded`: what the role had for its TUN device since the last time. */
  protected noteDrained({ node }: Instance<Role>, _forwarded: readonly Uint8Array[]): void {
    node.release();
    node.takeSent();
  }

  protected openSockets(): void {
    for (const family of [4, 6] as const) {
      this.host.listen(family, TUNNEL_PORT, (datagram) => this.#collect(datagram));
    }
  }

  protected announceAddresses(now: Instant): void {
    const endpoints = this.host.addresses.map((address) => endpoint(address, TUNNEL_PORT));
    this.instance?.role.setLocalAddresses(endpoints, now);
  }

  protected createParts(seedName: string, now: Instant): Parts {
    const { streams, log } = this.context;
    const crypto = createSeededCrypto(streams.number(`crypto ${seedName}`));
    const aead = new CountedAead(crypto, KEY_SLOTS);
    const wallClock = new WallClock(now, this.host.wallNow);
    const random = streams.of(`random ${seedName}`);
    const node = new WatchedNode(
      { role: this.kind, allowNoRelays: true },
      { crypto, random, aead, wallClock, log },
      now,
    );
    return { crypto, aead, wallClock, random, node };
  }

  /** What `sealSend` does with the row of a slot. */
  protected sendOnPath(
    { aead: { paths } }: Instance<Role>,
    slot: number,
    bytes: Uint8Array,
    ecn: number,
  ): void {
    const row = slot * PATH.stride;
    const remote = addressFromWords(paths, row + PATH.remote);
    const destination = endpoint(remote, at(paths, row + PATH.remotePort));
    const local = addressFromWords(paths, row + PATH.local);
    const source = local === '::' ? undefined : local;
    this.host.send(TUNNEL_PORT, source, destination, bytes, ecn);
  }

  #arm(due: Instant | undefined): void {
    this.#spins = 0;
    this.due = due === undefined ? undefined : this.host.toWorld(due);
  }

  /** The loop waits a millisecond then; a machine that asks for it for ever has a bug. */
  #spin({ role, link }: Instance<Role>): void {
    if (++this.#spins === MAX_SPINS) {
      const found = `${this.name}: role ${role.pollTimeout()}, channel ${link.pollTimeout()}`;
      this.context.fault('a machine asks for no wake-up that changes nothing', 'progress', found);
    }
    this.due = this.host.toWorld((this.host.now + 1) as Instant);
  }

  #expire({ role, link }: Instance<Role>, now: Instant): void {
    const linkDue = link.pollTimeout();
    if (linkDue !== undefined && linkDue <= now) link.handleTimeout();
    const roleDue = role.pollTimeout();
    if (roleDue !== undefined && roleDue <= now) role.handleTimeout(now);
  }

  #flush(instance: Instance<Role>): void {
    const { role } = instance;
    for (let out = role.pollTransmit(); out; out = role.pollTransmit()) {
      const { source, destination, payload, ecn } = out;
      this.host.send(source?.port ?? TUNNEL_PORT, source?.address, destination, payload, ecn);
    }
    const forwarded: Uint8Array[] = [];
    for (let packet = role.pollTunPacket(); packet; packet = role.pollTunPacket()) {
      forwarded.push(packet);
    }
    this.drainEvents(instance);
    this.noteDrained(instance, forwarded);
    for (const packet of forwarded) this.handleTunPacket(packet);
  }

  #attempt(work: (now: Instant) => void, now: Instant): void {
    try {
      work(now);
    } catch (error) {
      if (!(error instanceof InvariantError)) throw error;
      this.context.fault(
        'no invariant of the product breaks',
        'no fault',
        `${this.name}: ${error.stack}`,
      );
    }
  }

  /** Datagrams of one instant, sender and size become one run. */
  #collect(datagram: Datagram): void {
    const [first] = this.#run;
    if (first === undefined) {
      this.context.scheduler.call(0, () => this.#receive());
    } else if (!joins(first, datagram) || this.#run.length === MAX_RUN) {
      this.#receive();
      this.context.scheduler.call(0, () => this.#receive());
    }
    this.#run.push(datagram);
  }

  #receive(): void {
    const run = this.#run;
    const [first] = run;
    if (first === undefined) return;
    this.#run = [];
    this.turn((now) => {
      const { instance } = this;
      if (!instance) return;
      const batch = this.#received;
      const bytes = concat(...run.map(({ payload }) => payload));
      batch.slab.set(bytes);
      batch.runs.fill(0, 0, RUN.stride);
      batch.runs.set([0, bytes.length, first.payload.length]);
      writeAddressWords(first.source.address, batch.runs, RUN.remote);
      batch.runs[RUN.remotePort] = first.source.port;
      writeAddressWords(first.destination.address, batch.runs, RUN.local);
      batch.runs[RUN.localPort] = first.destination.port;
      batch.runs[RUN.ecn] = first.ecn;
      batch.runs[RUN.slot] = -1;
      batch.runCount = 1;
      batch.datagramCount = 0;
      batch.superCount = 0;
      const { role, aead } = instance;
      role.handleRuns(batch, now);
      aead.open(batch);
      role.handleOpened(batch, now);
      aead.gather(batch);
      this.decideSuperPackets(instance, batch, now);
    });
  }

  #tell(change: string): void {
    const { watchers, scheduler } = this.context;
    watchers.lifeCycle(this.name, this.kind, change, scheduler.now);
  }
}

export interface Parts {
  readonly crypto: ReturnType<typeof createSeededCrypto>;
  readonly aead: CountedAead;
  readonly wallClock: WallClock;
  readonly random: ReturnType<Context['streams']['of']>;
  readonly node: WatchedNode;
}

function joins(first: Datagram, next: Datagram): boolean {
  return (
    first.source.key === next.source.key &&
    first.destination.key === next.destination.key &&
    first.ecn === next.ecn &&
    first.payload.length === next.payload.length
  );
}
