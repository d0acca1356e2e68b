// A client against our own relay machine under a virtual clock: the life of an allocation (relay 8.1, 8.4).

import { describe, expect, it } from 'vitest';
import {
  PEER,
  PEER_V6,
  parsed,
  RELAY_V4,
  RELAY_V6,
  type TurnClientUnderTest,
  TurnWorld,
} from '../../../test/support/turn-world.ts';
import { toHex } from '../../base/bytes.ts';
import { findAttribute, STUN_METHOD } from '../../wire/stun/message.ts';

function allocated(options: Parameters<TurnWorld['addClient']>[0] = {}): {
  world: TurnWorld;
  client: TurnClientUnderTest;
} {
  const world = new TurnWorld();
  const client = world.addClient(options);
  world.settle();
  expect(client.allocation.hasAllocation).toBe(true);
  world.takeTrace();
  return { world, client };
}

describe('start', () => {
  it('needs three round trips and reports host, reflexive and relayed candidates in this order', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4] });
    world.settle();
    expect(world.takeTrace()).toEqual([
      'client binding',
      'server binding',
      'client allocate',
      'server allocate 401',
      'client allocate',
      'server allocate',
    ]);
    const relayedV4 = client.allocation.relayedAddress(4);
    const relayedV6 = client.allocation.relayedAddress(6);
    expect(relayedV4?.address).toBe('198.51.100.7');
    expect(relayedV6?.address).toBe('2001:db8::7');
    expect(relayedV6?.port).toBe(relayedV4?.port);
    expect(client.takeEvents()).toEqual([
      'candidate-added host 203.0.113.9:40000',
      'candidate-added srflx 203.0.113.9:40000',
      `candidate-added relayed ${relayedV4?.key}`,
      `candidate-added relayed ${relayedV6?.key}`,
    ]);
    expect(client.allocation.activeEndpoint).toBe(RELAY_V4);
  });

  it('sends its first ALLOCATE without nonce and integrity, every other request signed', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4] });
    world.settle();
    client.allocation.bindChannel(PEER, world.now);
    client.allocation.refresh(world.now);
    world.settle();
    const own = world.sent.filter(({ from }) => from === 'client').flatMap((s) => s.message ?? []);
    const [, first, ...later] = own;
    expect(first?.integrityOffset).toBeUndefined();
    expect(first && findAttribute(first, 'nonce')).toBeUndefined();
    expect(first && findAttribute(first, 'username')).toBeDefined();
    for (const message of later) expect(message.integrityOffset).toBeDefined();
    for (const message of later.filter(({ method }) => method !== STUN_METHOD.allocate)) {
      expect(findAttribute(message, 'requested-transport')).toBeUndefined();
      expect(findAttribute(message, 'additional-address-family')).toBeUndefined();
    }
  });

  it('uses the address family that answers first, and reports the reflexive candidates of both', () => {
    const world = new TurnWorld();
    const client = world.addClient();
    let isHeld = true;
    world.deliver = ({ destination, from }) =>
      !(isHeld && from === 'client' && destination === RELAY_V4.key);
    world.settle();
    expect(client.allocation.activeEndpoint).toBe(RELAY_V6);
    isHeld = false;
    world.advance(1000);
    expect(client.allocation.activeEndpoint).toBe(RELAY_V6);
    expect(client.takeEvents()).toEqual(
      expect.arrayContaining([
        'candidate-added host [2001:db8:9::9]:40000',
        'candidate-added srflx 203.0.113.9:40000',
      ]),
    );
  });

  it('goes on asking a dead family until it gives up, without harm to the other', () => {
    const world = new TurnWorld();
    const client = world.addClient();
    world.deliver = ({ destination }) => destination !== RELAY_V6.key;
    world.advance(9000);
    const trace = world.takeTrace();
    expect(trace.filter((line) => line === 'client binding v6')).toHaveLength(4);
    expect(client.allocation.hasAllocation).toBe(true);
  });

  it('gives up after 8.125 s when nothing answers, with one datagram per wake-up', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4] });
    world.deliver = () => false;
    world.advance(8124);
    expect(world.sent.map(({ at }) => at)).toEqual([0, 1000, 2500, 4750]);
    expect(new Set(world.sent.map(({ bytes }) => bytes.join()))).toHaveLength(1);
    expect(client.takeEvents()).toEqual([]);
    world.advance(1);
    expect(client.takeEvents()).toEqual(['failed no-response']);
    expect(client.allocation.pollTimeout()).toBeUndefined();
  });

  it('survives the loss of any single datagram', () => {
    for (let lost = 0; lost < 12; lost++) {
      const world = new TurnWorld();
      const client = world.addClient({ addresses: [RELAY_V4] });
      let count = 0;
      world.deliver = () => count++ !== lost;
      client.allocation.bindChannel(PEER, world.now);
      world.advance(5000);
      expect(client.allocation.channelTo(PEER, world.now)).toBe(0x4000);
      expect(client.takeEvents().filter((line) => line.startsWith('failed'))).toEqual([]);
    }
  });

  it('is told by its credentials that it is not welcome, and stops', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4], password: 'wrong' });
    world.advance(10_000);
    // The relay signs with the right password's key, so the answers do not verify: two are enough.
    expect(client.takeEvents().at(-1)).toBe('failed no-response');
    expect(client.allocation.pollTimeout()).toBeUndefined();
  });
});

describe('keeping it', () => {
  it('refreshes half way through the lifetime, once', () => {
    const { world } = allocated({ addresses: [RELAY_V4] });
    world.advance(299_999);
    expect(world.takeTrace().filter((line) => line.includes('refresh'))).toEqual([]);
    world.advance(2);
    expect(world.takeTrace()).toContain('client refresh');
    world.advance(100_000);
    expect(world.takeTrace().filter((line) => line.includes('refresh'))).toEqual([]);
    expect(world.server.allocationCount).toBe(1);
  });

  it('lives for hours', () => {
    const { world, client } = allocated();
    client.takeEvents();
    world.advance(4 * 3600 * 1000);
    expect(client.takeEvents()).toEqual([]);
    expect(world.server.allocationCount).toBe(1);
  });

  it('keeps the mapping by a BINDING every 25 s, unless data does', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    world.advance(25_000);
    expect(world.takeTrace()).toEqual(['client binding', 'server binding']);
    world.advance(10_000);
    client.allocation.noteSent(world.now);
    world.advance(24_999);
    expect(world.takeTrace()).toEqual([]);
    world.advance(1);
    expect(world.takeTrace()).toEqual(['client binding', 'server binding']);
  });

  it('asks for a sign of life every few seconds while it only sends', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    for (let second = 0; second < 60; second++) {
      client.allocation.noteSent(world.now);
      world.advance(1000);
    }
    expect(world.takeTrace().filter((line) => line === 'client binding')).toHaveLength(31);
    expect(client.allocation.hasAllocation).toBe(true);
  });

  it('notices within 10 s that the relay is silent while data goes out (issue 6, item 6)', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    const diedAt = world.now;
    world.deliver = () => false;
    client.takeEvents();
    // Retransmissions of a TCP connection get rarer and rarer.
    for (const pauseMs of [0, 200, 400, 800, 1600, 3200]) {
      world.advance(pauseMs);
      client.allocation.noteSent(world.now);
    }
    world.advance(10_000 - (world.now - diedAt));
    expect(client.takeEvents().at(-1)).toBe('failed no-response');
  });

  it('takes data that arrives for a sign of life (relay 8.3, 07d97b7da2)', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    const channel = client.allocation.channelTo(PEER, world.now) ?? 0;
    world.deliver = () => false;
    for (let tick = 0; tick < 600; tick++) {
      client.allocation.noteSent(world.now);
      world.advance(100);
      expect(client.allocation.handleChannelData(channel)).toBeDefined();
    }
    expect(client.allocation.hasAllocation).toBe(true);
  });

  it('does not ask because of a single datagram that nobody answers', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.noteSent(world.now);
    world.advance(24_000);
    expect(world.takeTrace()).toEqual([]);
  });

  it('withdraws its relayed candidates, IPv4 first, when a keep-alive is not answered', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.takeEvents();
    world.deliver = () => false;
    world.advance(25_000 + 8125);
    const events = client.takeEvents();
    expect(events).toHaveLength(3);
    expect(events[0]).toMatch(/^candidate-removed relayed 198/);
    expect(events[1]).toMatch(/^candidate-removed relayed \[2001/);
    expect(events[2]).toBe('failed no-response');
  });

  it('moves to the other address family when the one in use dies', () => {
    const { world, client } = allocated();
    expect(client.allocation.activeEndpoint).toBe(RELAY_V4);
    world.deliver = ({ destination }) =>
      destination !== RELAY_V4.key && !destination.startsWith('203.');
    world.advance(25_000 + 8125 + 1000);
    expect(client.allocation.activeEndpoint).toBe(RELAY_V6);
    expect(client.allocation.hasAllocation).toBe(true);
    expect(client.takeEvents().filter((line) => line.startsWith('failed'))).toEqual([]);
  });

  it('measures the round trip: the first sample, then an eighth of the difference', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4] });
    const answerAfter = (milliseconds: number): void => {
      const request = client.allocation.pollTransmit();
      if (!request) throw new Error('nothing was sent');
      world.now = ((world.now as number) + milliseconds) as typeof world.now;
      world.server.handleDatagram(request.payload, client.local[4], RELAY_V4, world.now);
      const response = world.server.pollTransmit();
      if (!response) throw new Error('nothing was answered');
      client.allocation.handleDatagram(response.payload, RELAY_V4, client.local[4], world.now);
    };
    expect(client.allocation.rtt).toBeUndefined();
    answerAfter(40);
    expect(client.allocation.rtt).toBe(40);
    answerAfter(200);
    expect(client.allocation.rtt).toBe(60);
  });
});

describe('a relay that forgot', () => {
  it('437 to REFRESH: candidates withdrawn, allocated anew, channels in use bound again', () => {
    const { world, client } = allocated();
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    client.takeEvents();
    world.restartServer();
    client.allocation.refresh(world.now);
    world.settle();
    const events = client.takeEvents();
    expect(events.slice(0, 3)).toEqual([
      expect.stringMatching(/^candidate-removed relayed 198/),
      expect.stringMatching(/^candidate-removed relayed \[2001/),
      'channel-lost 192.0.2.33:52625 4000',
    ]);
    expect(events.at(-1)).toBe('channel-bound 192.0.2.33:52625 4001');
    expect(client.allocation.channelTo(PEER, world.now)).toBe(0x4001);
  });

  it('437 to CHANNEL-BIND: allocated anew, and the peer is bound by itself', () => {
    const { world, client } = allocated();
    world.restartServer();
    client.allocation.bindChannel(PEER_V6, world.now);
    world.settle();
    expect(world.takeTrace()).toEqual([
      'client channel-bind',
      'server channel-bind 438',
      'client channel-bind',
      'server channel-bind 437',
      'client allocate',
      'server allocate',
      'client channel-bind',
      'server channel-bind',
    ]);
  });

  it('437 to ALLOCATE: the old allocation is deleted first', () => {
    const world = new TurnWorld();
    const first = world.addClient({ addresses: [RELAY_V4] });
    world.settle();
    world.clients.length = 0;
    const second = world.addClient({ addresses: [RELAY_V4] });
    world.takeTrace();
    world.settle();
    expect(world.takeTrace().slice(2)).toEqual([
      'client allocate',
      'server allocate 401',
      'client allocate',
      'server allocate 437',
      'client refresh 0',
      'server refresh',
      'client allocate',
      'server allocate',
    ]);
    expect(second.allocation.hasAllocation).toBe(true);
    expect(first.allocation.relayedAddress(4)?.port).not.toBe(
      second.allocation.relayedAddress(4)?.port,
    );
    expect(world.server.allocationCount).toBe(1);
  });

  it('that has a new secret is left after two answers that do not verify', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.takeEvents();
    world.restartServer('another secret');
    client.allocation.bindChannel(PEER, world.now);
    world.advance(1000);
    expect(client.takeEvents().at(-1)).toBe('failed no-response');
  });

  it('refresh() notices silence within a second', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.takeEvents();
    world.deliver = () => false;
    client.allocation.refresh(world.now);
    world.advance(1000);
    expect(client.takeEvents().at(-1)).toBe('failed no-response');
  });
});

describe('channels', () => {
  it('wishes made before there is an allocation are bound after it, once per peer, in order', () => {
    const world = new TurnWorld();
    const client = world.addClient({ addresses: [RELAY_V4] });
    for (const peer of [PEER, PEER_V6, PEER]) client.allocation.bindChannel(peer, world.now);
    world.settle();
    const binds = world.sent.flatMap(({ from, message }) =>
      from === 'client' && message?.method === STUN_METHOD.channelBind ? [message] : [],
    );
    expect(binds.map((bind) => findAttribute(bind, 'xor-peer-address')?.key)).toEqual([
      PEER.key,
      PEER_V6.key,
    ]);
    expect(binds.map((bind) => findAttribute(bind, 'channel-number'))).toEqual([0x4000, 0x4001]);
  });

  it('a peer that is bound or being bound is not asked for again', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER, world.now);
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    expect(world.takeTrace()).toEqual(['client channel-bind', 'server channel-bind']);
  });

  it('data leaves behind its CHANNEL-BIND without waiting for the answer', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    const outcome = client.allocation.sendToPeer(PEER, Uint8Array.of(1, 2, 3), 0, world.now);
    expect(outcome).toBe('sent');
    world.settle();
    expect(world.takeTrace()).toEqual([
      'client channel-bind',
      'server channel-bind',
      'client data',
    ]);
  });

  it('a confirmed channel says who sent data on it, an unconfirmed one does not', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER, world.now);
    expect(client.allocation.handleChannelData(0x4000)).toBeUndefined();
    world.settle();
    const ends = client.allocation.handleChannelData(0x4000);
    expect(ends?.peer).toBe(PEER);
    expect(ends?.relayed).toBe(client.allocation.relayedAddress(4));
    expect(client.allocation.handleChannelData(0x4001)).toBeUndefined();
  });

  it('is bound again after 300 s if data arrived on it, else it is left to expire', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER, world.now);
    client.allocation.bindChannel(PEER_V6, world.now);
    world.settle();
    world.takeTrace();
    world.advance(1000);
    client.allocation.handleChannelData(0x4000);
    world.advance(300_000);
    expect(world.takeTrace().filter((line) => line.startsWith('client channel'))).toHaveLength(1);
    world.advance(300_000);
    expect(client.allocation.channelTo(PEER, world.now)).toBe(0x4000);
    expect(client.allocation.channelTo(PEER_V6, world.now)).toBeUndefined();
  });

  it('a peer that comes back during the cool-down gets its number again', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    world.advance(12 * 60_000);
    expect(client.allocation.channelTo(PEER, world.now)).toBeUndefined();
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    expect(client.allocation.channelTo(PEER, world.now)).toBe(0x4000);
  });

  it('a refused one is forgotten, and its peer not asked for at the pace of packets', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    const loopback = parsed('127.0.0.1:9');
    client.allocation.bindChannel(loopback, world.now);
    world.settle();
    expect(world.takeTrace()).toEqual(['client channel-bind', 'server channel-bind 403']);
    expect(client.allocation.channelTo(loopback, world.now)).toBeUndefined();
    client.allocation.bindChannel(loopback, world.now);
    world.settle();
    expect(world.takeTrace()).toEqual([]);
  });
});

describe('relay 8.1', () => {
  it('14: no channel to a family without a relayed address; wishes for it are dropped', () => {
    const world = new TurnWorld({ publicAddresses: [RELAY_V4.address] });
    const client = world.addClient({ addresses: [RELAY_V4] });
    client.allocation.bindChannel(PEER_V6, world.now);
    client.allocation.bindChannel(PEER, world.now);
    world.settle();
    client.allocation.bindChannel(PEER_V6, world.now);
    world.settle();
    expect(client.takeEvents().filter((line) => line.startsWith('channel'))).toHaveLength(1);
    expect(world.takeTrace().filter((line) => line === 'client channel-bind')).toHaveLength(1);
    expect(client.allocation.sendToPeer(PEER_V6, new Uint8Array(1), 0, world.now)).toBe(
      'no-channel',
    );
  });

  it('19: refresh() with an allocation asks to prolong it, without LIFETIME 0', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    world.sent.length = 0;
    client.allocation.refresh(world.now);
    world.settle();
    const [request] = world.sent.flatMap(({ message }) => message ?? []);
    expect(request?.method).toBe(STUN_METHOD.refresh);
    expect(request && findAttribute(request, 'lifetime')).toBeUndefined();
    expect(client.allocation.hasAllocation).toBe(true);
  });

  it('24: an allocation that reaches the end of its lifetime is gone, by a timer of its own', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.takeEvents();
    // The relay answers BINDING, and refuses every REFRESH without saying why.
    world.deliver = ({ from, message }) =>
      !(from === 'client' && message?.method === STUN_METHOD.refresh) || message === undefined;
    world.advance(300_000);
    const events = (): string[] => client.takeEvents().filter((line) => line.includes('removed'));
    world.advance(8_200);
    expect(events()).toHaveLength(2);
  });

  it('30: a round trip is measured by requests that were sent once (Karn)', () => {
    const world = new TurnWorld();
    let losses = 1;
    world.deliver = ({ from }) => !(from === 'client' && losses-- > 0);
    const client = world.addClient({ addresses: [RELAY_V4] });
    world.advance(1_500);
    expect(client.allocation.hasAllocation).toBe(true);
    expect(client.allocation.rtt).toBeLessThan(100);
  });

  it('30: where the first transmission of every request is lost, it is known to be a second at most', () => {
    const world = new TurnWorld();
    const seen = new Set<string>();
    world.deliver = ({ from, message }) => {
      const id = toHex(message?.transactionId ?? new Uint8Array());
      const isFirst = from === 'client' && !seen.has(id);
      seen.add(id);
      return !isFirst;
    };
    const client = world.addClient({ addresses: [RELAY_V4] });
    world.advance(5_000);
    expect(client.allocation.hasAllocation).toBe(true);
    expect(client.allocation.rtt).toBe(1_000);
    world.deliver = () => true;
    world.advance(30_000);
    expect(client.allocation.rtt).toBe(0);
  });
});

describe('the end', () => {
  it('release gives the allocation back and says nothing more', () => {
    const { world, client } = allocated();
    client.allocation.release(world.now);
    world.settle();
    expect(world.server.allocationCount).toBe(0);
    expect(client.allocation.pollTimeout()).toBeUndefined();
    client.allocation.bindChannel(PEER, world.now);
    expect(client.allocation.pollTransmit()).toBeUndefined();
  });

  it('restart begins again with a BINDING and forgets the nonce', () => {
    const { world, client } = allocated({ addresses: [RELAY_V4] });
    client.allocation.restart(world.now);
    world.settle();
    expect(world.takeTrace().slice(0, 4)).toEqual([
      'client binding',
      'server binding',
      'client allocate',
      'server allocate 401',
    ]);
    expect(client.allocation.hasAllocation).toBe(true);
  });

  it('a full relay is asked again later', () => {
    const world = new TurnWorld({ ports: { lowest: 50000, highest: 50000 } });
    const first = world.addClient({ addresses: [RELAY_V4] });
    world.settle();
    const second = world.addClient({ addresses: [RELAY_V4], port: 40001, salt: 'other' });
    second.allocation.bindChannel(PEER, world.now);
    world.settle();
    expect(world.takeTrace().at(-1)).toBe('server allocate 508');
    expect(second.allocation.isSuspended).toBe(true);
    first.allocation.release(world.now);
    world.advance(10_000);
    expect(second.allocation.hasAllocation).toBe(true);
    expect(second.allocation.channelTo(PEER, world.now)).toBeUndefined();
  });
});
