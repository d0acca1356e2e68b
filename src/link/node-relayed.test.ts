// Nodes behind symmetric NATs with our own TURN server between them: the relayed path, migration, reset, late datagrams.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { expectSomeOf } from '../../test/support/link-silence.ts';
import { CLIENT, GATEWAY, type LinkWorld, relayedWorld } from '../../test/support/link-world.ts';
import { PORT_RESTRICTED, SYMMETRIC } from '../../test/support/virtual-network.ts';
import { at } from '../base/bytes.ts';
import { relayId } from '../base/ids.ts';
import { SeededRandom } from '../base/random.ts';

const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const ANSWER = udpPacket('10.0.0.5', '100.64.0.1', 'hello yourself');

/** Both ways, by whatever path. */
function expectExchange(world: LinkWorld): void {
  world.client.packets.length = 0;
  world.gateway.packets.length = 0;
  world.client.send(GATEWAY, REQUEST);
  world.run(200);
  world.gateway.send(CLIENT, ANSWER);
  world.run(200);
  expect(world.gateway.packets).toEqual([REQUEST]);
  expect(world.client.packets).toEqual([ANSWER]);
}

/** The relays have answered and allocated. */
function ready(count: number): ReturnType<typeof relayedWorld> {
  const made = relayedWorld(count);
  made.world.run(1_000);
  return made;
}

describe('with a relay', () => {
  test('a connection without any direct path works through it', () => {
    const { world, relays } = ready(1);
    expect(world.connect()).toBe(true);
    expectExchange(world);
    expect(world.gateway.of('path-changed').at(-1)?.path.kind).toBe('relayed');
    expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('relayed');
    expect(at(relays, 0).forwardedCount).toBeGreaterThan(0);
    expect(world.gateway.node.snapshot().drops).toEqual({});
    expect(world.client.node.snapshot().drops).toEqual({});
  });

  test('before it has answered there is none', () => {
    const { world } = relayedWorld(1);
    expect(world.authorize()).toBe('no-relays');
    world.run(1_000);
    expect(world.authorize()).toBe('created');
  });

  test('host, reflexive and relayed candidates are signalled, the best first', () => {
    const { world } = ready(1);
    world.authorize();
    const kinds = world.gateway
      .of('candidates-added')
      .map(({ candidates }) => candidates.map((text) => text.split(' ')[7]));
    expect(kinds).toEqual([['host', 'srflx', 'relay']]);
  });

  test('an address that another relay sees later reaches a connection that exists', () => {
    const { world, relays } = ready(2);
    const [first, second] = relays;
    if (!first || !second) throw new Error('there are two relays');
    world.announce([first], [second]);
    world.run(500);
    world.connect();
    world.forgetEvents();
    world.announce([first, second]);
    world.run(1_000);
    const added = world.gateway.of('candidates-added').flatMap(({ candidates }) => candidates);
    // The symmetric NAT shows the second relay another address; its relayed address is for others.
    expect(added.map((text) => text.split(' ')[7])).toEqual(['srflx']);
  });

  test('the data of a channel stays usable for half an hour', () => {
    const { world } = ready(1);
    world.connect();
    for (let minute = 0; minute < 30; minute++) {
      world.run(60_000);
      expectExchange(world);
    }
    expect(world.gateway.kinds()).not.toContain('connection-failed');
  });

  test('an idle hour ends neither the connection nor the allocation', () => {
    const { world } = ready(1);
    world.connect();
    world.run(3_600_000);
    expect(world.gateway.node.connectionState(CLIENT)).toBe('idle');
    world.client.send(GATEWAY, REQUEST);
    world.run(5_000);
    expectExchange(world);
  });
});

describe('with a relay and friendlier NATs', () => {
  test('the path becomes direct, whatever carried the first packets', () => {
    const { world } = relayedWorld(1, PORT_RESTRICTED);
    world.run(1_000);
    expect(world.connect()).toBe(true);
    world.run(3_000);
    expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
    expect(world.gateway.of('path-changed').at(-1)?.path.kind).toBe('direct');
    expectExchange(world);
  });

  test('a direct path that dies is replaced by the relayed one before the connection fails', () => {
    const { world } = relayedWorld(1, PORT_RESTRICTED);
    world.run(1_000);
    world.connect();
    world.run(3_000);
    const nats = ['203.0.113.7', '203.0.113.9'];
    const isDirect = (address: string): boolean => nats.includes(address);
    // The relay's answers come to the same public addresses.
    world.network.isDelivered = ({ source, destination }) =>
      source.address.startsWith('198.51.100.') || !isDirect(destination.address);
    for (let second = 0; second < 40; second++) {
      world.client.send(GATEWAY, REQUEST);
      world.run(1_000);
    }
    expect(world.client.kinds()).not.toContain('connection-failed');
    expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('relayed');
    expectExchange(world);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'a tenth of what each hop carries may be lost (seed %d)',
    (seed) => {
      const { world } = relayedWorld(1, seed % 2 ? PORT_RESTRICTED : SYMMETRIC);
      const random = new SeededRandom(seed);
      world.network.isDelivered = () => random.next() > 0.1;
      const isReady = (): boolean =>
        world.gateway.node.snapshot().relays[0]?.hasAllocation === true;
      expect(world.runUntil(isReady, 60_000)).toBe(true);
      world.run(2_000);
      world.authorize();
      expectSomeOf(world, 120, 50);
    },
  );
});

describe('migration', () => {
  test('a connection whose relay the portal withdraws moves to another one', () => {
    const { world, relays } = ready(2);
    world.connect();
    const before = world.gateway.node.snapshot().connections[0]?.relay;
    const [used, other] = relays[0]?.listen.key === before ? relays : relays.toReversed();
    if (!used || !other) throw new Error('there are two relays');
    used.stop();
    world.announce([other], [used]);
    expect(world.gateway.of('candidates-removed').at(-1)?.candidates[0]).toContain('typ relay');
    world.run(6_000);
    expect(world.gateway.node.snapshot().connections[0]?.relay).toBe(relayId(other.listen.key));
    expect(world.gateway.kinds()).not.toContain('connection-failed');
    expectExchange(world);
  });

  test('waits for a relay if there is none, and then moves', () => {
    const { world, relays } = ready(2);
    const [first, second] = relays;
    if (!first || !second) throw new Error('there are two relays');
    world.announce([first], [second]);
    world.run(500);
    world.connect();
    world.announce([], [first]);
    first.stop();
    expect(world.gateway.node.snapshot().connections[0]?.relay).toBeUndefined();
    world.announce([second]);
    world.run(8_000);
    expect(world.gateway.node.snapshot().connections[0]?.relay).toBe(relayId(second.listen.key));
    expectExchange(world);
  });

  test('the last relay that gives up by itself is reported, once', () => {
    const { world, relays } = ready(1);
    at(relays, 0).stop();
    world.run(60_000);
    expect(world.gateway.of('no-relays')).toHaveLength(1);
    expect(world.gateway.node.snapshot().relays).toMatchObject([{ hasAllocation: false }]);
  });

  test('a relay with other credentials is a new one', () => {
    const { world, relays } = ready(1);
    world.connect();
    const relay = at(relays, 0);
    const { gateway, network } = world;
    gateway.node.updateRelays([], [relay.info(relay.listen.key, 'another')], network.now);
    gateway.drain(network.now);
    expect(gateway.of('candidates-removed')).toHaveLength(1);
    world.run(10_000);
    expectExchange(world);
  });
});

describe('after a relay was left', () => {
  test('its late datagrams are swallowed', () => {
    const { world, relays } = ready(1);
    world.connect();
    const relay = at(relays, 0);
    const { gateway, network } = world;
    gateway.node.updateRelays([relayId(relay.listen.key)], [], network.now);
    gateway.drain(network.now);
    const payload = Uint8Array.of(0x40, 0, 0, 4, 4, 0, 0, 0);
    gateway.receive([{ source: relay.listen, destination: gateway.host, payload }], network.now);
    expect(gateway.node.snapshot().drops).toMatchObject({ 'left-relay': 1 });
  });

  test('its allocations are given back', () => {
    const { world, relays } = ready(1);
    const relay = at(relays, 0);
    expect(relay.server.allocationCount).toBe(2);
    world.announce([], [relay]);
    world.run(100);
    expect(relay.server.allocationCount).toBe(0);
  });
});

test('a reset keeps the relays and their credentials, with new allocations and a new key', () => {
  const { world } = ready(1);
  world.connect();
  const { client, network } = world;
  client.node.reset(network.now);
  client.move('10.1.0.2:40123');
  world.run(1_000);
  expect(client.kinds()).toContain('connection-closed');
  world.forgetEvents();
  expect(world.authorize()).toBe('replaced');
  expect(world.runUntil(() => world.isConnected, 5_000)).toBe(true);
  expectExchange(world);
});
