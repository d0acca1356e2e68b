// Cases from the field about WireGuard, whole connections over virtual time.

import { describe, expect, test } from 'vitest';
import { CLIENT, directWorld, GATEWAY, type LinkWorld } from '../../test/support/link-world.ts';

/** IPv4, 20 bytes, told apart by its identification. */
function packet(id: number): Uint8Array {
  return Uint8Array.from([0x45, 0, 0, 20, 0, id, ...new Array(14).fill(0)]);
}

/** Connected, and then without a packet until `ageMs` after the handshake. */
function idleWorld(ageMs: number): LinkWorld {
  const world = directWorld();
  expect(world.connect()).toBe(true);
  world.run(ageMs - world.network.now);
  return world;
}

const idsOf = (packets: readonly Uint8Array[]): number[] => packets.map((bytes) => bytes[5] ?? 0);

describe('WG-4: the packet that wakes an idle tunnel', () => {
  test.each([168_000, 172_000, 176_000, 179_000, 181_000, 359_000])(
    'of the client arrives once, and in order with those behind it, %d ms after the handshake',
    (age) => {
      const world = idleWorld(age);
      for (const id of [1, 2, 3]) world.client.send(GATEWAY, packet(id));
      world.run(500);
      expect(idsOf(world.gateway.packets)).toEqual([1, 2, 3]);
    },
  );

  test.each([168_000, 172_000, 176_000, 179_000, 181_000, 359_000])(
    'of the gateway arrives once, and in order with those behind it, %d ms after the handshake',
    (age) => {
      const world = idleWorld(age);
      for (const id of [1, 2, 3]) world.gateway.send(CLIENT, packet(id));
      world.run(1_000);
      expect(idsOf(world.client.packets)).toEqual([1, 2, 3]);
    },
  );
});

describe('WG-1: an initiation that is older than the last one', () => {
  test('is dropped under a name of its own, and a new authorization starts with a clean memory', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    const initiation = world.network.sent.find(({ payload }) => payload.length === 148);
    if (initiation === undefined) return expect.unreachable();
    const { gateway, network } = world;
    // Copies of the last initiation are answered again for ten seconds.
    world.run(11_000);
    gateway.node.handleDatagram(
      initiation.payload,
      initiation.source,
      gateway.host,
      0,
      network.now,
    );
    expect(gateway.node.snapshot().drops).toMatchObject({ 'old-timestamp': 1 });
    // As after another preshared key: another connection, which has seen no timestamp.
    world.presharedKey = new Uint8Array(32).fill(7);
    world.forgetEvents();
    world.authorize();
    expect(world.runUntil(() => world.isConnected, 5_000)).toBe(true);
  });
});
