// The virtual Internet: a segment that everybody reaches, routers with networks behind them, hosts, and partitions. It carries bytes and knows no protocol.
// All that happens is decided by the scheduler's order and the streams of one seed.
//
//   host --- Segment `internet` --- Router (NAT, firewall, NAT64) --- Segment --- Router --- ... --- host

import type { Instant } from '../../../src/base/time.ts';
import type { Streams } from '../streams.ts';
import type { Datagram, NetworkDrop, NetworkTap } from './datagram.ts';
import { Host, type HostClock } from './host.ts';
import { Router, type RouterConfig } from './router.ts';
import { Scheduler } from './scheduler.ts';
import { type Fabric, Segment } from './segment.ts';

export class Network implements Fabric {
  readonly scheduler: Scheduler;
  readonly streams: Streams;
  readonly taps: NetworkTap[] = [];
  readonly internet: Segment;
  readonly hosts: Host[] = [];
  readonly routers: Router[] = [];
  /** By reason, of all datagrams. */
  readonly dropCounts: Map<NetworkDrop, number> = new Map();
  readonly #parted = new Map<string, number>();

  constructor(streams: Streams, scheduler: Scheduler = new Scheduler()) {
    this.streams = streams;
    this.scheduler = scheduler;
    this.internet = new Segment(this, 'internet');
  }

  get now(): Instant {
    return this.scheduler.now;
  }

  addHost(name: string, wallAtZero = 0, clock: HostClock = { countsSleep: false }): Host {
    const host = new Host(this, name, wallAtZero, clock);
    this.hosts.push(host);
    return host;
  }

  addRouter(config: RouterConfig, outside: Segment = this.internet): Router {
    const router = new Router(this, config, outside);
    this.routers.push(router);
    return router;
  }

  /** Nothing passes between the two hosts, in both directions, until it is undone as often. */
  part(a: string, b: string): void {
    for (const pair of [`${a}|${b}`, `${b}|${a}`]) {
      this.#parted.set(pair, (this.#parted.get(pair) ?? 0) + 1);
    }
  }

  join(a: string, b: string): void {
    for (const pair of [`${a}|${b}`, `${b}|${a}`]) {
      const depth = (this.#parted.get(pair) ?? 0) - 1;
      if (depth > 0) this.#parted.set(pair, depth);
      else this.#parted.delete(pair);
    }
  }

  isParted(a: string, b: string): boolean {
    return this.#parted.size > 0 && this.#parted.has(`${a}|${b}`);
  }

  drop(datagram: Datagram, reason: NetworkDrop, where: string): void {
    this.dropCounts.set(reason, (this.dropCounts.get(reason) ?? 0) + 1);
    for (const { dropped } of this.taps) dropped?.(datagram, reason, where, this.now);
  }
}
