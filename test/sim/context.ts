// What all actors of a world share: time, the network, chance, and those who watch.

import { type Log, SILENT_LOG } from '../../src/base/log.ts';
import type { Instant } from '../../src/base/time.ts';
import type { Network } from './network/network.ts';
import type { Scheduler } from './network/scheduler.ts';
import type {
  ActorEvent,
  ActorKind,
  DroppedPackets,
  HeardMessage,
  Observer,
  PortalFact,
  ReceivedPacket,
  Resolution,
  ResourcePacket,
  SentPacket,
} from './oracle.ts';
import type { Streams } from './streams.ts';

/** Whoever wants to be called at a time. */
export interface Actor {
  /** In the world's time; kept right by the actor itself. */
  readonly due: Instant | undefined;
  handleDue(): void;
}

/** Tells all observers. */
export class Watchers {
  readonly all: Observer[] = [];

  /** Reading counters after each turn costs; it is done only for somebody. */
  get wantsDrops(): boolean {
    return this.all.some(({ dropped }) => dropped !== undefined);
  }

  portal(
    fact: PortalFact,
    at: Instant,
    wall: Parameters<NonNullable<Observer['portal']>>[2],
  ): void {
    for (const observer of this.all) observer.portal?.(fact, at, wall);
  }

  heard(message: HeardMessage): void {
    for (const observer of this.all) observer.heard?.(message);
  }

  innerSent(packet: SentPacket): void {
    for (const observer of this.all) observer.innerSent?.(packet);
  }

  delivered(packet: ResourcePacket): void {
    for (const observer of this.all) observer.delivered?.(packet);
  }

  answered(packet: ResourcePacket): void {
    for (const observer of this.all) observer.answered?.(packet);
  }

  received(packet: ReceivedPacket): void {
    for (const observer of this.all) observer.received?.(packet);
  }

  dropped(packets: DroppedPackets): void {
    for (const observer of this.all) observer.dropped?.(packets);
  }

  resolved(resolution: Resolution): void {
    for (const observer of this.all) observer.resolved?.(resolution);
  }

  actorEvent(event: ActorEvent): void {
    for (const observer of this.all) observer.actorEvent?.(event);
  }

  lifeCycle(actor: string, role: ActorKind, change: string, at: Instant): void {
    for (const observer of this.all) observer.lifeCycle?.(actor, role, change, at);
  }
}

export interface Context {
  readonly network: Network;
  readonly scheduler: Scheduler;
  readonly streams: Streams;
  readonly watchers: Watchers;
  readonly log: Log;
  /** A bug of the product showed: an invariant broke, or a machine wants to be called again and again. */
  fault(rule: string, expected: string, found: string): never;
}

export const NO_LOG: Log = SILENT_LOG;
