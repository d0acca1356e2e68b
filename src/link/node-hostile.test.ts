// What anybody can send, and what a confused portal can say: nothing throws, no table grows, and the connection goes on.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Mutator } from '../../test/fuzz/engine/mutator.ts';
import { udpPacket } from '../../test/support/inner-packets.ts';
import {
  CLIENT,
  directWorld,
  GATEWAY,
  type LinkWorld,
  relayedWorld,
} from '../../test/support/link-world.ts';
import { ep } from '../../test/support/virtual-network.ts';
import { endpoint, type IpAddress } from '../base/address.ts';
import { relayId } from '../base/ids.ts';
import { instant, later } from '../base/time.ts';

const PACKET = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const SOURCES = [
  '192.0.2.10:52625',
  '198.51.100.100:3478',
  '203.0.113.66:3478',
  '[2001:db8::6]:9',
].map(ep);

describe('hostile datagrams', () => {
  test('random ones are dropped, whatever they start with', () => {
    const world = directWorld();
    world.connect();
    const { gateway, network } = world;
    const before = gateway.node.snapshot().tables;
    const datagrams = fc.record({
      first: fc.constantFrom(0, 1, 2, 3, 4, 0x40, 0x4f, 0x50, 0xff),
      rest: fc.uint8Array({ maxLength: 1_400 }),
      source: fc.constantFrom(...SOURCES),
      count: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(datagrams, ({ first, rest, source, count }) => {
        const payload = Uint8Array.from([first, 0, 0, 0, ...rest]);
        const datagram = { source, destination: gateway.host, payload };
        gateway.receive(new Array(count).fill(datagram), network.now);
      }),
    );
    expect(gateway.node.snapshot().tables).toEqual(before);
    world.client.send(GATEWAY, PACKET);
    world.run(100);
    expect(gateway.packets).toContainEqual(PACKET);
  });

  test('mutations of a whole session, from anywhere, do not end it', () => {
    const { world } = relayedWorld(1);
    world.run(1_000);
    world.connect();
    world.client.send(GATEWAY, PACKET);
    world.run(1_000);
    const { gateway, network } = world;
    const mutator = new Mutator(5, []);
    const recorded = network.sent.slice();
    const before = gateway.node.snapshot().tables;
    for (let round = 0; round < 5; round++) {
      for (const { source, payload } of recorded) {
        const mutated = mutator.mutated(payload);
        gateway.receive([{ source, destination: gateway.host, payload: mutated }], network.now);
      }
    }
    // A copy that was left as it is may trigger a check or two (RFC 8445 §7.3.1.4).
    const { transactions = 0, ...tables } = gateway.node.snapshot().tables;
    expect({ ...tables, transactions: before['transactions'] }).toEqual(before);
    expect(transactions - (before['transactions'] ?? 0)).toBeLessThanOrEqual(6);
    world.run(2_000);
    gateway.packets.length = 0;
    world.client.send(GATEWAY, PACKET);
    world.run(200);
    expect(gateway.packets).toEqual([PACKET]);
  });

  test('a flood of initiations for our key costs no more than the gate allows, and the peers go on', () => {
    const world = directWorld();
    world.connect();
    const { gateway, network } = world;
    const initiation = network.sent.find(({ payload }) => payload.length === 148);
    if (!initiation) throw new Error('there was no initiation');
    for (let i = 0; i < 2_000; i++) {
      const address = `203.0.${i >> 8}.${i & 255}` as IpAddress;
      const datagram = {
        source: endpoint(address, 1),
        destination: gateway.host,
        payload: initiation.payload,
      };
      gateway.receive([datagram], network.now);
    }
    const { handshakes, drops } = gateway.node.snapshot();
    expect(handshakes['admitted']).toBeLessThanOrEqual(101);
    expect(drops['old-timestamp'] ?? 0).toBeLessThanOrEqual(100);
    world.client.send(GATEWAY, PACKET);
    world.run(100);
    expect(gateway.packets).toEqual([PACKET]);
  });

  test('under load a new connection takes one round trip more, for the cookie, and not five seconds', () => {
    const world = directWorld();
    world.connect();
    const { gateway, network } = world;
    const initiation = network.sent.find(({ payload }) => payload.length === 148);
    if (!initiation) throw new Error('there was no initiation');
    world.presharedKey = new Uint8Array(32).fill(7);
    world.forgetEvents();
    world.authorize();
    for (let i = 0; i < 200; i++) {
      const source = endpoint(`203.0.113.${i}` as IpAddress, 1);
      gateway.receive([{ ...initiation, source, destination: gateway.host }], network.now);
    }
    const isReady = (): boolean => world.client.kinds().includes('connection-established');
    expect(world.runUntil(isReady, 80)).toBe(true);
    expect(gateway.node.snapshot().handshakes['cookie-replies']).toBeGreaterThan(100);
  });
});

type Step =
  | { readonly kind: 'authorize' | 'close' | 'remove' | 'reset' | 'relay' | 'no-relay' }
  | { readonly kind: 'candidate' | 'invalidate'; readonly text: string }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'send'; readonly by: 'client' | 'gateway' };

const candidateText = fc.oneof(
  fc.string({ maxLength: 80 }),
  fc
    .tuple(fc.constantFrom('host', 'srflx', 'relay', 'prflx'), fc.nat(255), fc.nat(65_535))
    .map(([kind, host, port]) => `candidate:1 1 udp 7 192.0.2.${host} ${port} typ ${kind}`),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.constantFrom<Step>(
    ...(['authorize', 'close', 'remove', 'reset', 'relay', 'no-relay'] as const).map((kind) => ({
      kind,
    })),
  ),
  fc.record({
    kind: fc.constantFrom('candidate' as const, 'invalidate' as const),
    text: candidateText,
  }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(40_000) }),
  fc.record({
    kind: fc.constant('send' as const),
    by: fc.constantFrom('client' as const, 'gateway' as const),
  }),
);

function take(world: LinkWorld, relay: Parameters<LinkWorld['announce']>[0], what: Step): void {
  const { client, gateway, network } = world;
  switch (what.kind) {
    case 'authorize':
      world.authorize();
      break;
    case 'close':
      gateway.node.closeConnection(CLIENT, PACKET, network.now);
      break;
    case 'remove':
      gateway.node.removeConnection(CLIENT, network.now);
      break;
    case 'reset':
      client.node.reset(network.now);
      break;
    case 'relay':
      world.announce(relay);
      break;
    case 'no-relay':
      world.announce([], relay);
      break;
    case 'candidate':
      gateway.node.addRemoteCandidate(CLIENT, what.text, network.now);
      break;
    case 'invalidate':
      gateway.node.removeRemoteCandidate(CLIENT, what.text, network.now);
      break;
    case 'wait':
      world.run(what.ms);
      break;
    case 'send':
      if (what.by === 'client') client.send(GATEWAY, PACKET);
      else gateway.send(CLIENT, PACKET);
  }
  world.flush();
}

test('any order of operations keeps the tables small, and in the end a connection can be made', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const { world, relays } = relayedWorld(1);
      for (const what of steps) take(world, relays, what);
      const tables = world.gateway.node.snapshot().tables;
      expect(tables['connections']).toBeLessThanOrEqual(1);
      expect(tables['indices']).toBe(tables['connections']);
      expect(tables['sessions']).toBeLessThanOrEqual(8);

      world.gateway.node.removeConnection(CLIENT, world.network.now);
      world.client.node.removeConnection(GATEWAY, world.network.now);
      world.announce([], relays);
      world.run(200);
      world.announce(relays);
      world.run(12_000);
      world.forgetEvents();
      expect(world.connect(20_000)).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test('an instant that lies before the last one is harmless', () => {
  const world = directWorld();
  world.connect();
  const { node } = world.gateway;
  node.handleTimeout(instant(0));
  expect(node.pollTimeout()).toBeGreaterThanOrEqual(world.network.now);
  node.handleTimeout(later(world.network.now, 1));
  world.client.send(GATEWAY, PACKET);
  world.run(100);
  expect(world.gateway.packets).toEqual([PACKET]);
});

test('a relay that is removed twice, or was never there, is no matter', () => {
  const { world } = relayedWorld(1);
  world.gateway.node.updateRelays([relayId('nobody'), relayId('nobody')], [], world.network.now);
  world.run(1_000);
  expect(world.authorize()).toBe('created');
});
