// Hot path. Packets between the client's TUN device and its gateways: which gateway, may it go, may it come in. What a packet sets in motion
// (a request for access, the announcement of a name) is `Access`'s to do.
//
//   outbound   readTun -> handleTunPackets: source? -> route -> filter -> access -> DNS NAT -> key slot, or wait
//   inbound    gather -> handleSuperPackets: control? source allowed? -> writeTun

import { type IpAddress, writeAddressWords } from '../../base/address.ts';
import {
  type ReceiveBatch,
  SUPER,
  TUN_FLAG,
  TUN_PACKET,
  type TunBatch,
  VERDICT,
} from '../../base/batch.ts';
import { at } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import { isControlPacket } from '../../wire/control/p2p-control.ts';
import { parseSuperPacket, parseTunPacket, type RowOutcome } from '../../wire/ip/batch-rows.ts';
import { ecnOf, mergeEcn } from '../../wire/ip/edit.ts';
import { EmbeddedPacket, parseEmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import { refusalOf, writeIcmpError } from '../../wire/ip/icmp-error.ts';
import {
  DESTINATION_WORDS,
  ParsedPacket,
  parsePacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import type { Access } from './access.ts';
import { copyPacket } from './copy-packet.ts';
import type { Gateways } from './gateways.ts';
import type { ClientLink } from './link.ts';
import type { Routing } from './routing.ts';

export type TrafficDrop =
  | Exclude<RowOutcome, 'parsed'>
  | 'multicast'
  | 'not-configured'
  | 'source-not-ours'
  | 'packet-to-self'
  | 'unknown-resource'
  | 'refused-by-filter'
  | 'too-large-to-wait'
  | 'too-many-waiting'
  | 'not-connected'
  | 'no-gateway'
  | 'destination-not-ours'
  | 'tun-queue-full'
  | 'source-not-allowed';

// Implementation
/** Packets for the own TUN device that wait for the loop; errors and cold arrivals, never bulk. */
const MAX_PACKETS_TO_TUN = 256;
const NO_SLOT = -1;

interface TrafficDeps {
  readonly node: ClientLink;
  readonly gateways: Gateways;
  readonly routing: Routing;
  readonly access: Access;
}

export class Traffic {
  readonly drops: Counters<TrafficDrop> = new Counters();
  readonly #node: ClientLink;
  readonly #gateways: Gateways;
  readonly #routing: Routing;
  readonly #access: Access;
  readonly #packet = new ParsedPacket();
  readonly #embedded = new EmbeddedPacket();
  readonly #own = new Int32Array(8);
  #isConfigured = false;
  #toTun: Uint8Array[] = [];

  constructor({ node, gateways, routing, access }: TrafficDeps) {
    this.#node = node;
    this.#gateways = gateways;
    this.#routing = routing;
    this.#access = access;
  }

  setOwnAddresses(ipv4: IpAddress, ipv6: IpAddress): void {
    writeAddressWords(ipv4, this.#own, 0);
    writeAddressWords(ipv6, this.#own, 4);
    this.#isConfigured = true;
  }

  handleTunPackets(batch: TunBatch, now: Instant): void {
    const { packets, slab, view } = batch;
    for (let i = 0; i < batch.packetCount; i++) {
      const row = i * TUN_PACKET.stride;
      packets[row + TUN_PACKET.slot] = NO_SLOT;
      const outcome = parseTunPacket(batch, i, this.#packet);
      if (outcome !== 'parsed') {
        this.drops.add(outcome);
        continue;
      }
      const isPartial = (at(packets, row + TUN_PACKET.flags) & TUN_FLAG.checksumNeeded) !== 0;
      const peer = this.#admit(slab, isPartial, now);
      if (peer === undefined) continue;
      const slot = this.#node.sendSlot(peer, now);
      if (slot === NO_SLOT) this.#sendAlone(peer, slab, isPartial, now);
      packets[row + TUN_PACKET.slot] = slot;
      packets[row + TUN_PACKET.ecn] = ecnOf(view, this.#packet);
    }
  }

  /** Sends packets that waited; they go through the same decisions as new ones. */
  resend(waited: readonly Uint8Array[], now: Instant): void {
    for (const bytes of waited) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      if (parsePacket(view, 0, bytes.length, this.#packet) !== 'parsed') continue;
      const peer = this.#admit(bytes, false, now);
      if (peer === undefined) continue;
      this.#sendOrWait(peer, bytes, ecnOf(view, this.#packet) as Ecn, now);
    }
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    const { superPackets: rows, slab, view } = batch;
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      const peer = this.#node.peerOfSlot(at(rows, row + SUPER.slot));
      const outcome = parseSuperPacket(batch, i, this.#packet);
      const isAllowed = this.#admitInbound(peer, slab, view, outcome, now);
      if (isAllowed) mergeEcn(view, this.#packet, at(rows, row + SUPER.ecn));
      rows[row + SUPER.verdict] = isAllowed ? VERDICT.forward : VERDICT.drop;
    }
  }

  /** A packet that arrived outside of a batch. */
  handlePacket(peer: PeerId, bytes: Uint8Array, now: Instant): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const outcome = parsePacket(view, 0, bytes.length, this.#packet);
    if (this.#admitInbound(peer, bytes, view, outcome, now)) this.#pushToTun(bytes);
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#toTun.shift();
  }

  /** The peer to send `#packet` to; `undefined`: dropped, answered here, or kept for later. */
  #admit(slab: Uint8Array, isPartial: boolean, now: Instant): PeerId | undefined {
    const reason = this.#refusal();
    if (reason !== undefined) return this.#drop(reason);
    const route = this.#routing.route(this.#packet);
    switch (route.kind) {
      case 'gateway':
        return route.gateway.peer;
      case 'nowhere':
        return this.#drop('unknown-resource');
      case 'resource': {
        if (!route.isAllowed) {
          // No error about an error (RFC 1122 §3.2.2, RFC 4443 §2.4).
          if (this.#packet.transport !== TRANSPORT.icmp) {
            this.#pushToTun(writeIcmpError('prohibited', slab, this.#packet));
          }
          return this.#drop('refused-by-filter');
        }
        const buffer = this.#access.bufferFor(route.resource, route.domain, now);
        if (buffer.kind === 'go') return buffer.peer;
        if (this.#packet.length > MAX_PACKET_LENGTH) return this.#drop('too-large-to-wait');
        buffer.packets?.push(copyPacket(slab, this.#packet, isPartial));
        return undefined;
      }
    }
  }

  #refusal(): TrafficDrop | undefined {
    const { addresses, version } = this.#packet;
    if (isMulticast(addresses, version)) return 'multicast';
    if (!this.#isConfigured) return 'not-configured';
    if (!this.#isOwn(addresses, SOURCE_WORDS)) return 'source-not-ours';
    if (this.#isOwn(addresses, DESTINATION_WORDS)) return 'packet-to-self';
    return undefined;
  }

  #isOwn(words: Int32Array, index: number): boolean {
    const own = this.#own;
    for (let base = 0; base < 8; base += 4) {
      if (
        at(own, base + 3) === at(words, index + 3) &&
        at(own, base + 2) === at(words, index + 2) &&
        at(own, base + 1) === at(words, index + 1) &&
        at(own, base) === at(words, index)
      ) {
        return true;
      }
    }
    return false;
  }

  /** Without a key slot a single packet goes through the link, which may know a way; a GSO packet cannot, and is sent again by its owner. */
  #sendAlone(peer: PeerId, slab: Uint8Array, isPartial: boolean, now: Instant): void {
    if (this.#packet.length > MAX_PACKET_LENGTH) return this.#drop('too-large-to-wait');
    const copy = copyPacket(slab, this.#packet, isPartial);
    const view = new DataView(slab.buffer, slab.byteOffset, slab.byteLength);
    this.#sendOrWait(peer, copy, ecnOf(view, this.#packet) as Ecn, now);
  }

  #sendOrWait(peer: PeerId, packet: Uint8Array, ecn: Ecn, now: Instant): void {
    switch (this.#node.sendPacket(peer, packet, ecn, now)) {
      case 'sent':
      case 'waiting':
        return;
      case 'still-connecting':
        if (!this.#access.waitForConnection(peer, packet)) this.#drop('too-many-waiting');
        return;
      default:
        this.#drop('not-connected');
    }
  }

  /** True if `#packet` may enter the TUN device. Control packets are handled here. */
  #admitInbound(
    peer: PeerId | undefined,
    slab: Uint8Array,
    view: DataView,
    outcome: RowOutcome,
    now: Instant,
  ): boolean {
    const gateway = peer && this.#gateways.find(peer);
    if (!gateway || outcome !== 'parsed') {
      this.drops.add(gateway && outcome !== 'parsed' ? outcome : 'no-gateway');
      return false;
    }
    const { offset, length } = this.#packet;
    if (isControlPacket(view, offset, length)) {
      this.#access.handleControl(peer, slab.slice(offset, offset + length), now);
      return false;
    }
    if (!gateway.allowsSource(this.#packet.addresses, SOURCE_WORDS, this.#resourcesOfProxy)) {
      this.drops.add('source-not-allowed');
      return false;
    }
    // What comes out of the tunnel is for this host alone, whatever its routes would make of another destination.
    if (!this.#isOwn(this.#packet.addresses, DESTINATION_WORDS)) {
      this.drops.add('destination-not-ours');
      return false;
    }
    if (refusalOf(this.#packet) === 'prohibited') this.#noteProhibited(peer, view, now);
    return true;
  }

  readonly #resourcesOfProxy = (address: IpAddress): ReturnType<Routing['resourcesOfProxy']> =>
    this.#routing.resourcesOfProxy(address);

  /** The gateway refuses what this client believes to hold: the grant is asked for anew (client 11.5, always on). */
  #noteProhibited(peer: PeerId, view: DataView, now: Instant): void {
    if (!parseEmbeddedPacket(view, this.#packet, this.#embedded)) return;
    const quoted = new ParsedPacket();
    quoted.addresses.set(this.#embedded.addresses);
    quoted.transport = this.#embedded.transport;
    quoted.destinationPort = this.#embedded.destinationPort;
    const route = this.#routing.route(quoted);
    if (route.kind === 'resource' && route.isAllowed) this.#access.renew(peer, route.resource, now);
  }

  #pushToTun(bytes: Uint8Array): void {
    if (this.#toTun.length < MAX_PACKETS_TO_TUN) this.#toTun.push(bytes);
    else this.drops.add('tun-queue-full');
  }

  #drop(reason: TrafficDrop): undefined {
    this.drops.add(reason);
    return undefined;
  }
}

function isMulticast(addresses: Int32Array, version: number): boolean {
  if (version === 4) return at(addresses, DESTINATION_WORDS + 3) >>> 28 === 0xe;
  return at(addresses, DESTINATION_WORDS) >>> 24 === 0xff;
}
