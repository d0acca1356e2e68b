// User data in both directions of a `LinkWorld` all the time: how long each end hears nothing, and that enough arrives.

import { expect } from 'vitest';
import { CLIENT, GATEWAY, type LinkWorld } from './link-world.ts';

const INTERVAL_MS = 50;
export const PACKET: Uint8Array = Uint8Array.from([0x45, 0, 0, 20, ...new Array(16).fill(0)]);

/** Longest time without a packet, for each end, from now on. */
export function silences(
  world: LinkWorld,
  milliseconds: number,
): { client: number; gateway: number } {
  const longest = { client: 0, gateway: 0 };
  const since = { client: 0, gateway: 0 };
  const seen = { client: world.client.packets.length, gateway: world.gateway.packets.length };
  for (let elapsed = 0; elapsed < milliseconds; elapsed += INTERVAL_MS) {
    world.client.send(GATEWAY, PACKET);
    world.gateway.send(CLIENT, PACKET);
    world.run(INTERVAL_MS);
    for (const side of ['client', 'gateway'] as const) {
      const count = world[side].packets.length;
      since[side] = count > seen[side] ? 0 : since[side] + INTERVAL_MS;
      longest[side] = Math.max(longest[side], since[side]);
      seen[side] = count;
    }
  }
  return longest;
}

/** A packet each second from either end: more than `least` arrive at the other, and the connection stays. */
export function expectSomeOf(world: LinkWorld, seconds: number, least: number): void {
  for (let second = 0; second < seconds; second++) {
    world.client.send(GATEWAY, PACKET);
    world.gateway.send(CLIENT, PACKET);
    world.run(1_000);
  }
  for (const side of [world.client, world.gateway]) {
    expect(side.packets.length).toBeGreaterThan(least);
    expect(side.kinds()).not.toContain('connection-failed');
  }
}
