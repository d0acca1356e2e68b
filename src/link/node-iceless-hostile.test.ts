// What anybody can send to nodes that do without ICE, and what a hostile peer can: replayed handshakes and data, floods of candidates and of
// datagrams. Nothing throws, no table grows, the connection goes on where it was.

import { beforeEach, describe, expect, test } from 'vitest';
import { Mutator } from '../../test/fuzz/engine/mutator.ts';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { silences } from '../../test/support/link-silence.ts';
import { CLIENT, GATEWAY, type LinkWorld, relayedWorld } from '../../test/support/link-world.ts';
import {
  type Datagram,
  ep,
  FULL_CONE,
  PORT_RESTRICTED,
} from '../../test/support/virtual-network.ts';

const PACKET = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const THIEF = ep('192.0.2.66:6666');

const isInitiation = ({ payload }: Datagram): boolean =>
  payload.length === 148 && payload[0] === 1 && payload[1] === 0;

function connected(behaviour: typeof FULL_CONE | typeof PORT_RESTRICTED): LinkWorld {
  const { world } = relayedWorld(1, behaviour);
  world.useIceless = true;
  world.run(1_000);
  expect(world.connect()).toBe(true);
  world.run(1_000);
  return world;
}

describe('handshakes of somebody else', () => {
  let world: LinkWorld;
  let first: Datagram;
  const receive = (datagram: Datagram): void => {
    world.gateway.receive([{ ...datagram, destination: world.gateway.host }], world.network.now);
    world.gateway.drain(world.network.now);
  };
  const toThief = (): number =>
    world.network.sent.filter(({ destination, payload }) => {
      return destination.key === THIEF.key && payload[0] === 2;
    }).length;

  beforeEach(() => {
    world = connected(FULL_CONE);
    const sent = world.network.sent.find(isInitiation);
    if (!sent) throw new Error('an initiation was sent');
    first = sent;
    world.forgetEvents();
  });

  test('iceless 13: a copy of the first one gets a few copies of the answer, moves nothing and is no news', () => {
    for (let copy = 0; copy < 1_000; copy++) receive({ ...first, source: THIEF });
    expect(toThief()).toBeLessThanOrEqual(128);
    world.run(3_000);
    expect(world.gateway.kinds()).toEqual([]);
  });

  test('iceless 11-6: ten seconds later it gets nothing', () => {
    world.run(10_000);
    receive({ ...first, source: THIEF });
    expect(toThief()).toBe(0);
  });

  test('iceless 11-5: one that WireGuard rejects, because a newer one came, changes nothing', () => {
    for (let second = 0; second < 200; second++) {
      world.client.send(GATEWAY, PACKET);
      world.run(1_000);
    }
    expect(world.network.sent.filter(isInitiation).length).toBeGreaterThan(1);
    const before = world.gateway.node.snapshot().connections[0]?.iceless;
    receive({ ...first, source: THIEF });
    expect(world.gateway.node.snapshot().connections[0]?.iceless).toEqual(before);
    expect(world.gateway.node.snapshot().drops).toEqual({ 'old-timestamp': 1 });
    expect(toThief()).toBe(0);
  });
});

describe('data of somebody else', () => {
  test('iceless 13: captured, and delivered first from elsewhere: the path stays, the thief is asked now and then', () => {
    const world = connected(PORT_RESTRICTED);
    world.forgetEvents();
    const { network } = world;
    network.isDelivered = (datagram) => {
      const isData = datagram.payload[0] === 4 && datagram.payload.length < 80;
      if (datagram.source.key !== world.client.host.key || !isData) return true;
      network.redeliver({ ...datagram, source: THIEF });
      return false;
    };
    silences(world, 10_000);
    expect(world.gateway.kinds()).not.toContain('path-changed');
    const asked = network.sent.filter(({ destination }) => destination.key === THIEF.key);
    expect(asked.length).toBeLessThan(40);
  });

  test('mutations of a whole session, from anywhere, do not end it', () => {
    const world = connected(FULL_CONE);
    world.client.send(GATEWAY, PACKET);
    world.run(1_000);
    const { gateway, network } = world;
    const mutator = new Mutator(7, []);
    const before = gateway.node.snapshot().tables;
    for (const { source, payload } of network.sent.slice()) {
      const mutated = mutator.mutated(payload);
      gateway.receive([{ source, destination: gateway.host, payload: mutated }], network.now);
    }
    expect(gateway.node.snapshot().tables).toEqual(before);
    world.run(2_000);
    gateway.packets.length = 0;
    world.client.send(GATEWAY, PACKET);
    world.run(200);
    expect(gateway.packets).toEqual([PACKET]);
  });
});

describe('candidates of a hostile peer', () => {
  const candidate = (index: number, kind: string): string => {
    const address = `203.0.${113 + (index >> 8)}.${index & 255}`;
    const base = kind === 'host' ? '' : ' raddr 10.1.0.9 rport 1';
    return `candidate:1 1 udp 100 ${address} ${1_000 + index} typ ${kind}${base}`;
  };

  test('thousands of them take a bounded number of channels of the relay, and the path in use stays', () => {
    const world = connected(PORT_RESTRICTED);
    const channels = (): number => world.gateway.node.snapshot().relays[0]?.channelCount ?? 0;
    const before = channels();
    world.forgetEvents();
    for (let index = 0; index < 3_000; index++) {
      const text = candidate(index, ['srflx', 'host', 'relay'][index % 3] ?? 'host');
      world.gateway.node.addRemoteCandidate(CLIENT, text, world.network.now);
    }
    world.gateway.drain(world.network.now);
    world.run(10_000);
    expect(channels() - before).toBeLessThanOrEqual(64);
    expect(world.gateway.kinds()).not.toContain('path-changed');
    const agent = world.gateway.node.snapshot().connections[0]?.iceless;
    expect(agent?.remoteCandidates.length).toBeLessThanOrEqual(18);
    expect(agent?.drops['too-many-candidates']).toBeGreaterThan(2_000);
  });

  test.each([
    'candidate:1 1 udp 1 127.0.0.1 53 typ host',
    'candidate:1 1 udp 1 0.0.0.0 53 typ host',
    'candidate:1 1 udp 1 224.0.0.1 53 typ host',
    'candidate:1 1 udp 1 169.254.1.1 53 typ host',
    'candidate:1 1 udp 1 10.0.0.1 0 typ host',
    'candidate:1 1 udp 1 :: 53 typ host',
    'candidate:1 1 udp 1 203.0.113.1 53 typ srflx',
    'nothing of the kind',
  ])('refused: %s', (text) => {
    const world = connected(PORT_RESTRICTED);
    const before = world.gateway.node.snapshot().connections[0]?.iceless?.remoteCandidates;
    world.gateway.node.addRemoteCandidate(CLIENT, text, world.network.now);
    const { connections, drops } = world.gateway.node.snapshot();
    expect(connections[0]?.iceless?.remoteCandidates).toEqual(before);
    expect(drops['malformed-candidate']).toBe(1);
  });
});
