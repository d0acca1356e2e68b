// Set-up by offer and answer (connectivity 4.2): both nodes in a pair, and each against what an old peer does.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { CLIENT, directWorld, GATEWAY, type LinkWorld } from '../../test/support/link-world.ts';
import { PORT_RESTRICTED, VirtualNetwork } from '../../test/support/virtual-network.ts';
import { createSeededCrypto } from '../io/crypto/seeded-crypto.ts';
import type { IceCredentials } from '../proto/ice/binding-messages.ts';
import { createCredentials, type Offer, Offers } from './offers.ts';

const PACKET = udpPacket('100.64.0.1', '10.0.0.5', 'hello');

function offerOf({ client, network }: LinkWorld): Offer {
  const offer = client.node.createOffer(GATEWAY, network.now);
  return offer === 'no-relays' ? expect.unreachable() : offer;
}

function answerOf({ client, gateway, network }: LinkWorld, offer: Offer): IceCredentials {
  const { publicKey } = client.node;
  const answer = gateway.node.acceptOffer(CLIENT, publicKey, offer, network.now);
  return answer === 'no-relays' ? expect.unreachable() : answer;
}

/** What the portal does with `request_connection` and `connection_ready`. */
function connect(world: LinkWorld, answerAfterMs = 30): void {
  const offer = offerOf(world);
  const answer = answerOf(world, offer);
  world.run(answerAfterMs);
  const { client, gateway, network } = world;
  client.node.acceptAnswer(GATEWAY, gateway.node.publicKey, answer, network.now);
  world.flush();
}

describe('by offer and answer', () => {
  test('two nodes connect, and data goes both ways', () => {
    const network = new VirtualNetwork();
    const nat = network.addNat({ ...PORT_RESTRICTED, publicAddress: '203.0.113.7' });
    const world = directWorld({ client: nat }, network);
    connect(world);
    expect(world.runUntil(() => world.isConnected, 2_000)).toBe(true);
    world.client.send(GATEWAY, PACKET);
    world.gateway.send(CLIENT, PACKET);
    world.run(100);
    expect(world.gateway.packets).toEqual([PACKET]);
    expect(world.client.packets).toEqual([PACKET]);
  });

  test('connectivity 11.21: without an answer the offer fails after 20 s, and not before', () => {
    const world = directWorld();
    offerOf(world);
    world.run(19_999);
    expect(world.client.kinds()).toEqual([]);
    world.run(1);
    expect(world.client.of('connection-failed').map(({ reason }) => reason)).toEqual(['no-answer']);
  });

  test('connectivity 11.21: without candidates the gateway’s connection fails after 10 s', () => {
    const world = directWorld();
    answerOf(world, offerOf(world));
    world.run(9_999);
    expect(world.gateway.kinds()).not.toContain('connection-failed');
    world.run(1);
    const [failed] = world.gateway.of('connection-failed');
    expect(failed?.reason).toBe('no-candidates');
  });

  test('connectivity 11.22: an answer that comes too late, twice or to no offer is ignored', () => {
    const world = directWorld();
    const { client, gateway, network } = world;
    const answer = answerOf(world, offerOf(world));
    const accept = (): string =>
      client.node.acceptAnswer(GATEWAY, gateway.node.publicKey, answer, network.now);
    world.run(20_000);
    expect(accept()).toBe('unknown-offer');
    answerOf(world, offerOf(world));
    expect([accept(), accept()]).toEqual(['created', 'unknown-offer']);
  });

  test('connectivity 11.23: the client signals nothing before the answer, and uses what overtook it', () => {
    const world = directWorld();
    const { client, gateway, network } = world;
    const answer = answerOf(world, offerOf(world));
    world.run(100);
    // The gateway's candidates are there; ours are not said yet.
    expect(client.kinds()).not.toContain('candidates-added');
    expect(gateway.kinds()).toContain('candidates-added');
    client.node.acceptAnswer(GATEWAY, gateway.node.publicKey, answer, network.now);
    world.flush();
    expect(client.kinds()).toContain('candidates-added');
    expect(world.runUntil(() => world.isConnected, 2_000)).toBe(true);
    expect(client.node.snapshot().drops).not.toHaveProperty('candidate-for-unknown-peer');
  });

  test('there is no reuse: each offer makes another connection, silently', () => {
    const world = directWorld();
    connect(world);
    expect(world.runUntil(() => world.isConnected, 2_000)).toBe(true);
    const [before] = world.gateway.node.snapshot().connections;
    world.forgetEvents();
    connect(world);
    expect(world.runUntil(() => world.isConnected, 2_000)).toBe(true);
    const [after] = world.gateway.node.snapshot().connections;
    expect(after?.index).not.toBe(before?.index);
    expect(world.gateway.kinds()).not.toContain('connection-closed');
    expect(world.gateway.kinds()).not.toContain('connection-failed');
  });

  test('a reset fails the offers that wait', () => {
    const world = directWorld();
    offerOf(world);
    world.client.node.reset(world.network.now);
    world.flush();
    expect(world.client.of('connection-failed').map(({ reason }) => reason)).toEqual(['no-answer']);
    expect(world.client.node.snapshot().tables).toMatchObject({ offers: 0 });
  });
});

describe('offers', () => {
  test('have credentials of the first generation’s form, all different', () => {
    const crypto = createSeededCrypto(1);
    const all = Array.from({ length: 200 }, () => createCredentials(crypto));
    for (const { ufrag, password } of all) {
      expect(ufrag).toMatch(/^[a-vx-zA-VX-Z0-9]{4}$/);
      expect(password).toMatch(/^[a-vx-zA-VX-Z0-9]{22}$/);
    }
    expect(new Set(all.map(({ password }) => password)).size).toBe(200);
  });

  test('are bounded, and the key of one that goes is wiped', () => {
    const world = directWorld();
    const offers = new Offers(createSeededCrypto(1));
    const first = offers.create(GATEWAY, world.network.now);
    offers.create(GATEWAY, world.network.now);
    expect(first.presharedKey.every((byte) => byte === 0)).toBe(true);
    for (let i = 0; i < 1_000; i++) {
      offers.create(`peer ${i}` as typeof GATEWAY, world.network.now);
    }
    expect(offers.count).toBe(256);
  });
});
