// Nothing is multiplied: of what an application sent, at most as much reaches a resource, and of what a resource answered, at most as much comes back. Whatever
// the network doubles and whoever replays (connectivity 7.6).

import type { Fault, Observer, ReceivedPacket, ResourcePacket, SentPacket } from '../oracle.ts';
import { SEGMENT } from '../traffic/exchange.ts';
import { factsOf, isIcmpError } from '../traffic/mark.ts';
import type { World } from '../world.ts';

const RULE = 'a packet arrives at most once';

interface Counts {
  sent: number;
  delivered: number;
  answered: number;
  received: number;
}

export class Once implements Observer {
  readonly #world: World;
  readonly #counts = new Map<number, Counts>();
  #faults: Fault[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  innerSent({ exchange, packet }: SentPacket): void {
    const payload = packet.length - (factsOf(packet)?.payloadOffset ?? 0);
    this.#of(exchange).sent += Math.max(1, Math.ceil(payload / SEGMENT));
  }

  delivered({ exchange = -1 }: ResourcePacket): void {
    const counts = this.#of(exchange);
    if (++counts.delivered > counts.sent) this.#complain(exchange, 'delivered', counts.sent);
  }

  answered({ exchange = -1 }: ResourcePacket): void {
    this.#of(exchange).answered++;
  }

  received({ packet }: ReceivedPacket): void {
    const facts = factsOf(packet);
    if (!facts || isIcmpError(facts)) return;
    const id = this.#world.traffic.exchangeOf(packet)?.options.id ?? -1;
    const counts = this.#of(id);
    if (++counts.received > counts.answered) this.#complain(id, 'received', counts.answered);
  }

  takeFaults(): readonly Fault[] {
    const taken = this.#faults;
    if (taken.length > 0) this.#faults = [];
    return taken;
  }

  #of(exchange: number): Counts {
    let counts = this.#counts.get(exchange);
    if (!counts) {
      counts = { sent: 0, delivered: 0, answered: 0, received: 0 };
      this.#counts.set(exchange, counts);
    }
    return counts;
  }

  #complain(exchange: number, what: string, most: number): void {
    const expected = `exchange ${exchange}: at most ${most} ${what}`;
    this.#faults.push({ at: this.#world.now, rule: RULE, expected, found: 'one more' });
  }
}
