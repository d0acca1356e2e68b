// Nodes in networks that block UDP: relays by TCP, when, how fast, and how it ends again.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { CLIENT, GATEWAY, type LinkWorld, relayedWorld } from '../../test/support/link-world.ts';
import type { RelayMachine } from '../../test/support/relay-machine.ts';
import { PORT_RESTRICTED, SYMMETRIC } from '../../test/support/virtual-network.ts';
import { at } from '../base/bytes.ts';
import type { StreamWay } from './relays/relay-info.ts';

const WAYS: readonly StreamWay[] = [{ isSecure: false }, { port: 443, isSecure: true }];
const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const ANSWER = udpPacket('10.0.0.5', '100.64.0.1', 'hello yourself');

function world(
  count: number,
  ports: readonly number[] = [3478],
  nat: Parameters<typeof relayedWorld>[1] = SYMMETRIC,
): { world: LinkWorld; relays: RelayMachine[] } {
  const made = relayedWorld(count, nat, WAYS);
  for (const relay of made.relays) for (const port of ports) relay.streamPorts.add(port);
  return made;
}

/** Between relays it works; out of the clients' networks it does not. */
function blockUdp({ network }: LinkWorld): void {
  const isRelay = (address: string): boolean => address.startsWith('198.51.100.');
  network.isDelivered = ({ source, destination }) =>
    isRelay(source.address) && isRelay(destination.address);
}

function allowUdp({ network }: LinkWorld): void {
  network.isDelivered = () => true;
}

function exchange(world: LinkWorld, ms = 200): void {
  world.client.packets.length = 0;
  world.gateway.packets.length = 0;
  world.client.send(GATEWAY, REQUEST);
  world.run(ms);
  world.gateway.send(CLIENT, ANSWER);
  world.run(ms);
  expect(world.gateway.packets).toEqual([REQUEST]);
  expect(world.client.packets).toEqual([ANSWER]);
}

function transports(world: LinkWorld): string[] {
  return [world.client, world.gateway].flatMap(({ node }) =>
    node.snapshot().relays.map(({ transport, hasAllocation }) => (hasAllocation ? transport : '-')),
  );
}

describe('where UDP is blocked', () => {
  test('relays are reached by TCP after three seconds, and traffic flows', () => {
    const { world: w } = world(1);
    blockUdp(w);
    w.run(2_900);
    expect(transports(w)).toEqual(['-', '-']);
    w.run(300);
    expect(transports(w)).toEqual(['stream', 'stream']);
    expect(w.connect()).toBe(true);
    exchange(w);
    expect(w.client.node.snapshot().drops).toEqual({});
  });

  test('a port that refuses costs no time, the next kind is tried at once', () => {
    const { world: w } = world(1, [443]);
    blockUdp(w);
    w.run(3_300);
    expect(transports(w)).toEqual(['stream', 'stream']);
  });

  test('what a stream leaves from is no candidate, only the relayed address is', () => {
    const { world: w } = world(1);
    blockUdp(w);
    w.run(3_500);
    w.authorize();
    w.run(100);
    const kinds = w.gateway
      .of('candidates-added')
      .flatMap(({ candidates }) => candidates.map((text) => text.split(' ')[7]));
    expect(kinds).toEqual(['relay']);
  });

  test('a connection over TCP lives for an hour, idle or not', () => {
    const { world: w } = world(1);
    blockUdp(w);
    w.run(4_000);
    w.connect();
    for (let minute = 0; minute < 60; minute++) {
      w.run(60_000);
      if (minute % 10 === 0) exchange(w);
    }
    expect(w.gateway.kinds()).not.toContain('connection-failed');
    expect(transports(w)).toEqual(['stream', 'stream']);
  });

  test('one side may use UDP while the other cannot', () => {
    const { world: w } = world(1);
    const gateway = '10.2.0.2';
    w.network.isDelivered = ({ source, destination }) =>
      source.address !== gateway && destination.address !== '203.0.113.9';
    w.run(4_000);
    expect(transports(w)).toEqual(['udp', 'stream']);
    expect(w.connect()).toBe(true);
    exchange(w);
  });

  test('if nothing answers by TCP either, the relay is given up and others are asked for', () => {
    const { world: w } = world(1, []);
    blockUdp(w);
    w.run(9_000);
    expect(w.gateway.kinds()).toEqual(['no-relays']);
    expect(w.gateway.node.snapshot().relays).toEqual([]);
  });

  test('without ways the relay is given up as ever', () => {
    const { world: w } = relayedWorld(1);
    blockUdp(w);
    w.run(9_000);
    expect(w.gateway.kinds()).toEqual(['no-relays']);
  });
});

describe('where UDP works', () => {
  test('nothing is dialled, not even towards a relay that is silent beside one that answers', () => {
    const { world: w, relays } = world(2);
    const [, dead] = relays;
    const isDead = (address: string): boolean => address === dead?.listen.address;
    w.network.isDelivered = ({ source, destination }) =>
      !(isDead(destination.address) || isDead(source.address));
    w.run(60_000);
    expect(w.streams.openedCount).toBe(0);
    expect(transports(w)).toEqual(['udp', 'udp']);
  });
});

describe('when UDP stops in the middle', () => {
  test('the connection goes on by TCP within ten seconds of traffic', () => {
    const { world: w } = world(1);
    w.run(1_000);
    w.connect();
    exchange(w);
    blockUdp(w);
    const cutAt = w.network.now;
    w.gateway.packets.length = 0;
    const arrives = (): boolean => {
      w.client.send(GATEWAY, REQUEST);
      w.gateway.send(CLIENT, ANSWER);
      return w.runUntil(() => w.gateway.packets.length > 0 && w.client.packets.length > 1, 100);
    };
    for (let i = 0; i < 100 && !arrives(); i++);
    expect(w.network.now - cutAt).toBeLessThan(10_000);
    expect(transports(w)).toEqual(['stream', 'stream']);
    expect(w.gateway.kinds()).not.toContain('connection-failed');
    expect(w.gateway.kinds()).not.toContain('no-relays');
  });

  test('a direct path is not touched by relays that went away', () => {
    const { world: w } = world(1, [3478], PORT_RESTRICTED);
    w.run(1_000);
    w.connect();
    w.run(3_000);
    expect(w.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
    const relay = '198.51.100.100';
    w.network.isDelivered = ({ source, destination }) =>
      !(destination.address === relay || source.address === relay);
    w.run(60_000);
    exchange(w);
    expect(w.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
  });
});

describe('when UDP comes back', () => {
  test('it is found within two minutes, and the connection moves there', () => {
    const { world: w, relays } = world(1);
    blockUdp(w);
    w.run(4_000);
    w.connect();
    allowUdp(w);
    w.run(120_000);
    expect(transports(w)).toEqual(['udp', 'udp']);
    expect(at(relays, 0).streamCount).toBe(0);
    exchange(w);
    expect(w.client.kinds()).not.toContain('connection-failed');
  });

  test('the path becomes direct where NATs allow it', () => {
    const { world: w } = world(1, [3478], PORT_RESTRICTED);
    blockUdp(w);
    w.run(4_000);
    w.connect();
    allowUdp(w);
    w.run(120_000);
    expect(w.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
    exchange(w);
  });

  test('another network is looked at at once', () => {
    const { world: w } = world(1);
    blockUdp(w);
    w.run(15_000);
    allowUdp(w);
    w.client.node.handleNetworkChange(w.network.now);
    w.gateway.node.handleNetworkChange(w.network.now);
    w.run(1_000);
    expect(transports(w)).toEqual(['udp', 'udp']);
  });
});

describe('a stream that ends', () => {
  test('is opened again at once, and the flow goes on', () => {
    const { world: w, relays } = world(1);
    blockUdp(w);
    w.run(4_000);
    w.connect();
    at(relays, 0).endStreams();
    w.run(2_000);
    expect(transports(w)).toEqual(['stream', 'stream']);
    exchange(w);
    expect(w.client.kinds()).not.toContain('connection-failed');
  });

  test('again and again is opened again less and less', () => {
    const { world: w, relays } = world(1);
    const relay = at(relays, 0);
    relay.refusesStreams = true;
    blockUdp(w);
    w.run(120_000);
    // Two nodes.
    expect(w.streams.openedCount / 2).toBeLessThan(20);
    expect(w.streams.openedCount).toBeGreaterThan(4);
  });

  test('with its relay moves the connection to the other one', () => {
    const { world: w, relays } = world(2);
    blockUdp(w);
    w.run(4_000);
    w.connect();
    const used = relays.find((relay) => relay.forwardedCount > 0);
    used?.stop();
    w.run(2_000);
    exchange(w);
    expect(w.client.kinds()).not.toContain('connection-failed');
  });

  test('by a reset is opened again in the new network', () => {
    const { world: w } = world(1);
    blockUdp(w);
    w.run(4_000);
    w.client.node.reset(w.network.now);
    w.run(4_000);
    expect(transports(w)).toEqual(['stream', 'stream']);
    expect(w.connect()).toBe(true);
    exchange(w);
  });

  test('at shutdown gives its allocation back', () => {
    const { world: w, relays } = world(1);
    blockUdp(w);
    w.run(4_000);
    expect(at(relays, 0).server.allocationCount).toBe(2);
    w.gateway.node.releaseRelays(w.network.now);
    w.run(100);
    expect(at(relays, 0).server.allocationCount).toBe(1);
    expect(at(relays, 0).streamCount).toBe(1);
  });
});
