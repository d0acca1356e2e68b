// Hot path. Packets between the tunnels and the TUN device, by batch (data-plane 3.3, 4.2). Owner of the order in which packets are
// looked at; what is decided about each is `ClientPeer`'s.
//
//   gather -> handleSuperPackets: parse -> multicast? -> client -> control? -> decide -> verdict, or ICMP error
//   readTun -> handleTunPackets:  parse -> client by destination -> decide -> key slot
//
// Forwarded packets allocate nothing. Answers, control packets and ICMP errors about translated flows do.

import { type ReceiveBatch, SUPER, TUN_PACKET, type TunBatch, VERDICT } from '../../base/batch.ts';
import { int32At, viewOf } from '../../base/bytes.ts';
import { Counters } from '../../base/counters.ts';
import type { PeerId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import { Reassembly } from '../../proto/fragments/reassembly.ts';
import { isTunnelWords } from '../../wire/control/address-plan.ts';
import { isControlPacket } from '../../wire/control/p2p-control.ts';
import {
  copyTunPacket,
  parseSuperPacket,
  parseTunPacket,
  type RowOutcome,
} from '../../wire/ip/batch-rows.ts';
import { ecnOf, mergeEcn } from '../../wire/ip/edit.ts';
import { parseFragment, splitPacket } from '../../wire/ip/fragment.ts';
import { writeIcmpError } from '../../wire/ip/icmp-error.ts';
import { DESTINATION_WORDS, ParsedPacket, parsePacket } from '../../wire/ip/parsed-packet.ts';
import { MAX_PACKET_LENGTH } from '../../wire/ip/protocol.ts';
import { countSuperPacket, countTunPacket, countWhole } from './accounting.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Clients } from './clients.ts';
import type { ControlPackets } from './control-packets.ts';
import { answerTo, type Decision, type DropReason, type GatewayCount } from './decisions.ts';
import { type GatewayLink, wasTaken } from './link.ts';

// Implementation
/** Packets for our own TUN device that arrived one by one; the loop takes them each turn. */
const MAX_PACKETS_TO_TUN = 1_024;

export interface TrafficDeps {
  readonly link: GatewayLink;
  readonly clients: Clients;
  readonly control: ControlPackets;
  readonly counts: Counters<GatewayCount>;
}

export class Traffic {
  /** Packets of clients that were not forwarded. */
  readonly dropsToResource: Counters<DropReason | 'tun-queue-full'> = new Counters();
  /** Packets for clients that were not sent. */
  readonly dropsToClient: Counters<DropReason> = new Counters();
  readonly #link: GatewayLink;
  readonly #clients: Clients;
  readonly #control: ControlPackets;
  readonly #counts: Counters<GatewayCount>;
  readonly #packet = new ParsedPacket();
  readonly #toTun: Uint8Array[] = [];
  /** Whose packet is being decided, for the case that an invariant breaks meanwhile. */
  #serving: ClientPeer | undefined;
  readonly #reassembly = { toResource: new Reassembly(), toClient: new Reassembly() };

  constructor({ link, clients, control, counts }: TrafficDeps) {
    this.#link = link;
    this.#clients = clients;
    this.#control = control;
    this.#counts = counts;
  }

  handleSuperPackets(batch: ReceiveBatch, now: Instant): void {
    const { superPackets: rows, slab, view } = batch;
    for (let i = 0; i < batch.superCount; i++) {
      const row = i * SUPER.stride;
      rows[row + SUPER.verdict] = VERDICT.drop;
      const outcome = parseSuperPacket(batch, i, this.#packet);
      const peer = this.#link.peerOfSlot(int32At(rows, row + SUPER.slot));
      if (outcome === 'fragment') {
        const start = int32At(rows, row + SUPER.offset);
        const fragment = slab.subarray(start, start + int32At(rows, row + SUPER.length));
        this.#handleFragmentOfClient(peer, fragment, int32At(rows, row + SUPER.ecn), now);
        continue;
      }
      const client = this.#admit(outcome, slab, view, peer, now);
      if (!client) continue;
      mergeEcn(view, this.#packet, int32At(rows, row + SUPER.ecn));
      rows[row + SUPER.verdict] = VERDICT.forward;
      countSuperPacket(client, this.#packet, batch, row, now);
    }
  }

  /** A packet that arrived outside of a batch; `bytes` are ours. */
  handlePacket(peer: PeerId, bytes: Uint8Array, ecn: Ecn, now: Instant): void {
    const view = viewOf(bytes);
    const outcome =
      bytes.length > MAX_PACKET_LENGTH
        ? 'too-large'
        : parsePacket(view, 0, bytes.length, this.#packet);
    if (outcome === 'fragment') return this.#handleFragmentOfClient(peer, bytes, ecn, now);
    const client = this.#admit(outcome, bytes, view, peer, now);
    this.#serving = undefined;
    if (!client) return;
    mergeEcn(view, this.#packet, ecn);
    if (this.#pushToTun(bytes)) countWhole(client, this.#packet, bytes, 'to-resource', now);
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
        this.#handleFragmentOfResource(batch.slab.subarray(start, end), now);
        continue;
      }
      if (outcome !== 'parsed') {
        this.dropsToClient.add(outcome);
        continue;
      }
      const client = this.#recipient(view);
      if (!client) continue;
      this.#serving = client;
      const decision = client.decideToClient(batch.slab, view, packet, now);
      if (decision !== 'forward') {
        this.#sendOrDrop(client, decision, now);
        continue;
      }
      const ecn = ecnOf(view, packet);
      const slot = this.#link.sendSlot(client.peer, now);
      rows[row + TUN_PACKET.slot] = slot;
      rows[row + TUN_PACKET.ecn] = ecn;
      if (slot >= 0 || this.#sendAlone(client, batch, i, now))
        countTunPacket(client, packet, batch, row, now);
      else this.dropsToClient.add('not-connected');
    }
  }

  /** The client that was served when an invariant broke. */
  takeServed(): ClientPeer | undefined {
    const served = this.#serving;
    this.#serving = undefined;
    return served;
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#toTun.shift();
  }

  /** The client whose packet may be forwarded (data-plane 3.3); otherwise it is dropped, answered or handled here. */
  #admit(
    outcome: RowOutcome,
    slab: Uint8Array,
    view: DataView,
    peer: PeerId | undefined,
    now: Instant,
  ): ClientPeer | undefined {
    const packet = this.#packet;
    if (outcome !== 'parsed') return this.#drop(outcome);
    if (isMulticast(packet)) return this.#drop('multicast');
    const client = peer === undefined ? undefined : this.#clients.get(peer);
    if (!client) return this.#drop('no-peer');
    this.#serving = client;
    if (isControlPacket(view, packet.offset, packet.length)) {
      const copy = slab.slice(packet.offset, packet.offset + packet.length);
      this.#control.handlePacket(client, copy, now);
      return undefined;
    }
    const decision = client.decideToResource(view, packet, now);
    if (decision === 'forward') return client;
    this.#drop(decision);
    this.#answer(client, decision, slab, now);
    return undefined;
  }

  /** Decided as a whole, like any other packet, and sent on in fragments no larger than they came. Cold. */
  #handleFragmentOfClient(
    peer: PeerId | undefined,
    fragment: Uint8Array,
    ecn: number,
    now: Instant,
  ): void {
    const client = peer === undefined ? undefined : this.#clients.get(peer);
    if (!client) return this.#drop('no-peer');
    const outcome = this.#reassembly.toResource.add(client.id, fragment, now);
    if (outcome.kind === 'dropped') return this.#drop(outcome.reason);
    if (outcome.kind === 'held') return;
    const { bytes, identification, largest } = outcome.packet;
    const view = viewOf(bytes);
    const parsed = parsePacket(view, 0, bytes.length, this.#packet);
    if (!this.#admit(parsed, bytes, view, peer, now)) return;
    mergeEcn(view, this.#packet, ecn);
    this.#counts.add('packets-reassembled');
    countWhole(client, this.#packet, bytes, 'to-resource', now);
    for (const part of splitPacket(bytes, identification, largest)) this.#pushToTun(part);
  }

  #handleFragmentOfResource(fragment: Uint8Array, now: Instant): void {
    const addresses = parseFragment(fragment)?.addresses;
    if (!addresses) return this.dropsToClient.add('fragment');
    const client = this.#clients.findByAddress(addresses, DESTINATION_WORDS);
    if (!client) return this.dropsToClient.add('no-peer');
    const outcome = this.#reassembly.toClient.add(client.id, fragment, now);
    if (outcome.kind === 'dropped') return this.dropsToClient.add(outcome.reason);
    if (outcome.kind === 'held') return;
    const { bytes, identification, largest } = outcome.packet;
    const view = viewOf(bytes);
    const parsed = parsePacket(view, 0, bytes.length, this.#packet);
    if (parsed !== 'parsed') return this.dropsToClient.add(parsed);
    const decision = client.decideToClient(bytes, view, this.#packet, now);
    if (decision !== 'forward') return this.#sendOrDrop(client, decision, now);
    this.#counts.add('packets-reassembled');
    const ecn = ecnOf(view, this.#packet);
    let isSent = true;
    for (const part of splitPacket(bytes, identification, Math.min(largest, client.maxPacket)))
      isSent &&= wasTaken(this.#link.sendPacket(client.peer, part, ecn, now));
    if (isSent) countWhole(client, this.#packet, bytes, 'to-client', now);
    else this.dropsToClient.add('not-connected');
  }

  #pushToTun(bytes: Uint8Array): boolean {
    const hasRoom = this.#toTun.length < MAX_PACKETS_TO_TUN;
    if (hasRoom) this.#toTun.push(bytes);
    else this.dropsToResource.add('tun-queue-full');
    return hasRoom;
  }

  #drop(reason: DropReason): undefined {
    this.dropsToResource.add(reason);
  }

  #answer(client: ClientPeer, decision: Decision, slab: Uint8Array, now: Instant): void {
    const kind = answerTo(decision);
    if (!kind) return;
    if (!client.icmpErrors.take(now)) {
      this.#counts.add('icmp-errors-limited');
      return;
    }
    const error = writeIcmpError(kind, slab, this.#packet);
    const isSent = wasTaken(this.#link.sendPacket(client.peer, error, 0, now));
    this.#counts.add(isSent ? 'icmp-errors-sent' : 'answers-not-sent');
  }

  /** The client a packet from the TUN device is for (data-plane 4.2 steps 2 to 4). */
  #recipient(view: DataView): ClientPeer | undefined {
    const packet = this.#packet;
    if (isControlPacket(view, packet.offset, packet.length)) {
      this.#counts.add('control-packets-from-tun');
    }
    if (!isTunnelWords(packet.addresses, DESTINATION_WORDS)) {
      this.dropsToClient.add('not-a-peer');
      return undefined;
    }
    const client = this.#clients.findByAddress(packet.addresses, DESTINATION_WORDS);
    if (!client) this.dropsToClient.add('no-peer');
    return client;
  }

  #sendOrDrop(client: ClientPeer, decision: Decision | Uint8Array, now: Instant): void {
    if (typeof decision === 'string') {
      if (decision !== 'forward') this.dropsToClient.add(decision);
      return;
    }
    const isSent = wasTaken(this.#link.sendPacket(client.peer, decision, 0, now));
    if (!isSent) this.dropsToClient.add('not-connected');
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
