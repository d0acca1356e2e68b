// One network that carries datagrams by address: the Internet itself, or what is behind a router. Whatever is attached has a link of its own to it, one
// condition for each direction; what no attachment has goes to the segment's router, if there is one.
//
//   host -- link up --> segment --> link down --> host
//                          '------> router (`router.ts`) --> segment outside

import { type Endpoint, familyOf, type IpAddress } from '../../../src/base/address.ts';
import type { Instant } from '../../../src/base/time.ts';
import type { Streams } from '../streams.ts';
import type { Datagram, NetworkDrop, NetworkTap } from './datagram.ts';
import { type LinkConditions, LinkDirection } from './link.ts';
import type { Happening, Scheduler } from './scheduler.ts';

/** What the parts of a network share. */
export interface Fabric {
  readonly scheduler: Scheduler;
  readonly streams: Streams;
  readonly taps: NetworkTap[];
  /** Whether the two hosts are kept apart now. */
  isParted(a: string, b: string): boolean;
  drop(datagram: Datagram, reason: NetworkDrop, where: string): void;
}

export interface Arrival {
  receive(datagram: Datagram, now: Instant): void;
}

/** Where a datagram goes that no attachment of the segment has. */
export interface Uplink {
  readonly outside: Segment;
  outbound(datagram: Datagram, now: Instant): void;
  /** Whether addresses of that family are seen outside as they are. */
  routes(family: 4 | 6): boolean;
  /** What an address inside looks like outside. */
  addressShown(address: IpAddress | undefined): IpAddress | undefined;
  readonly attachment: Attachment;
}

/** One end in a segment: an interface of a host, or the outside of a router. */
export class Attachment {
  readonly name: string;
  readonly segment: Segment;
  readonly up: LinkDirection;
  readonly down: LinkDirection;
  isUp = true;
  readonly #owner: Arrival;
  readonly #fabric: Fabric;
  readonly #leaving: Happening<Datagram>;
  readonly #arriving: Happening<Datagram>;

  constructor(
    fabric: Fabric,
    segment: Segment,
    name: string,
    conditions: LinkConditions,
    owner: Arrival,
  ) {
    this.#fabric = fabric;
    this.segment = segment;
    this.name = name;
    this.#owner = owner;
    this.up = new LinkDirection(conditions, fabric.streams.of(`link ${name} up`));
    this.down = new LinkDirection(conditions, fabric.streams.of(`link ${name} down`));
    this.#leaving = { happen: (datagram, now) => segment.forward(datagram, this, now) };
    this.#arriving = {
      happen: (datagram, now) => {
        if (this.isUp) this.#owner.receive(datagram, now);
        else fabric.drop(datagram, 'interface-down', name);
      },
    };
  }

  setConditions(both: LinkConditions): void {
    this.up.conditions = both;
    this.down.conditions = both;
  }

  /** Into the segment. */
  send(datagram: Datagram): void {
    this.#pass(this.up, datagram, this.#leaving);
  }

  /** Out of the segment. */
  deliver(datagram: Datagram): void {
    this.#pass(this.down, datagram, this.#arriving);
  }

  #pass(direction: LinkDirection, datagram: Datagram, then: Happening<Datagram>): void {
    const { scheduler } = this.#fabric;
    if (!this.isUp) return this.#fabric.drop(datagram, 'interface-down', this.name);
    const passage = direction.pass(datagram, scheduler.now, (copy, delayMs) =>
      scheduler.after(delayMs, then, copy),
    );
    if (passage !== 'passed') this.#fabric.drop(datagram, passage, this.name);
  }
}

export class Segment {
  readonly name: string;
  /** The way out; none on the Internet itself. */
  router: Uplink | undefined;
  readonly #fabric: Fabric;
  readonly #routes = new Map<IpAddress, Attachment>();

  constructor(fabric: Fabric, name: string) {
    this.#fabric = fabric;
    this.name = name;
  }

  /** From now on `address` is found at `attachment`, and from outside where routers on the way do not translate. */
  claim(address: IpAddress, attachment: Attachment): void {
    const taken = this.#routes.get(address);
    if (taken !== undefined && taken !== attachment) {
      throw new Error(`${address} is taken in ${this.name}`);
    }
    this.#routes.set(address, attachment);
    const router = this.router;
    if (router?.routes(familyOf(address))) router.outside.claim(address, router.attachment);
  }

  release(address: IpAddress, attachment: Attachment): void {
    if (this.#routes.get(address) !== attachment) return;
    this.#routes.delete(address);
    const router = this.router;
    if (router?.routes(familyOf(address))) router.outside.release(address, router.attachment);
  }

  has(address: IpAddress): boolean {
    return this.#routes.has(address);
  }

  /** `from`: where it came into the segment; the router's own attachment inside is `undefined`. */
  forward(datagram: Datagram, from: Attachment | undefined, now: Instant): void {
    const found = this.#routes.get(datagram.destination.address);
    if (found !== undefined) return found.deliver(datagram);
    if (this.router !== undefined && from !== undefined) return this.router.outbound(datagram, now);
    this.#fabric.drop(datagram, 'no-route', this.name);
  }
}

/** The same datagram between other endpoints. */
export function readdressed(datagram: Datagram, source: Endpoint, destination: Endpoint): Datagram {
  const { payload, ecn, origin } = datagram;
  return { source, destination, payload, ecn, origin };
}
