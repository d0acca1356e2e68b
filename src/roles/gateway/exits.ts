// Where packets go that no batch carries on: dropped and counted, answered with an ICMP error (data-plane 5), or sent one by one, to the
// TUN device or to a client. Cold.

import { Counters } from '../../base/counters.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import { writeIcmpError } from '../../wire/ip/icmp-error.ts';
import type { ParsedPacket } from '../../wire/ip/parsed-packet.ts';
import type { ClientPeer } from './client-peer.ts';
import { answerTo, type Decision, type DropReason, type GatewayCount } from './decisions.ts';
import { type GatewayLink, wasTaken } from './link.ts';

// Implementation
/** Packets for our own TUN device that arrived one by one; the loop takes them each turn. */
const MAX_PACKETS_TO_TUN = 1_024;

export class Exits {
  /** Packets of clients that were not forwarded. */
  readonly dropsToResource: Counters<DropReason | 'tun-queue-full'> = new Counters();
  /** Packets for clients that were not sent. */
  readonly dropsToClient: Counters<DropReason> = new Counters();
  readonly #link: GatewayLink;
  readonly #counts: Counters<GatewayCount>;
  readonly #toTun: Uint8Array[] = [];

  constructor(link: GatewayLink, counts: Counters<GatewayCount>) {
    this.#link = link;
    this.#counts = counts;
  }

  drop(reason: DropReason): undefined {
    this.dropsToResource.add(reason);
  }

  dropToClient(reason: DropReason): undefined {
    this.dropsToClient.add(reason);
  }

  /** Drops a packet of the client, and tells it why if that is a refusal it should hear of. */
  refuse(
    client: ClientPeer,
    reason: DropReason,
    slab: Uint8Array,
    packet: ParsedPacket,
    now: Instant,
  ): void {
    this.drop(reason);
    const kind = answerTo(reason);
    if (kind && this.#mayAnswer(client, now))
      this.#answerClient(client, writeIcmpError(kind, slab, packet), now);
  }

  /** Drops a packet of the client that is longer than we take, and tells it so by `error`. */
  refuseTooLarge(client: ClientPeer, error: Uint8Array | undefined, now: Instant): void {
    this.drop('too-large');
    if (error && this.#mayAnswer(client, now)) this.#answerClient(client, error, now);
  }

  /** Drops a packet for the client that is longer than its tunnel carries, and tells the resource by `error`. */
  returnTooLarge(client: ClientPeer, error: Uint8Array | undefined, now: Instant): void {
    this.dropToClient('too-large');
    if (!error || !this.#mayAnswer(client, now)) return;
    if (this.pushToTun(error)) this.#counts.add('icmp-errors-sent');
  }

  /** Takes a decision about a packet for the client that is not to go as it is. */
  settleToClient(client: ClientPeer, decision: Decision | Uint8Array, now: Instant): void {
    if (typeof decision !== 'string') this.sendToClient(client, decision, 0, now);
    else if (decision !== 'forward') this.dropToClient(decision);
  }

  sendToClient(client: ClientPeer, packet: Uint8Array, ecn: Ecn, now: Instant): boolean {
    const isSent = wasTaken(this.#link.sendPacket(client.peer, packet, ecn, now));
    if (!isSent) this.dropToClient('not-connected');
    return isSent;
  }

  pushToTun(packet: Uint8Array): boolean {
    const hasRoom = this.#toTun.length < MAX_PACKETS_TO_TUN;
    if (hasRoom) this.#toTun.push(packet);
    else this.dropsToResource.add('tun-queue-full');
    return hasRoom;
  }

  pollTunPacket(): Uint8Array | undefined {
    return this.#toTun.shift();
  }

  /** Errors about one client's packets are limited, whoever gets them. */
  #mayAnswer(client: ClientPeer, now: Instant): boolean {
    const isAllowed = client.icmpErrors.take(now);
    if (!isAllowed) this.#counts.add('icmp-errors-limited');
    return isAllowed;
  }

  #answerClient(client: ClientPeer, error: Uint8Array, now: Instant): void {
    const isSent = wasTaken(this.#link.sendPacket(client.peer, error, 0, now));
    this.#counts.add(isSent ? 'icmp-errors-sent' : 'answers-not-sent');
  }
}
