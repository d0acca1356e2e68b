// Hot path. Packets between the tunnels and the TUN device, by batch (data-plane 3.3, 4.2). Owner of the order in which packets are
// looked at; what is decided about each is `PacketPolicy`'s.
//
//   gather -> handleSuperPackets: parse -> multicast? -> client -> control? -> decide -> verdict, or ICMP error
//   readTun -> handleTunPackets:  parse -> client by destination -> decide -> key slot
//
// Forwarded packets allocate nothing. Answers, control packets and ICMP errors about translated flows do.

import { type ReceiveBatch, SUPER, TUN_PACKET, type TunBatch, VERDICT } from '../../base/batch.ts';
import { int32At, viewOf } from '../../base/bytes.ts';
import type { Counters } from '../../base/counters.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import { segmentSuperPacket, segmentTunPacket } from '../../proto/batch/segment.ts';
import type { WholePacket } from '../../proto/fragments/reassembly.ts';
import { isTunnelWords } from '../../wire/control/address-plan.ts';
import { isControlPacket } from '../../wire/control/p2p-control.ts';
import {
  copyTunPacket,
  parseSuperPacket,
  parseTunPacket,
  type RowOutcome,
} from '../../wire/ip/batch-rows.ts';
import { ecnOf, mergeEcn } from '../../wire/ip/edit.ts';
import { DESTINATION_WORDS, ParsedPacket, parsePacket } from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import { innerPacketLength } from '../../wire/wireguard/inner-packet.ts';
import type { PathMtus } from '../path-mtus.ts';
import { tooBigAbout } from '../too-big.ts';
import { countSuperPacket, countTunPacket, countWhole } from './accounting.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Clients } from './clients.ts';
import type { ControlPackets } from './control-packets.ts';
import type { GatewayCount } from './decisions.ts';
import { Exits } from './exits.ts';
import { changeToClient, changeToResource } from './legacy/other-family.ts';
import { type GatewayLink, wasTaken } from './link.ts';
import { WholePackets } from './whole-packets.ts';

export interface TrafficDeps {
  readonly link: GatewayLink;
  readonly clients: Clients;
  readonly control: ControlPackets;
  readonly mtus: PathMtus;
  readonly counts: Counters<GatewayCount>;
}

export class Traffic {
  readonly exits: Exits;
  readonly #link: GatewayLink;
  readonly #clients: Clients;
  readonly #control: ControlPackets;
  readonly #mtus: PathMtus;
  readonly #counts: Counters<GatewayCount>;
  readonly #whole: WholePackets;
  readonly #packet = new ParsedPacket();
  /** Whose packet was admitted last, if it must be made anew in the other family. */
  #otherFamily: ClientPeer | undefined;
  /** Whose packet is being decided, for the case that an invariant breaks meanwhile. */
  #serving: ClientPeer | undefined;

  constructor({ link, clients, control, mtus, counts }: TrafficDeps) {
    this.#link = link;
    this.#clients = clients;
    this.#control = control;
    this.#mtus = mtus;
    this.#counts = counts;
    this.exits = new Exits(link, counts);
    this.#whole = new WholePackets({ clients, exits: this.exits, mtus, counts });
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    const { superPackets: rows, slab, view } = batch;
    const mtu = this.#mtus.largest;
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      rows[row + SUPER.verdict] = VERDICT.drop;
      const outcome = parseSuperPacket(batch, i, this.#packet, mtu);
      const peer = this.#link.peerOfSlot(int32At(rows, row + SUPER.slot));
      if (outcome !== 'parsed') {
        const start = int32At(rows, row + SUPER.offset);
        const packet = slab.subarray(start, start + int32At(rows, row + SUPER.length));
        this.#handleUnusual(outcome, peer, packet, int32At(rows, row + SUPER.ecn), now);
        continue;
      }
      const client = this.#admit(slab, view, peer, now);
      if (!client) {
        if (this.#otherFamily) this.#changeToResource(segmentSuperPacket(batch, row));
        continue;
      }
      mergeEcn(view, this.#packet, int32At(rows, row + SUPER.ecn));
      rows[row + SUPER.verdict] = VERDICT.forward;
      countSuperPacket(client, this.#packet, batch, row, now);
    }
  }

  /** A packet that arrived outside of a batch; `bytes` are ours. */
  handlePacket(peer: PeerId, bytes: Uint8Array, ecn: Ecn, now: Instant): void {
    const view = viewOf(bytes);
    const outcome =
      bytes.length > this.#mtus.largest
        ? 'too-large'
        : parsePacket(view, 0, bytes.length, this.#packet);
    if (outcome !== 'parsed') return this.#handleUnusual(outcome, peer, bytes, ecn, now);
    const client = this.#admit(bytes, view, peer, now);
    this.#serving = undefined;
    if (!client) {
      if (this.#otherFamily) this.#changeToResource([bytes]);
      return;
    }
    mergeEcn(view, this.#packet, ecn);
    if (this.exits.pushToTun(bytes)) countWhole(client, this.#packet, bytes, 'to-resource', now);
  }

  handleTunPackets(batch: TunBatch, now: Instant): void {
    const { packets: rows, view } = batch;
    const packet = this.#packet;
    for (let i = 0; i < batch.packetCount; i++) {
      const row = i * TUN_PACKET.stride;
      rows[row + TUN_PACKET.slot] = -1;
      const outcome = parseTunPacket(batch, i, packet);
      if (outcome === 'fragment') {
        const start = int32At(rows, row + TUN_PACKET.offset);
        const end = start + int32At(rows, row + TUN_PACKET.length);
        this.#whole.handleFragmentOfResource(batch.slab.subarray(start, end), now);
        continue;
      }
      if (outcome !== 'parsed') {
        this.exits.dropToClient(outcome);
        continue;
      }
      const client = this.#recipient(view);
      if (!client) continue;
      this.#serving = client;
      if (packet.tunnelLength > MAX_PACKET_LENGTH && !this.#fits(client)) {
        this.#whole.handleTooLarge(client, batch, i, packet, now);
        continue;
      }
      const decision = client.policy.decideToClient(batch.slab, view, packet, now);
      if (decision !== 'forward') {
        if (decision === 'other-family') this.#sendChanged(client, batch, row, now);
        else this.exits.settleToClient(client, decision, now);
        continue;
      }
      const ecn = ecnOf(view, packet);
      const slot = this.#link.sendSlot(client.peer, now);
      rows[row + TUN_PACKET.slot] = slot;
      rows[row + TUN_PACKET.ecn] = ecn;
      if (slot >= 0 || this.#sendAlone(client, batch, i, now))
        countTunPacket(client, packet, batch, row, now);
      else this.exits.dropToClient('not-connected');
    }
  }

  handleTimeout(now: Instant): void {
    this.#whole.handleTimeout(now);
  }

  /** The client that was served when an invariant broke. */
  takeServed(): ClientPeer | undefined {
    const served = this.#serving;
    this.#serving = undefined;
    return served;
  }

  /** The client whose packet may be forwarded (data-plane 3.3); otherwise it is dropped, answered or handled here. */
  #admit(
    slab: Uint8Array,
    view: DataView,
    peer: PeerId | undefined,
    now: Instant,
  ): ClientPeer | undefined {
    const packet = this.#packet;
    this.#otherFamily = undefined;
    if (isMulticast(packet)) return this.exits.drop('multicast');
    const client = this.#find(peer);
    if (!client) return this.exits.drop('no-peer');
    this.#serving = client;
    if (isControlPacket(view, packet.offset, packet.length)) {
      const copy = slab.slice(packet.offset, packet.offset + packet.length);
      this.#control.handlePacket(client, copy, now);
      return undefined;
    }
    const decision = client.policy.decideToResource(view, packet, now);
    if (decision === 'forward') return client;
    if (decision === 'other-family') this.#otherFamily = client;
    else this.exits.refuse(client, decision, slab, packet, now);
    return undefined;
  }

  /** Packets of the client that was just admitted, made anew in the resource's family. Cold. */
  #changeToResource(packets: readonly Uint8Array[]): void {
    const client = this.#otherFamily;
    if (!client) return;
    const changed = changeToResource(client, packets);
    if (changed.length < packets.length) this.exits.drop('other-family');
    for (const bytes of changed) {
      if (this.exits.pushToTun(bytes)) client.traffic.noteToResource(bytes.length, 1);
    }
  }

  /** The packets of a row from the TUN device, made anew in the client's family. Cold. */
  #sendChanged(client: ClientPeer, batch: TunBatch, row: number, now: Instant): void {
    const packets = segmentTunPacket(batch, row);
    const changed = Array.isArray(packets) ? changeToClient(client, packets) : [];
    if (changed.length < packets.length) this.exits.dropToClient('other-family');
    const ecn = ecnOf(batch.view, this.#packet);
    for (const bytes of changed) {
      if (wasTaken(this.#link.sendPacket(client.peer, bytes, ecn, now)))
        client.traffic.noteToClient(bytes.length, 1);
      else this.exits.dropToClient('not-connected');
    }
  }

  #find(peer: PeerId | undefined): ClientPeer | undefined {
    return peer === undefined ? undefined : this.#clients.get(peer);
  }

  /** A packet of a client that could not be decided as it came. */
  #handleUnusual(
    outcome: Exclude<RowOutcome, 'parsed'>,
    peer: PeerId | undefined,
    bytes: Uint8Array,
    ecn: number,
    now: Instant,
  ): void {
    const client = this.#find(peer);
    switch (outcome) {
      case 'malformed':
        return this.exits.drop(outcome);
      case 'too-large': {
        // Of a super-packet the header tells the length of the first segment.
        const length = innerPacketLength(bytes);
        const isControl = isControlPacket(viewOf(bytes), 0, bytes.length);
        if (!client || length === undefined || isControl) return this.exits.drop(outcome);
        const error = tooBigAbout(bytes.slice(0, length), length, this.#mtus.largest);
        return this.exits.refuseTooLarge(client, error, now);
      }
      case 'fragment': {
        const whole = this.#whole.takeFragmentOfClient(client, bytes, now);
        if (client && whole) this.#handleWhole(client, whole, ecn, now);
      }
    }
  }

  /** A packet of a client that came in fragments. */
  #handleWhole(client: ClientPeer, whole: WholePacket, ecn: number, now: Instant): void {
    const { bytes } = whole;
    const view = viewOf(bytes);
    const parsed = parsePacket(view, 0, bytes.length, this.#packet);
    if (parsed !== 'parsed') return this.exits.drop(parsed);
    if (!this.#admit(bytes, view, client.peer, now)) {
      if (this.#otherFamily) this.#changeToResource([bytes]);
      return;
    }
    mergeEcn(view, this.#packet, ecn);
    this.#whole.forwardToResource(client, this.#packet, whole, now);
  }

  /** Whether `#packet`, longer than the standard size, may go to the client as it is. */
  #fits(client: ClientPeer): boolean {
    return this.#packet.tunnelLength <= this.#mtus.sizeForLarge(client.peer);
  }

  /** The client a packet from the TUN device is for (data-plane 4.2 steps 2 to 4). */
  #recipient(view: DataView): ClientPeer | undefined {
    const packet = this.#packet;
    if (isControlPacket(view, packet.offset, packet.length)) {
      this.#counts.add('control-packets-from-tun');
    }
    if (!isTunnelWords(packet.addresses, DESTINATION_WORDS)) {
      return this.exits.dropToClient('not-a-peer');
    }
    const client = this.#clients.findByAddress(packet.addresses, DESTINATION_WORDS);
    if (!client) this.exits.dropToClient('no-peer');
    return client;
  }

  /** Without a key slot a single packet goes through the link, which may know a way; a GSO packet cannot. */
  #sendAlone(client: ClientPeer, batch: TunBatch, index: number, now: Instant): boolean {
    const isGso = int32At(batch.packets, index * TUN_PACKET.stride + TUN_PACKET.gsoType) !== 0;
    const copy = isGso ? undefined : copyTunPacket(batch, index, this.#packet);
    const ecn = ecnOf(batch.view, this.#packet);
    return copy !== undefined && wasTaken(this.#link.sendPacket(client.peer, copy, ecn, now));
  }
}

/** 224.0.0.0/4 and ff00::/8. */
function isMulticast(packet: ParsedPacket): boolean {
  return packet.version === 4
    ? int32At(packet.addresses, DESTINATION_WORDS + 3) >>> 28 === 0xe
    : int32At(packet.addresses, DESTINATION_WORDS) >>> 24 === 0xff;
}
