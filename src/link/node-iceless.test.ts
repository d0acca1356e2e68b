// Nodes that do without ICE (iceless): set-up over relays, direct paths found by probes inside the tunnel, choice of the mode, failures.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { expectSomeOf } from '../../test/support/link-silence.ts';
import {
  CLIENT,
  directWorld,
  GATEWAY,
  type LinkWorld,
  relayedWorld,
} from '../../test/support/link-world.ts';
import {
  FULL_CONE,
  type NatConfig,
  PORT_RESTRICTED,
  SYMMETRIC,
} from '../../test/support/virtual-network.ts';
import { SeededRandom } from '../base/random.ts';

const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const ANSWER = udpPacket('10.0.0.5', '100.64.0.1', 'hello yourself');

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

/** The relays have answered; then the pair is connected without ICE. */
function connected(
  behaviour: Omit<NatConfig, 'publicAddress'>,
  relayCount = 1,
): ReturnType<typeof relayedWorld> {
  const made = relayedWorld(relayCount, behaviour);
  made.world.useIceless = true;
  made.world.run(1_000);
  expect(made.world.connect()).toBe(true);
  return made;
}

const lastKind = (world: LinkWorld, side: 'client' | 'gateway'): string | undefined =>
  world[side].of('path-changed').at(-1)?.path.kind;

describe('without ICE', () => {
  test('iceless 1: a session exists after one round trip over the relay, before any direct path is known', () => {
    const { world } = connected(PORT_RESTRICTED);
    expect(world.client.of('path-changed')[0]?.path.kind).toBe('relayed');
    expectExchange(world);
  });

  test('iceless 6.2, better: a gateway that can be reached directly answers directly', () => {
    const { world } = connected(FULL_CONE);
    expect(world.client.of('path-changed').map(({ path }) => path.kind)).toEqual(['direct']);
    expect(world.gateway.of('path-changed').map(({ path }) => path.kind)).toEqual(['direct']);
    expectExchange(world);
  });

  test('both ends move to the direct path that probes find, and ask no STUN of each other', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(500);
    expect(lastKind(world, 'client')).toBe('direct');
    expect(lastKind(world, 'gateway')).toBe('direct');
    expectExchange(world);
    const nats = ['203.0.113.7', '203.0.113.9'];
    const toPeers = world.network.sent.filter(
      ({ source, destination }) =>
        source.address.startsWith('10.') && nats.includes(destination.address),
    );
    expect(toPeers.length).toBeGreaterThan(0);
    expect(toPeers.every(({ payload }) => (payload[0] ?? 0) <= 4 && payload[0] !== 0)).toBe(true);
  });

  test('iceless 11-24: both behind symmetric NATs: relayed, in both directions', () => {
    const { world } = connected(SYMMETRIC);
    world.run(5_000);
    expect(lastKind(world, 'client')).toBe('relayed');
    expectExchange(world);
    expect(world.client.kinds()).not.toContain('connection-failed');
  });

  test('iceless 13: without any relay, where the ends can reach each other', () => {
    const world = directWorld();
    world.useIceless = true;
    expect(world.connect()).toBe(true);
    expectExchange(world);
    expect(lastKind(world, 'client')).toBe('direct');
  });

  test.each([1, 2, 3, 4, 5, 6])(
    'iceless 11-24: a fifth of all datagrams may be lost (seed %d)',
    (seed) => {
      const { world } = relayedWorld(1, seed % 2 ? PORT_RESTRICTED : SYMMETRIC);
      world.useIceless = true;
      const random = new SeededRandom(seed);
      world.network.isDelivered = () => random.next() > 0.2;
      const isReady = (): boolean =>
        [world.gateway, world.client].every(
          ({ node }) => node.snapshot().relays[0]?.hasAllocation === true,
        );
      expect(world.runUntil(isReady, 120_000)).toBe(true);
      world.authorize();
      expectSomeOf(world, 120, 35);
    },
  );

  test('probes are nobody else’s: neither end delivers one', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(60_000);
    expect(world.client.packets).toEqual([]);
    expect(world.gateway.packets).toEqual([]);
    expect(world.client.node.snapshot().drops).toEqual({});
    expect(world.gateway.node.snapshot().drops).toEqual({});
  });

  test('iceless 5.2: a probe is 80 bytes, on a channel 84 with its length in front', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(2_000);
    const lengths = world.network.sent.map(({ payload }) => payload.length);
    expect(lengths).toContain(80);
    const onChannel = world.network.sent.find(({ payload }) => payload.length === 84);
    expect([...(onChannel?.payload.subarray(2, 4) ?? [])]).toEqual([0, 0x50]);
  });

  test('iceless 6.6: an idle hour costs a probe every 25 s and ends nothing', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(60_000);
    const before = world.network.sent.length;
    world.run(3_600_000);
    expect(world.client.kinds()).not.toContain('connection-failed');
    expectExchange(world);
    // A probe and an answer of each side every 25 s; a handshake every two minutes; the relay every 25 s.
    expect((world.network.sent.length - before) / 3_600).toBeLessThan(0.5);
  });
});

describe('the mode', () => {
  test('iceless 6.1: the same terms reuse the connection without a handshake, and signal all candidates again', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(30_000);
    world.forgetEvents();
    const initiations = (): number =>
      world.network.sent.filter(
        ({ payload }) => payload.length === 148 && payload[0] === 1 && payload[1] === 0,
      ).length;
    const before = initiations();
    expect(world.authorize()).toBe('reused');
    world.run(500);
    expect(initiations()).toBe(before);
    expect(world.gateway.of('candidates-added')[0]?.candidates).toHaveLength(3);
    expectExchange(world);
  });

  test('iceless 6.1: other ICE credentials do not matter without ICE', () => {
    const { world } = connected(PORT_RESTRICTED);
    const terms = world.terms('gateway');
    const others = { ufrag: 'zzzz', password: 'z'.repeat(22) };
    const { node } = world.gateway;
    const upsert = (extra: object): string =>
      node.upsertConnection({ ...terms, ...extra }, world.network.now);
    expect(upsert({ localCredentials: others, remoteCredentials: others })).toBe('reused');
    expect(upsert({ presharedKey: new Uint8Array(32).fill(1) })).toBe('replaced');
  });

  test.each([true, false])(
    'iceless 2.6: an authorization with the other mode replaces the connection (first ICE-less: %s)',
    (first) => {
      const { world } = relayedWorld(1, PORT_RESTRICTED);
      world.run(1_000);
      world.useIceless = first;
      expect(world.connect()).toBe(true);
      world.forgetEvents();
      world.useIceless = !first;
      expect(world.authorize()).toBe('replaced');
      expect(world.runUntil(() => world.isConnected, 5_000)).toBe(true);
      world.run(1_000);
      expectExchange(world);
    },
  );

  test('iceless 2: two ends that were told different things never connect, and both give up', () => {
    const { world } = relayedWorld(1, PORT_RESTRICTED);
    world.run(1_000);
    const { client, gateway, network } = world;
    const iceless = { ...world.terms('gateway'), useIceless: true };
    gateway.node.upsertConnection(iceless, network.now);
    client.node.upsertConnection(world.terms('client'), network.now);
    world.run(400_000);
    expect(world.isConnected).toBe(false);
    expect(client.kinds()).toContain('connection-failed');
    expect(gateway.kinds()).toContain('connection-failed');
  });

  test('iceless 3.2: reflexive and relayed candidates name their base', () => {
    const { world } = connected(PORT_RESTRICTED);
    const texts = world.client.of('candidates-added').flatMap(({ candidates }) => candidates);
    expect(texts.map((text) => / typ (\w+)( raddr \S+ rport \d+)?$/.exec(text)?.slice(1))).toEqual([
      ['host', undefined],
      ['srflx', ' raddr 10.1.0.2 rport 52625'],
      ['relay', ' raddr 10.1.0.2 rport 52625'],
    ]);
  });
});

describe('failure', () => {
  test('iceless 6.8: no candidate of the peer within 10 s', () => {
    const { world } = relayedWorld(1, SYMMETRIC);
    world.useIceless = true;
    world.losesCandidatesOf.add('client');
    world.losesCandidatesOf.add('gateway');
    world.run(1_000);
    world.authorize();
    world.run(9_900);
    expect(world.gateway.kinds()).not.toContain('connection-failed');
    world.run(200);
    expect(world.gateway.of('connection-failed')).toEqual([
      { kind: 'connection-failed', peer: CLIENT, reason: 'no-candidates' },
    ]);
  });

  test('iceless 7: nothing answers any more: the tunnel expires 90 s after the first re-key, and not before', () => {
    const { world } = connected(PORT_RESTRICTED);
    world.run(10_000);
    world.cut();
    world.client.send(GATEWAY, REQUEST);
    world.run(95_000);
    expect(world.client.kinds()).not.toContain('connection-failed');
    world.run(10_000);
    expect(world.client.of('connection-failed')[0]?.reason).toBe('wireguard-expired');
  });
});
