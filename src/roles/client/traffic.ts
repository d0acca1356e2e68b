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
import { at, viewOf } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import type { FragmentDrop } from '../../proto/fragments/reassembly.ts';
import { isControlPacket } from '../../wire/control/p2p-control.ts';
import {
  copyTunPacket,
  parseSuperPacket,
  parseTunPacket,
  type RowOutcome,
} from '../../wire/ip/batch-rows.ts';
import { ecnOf, mergeEcn } from '../../wire/ip/edit.ts';
import { EmbeddedPacket, parseEmbeddedPacket } from '../../wire/ip/embedded-packet.ts';
import { mayBeSplit, splitPacket } from '../../wire/ip/fragment.ts';
import { refusalOf, writeIcmpError } from '../../wire/ip/icmp-error.ts';
import {
  DESTINATION_WORDS,
  ParsedPacket,
  parsePacket,
  SOURCE_WORDS,
  TRANSPORT,
} from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import type { PathMtus } from '../path-mtus.ts';
import { tooBigAbout } from '../too-big.ts';
import type { Access } from './access.ts';
import { copyPacket } from './copy-packet.ts';
import { Fragments } from './fragments.ts';
import type { Gateways } from './gateways.ts';
import type { ClientLink } from './link.ts';
import type { Routing } from './routing.ts';

export type TrafficDrop =
  | FragmentDrop
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
  readonly mtus: PathMtus;
}

export class Traffic {
  readonly drops: Counters<TrafficDrop> = new Counters();
  readonly #node: ClientLink;
  readonly #gateways: Gateways;
  readonly #routing: Routing;
  readonly #access: Access;
  readonly #mtus: PathMtus;
  readonly #fragments: Fragments = new Fragments(this.drops);
  readonly #packet = new ParsedPacket();
  readonly #embedded = new EmbeddedPacket();
  readonly #own = new Int32Array(8);
  #isConfigured = false;
  #toTun: Uint8Array[] = [];

  constructor({ node, gateways, routing, access, mtus }: TrafficDeps) {
    this.#node = node;
    this.#mtus = mtus;
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
        if (outcome === 'fragment') this.#takeFragmentOfHost(bytesOfTun(batch, row), now);
        else this.drops.add(outcome);
        continue;
      }
      const isPartial = (at(packets, row + TUN_PACKET.flags) & TUN_FLAG.checksumNeeded) !== 0;
      const peer = this.#admit(slab, isPartial, now);
      if (peer === undefined) continue;
      if (this.#packet.tunnelLength > MAX_PACKET_LENGTH && !this.#fits(peer)) {
        const copy = copyTunPacket(batch, i, this.#packet);
        this.#handleTooLarge(peer, copy, this.#packet.tunnelLength, now);
        continue;
      }
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
      if (bytes.length > MAX_PACKET_LENGTH && bytes.length > this.#mtus.sizeForLarge(peer))
        this.#handleTooLarge(peer, bytes, bytes.length, now);
      else this.#sendOrWait(peer, bytes, ecnOf(view, this.#packet), now);
    }
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    const { superPackets: rows, slab, view } = batch;
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      const peer = this.#node.peerOfSlot(at(rows, row + SUPER.slot));
      const outcome = parseSuperPacket(batch, i, this.#packet, this.#mtus.largest);
      if (outcome === 'fragment') {
        rows[row + SUPER.verdict] = VERDICT.drop;
        this.#takeFragmentOfGateway(peer, bytesOfSuper(batch, row), now);
        continue;
      }
      const isAllowed = this.#admitInbound(peer, slab, view, outcome, now);
      if (isAllowed) mergeEcn(view, this.#packet, at(rows, row + SUPER.ecn));
      rows[row + SUPER.verdict] = isAllowed ? VERDICT.forward : VERDICT.drop;
    }
  }

  /** A packet that arrived outside of a batch. */
  handlePacket(peer: PeerId, bytes: Uint8Array, now: Instant): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length > this.#mtus.largest) return this.#drop('too-large');
    const outcome = parsePacket(view, 0, bytes.length, this.#packet);
    if (outcome === 'fragment') return this.#takeFragmentOfGateway(peer, bytes, now);
    if (this.#admitInbound(peer, bytes, view, outcome, now)) this.#pushToTun(bytes);
  }

  handleTimeout(now: Instant): void {
    this.#fragments.handleTimeout(now);
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
        if (this.#packet.length > this.#mtus.largest) return this.#drop('too-large-to-wait');
        buffer.packets?.push(copyPacket(slab, this.#packet, isPartial));
        return undefined;
      }
    }
  }

  /** Decided as a whole, like any other packet, and sent on in fragments. */
  #takeFragmentOfHost(fragment: Uint8Array, now: Instant): void {
    const whole = this.#fragments.take(undefined, fragment, this.#packet, now);
    const peer = whole && this.#admit(whole.bytes, false, now);
    if (!whole || peer === undefined) return;
    const size = Math.min(whole.largest, this.#mtus.sizeForLarge(peer));
    this.#sendInFragments(peer, whole.bytes, whole.identification, size, now);
  }

  /** What it was cut to on its way means nothing to this host. */
  #takeFragmentOfGateway(peer: PeerId | undefined, fragment: Uint8Array, now: Instant): void {
    if (peer === undefined) return this.#drop('no-gateway');
    const whole = this.#fragments.take(peer, fragment, this.#packet, now);
    if (whole && this.#admitInbound(peer, whole.bytes, viewOf(whole.bytes), 'parsed', now))
      this.#pushToTun(whole.bytes);
  }

  #fits(peer: PeerId): boolean {
    return this.#packet.tunnelLength <= this.#mtus.sizeForLarge(peer);
  }

  /** Longer than the tunnel to `peer` carries: in fragments if it may be cut, else this host is told. */
  #handleTooLarge(peer: PeerId, copy: Uint8Array, tunnelLength: number, now: Instant): void {
    const size = this.#mtus.sizeOf(peer);
    if (tunnelLength === copy.length && mayBeSplit(copy))
      return this.#sendInFragments(peer, copy, viewOf(copy).getUint16(4), size, now);
    this.#drop('too-large');
    const error = tooBigAbout(copy, tunnelLength, size);
    if (error) this.#pushToTun(error);
  }

  #sendInFragments(
    peer: PeerId,
    bytes: Uint8Array,
    identification: number,
    size: number,
    now: Instant,
  ): void {
    parsePacket(viewOf(bytes), 0, bytes.length, this.#packet);
    const ecn = ecnOf(viewOf(bytes), this.#packet);
    for (const part of splitPacket(bytes, identification, size))
      this.#sendOrWait(peer, part, ecn, now);
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
    if (this.#packet.length > this.#mtus.largest) return this.#drop('too-large-to-wait');
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

function bytesOfTun({ packets, slab }: TunBatch, row: number): Uint8Array {
  const start = at(packets, row + TUN_PACKET.offset);
  return slab.subarray(start, start + at(packets, row + TUN_PACKET.length));
}

function bytesOfSuper({ superPackets, slab }: ReceiveBatch, row: number): Uint8Array {
  const start = at(superPackets, row + SUPER.offset);
  return slab.subarray(start, start + at(superPackets, row + SUPER.length));
}

function isMulticast(addresses: Int32Array, version: number): boolean {
  if (version === 4) return at(addresses, DESTINATION_WORDS + 3) >>> 28 === 0xe;
  return at(addresses, DESTINATION_WORDS) >>> 24 === 0xff;
}
