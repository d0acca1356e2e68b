// Packets that do not pass the gateway in one piece: those that come in fragments are put together, decided as a whole, like any other
// packet, and sent on in fragments; those that are longer than the client's tunnel carries go in fragments if they may, and are returned
// with "too big" if not (RFC 791 §3.2, RFC 1191 §4, RFC 8201). Cold.

import { TUN_PACKET, type TunBatch } from '../../base/batch.ts';
import { int32At, viewOf } from '../../base/bytes.ts';
import type { Counters } from '../../base/counters.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import { Reassembly, type WholePacket } from '../../proto/fragments/reassembly.ts';
import { copyTunPacket } from '../../wire/ip/batch-rows.ts';
import { ecnOf } from '../../wire/ip/edit.ts';
import { mayBeSplit, parseFragment, splitPacket } from '../../wire/ip/fragment.ts';
import { DESTINATION_WORDS, ParsedPacket, parsePacket } from '../../wire/ip/parsed-packet.ts';
import type { PathMtus } from '../path-mtus.ts';
import { tooBigAbout } from '../too-big.ts';
import { countWhole } from './accounting.ts';
import type { ClientPeer } from './client-peer.ts';
import type { Clients } from './clients.ts';
import type { GatewayCount } from './decisions.ts';
import type { Exits } from './exits.ts';

export interface WholePacketsDeps {
  readonly clients: Clients;
  readonly exits: Exits;
  readonly mtus: PathMtus;
  readonly counts: Counters<GatewayCount>;
}

export class WholePackets {
  readonly #deps: WholePacketsDeps;
  readonly #packet = new ParsedPacket();
  readonly #toResource = new Reassembly();
  readonly #toClient = new Reassembly();

  constructor(deps: WholePacketsDeps) {
    this.#deps = deps;
  }

  /** A fragment of a client's packet; the whole one when it is complete. */
  takeFragmentOfClient(
    client: ClientPeer | undefined,
    fragment: Uint8Array,
    now: Instant,
  ): WholePacket | undefined {
    const { exits } = this.#deps;
    if (!client) return exits.drop('no-peer');
    this.handleTimeout(now);
    const outcome = this.#toResource.add(client.id, fragment, now);
    if (outcome.kind === 'whole') return outcome.packet;
    return outcome.kind === 'dropped' ? exits.drop(outcome.reason) : undefined;
  }

  /** A packet that was allowed, in fragments no longer than they came. */
  forwardToResource(
    client: ClientPeer,
    packet: ParsedPacket,
    whole: WholePacket,
    now: Instant,
  ): void {
    const { exits, counts } = this.#deps;
    counts.add('packets-reassembled');
    countWhole(client, packet, whole.bytes, 'to-resource', now);
    for (const part of splitPacket(whole.bytes, whole.identification, whole.largest))
      exits.pushToTun(part);
  }

  handleFragmentOfResource(fragment: Uint8Array, now: Instant): void {
    const { clients, exits, mtus, counts } = this.#deps;
    const addresses = parseFragment(fragment)?.addresses;
    if (!addresses) return exits.dropToClient('fragment');
    const client = clients.findByAddress(addresses, DESTINATION_WORDS);
    if (!client) return exits.dropToClient('no-peer');
    this.handleTimeout(now);
    const outcome = this.#toClient.add(client.id, fragment, now);
    if (outcome.kind === 'dropped') return exits.dropToClient(outcome.reason);
    if (outcome.kind === 'held') return;
    const { bytes, identification, largest } = outcome.packet;
    const view = viewOf(bytes);
    const packet = this.#packet;
    const parsed = parsePacket(view, 0, bytes.length, packet);
    if (parsed !== 'parsed') return exits.dropToClient(parsed);
    const decision = client.policy.decideToClient(bytes, view, packet, now);
    if (decision !== 'forward') return exits.settleToClient(client, decision, now);
    counts.add('packets-reassembled');
    const size = Math.min(largest, mtus.sizeForLarge(client.peer));
    this.#sendInFragments(client, bytes, identification, size, now);
  }

  /** Packet `index`, parsed to `packet`, is longer than its client's tunnel carries. */
  handleTooLarge(
    client: ClientPeer,
    batch: TunBatch,
    index: number,
    packet: ParsedPacket,
    now: Instant,
  ): void {
    const { exits, mtus, counts } = this.#deps;
    const asItCame = copyTunPacket(batch, index, packet);
    const { tunnelLength } = packet;
    const decision = client.policy.decideToClient(batch.slab, batch.view, packet, now);
    if (decision !== 'forward') return exits.settleToClient(client, decision, now);
    const isGso = int32At(batch.packets, index * TUN_PACKET.stride + TUN_PACKET.gsoType) !== 0;
    const mtu = mtus.sizeOf(client.peer);
    if (!isGso && mayBeSplit(asItCame)) {
      counts.add('packets-fragmented');
      const bytes = copyTunPacket(batch, index, packet);
      const identification = viewOf(bytes).getUint16(4);
      return this.#sendInFragments(client, bytes, identification, mtu, now);
    }
    exits.returnTooLarge(client, tooBigAbout(asItCame, tunnelLength, mtu), now);
  }

  /** Packets that did not become whole in time are dropped, and counted as one each. */
  handleTimeout(now: Instant): void {
    const { dropsToClient, dropsToResource } = this.#deps.exits;
    const toResource = this.#toResource.handleTimeout(now);
    const toClient = this.#toClient.handleTimeout(now);
    if (toResource > 0) dropsToResource.add('fragment-timeout', toResource);
    if (toClient > 0) dropsToClient.add('fragment-timeout', toClient);
  }

  #sendInFragments(
    client: ClientPeer,
    bytes: Uint8Array,
    identification: number,
    size: number,
    now: Instant,
  ): void {
    const view = viewOf(bytes);
    if (parsePacket(view, 0, bytes.length, this.#packet) !== 'parsed') return;
    const ecn: Ecn = ecnOf(view, this.#packet);
    let isSent = true;
    for (const part of splitPacket(bytes, identification, size))
      isSent &&= this.#deps.exits.sendToClient(client, part, ecn, now);
    if (isSent) countWhole(client, this.#packet, bytes, 'to-client', now);
  }
}
