// A gateway whose own network changes (connectivity 4.9 says that the reference waits for its next keepalive): another address, another way out. With user data
// in both directions every 50 ms; what counts is the silence at each end.

import { describe, expect, test } from 'vitest';
import { silences } from '../../test/support/link-silence.ts';
import { directWorld, type LinkWorld, relayedWorld } from '../../test/support/link-world.ts';
import { ep, FULL_CONE, SYMMETRIC } from '../../test/support/virtual-network.ts';

const OTHER = '198.51.100.21:52625';

function moveGateway(world: LinkWorld, host: string): void {
  world.gateway.move(host);
  world.gateway.node.setLocalAddresses([ep(host)], world.network.now);
  world.gateway.node.handleNetworkChange(world.network.now);
  world.flush();
}

describe('a gateway that gets another address', () => {
  test('keeps its direct connections, with less than half a second of silence', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    moveGateway(world, OTHER);
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(500);
    expect(silence.gateway).toBeLessThanOrEqual(500);
    expect(world.gateway.of('path-changed').at(-1)?.path.local.key).toBe(OTHER);
    expect(world.client.of('path-changed').at(-1)?.path.remote.key).toBe(OTHER);
  });

  test('says so through the portal: the new address first, then that the old one is gone', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    world.forgetEvents();
    const before = world.gateway.host;
    moveGateway(world, OTHER);
    const said = world.gateway.events
      .map(({ event }) => event)
      .filter(({ kind }) => kind.startsWith('candidates'));
    expect(said.map(({ kind }) => kind)).toEqual(['candidates-added', 'candidates-removed']);
    expect(world.gateway.of('candidates-added')[0]?.candidates[0]).toContain(
      ' 198.51.100.21 52625 typ host',
    );
    expect(world.gateway.of('candidates-removed').at(-1)?.candidates[0]).toContain(
      ` ${before.address} ${before.port} typ host`,
    );
  });

  test('keeps its connections even where the portal is away', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    world.losesCandidatesOf.add('gateway').add('client');
    moveGateway(world, OTHER);
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(500);
    expect(silence.gateway).toBeLessThanOrEqual(1_000);
  });

  test('is still a host of addresses that did not change', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    world.forgetEvents();
    world.gateway.node.setLocalAddresses([world.gateway.host, ep(OTHER)], world.network.now);
    world.run(1_000);
    expect(world.gateway.kinds()).not.toContain('candidates-removed');
    expect(world.gateway.kinds()).not.toContain('path-changed');
  });
});

describe('relays', () => {
  test('connectivity 4.9: are asked at once when the way out is another one, and what they say is signalled', () => {
    const { world } = relayedWorld(1, FULL_CONE);
    world.run(300);
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    world.forgetEvents();
    const sentBefore = world.network.sent.length;
    world.gateway.node.handleNetworkChange(world.network.now);
    world.flush();
    const asked = world.network.sent
      .slice(sentBefore)
      .filter(({ destination }) => destination.port === 3478);
    // BINDING and REFRESH.
    expect(asked.length).toBeGreaterThanOrEqual(2);
    expect(silences(world, 5_000)).toEqual({ client: 0, gateway: 0 });
  });

  test('a relayed connection whose gateway moves has its path again within 2 s', () => {
    const { world, relays } = relayedWorld(1, SYMMETRIC);
    world.run(300);
    world.gateway.node.setLocalAddresses([world.gateway.host], world.network.now);
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    expect(relays[0]).toBeDefined();
    moveGateway(world, '10.2.0.3:52625');
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(2_000);
    expect(silence.gateway).toBeLessThanOrEqual(2_000);
  });
});
