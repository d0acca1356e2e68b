// When a connection of a node ends or rests, to the millisecond (connectivity 4.5, 4.6, 4.8).

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import {
  CLIENT,
  directWorld,
  GATEWAY,
  type LinkPeer,
  type LinkWorld,
} from '../../test/support/link-world.ts';
import { at } from '../base/bytes.ts';
import type { Instant } from '../base/time.ts';

const PACKET = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const GOODBYE = Uint8Array.from([
  0x60,
  0,
  0,
  0,
  0,
  8,
  0xff,
  0,
  ...new Array(32).fill(0),
  2,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
]);

/** When the peer's connection failed, and why. */
function failureOf(peer: LinkPeer): { at: Instant; reason: string } | undefined {
  for (const { at: time, event } of peer.events) {
    if (event.kind === 'connection-failed') return { at: time, reason: event.reason };
  }
  return undefined;
}

/** Binding requests of one host since a moment. */
function checksOf(world: LinkWorld, peer: LinkPeer, since: Instant): number[] {
  return world.network.sent
    .filter(({ at: time, source, payload }) => {
      const isRequest = payload[0] === 0 && payload[1] === 1;
      return isRequest && time >= since && source.key === peer.host.key;
    })
    .map(({ at: time }) => time);
}

describe('a connection fails', () => {
  test('10 s after its creation if no candidate was signalled', () => {
    const world = directWorld();
    const start = world.network.now;
    world.losesCandidatesOf.add('client').add('gateway');
    world.authorize();
    world.run(9_999);
    expect(world.gateway.node.connectionState(CLIENT)).toBe('connecting');
    world.run(1);
    expect(failureOf(world.gateway)).toEqual({ at: start + 10_000, reason: 'no-candidates' });
    expect(world.gateway.node.hasConnection(CLIENT)).toBe(false);
    expect(world.gateway.node.snapshot().tables).toMatchObject({
      usernames: 0,
      indices: 0,
      publicKeys: 0,
    });
  });

  test('250 s after its creation if the client signalled candidates and never appeared', () => {
    const world = directWorld();
    const start = world.network.now;
    world.cut();
    world.authorize();
    world.run(600_000);
    expect(failureOf(world.gateway)).toEqual({ at: start + 250_000, reason: 'peer-silent' });
  });

  test('18.5 s after the first unanswered check of a client', () => {
    const world = directWorld();
    world.connect();
    world.run(18_000);
    world.client.send(GATEWAY, PACKET);
    world.run(100);
    const cutAt = world.network.now;
    world.cut();
    world.run(25_000);
    const first = at(checksOf(world, world.client, cutAt), 0);
    expect(failureOf(world.client)).toEqual({ at: first + 18_500, reason: 'ice-disconnected' });
  });

  test('20 s after the first initiation if the keys do not match', () => {
    const world = directWorld();
    world.authorize();
    // The client was told another key than the gateway.
    world.presharedKey.fill(1);
    world.gateway.node.upsertConnection(
      { ...world.terms('gateway'), presharedKey: new Uint8Array(32).fill(7) },
      world.network.now,
    );
    world.run(30_000);
    const first = world.network.sent.find(({ payload }) => payload.length === 148);
    expect(failureOf(world.client)).toEqual({
      at: Number(first?.at) + 20_000,
      reason: 'wireguard-expired',
    });
  });

  test('not for candidates that the portal lost, while a peer-reflexive path works', () => {
    const world = directWorld();
    world.losesCandidatesOf.add('client');
    expect(world.connect()).toBe(true);
    world.run(30_000);
    expect(failureOf(world.gateway)).toBeUndefined();
    world.client.send(GATEWAY, PACKET);
    world.run(100);
    expect(world.gateway.packets).toEqual([PACKET]);
  });

  test('and a client that is gone is held for 250 s after its last word, then forgotten (14.22)', () => {
    const world = directWorld();
    world.connect();
    world.run(60_000);
    const isOf = (of: typeof world.client) =>
      world.network.sent.filter((d) => d.source.key === of.host.key);
    world.cut();
    const last = Number(isOf(world.client).at(-1)?.at) + world.network.latencyMs;
    world.run(600_000);
    expect(failureOf(world.gateway)).toEqual({ at: last + 250_000, reason: 'peer-silent' });
  });

  test('not for the silence of an idle client of the earliest generation, which speaks every 60 s', () => {
    const world = directWorld();
    world.connect();
    const heard = new Set<number>();
    // One of the client's datagrams in a minute arrives.
    world.network.isDelivered = ({ source }) => {
      if (source.key !== world.client.host.key) return true;
      const minute = Math.floor(world.network.now / 60_000);
      return heard.has(minute) ? false : Boolean(heard.add(minute));
    };
    world.run(400_000);
    expect(failureOf(world.gateway)?.reason).not.toBe('peer-silent');
  });
});

describe('idleness', () => {
  test('begins 20 s after the last user data and ends with the next', () => {
    const world = directWorld();
    world.connect();
    world.client.send(GATEWAY, PACKET);
    world.run(10);
    const receivedAt = world.network.now;
    const states = (): unknown[] => [
      world.client.node.connectionState(GATEWAY),
      world.gateway.node.connectionState(CLIENT),
    ];
    world.run(19_989);
    expect(states()).toEqual(['connected', 'connected']);
    world.run(11);
    expect(world.network.now - receivedAt).toBe(20_000);
    expect(states()).toEqual(['idle', 'idle']);
    const idleSince = world.network.now;
    world.run(100_000);
    expect(checksOf(world, world.client, idleSince).length).toBeLessThan(6);
    expect(world.client.send(GATEWAY, PACKET)).toBe('bulk');
    world.run(200);
    expect(states()).toEqual(['connected', 'connected']);
    expect(world.gateway.packets).toHaveLength(2);
  });

  test('ends with a candidate and with another authorization', () => {
    const world = directWorld();
    world.connect();
    world.run(25_000);
    expect(world.gateway.node.connectionState(CLIENT)).toBe('idle');
    const text = 'candidate:1 1 udp 1 192.0.2.77 1000 typ host';
    world.gateway.node.addRemoteCandidate(CLIENT, text, world.network.now);
    expect(world.gateway.node.connectionState(CLIENT)).toBe('connected');
    world.run(60_000);
    expect(world.gateway.node.connectionState(CLIENT)).toBe('idle');
    world.authorize();
    expect(world.gateway.node.connectionState(CLIENT)).toBe('connected');
  });

  test('survives six minutes twice, with data in between', () => {
    const world = directWorld();
    world.connect();
    for (let round = 1; round <= 2; round++) {
      world.run(360_000);
      expect(world.client.send(GATEWAY, PACKET)).toMatch(/bulk|waiting/);
      world.run(1_000);
      expect(world.gateway.packets).toHaveLength(round);
    }
    expect(failureOf(world.client)).toBeUndefined();
    expect(failureOf(world.gateway)).toBeUndefined();
  });
});

describe('closing', () => {
  test('says goodbye as the last packet and reports the connection closed', () => {
    const world = directWorld();
    world.connect();
    world.gateway.node.closeConnection(CLIENT, GOODBYE, world.network.now);
    world.run(100);
    expect(world.client.packets).toEqual([GOODBYE]);
    expect(world.gateway.kinds().at(-1)).toBe('connection-closed');
    expect(world.gateway.node.hasConnection(CLIENT)).toBe(false);
    world.client.node.removeConnection(GATEWAY, world.network.now);
    world.run(1_000);
    expect(world.client.kinds()).not.toContain('connection-closed');
    expect(world.client.node.snapshot().tables).toMatchObject({
      connections: 0,
      sessions: 0,
      transactions: 0,
    });
  });

  test.each([0, 1, 2])(
    'at shutdown is said three times; a peer that misses %d of them still hears it, and once is enough',
    (lost) => {
      const world = directWorld();
      world.connect();
      let sent = 0;
      world.network.isDelivered = ({ source }) =>
        source.key !== world.gateway.host.key || sent++ >= lost;
      world.gateway.node.closeAll(GOODBYE, world.network.now);
      world.flush();
      expect(sent).toBe(3);
      world.run(100);
      expect(world.client.packets).toHaveLength(3 - lost);
      // The role forgets the connection with the first one: the others find nobody.
      const second = directWorld();
      second.connect();
      second.gateway.node.closeAll(GOODBYE, second.network.now);
      second.flush();
      second.runUntil(() => second.client.packets.length > 0, 100);
      second.client.node.removeConnection(GATEWAY, second.network.now);
      second.run(100);
      expect(second.client.node.snapshot().tables).toMatchObject({ connections: 0, sessions: 0 });
    },
  );

  test('says nothing while there is no path', () => {
    const world = directWorld();
    world.losesCandidatesOf.add('client').add('gateway');
    world.authorize();
    world.gateway.node.closeAll(GOODBYE, world.network.now);
    world.run(1_000);
    expect(world.gateway.kinds()).not.toContain('connection-closed');
    expect(
      world.network.sent.filter(({ source }) => source.key === world.gateway.host.key),
    ).toEqual([]);
  });

  test('gives every key slot back', () => {
    const world = directWorld();
    for (let round = 0; round < 70; round++) {
      expect(world.connect()).toBe(true);
      world.gateway.node.closeConnection(CLIENT, undefined, world.network.now);
      world.client.node.removeConnection(GATEWAY, world.network.now);
      world.forgetEvents();
    }
  });
});
