// What the scale benchmarks measure: a gateway with many clients, without a network, and one packet at a time.

import { createReceiveBatch, SUPER } from '../../src/base/batch.ts';
import { instant } from '../../src/base/time.ts';
import type { GatewayResource } from '../../src/wire/portal/resources.ts';
import { GatewayWorld, type TestClient } from '../../test/support/gateway-world.ts';

export const CLIENTS = 1_000;

export function clientOf(i: number): TestClient {
  const low = (i + 16).toString(16);
  return {
    id: `client-${i}`,
    ipv4: `100.${64 + ((i + 16) >> 16)}.${((i + 16) >> 8) & 255}.${(i + 16) & 255}`,
    ipv6: `fd00:2021:1111::${low}`,
  };
}

export function newWorld(): GatewayWorld {
  const world = new GatewayWorld();
  // A fraction, as the clock has: whole numbers would be cheaper than they are.
  world.now = instant(1_000.25);
  return world;
}

export function authorizeAll(
  world: GatewayWorld,
  client: TestClient,
  resources: Iterable<GatewayResource>,
): void {
  for (const resource of resources) {
    world.authorize(resource, { client });
    world.events();
  }
}

/** Sends single packets through the gateway as a batch of the loop would. */
export class Sender {
  readonly #world: GatewayWorld;
  readonly #batch = createReceiveBatch(65_536, 4, 4);

  constructor(world: GatewayWorld) {
    this.#world = world;
    const rows = this.#batch.superPackets;
    rows[SUPER.offset] = 64;
    rows[SUPER.segments] = 1;
    this.#batch.superCount = 1;
  }

  /** Whether it was forwarded. `slot`: the number of the client in the order they came. */
  send(slot: number, packet: Uint8Array): boolean {
    const { slab, superPackets: rows } = this.#batch;
    slab.set(packet, 64);
    rows[SUPER.length] = packet.length;
    rows[SUPER.slot] = slot;
    this.#world.gateway.handleSuperPackets(this.#batch, this.#world.now);
    return rows[SUPER.verdict] === 1;
  }
}

/** The best of some rounds, in nanoseconds of processor time a call: the machine of a benchmark has other things to do as well. */
export function nanosecondsOf(
  run: (i: number) => void,
  { calls = 20_000, rounds = 30 } = {},
): number {
  for (let i = 0; i < calls; i++) run(i);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = process.cpuUsage();
    for (let i = 0; i < calls; i++) run(i);
    const { user, system } = process.cpuUsage(start);
    best = Math.min(best, user + system);
  }
  return (best * 1e3) / calls;
}

export function report(name: string, value: number, unit: string): void {
  console.log(`${name.padEnd(64)} ${value.toFixed(value < 10 ? 2 : 0).padStart(9)} ${unit}`);
}

/** Says so and fails the benchmark if `value` is above `limit`. */
export function gate(name: string, value: number, limit: number, unit: string): void {
  report(`${name} (at most ${limit})`, value, unit);
  if (value <= limit) return;
  console.log(`FAILED: ${name}`);
  process.exitCode = 1;
}
