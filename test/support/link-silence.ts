// How long each end of a `LinkWorld` hears nothing while both send user data all the time.

import { CLIENT, GATEWAY, type LinkWorld } from './link-world.ts';

const INTERVAL_MS = 50;
const PACKET = Uint8Array.from([0x45, 0, 0, 20, ...new Array(16).fill(0)]);

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
