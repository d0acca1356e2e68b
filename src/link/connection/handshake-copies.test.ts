// Initiations that travel with checks, and what becomes of a set-up that loses datagrams.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../../test/support/inner-packets.ts';
import { CLIENT, directWorld, GATEWAY } from '../../../test/support/link-world.ts';
import { ep, PORT_RESTRICTED, VirtualNetwork } from '../../../test/support/virtual-network.ts';
import { toHex } from '../../base/bytes.ts';
import { SeededRandom } from '../../base/random.ts';
import { instant } from '../../base/time.ts';
import { HandshakeCopies } from './handshake-copies.ts';

const INITIATION = new Uint8Array(148).fill(1);
const PACKET = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const A = { local: ep('10.0.0.2:52625'), remote: ep('198.51.100.20:52625') };
const B = { local: ep('10.0.0.2:52625'), remote: ep('198.51.100.20:40001') };

function waysOf(copies: HandshakeCopies): string[] {
  const ways: string[] = [];
  for (let out = copies.pollTransmit(); out; out = copies.pollTransmit()) ways.push(out.remote.key);
  return ways;
}

describe('the copies of an initiation', () => {
  test('go with the checks that open a path, those before it included', () => {
    const copies = new HandshakeCopies();
    expect(copies.noteOpening(A, instant(0))).toBe(true);
    expect(copies.begin(INITIATION, instant(0))).toBe(true);
    expect(copies.noteOpening(B, instant(5))).toBe(false);
    expect(waysOf(copies)).toEqual([A.remote.key, B.remote.key]);
  });

  test('are bounded, however many checks there are', () => {
    const copies = new HandshakeCopies();
    copies.begin(INITIATION, instant(0));
    for (let port = 1; port <= 100; port++) {
      copies.noteOpening({ local: A.local, remote: ep(`198.51.100.20:${port}`) }, instant(0));
    }
    expect(waysOf(copies)).toHaveLength(24);
  });

  test('take the nominated path only if none took it since the check that succeeded', () => {
    const copies = new HandshakeCopies();
    copies.begin(INITIATION, instant(0));
    copies.noteOpening(A, instant(0));
    waysOf(copies);
    copies.noteNominated(A, 40, instant(40));
    expect(waysOf(copies)).toEqual([]);
    copies.noteNominated(B, 40, instant(60));
    expect(waysOf(copies)).toEqual([B.remote.key]);
  });

  test('are repeated on the nominated path until there is a session', () => {
    const copies = new HandshakeCopies();
    copies.noteNominated(A, 40, instant(0));
    expect(copies.begin(INITIATION, instant(0))).toBe(false);
    const times: number[] = [];
    for (let due = copies.pollTimeout(); due !== undefined; due = copies.pollTimeout()) {
      times.push(due);
      copies.handleTimeout(due);
    }
    expect(times).toEqual([250, 750, 1_750, 2_750, 3_750, 4_750]);
    expect(waysOf(copies)).toHaveLength(6);
    copies.begin(INITIATION, instant(5_000));
    copies.end();
    expect(copies.pollTimeout()).toBeUndefined();
    expect(copies.noteOpening(A, instant(5_100))).toBe(false);
    expect(waysOf(copies)).toEqual([]);
  });

  test('wait for two round trips where those are long', () => {
    const copies = new HandshakeCopies();
    copies.noteNominated(A, 600, instant(0));
    copies.begin(INITIATION, instant(0));
    expect(copies.pollTimeout()).toBe(1_200);
  });
});

describe('a set-up', () => {
  test('takes one round trip after the client knows the gateway, and no datagram too many', () => {
    const world = directWorld();
    world.authorize();
    world.runUntil(() => world.client.kinds().includes('connection-established'), 2_000);
    expect(world.network.now).toBe(world.signallingMs + 2 * world.network.latencyMs);
    const handshake = world.network.sent.filter(({ payload }) => payload[1] === 0);
    expect(handshake.map(({ payload }) => payload[0])).toEqual([1, 2, 4]);
  });

  test('behind NATs it takes that long after both know each other', () => {
    const network = new VirtualNetwork();
    const nat = (publicAddress: string) => network.addNat({ ...PORT_RESTRICTED, publicAddress });
    const world = directWorld({ client: nat('203.0.113.7') }, network);
    expect(world.connect()).toBe(true);
    expect(world.client.timeOf('connection-established')).toBe(world.signallingMs + 20);
  });

  test('the nominating check is sent before the first data, and where it is lost the data says the same', () => {
    const world = directWorld();
    const { client, gateway, network } = world;
    const isNominating = (payload: Uint8Array): boolean => toHex(payload).includes('00250000');
    network.isDelivered = ({ payload }) => !isNominating(payload);
    world.authorize();
    world.runUntil(() => client.kinds().includes('connection-established'), 2_000);
    expect(network.sent.some(({ payload }) => isNominating(payload))).toBe(true);
    client.send(GATEWAY, PACKET);
    world.runUntil(() => gateway.packets.length > 0, 1_000);
    expect(gateway.send(CLIENT, PACKET)).toBe('bulk');
    world.run(50);
    expect(client.packets).toHaveLength(1);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])(
    'does not wait five seconds where a quarter of all datagrams is lost (seed %d)',
    (seed) => {
      const world = directWorld();
      const random = new SeededRandom(seed);
      world.network.isDelivered = () => random.next() > 0.25;
      world.authorize();
      const isReady = (): boolean => world.client.kinds().includes('connection-established');
      expect(world.runUntil(isReady, 3_500)).toBe(true);
      world.network.isDelivered = () => true;
      world.client.send(GATEWAY, PACKET);
      world.run(100);
      expect(world.gateway.packets).toHaveLength(1);
    },
  );
});
