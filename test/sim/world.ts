// A world: all actors of a plan on one virtual network, under one virtual clock, and what is told to judges. It is a pure function of its plan and its
// steps: the same two give the same events byte for byte, whichever steps were left out. Nothing here reads a clock.
//
//   const world = new World(plan, judgesOf);          builds and starts all programs
//   world.perform(step)                               waits `afterMs`, then does what the step says
//   world.end()                                       its verdict: faults, the hash of all events, how long it was

import { earliest, type Instant, instant, later, type UnixMillis } from '../../src/base/time.ts';
import { ClientProgram } from './actors/client-program.ts';
import { GatewayProgram } from './actors/gateway-program.ts';
import { NameServers } from './actors/name-servers.ts';
import { PortalService } from './actors/portal-service.ts';
import { RelayProgram } from './actors/relay-program.ts';
import { SiteNetwork } from './actors/site-network.ts';
import { Outsider } from './attackers/outsider.ts';
import { type Actor, type Context, NO_LOG, Watchers } from './context.ts';
import { PUBLIC_ACCESS } from './draw-plan.ts';
import type { Datagram, NetworkTap } from './network/datagram.ts';
import { Network } from './network/network.ts';
import { Scheduler } from './network/scheduler.ts';
import type { Fault, Observer } from './oracle.ts';
import { performStep } from './steps/perform.ts';
import type { Step } from './steps/step.ts';
import { Streams } from './streams.ts';
import { Topology } from './topology.ts';
import { TraceHash } from './trace.ts';
import { Traffic } from './traffic/traffic.ts';
import type { RelayPlan, WorldPlan } from './world-plan.ts';

/** 2026-01-01T00:00:00Z, what the wall clocks show at the world's zero. */
export const WALL_ZERO: UnixMillis = 1_767_225_600_000 as UnixMillis;
/** Not zero, so that a forgotten time shows. */
const START: Instant = instant(5_000);
/** Programs do not start all at once. */
const START_SPREAD_MS = 400;
const BOOT_MS = 10_000;
/** More than any world needs that makes progress. */
const MAX_HAPPENINGS_PER_INSTANT = 20_000;
const MAX_HAPPENINGS = 4_000_000;

export interface Verdict {
  readonly faults: readonly Fault[];
  /** Over every event. */
  readonly trace: string;
  readonly simulatedMs: number;
  readonly happenings: number;
  readonly exchanges: { readonly started: number; readonly answered: number };
}

export type JudgesOf = (world: World) => readonly Observer[];

/** The world stops at its first fault. */
export class WorldEnded extends Error {}

export class World {
  readonly plan: WorldPlan;
  readonly scheduler: Scheduler = new Scheduler(START);
  readonly network: Network;
  readonly streams: Streams;
  readonly topology: Topology;
  readonly context: Context;
  readonly portal: PortalService;
  readonly names: NameServers;
  readonly clients: ClientProgram[] = [];
  readonly gateways: GatewayProgram[] = [];
  readonly relays: RelayProgram[] = [];
  readonly siteNetworks: Map<string, SiteNetwork> = new Map();
  readonly traffic: Traffic;
  readonly outsider: Outsider;
  /** Clients that lied: what they broke for themselves is their own affair. */
  readonly liars: Set<string> = new Set();
  readonly faults: Fault[] = [];
  readonly #actors: Actor[] = [];
  readonly #trace = new TraceHash();
  /** What undoes a disturbance that is going on. */
  readonly #undo = new Set<() => void>();
  #happenings = 0;
  #relayCount = 0;

  constructor(plan: WorldPlan, judgesOf: JudgesOf = () => []) {
    this.plan = plan;
    this.streams = new Streams(plan.seed);
    this.network = new Network(this.streams, this.scheduler);
    this.topology = new Topology(this.network);
    const { network, scheduler, streams } = this;
    const watchers = new Watchers();
    const fault = this.fault.bind(this);
    this.context = { network, scheduler, streams, watchers, log: NO_LOG, fault };
    this.names = new NameServers(plan);
    this.traffic = new Traffic(this);
    this.outsider = new Outsider(this);
    network.taps.push(this.#tap(), this.outsider.tap);
    watchers.all.push(this.#recorder(), ...judgesOf(this));
    const wall = { wall: WALL_ZERO, countsSleep: true };
    const portalHost = this.topology.addHost('portal', PUBLIC_ACCESS, wall);
    this.portal = new PortalService(this.context, portalHost, plan.policy, plan.portalLatencyMs);
    this.#actors.push(this.portal);
    for (const relay of plan.relays) this.addRelay(relay);
    this.#addTunnelPrograms();
    const spread = streams.of('start');
    for (const program of [...this.relays, ...this.gateways, ...this.clients]) {
      scheduler.call(spread.next() * START_SPREAD_MS, () => program.start());
    }
  }

  get now(): Instant {
    return this.scheduler.now;
  }

  get wallNow(): UnixMillis {
    return this.portal.host.wallNow;
  }

  addRelay(plan: RelayPlan): RelayProgram {
    const families = plan.ipv4 && plan.ipv6 ? 'dual' : plan.ipv4 ? 'ipv4' : 'ipv6';
    const clock = { wall: WALL_ZERO, countsSleep: plan.countsSleep };
    const name = `relay${this.#relayCount++}`;
    const host = this.topology.addHost(name, { ...plan.access, families }, clock);
    const relay = new RelayProgram(this.context, this.portal, host, plan.token);
    this.relays.push(relay);
    this.#actors.push(relay);
    return relay;
  }

  /** Waits, then does what the step says; whatever it began goes on after it. */
  perform(step: Step, index = 0): void {
    this.run(step.afterMs);
    const { now } = this;
    this.#record('step', index, JSON.stringify(step));
    for (const observer of this.context.watchers.all) observer.stepBegins?.(step, index, now);
    performStep(this, step);
    for (const observer of this.context.watchers.all) observer.stepEnds?.(step, index, this.now);
    this.collectFaults();
  }

  /** Time passes: from one event to the next, so that idle hours cost nothing. */
  run(milliseconds: number): void {
    const end = later(this.now, milliseconds);
    for (let at = this.#next(); at !== undefined && at <= end; at = this.#next()) {
      this.scheduler.advance(at);
      this.#instant();
    }
    this.scheduler.advance(end);
  }

  /** `forMs` from now, or when all disturbances end, `undo` is called; once. */
  disturb(forMs: number, undo: () => void): void {
    this.#undo.add(undo);
    this.scheduler.call(forMs, () => {
      if (this.#undo.delete(undo)) undo();
    });
  }

  endDisturbances(): void {
    const all = [...this.#undo];
    this.#undo.clear();
    for (const undo of all) undo();
    const { now } = this;
    for (const observer of this.context.watchers.all) observer.healed?.(now);
  }

  fault(rule: string, expected: string, found: string): never {
    this.faults.push({ at: this.now, rule, expected, found });
    throw new WorldEnded(rule);
  }

  collectFaults(): void {
    for (const observer of this.context.watchers.all) {
      this.faults.push(...(observer.takeFaults?.() ?? []));
    }
    if (this.faults.length > 0) throw new WorldEnded();
  }

  end(): Verdict {
    return {
      faults: this.faults,
      trace: this.#trace.digest(),
      simulatedMs: this.now - START,
      happenings: this.#happenings,
      exchanges: this.traffic.counts(),
    };
  }

  boot(): void {
    this.run(BOOT_MS);
  }

  #addTunnelPrograms(): void {
    const { plan, topology, context, portal, names } = this;
    for (const { site } of plan.gateways) {
      this.siteNetworks.set(site, new SiteNetwork(site, plan.resourceHosts));
    }
    for (const gateway of plan.gateways) {
      const { name, access, countsSleep, site } = gateway;
      const host = topology.addHost(name, access, { wall: WALL_ZERO, countsSleep });
      const network = this.siteNetworks.get(site) ?? new SiteNetwork(site, []);
      this.gateways.push(new GatewayProgram(context, { portal, names }, host, gateway, network));
    }
    for (const client of plan.clients) {
      const { name, access, countsSleep } = client;
      const host = topology.addHost(name, access, { wall: WALL_ZERO, countsSleep });
      const program = new ClientProgram(context, portal, host, client);
      program.onPacket = (packet) => this.traffic.handleReceived(program, packet);
      this.clients.push(program);
    }
    this.#actors.push(...this.gateways, ...this.clients);
  }

  #next(): Instant | undefined {
    let next = this.scheduler.next();
    for (const { due } of this.#actors) next = earliest(next, due);
    return next;
  }

  #instant(): void {
    const { scheduler } = this;
    let count = 0;
    while (scheduler.runOne()) count++;
    for (const actor of this.#actors) {
      if (actor.due === undefined || actor.due > scheduler.now) continue;
      count++;
      actor.handleDue();
    }
    while (scheduler.runOne()) {
      if (++count > MAX_HAPPENINGS_PER_INSTANT) this.#stuck('at one instant');
    }
    this.#happenings += count;
    if (this.#happenings > MAX_HAPPENINGS) this.#stuck('in all');
    this.collectFaults();
  }

  #stuck(where: string): never {
    return this.fault('a world makes progress', 'fewer events', `too many ${where}`);
  }

  #record(...parts: readonly (string | number)[]): void {
    this.#trace.text(`${this.now} ${parts.join(' ')}`);
  }

  #tap(): NetworkTap {
    return {
      sent: ({ source, destination, payload, origin }: Datagram) => {
        this.#record(origin, source.key, destination.key, payload.length);
        this.#trace.bytes(payload);
      },
    };
  }

  /** All that happens beside datagrams goes into the trace, too. */
  #recorder(): Observer {
    return {
      portal: (fact) => this.#record('portal', JSON.stringify(fact)),
      delivered: ({ gateway, packet }) => {
        this.#record('delivered', gateway);
        this.#trace.bytes(packet);
      },
      received: ({ client, packet }) => {
        this.#record('received', client);
        this.#trace.bytes(packet);
      },
      lifeCycle: (actor, role, change) => this.#record(actor, role, change),
    };
  }
}

/** One world from its beginning to its end: boot, all steps, the verdict. */
export function runWorld(plan: WorldPlan, steps: readonly Step[], judgesOf?: JudgesOf): Verdict {
  let world: World | undefined;
  try {
    world = new World(plan, judgesOf);
    world.boot();
    for (const [index, step] of steps.entries()) world.perform(step, index);
  } catch (error) {
    if (!(error instanceof WorldEnded) || !world) throw error;
  }
  return world.end();
}
