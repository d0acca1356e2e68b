// Tunnels that rest: the packet that wakes one is delivered once (field case WG-4), and expiries far away stay far away (DP-8).

import { describe, expect, test } from 'vitest';
import { writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import { ip } from '../support/packets.ts';
import { type ClientMember, type GatewayMember, PairWorld } from '../support/pair-world.ts';
import { basePolicy } from '../support/portal-bench.ts';

function pair(policy: unknown = basePolicy()): {
  world: PairWorld;
  gateway: GatewayMember;
  client: ClientMember;
} {
  const world = new PairWorld(policy);
  world.addRelay('203.0.113.10:3478');
  const gateway = world.addGateway('gw-1', { host: '198.51.100.20:52625' });
  const client = world.addClient('client-1', { host: '192.0.2.10:52625' });
  client.send('10.20.0.5', 'first');
  world.run(2_000);
  expect(client.texts()).toEqual(['FIRST']);
  return { world, gateway, client };
}

describe.each([121, 171, 176, 181, 300])('after %i seconds of rest', (seconds) => {
  test('one datagram of the client arrives once', () => {
    const { world, gateway, client } = pair();
    world.run(seconds * 1_000);
    client.send('10.20.0.5', 'awake');
    world.run(3_000);
    expect(gateway.delivered.map(({ text }) => text)).toEqual(['first', 'awake']);
    expect(client.texts()).toEqual(['FIRST', 'AWAKE']);
  });

  test('one datagram of the resource arrives once', () => {
    const { world, gateway, client } = pair();
    world.run(seconds * 1_000);
    gateway.host.fromTun(
      writeUdpPacket({
        source: ip('10.20.0.5'),
        destination: ip(client.ipv4),
        hopLimit: 64,
        sourcePort: 4_000,
        destinationPort: 40_000,
        payload: new TextEncoder().encode('news'),
      }),
    );
    world.run(15_000);
    expect(client.texts()).toEqual(['FIRST', 'news']);
  });
});

test('while nothing passes for a minute the tunnel ends, and one packet later it is back', () => {
  const { world, client } = pair();
  world.network.isDelivered = () => false;
  for (let i = 0; i < 60; i++) {
    client.send('10.20.0.5', `lost ${i}`);
    world.run(1_000);
  }
  world.network.isDelivered = () => true;
  world.run(5_000);
  client.send('10.20.0.5', 'back');
  expect(world.runUntil(() => client.texts().includes('BACK'), 15_000)).toBe(true);
});

test('access for ninety days does not end at once', () => {
  const policy = basePolicy();
  policy.policies[0] = { ...policy.policies[0], expires: '2026-04-01T00:00:00Z' };
  const { world, gateway, client } = pair(policy);
  const [row] = world.bench.portal.snapshot().authorizations;
  expect(row?.['expiresAt']).toBe(Date.parse('2026-04-01T00:00:00Z'));
  world.run(60_000);
  client.send('10.20.0.5', 'still');
  world.run(2_000);
  expect(gateway.delivered.map(({ text }) => text)).toEqual(['first', 'still']);
});
