// The model of the gateway beside a running one: told what the portal said, what names resolved to and what clients sent, it judges what the product made of
// each packet, in both directions (`test/sim/model`). One for each instance of the program.

import {
  type ReceiveBatch,
  SUPER,
  TUN_PACKET,
  type TunBatch,
  VERDICT,
} from '../../../src/base/batch.ts';
import { at } from '../../../src/base/bytes.ts';
import type { Instant, UnixMillis } from '../../../src/base/time.ts';
import { segmentSuperPacket, segmentTunPacket } from '../../../src/proto/batch/segment.ts';
import type { Gateway } from '../../../src/roles/gateway/gateway.ts';
import type { SentToPeer, WatchedNode } from '../actors/watched-node.ts';
import { isControl } from '../model/control.ts';
import { type Complaint, GatewayModel, type Sealed } from '../model/gateway.ts';

const RULE = 'a gateway does with each packet what the specifications say';

export interface Subject {
  readonly role: Gateway;
  readonly node: WatchedNode;
}

/** Super-packets and packets: those that came, and those that went on. */
export interface Totals {
  came: number;
  passed: number;
}

export class GatewayVerdicts {
  readonly model: GatewayModel;
  readonly totals: Readonly<Record<'toResource' | 'toClient', Totals>> = {
    toResource: { came: 0, passed: 0 },
    toClient: { came: 0, passed: 0 },
  };
  readonly #subject: Subject;
  readonly #complain: (rule: string, found: string) => void;

  constructor(
    subject: Subject,
    now: Instant,
    wallNow: UnixMillis,
    complain: (rule: string, found: string) => void,
  ) {
    this.#subject = subject;
    this.#complain = complain;
    this.model = new GatewayModel((unix) => unix - wallNow + now);
  }

  /** Control packets that were sealed meanwhile; the others are returned. */
  settle(now: Instant): readonly SentToPeer[] {
    const sent = this.#subject.node.takeSent();
    this.#judgeControl(sent, now);
    return sent.filter(({ packet }) => !isControl(packet));
  }

  /** Lets the role decide super-packets one by one; what it forwards goes to `deliver`. */
  superPackets(batch: ReceiveBatch, now: Instant, deliver: (packet: Uint8Array) => void): void {
    const { role, node } = this.#subject;
    const rows = batch.superPackets.slice(0, batch.superCount * SUPER.stride);
    for (let index = 0; index < rows.length; index += SUPER.stride) {
      batch.superPackets.set(rows.subarray(index, index + SUPER.stride));
      batch.superCount = 1;
      const before = segmentSuperPacket(batch, 0);
      const peer = node.peerOfSlot(at(batch.superPackets, SUPER.slot));
      this.settle(now);
      role.handleSuperPackets(batch, now);
      const isForwarded = at(batch.superPackets, SUPER.verdict) === VERDICT.forward;
      const after = isForwarded ? segmentSuperPacket(batch, 0) : [];
      this.totals.toResource.came++;
      if (isForwarded) this.totals.toResource.passed++;
      if (peer !== undefined) this.#judge(peer, before, after, now);
      this.settle(now);
      for (const packet of after) deliver(packet);
    }
  }

  /** A packet that came the cold way; `forwarded`: what left the role for the TUN device since. */
  arrived(peer: string, packet: Uint8Array, forwarded: readonly Uint8Array[], now: Instant): void {
    this.totals.toResource.came++;
    if (forwarded.length > 0) this.totals.toResource.passed++;
    this.#judge(peer, [packet], forwarded, now);
  }

  /** Lets the role decide one packet of the TUN device. */
  tunPacket(batch: TunBatch, input: Uint8Array, now: Instant): void {
    const { role, node } = this.#subject;
    this.settle(now);
    node.forgetSlots();
    role.handleTunPackets(batch, now);
    const slot = at(batch.packets, TUN_PACKET.slot);
    const peer = slot < 0 ? undefined : node.peerOfSlot(slot);
    const segments = segmentTunPacket(batch, 0);
    const direct = typeof segments === 'string' || peer === undefined ? [] : segments;
    const sealed: Sealed[] = [
      ...direct.map((packet) => ({ client: peer ?? '', packet })),
      ...this.settle(now)
        .filter(({ isTaken }) => isTaken)
        .map((sent) => ({ client: sent.peer, packet: sent.packet })),
    ];
    this.totals.toClient.came++;
    if (sealed.length > 0) this.totals.toClient.passed++;
    const isConnected = (client: string): boolean => (node.slotAsked(client) ?? -1) >= 0;
    this.#note(this.model.judgeToClient(input, sealed, isConnected, now));
  }

  #judge(
    peer: string,
    before: readonly Uint8Array[],
    after: readonly Uint8Array[],
    now: Instant,
  ): void {
    const sent = this.#subject.node.takeSent();
    const answers = sent.flatMap(({ packet }) => (isControl(packet) ? [] : [packet]));
    for (const [index, packet] of before.entries()) {
      // One answer stands for all segments of a super-packet.
      if (index > 0 && after.length === 0) break;
      const actual = { forwarded: after[index], answers: index === 0 ? answers : [] };
      this.#note(this.model.judgeToResource(peer, packet, actual, now));
    }
    // A wish comes before its answer.
    this.#judgeControl(sent, now);
  }

  #judgeControl(sent: readonly SentToPeer[], now: Instant): void {
    for (const { peer, packet } of sent) {
      if (isControl(packet)) this.#note(this.model.judgeControlToClient(peer, packet, now));
    }
  }

  #note(complaint: Complaint): void {
    if (complaint !== undefined) this.#complain(RULE, complaint);
  }
}
