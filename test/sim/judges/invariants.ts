// What must hold after every step, whatever happened: nothing leaks, and all is accounted for.

import type { GatewayProgram } from '../actors/gateway-program.ts';
import type { Fault, Observer } from '../oracle.ts';
import type { World } from '../world.ts';

const LEAK = 'what is not used any more is given back';
const COUNT = 'what came in went out or was dropped for a counted reason';
/** A grown table is a leak long before its limit: no world needs more for so few clients. */
const MAX_SESSIONS_PER_CONNECTION = 8;

export class Invariants implements Observer {
  readonly #world: World;
  #faults: Fault[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  stepEnds(): void {
    const { clients, gateways, relays, portal } = this.#world;
    for (const program of [...clients, ...gateways]) {
      const tables = program.nodeSnapshot()?.tables;
      if (!tables) continue;
      const { sessions = 0, connections = 0 } = tables;
      this.#equal(LEAK, `key slots of ${program.name}`, sessions, program.keySlotsInUse);
      const most = MAX_SESSIONS_PER_CONNECTION * connections;
      this.#atMost(LEAK, `sessions of ${program.name}`, most, sessions);
    }
    for (const relay of relays) {
      const allocations = relay.snapshot()?.allocationCount ?? 0;
      const listening = relay.isRunning ? relay.host.addresses.length : 0;
      const most = listening + 2 * allocations;
      this.#atMost(LEAK, `sockets of ${relay.name}`, most, relay.socketCount);
    }
    const programs = relays.length + clients.length + gateways.length;
    if (portal.isUp) this.#atMost(LEAK, 'peers of the portal', 4 * programs, portal.socketCount);
    for (const gateway of gateways) this.#count(gateway);
  }

  takeFaults(): readonly Fault[] {
    const taken = this.#faults;
    if (taken.length > 0) this.#faults = [];
    return taken;
  }

  #count(gateway: GatewayProgram): void {
    const { totals } = gateway;
    const snapshot = gateway.snapshot();
    if (!totals || !snapshot) return;
    const dropped = (drops: Readonly<Record<string, number>>): number =>
      Object.values(drops).reduce((sum, count) => sum + count, 0);
    const { toResource, toClient } = totals;
    const { dropsToResource, dropsToClient } = snapshot;
    const own = snapshot.counts['control-packets'] ?? 0;
    const wentOut = toResource.passed + own + dropped(dropsToResource);
    this.#equal(COUNT, `to resources at ${gateway.name}`, toResource.came, wentOut);
    const sent = toClient.passed + dropped(dropsToClient);
    this.#equal(COUNT, `to clients at ${gateway.name}`, toClient.came, sent);
  }

  #equal(rule: string, what: string, expected: number, found: number): void {
    if (expected !== found) this.#complain(rule, `${what}: ${expected}`, String(found));
  }

  #atMost(rule: string, what: string, most: number, found: number): void {
    if (found > most) this.#complain(rule, `${what}: at most ${most}`, String(found));
  }

  #complain(rule: string, expected: string, found: string): void {
    this.#faults.push({ at: this.#world.now, rule, expected, found });
  }
}
