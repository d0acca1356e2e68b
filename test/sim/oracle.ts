// What a judge of a world gets to see: every packet of an application on its way, every answer of a resolver, everything the portal decides and says, every
// step, and the machines themselves. An observer changes nothing. Times are the world's; packets are whole IP packets as they were at that place.
//
//   application -- innerSent --> client TUN ... gateway TUN -- delivered --> resource
//   application <-- received -- client TUN ... gateway TUN <-- answered --- resource
//
// A packet of an application carries a mark (`traffic/mark.ts`) that survives NAT, so that an observer follows it without looking into the product.

import type { Instant, UnixMillis } from '../../src/base/time.ts';
import type { PolicyFile } from '../../src/roles/portal/policy-schema.ts';
import type { Step } from './steps/step.ts';
import type { WorldView } from './world-view.ts';

export type ActorKind = 'client' | 'gateway' | 'relay' | 'portal';

/** What an application of a client wanted. */
export interface SentPacket {
  readonly at: Instant;
  readonly client: string;
  /** Of the mark; equal for what belongs together (a request, its repetition, its answer). */
  readonly exchange: number;
  /** Counts within the exchange. */
  readonly sequence: number;
  readonly packet: Uint8Array;
  /** An attacker's, not an application's: its source is not its own, or worse. */
  readonly isForged: boolean;
}

/** A packet that left a gateway's TUN device towards a resource, or entered it as its answer. */
export interface ResourcePacket {
  readonly at: Instant;
  readonly gateway: string;
  readonly site: string;
  readonly packet: Uint8Array;
  /** `undefined`: it carries no mark, such as an ICMP error. */
  readonly exchange: number | undefined;
}

export interface ReceivedPacket {
  readonly at: Instant;
  readonly client: string;
  readonly packet: Uint8Array;
  readonly exchange: number | undefined;
}

export type PortalFact =
  | { readonly kind: 'policy'; readonly policy: PolicyFile }
  | { readonly kind: 'joined' | 'gone'; readonly actor: string; readonly role: ActorKind }
  /** In the form of the wire; sent, which does not say that it arrives. */
  | {
      readonly kind: 'said';
      readonly to: string;
      readonly role: ActorKind;
      readonly event: string;
      readonly payload: unknown;
    }
  | {
      readonly kind: 'heard';
      readonly from: string;
      readonly role: ActorKind;
      readonly event: string;
      readonly payload: unknown;
    };

/** What a component got from its portal connection, after the network. */
export interface HeardMessage {
  readonly at: Instant;
  readonly actor: string;
  readonly role: ActorKind;
  readonly event: string;
  readonly payload: unknown;
}

export interface Resolution {
  readonly at: Instant;
  readonly client: string;
  readonly name: string;
  readonly type: number;
  /** Addresses of the answer; `undefined`: no answer (yet). */
  readonly answer: readonly string[] | undefined;
  readonly rcode: number | undefined;
  /** By the client's own stub, by a server of the portal, or by the gateway of the site. */
  readonly by: 'stub' | 'upstream' | 'site';
}

/** A machine's own count of what it dropped, since the last report. */
export interface DroppedPackets {
  readonly at: Instant;
  readonly actor: string;
  readonly role: ActorKind;
  readonly direction: 'to-resource' | 'to-client' | 'client' | 'link';
  readonly reason: string;
  readonly count: number;
}

/** Something that a machine or its process said: an event of its own, by kind. */
export interface ActorEvent {
  readonly at: Instant;
  readonly actor: string;
  readonly role: ActorKind;
  readonly event: { readonly kind: string };
}

export interface Fault {
  readonly at: Instant;
  /** A constant sentence, by which faults are compared when steps are cut. */
  readonly rule: string;
  /** What should have been beside what was. */
  readonly expected: string;
  readonly found: string;
}

/** All methods are optional; what is not asked for costs nothing. */
export interface Observer {
  /** Before anything happened. */
  begin?(world: WorldView): void;
  portal?(fact: PortalFact, at: Instant, wall: UnixMillis): void;
  heard?(message: HeardMessage): void;
  innerSent?(packet: SentPacket): void;
  delivered?(packet: ResourcePacket): void;
  answered?(packet: ResourcePacket): void;
  received?(packet: ReceivedPacket): void;
  dropped?(packets: DroppedPackets): void;
  resolved?(resolution: Resolution): void;
  actorEvent?(event: ActorEvent): void;
  /** A program began or ended: `started`, `stopped` (orderly), `killed`, `asleep`, `awake`. */
  lifeCycle?(actor: string, role: ActorKind, change: string, at: Instant): void;
  stepBegins?(step: Step, index: number, at: Instant): void;
  /** Whatever the step led to within its own time is over. */
  stepEnds?(step: Step, index: number, at: Instant): void;
  /** After the last step all disturbances end; the network is good from here on. */
  healed?(at: Instant): void;
  end?(at: Instant): void;
  /** New ones since it was asked last. */
  takeFaults?(): readonly Fault[];
}
