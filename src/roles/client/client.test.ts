// The client role with a fake node: access to resources from the first packet to the goodbye (client 6.1, 7.3, 8, 11, 13, 14).

import { describe, expect, test } from 'vitest';
import { icmpProhibited, udpTo } from '../../../test/support/client-packets.ts';
import {
  ClientWorld,
  cidrResource,
  dnsResource,
  GATEWAY_A,
  GATEWAY_B,
  internetResource,
  OWN_IPV4,
  SENTINEL,
} from '../../../test/support/client-world.ts';
import { peerId } from '../../base/ids.ts';
import { later } from '../../base/time.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { DNS_TYPE } from '../../wire/dns/records.ts';

const NET = cidrResource('net', '10.20.0.0/24');
const GIT = dnsResource('git', 'git.corp.test');

/** The resource granted through gateway A, the connection established. */
function connected(resources = [NET]): ClientWorld {
  const world = new ClientWorld(resources);
  world.fromTun(udpTo('10.20.0.5'));
  world.grant('net');
  world.established();
  world.events();
  world.link.sent.length = 0;
  return world;
}

describe('asking for access', () => {
  test('the Internet resource is left alone unless the client was told to use it', () => {
    const internet = internetResource('internet');
    const [told, untold] = [true, false].map((is) => new ClientWorld([internet], undefined, is));
    told?.fromTun(udpTo('198.51.100.7'));
    untold?.fromTun(udpTo('198.51.100.7'));
    expect(told?.requests()).toEqual(['internet']);
    expect(untold?.requests()).toEqual([]);
  });

  test('a first packet asks once and waits; the grant sends it exactly once', () => {
    const world = new ClientWorld([NET]);
    expect(world.fromTun(udpTo('10.20.0.5', 'one'))).toBeUndefined();
    world.fromTun(udpTo('10.20.0.5', 'two'));
    world.fromTun(udpTo('10.20.0.5', 'two'));
    expect(world.requests()).toEqual(['net']);
    world.grant('net');
    world.established();
    expect(world.sentData()).toEqual([udpTo('10.20.0.5', 'one'), udpTo('10.20.0.5', 'two')]);
  });

  test('traffic asks again two seconds later, and not before', () => {
    const world = new ClientWorld([NET]);
    world.fromTun(udpTo('10.20.0.5'));
    world.advance(1_999);
    world.fromTun(udpTo('10.20.0.5', 'x'));
    expect(world.requests()).toEqual(['net']);
    world.now = later(world.now, 1);
    world.fromTun(udpTo('10.20.0.5', 'y'));
    expect(world.requests()).toEqual(['net']);
  });

  test('a grant that nobody asked for, or for an unknown resource, changes nothing', () => {
    const world = new ClientWorld([NET]);
    world.grant('net');
    world.grant('other');
    expect(world.link.calls.filter((call) => call.startsWith('upsert'))).toEqual([]);
    world.fromTun(udpTo('10.20.0.5'));
    world.grant('net');
    world.grant('net', GATEWAY_B);
    expect(world.link.slots).toEqual(['gateway-a']);
  });

  test('without a relay the packets stay, the portal hears of it, and the request is repeated', () => {
    const world = new ClientWorld([NET]);
    world.fromTun(udpTo('10.20.0.5'));
    world.events();
    world.link.hasRelays = false;
    world.grant('net');
    expect(world.messages()).toEqual([{ event: 'no_relays', payload: {} }]);
    world.link.hasRelays = true;
    world.elapse(2_000);
    expect(world.requests()).toEqual(['net']);
    world.grant('net');
    world.established();
    expect(world.sentData()).toHaveLength(1);
  });

  test('while the portal is away requests wait, however long, and are made when it is back', () => {
    const world = new ClientWorld([NET]);
    world.client.handlePortalDisconnected();
    world.fromTun(udpTo('10.20.0.5'));
    world.elapse(60_000);
    expect(world.requests()).toEqual([]);
    world.client.handlePortalConnected(world.now);
    expect(world.requests()).toEqual(['net']);
    world.init([NET]);
    world.grant('net');
    world.established();
    expect(world.sentData()).toHaveLength(1);
  });

  test('"offline" drops what waits; another refusal keeps it until traffic asks again', () => {
    const world = new ClientWorld([NET]);
    world.fromTun(udpTo('10.20.0.5', 'lost'));
    expect(world.requests()).toEqual(['net']);
    world.refuse('net', 'offline');
    world.fromTun(udpTo('10.20.0.5', 'kept'));
    expect(world.requests(), 'not before two seconds are over').toEqual([]);
    world.advance(2_000);
    expect(world.requests()).toEqual(['net']);
    world.refuse('net', 'forbidden');
    world.advance(1_000);
    expect(world.requests()).toEqual([]);
    world.grant('net');
    world.established();
    expect(world.sentData()).toEqual([udpTo('10.20.0.5', 'kept')]);
  });

  test('a refusal of something unknown is no news', () => {
    const world = new ClientWorld([NET]);
    world.refuse('other', 'offline');
    expect(world.events()).toEqual([]);
  });

  test('the request names the gateways that are connected, the one of the resource first', () => {
    const other = cidrResource('other', '10.30.0.0/24');
    const world = connected([NET, other]);
    world.fromTun(udpTo('10.30.0.1'));
    world.grant('other', GATEWAY_B);
    world.events();
    world.link.removeConnection(peerId(GATEWAY_A.id));
    world.fromGateway(prohibited('10.30.0.1'), GATEWAY_B.id);
    const [message] = world.messages();
    expect(message?.event === 'request_authorization' && message.payload).toMatchObject({
      resourceId: 'other',
      connectedGatewayIds: ['gateway-b', 'gateway-a'],
    });
  });
});

describe('a connected gateway', () => {
  test('gets packets by its key slot', () => {
    expect(connected().fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
  });

  test('without a session the packet goes through the link, which starts a handshake', () => {
    const world = connected();
    world.link.isReady = false;
    world.link.sendOutcome = 'waiting';
    world.fromTun(udpTo('10.20.0.5'));
    expect(world.client.snapshot()['access']).toMatchObject({ waiting: 0 });
    expect(world.drops()).toEqual({});
  });

  test('while it connects packets wait in order and leave when it is established', () => {
    const world = new ClientWorld([NET]);
    world.fromTun(udpTo('10.20.0.5', '1'));
    world.link.isReady = false;
    world.link.sendOutcome = 'still-connecting';
    world.grant('net');
    world.fromTun(udpTo('10.20.0.5', '2'));
    expect(world.sentData()).toEqual([]);
    world.link.sendOutcome = 'sent';
    world.established();
    expect(world.sentData()).toEqual([udpTo('10.20.0.5', '1'), udpTo('10.20.0.5', '2')]);
  });

  test('a GSO packet does not wait; it is dropped and its owner sends it again', () => {
    const world = new ClientWorld([NET]);
    const big = udpTo('10.20.0.5', 'x'.repeat(4_000));
    world.fromTun(big, { gsoSegment: 1_000, headerLength: 28 });
    expect(world.drops()).toEqual({ 'too-large-to-wait': 1 });
    expect(world.requests()).toEqual(['net']);
  });

  test('a packet whose checksum the kernel left to the device is completed before it waits', () => {
    const world = new ClientWorld([NET]);
    const whole = udpTo('10.20.0.5', 'sum');
    const partial = whole.slice();
    partial.set([0, 0], 26);
    world.fromTun(partial, { isPartial: true });
    world.grant('net');
    world.established();
    expect(world.sentData()).toEqual([whole]);
  });

  test('that fails is forgotten, and the next packet asks again', () => {
    const world = connected();
    world.failed();
    expect(world.fromTun(udpTo('10.20.0.5'))).toBeUndefined();
    expect(world.requests()).toEqual(['net']);
  });

  test('that says goodbye is forgotten, and the next packet asks again', () => {
    const world = connected();
    world.fromGateway(writeControlPacket({ kind: 'goodbye' }));
    expect(world.link.calls).toContain('forget gateway-a');
    world.fromTun(udpTo('10.20.0.5'));
    expect(world.requests()).toEqual(['net']);
    expect(world.fromTun(udpTo(GATEWAY_A.ipv4))).toBeUndefined();
    expect(world.drops()).toMatchObject({ 'unknown-resource': 1 });
  });

  test('is reached under its own tunnel address', () => {
    const world = connected();
    expect(world.fromTun(udpTo(GATEWAY_A.ipv4))).toBe('gateway-a');
    expect(world.requests()).toEqual([]);
  });

  test('behind a new connection has lost what it was told: other resources are asked for anew', () => {
    const other = cidrResource('other', '10.30.0.0/24');
    const world = connected([NET, other]);
    world.link.upsertOfKnown = 'replaced';
    world.fromTun(udpTo('10.30.0.1'));
    world.grant('other');
    world.events();
    expect(world.fromTun(udpTo('10.20.0.5'))).toBeUndefined();
    expect(world.requests()).toEqual(['net']);
  });

  test('loses its connection, with a goodbye, when its only resource moves to another gateway', () => {
    const world = connected();
    world.fromGateway(prohibited('10.20.0.5'));
    world.grant('net', GATEWAY_B);
    expect(world.link.calls).toContain('close gateway-a 2');
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-b');
  });
});

describe('"prohibited" from a gateway', () => {
  test('asks for the grant again, ever more seldom while it does not help', () => {
    const world = connected();
    const asked: number[] = [];
    for (let second = 0; second < 300; second++) {
      expect(world.fromGateway(prohibited('10.20.0.5'))).toBe(true);
      if (world.requests().length > 0) {
        asked.push(second);
        world.grant('net');
      }
      world.elapse(1_000);
    }
    expect(asked).toEqual([0, 2, 6, 14, 30, 62, 126, 190, 254]);
  });

  test('about a resource of another gateway is passed on and changes nothing', () => {
    const other = cidrResource('other', '10.30.0.0/24');
    const world = connected([NET, other]);
    world.fromTun(udpTo('10.30.0.1'));
    world.grant('other', GATEWAY_B);
    world.events();
    world.fromGateway(prohibited('10.30.0.1', GATEWAY_A.ipv4));
    expect(world.requests()).toEqual([]);
  });
});

describe('resources that change', () => {
  test('removing the last one of a gateway closes the connection with a goodbye; one of two keeps it', () => {
    const other = cidrResource('other', '10.30.0.0/24');
    const world = connected([NET, other]);
    world.fromTun(udpTo('10.30.0.1'));
    world.grant('other');
    world.portal({ event: 'resource_deleted', payload: NET.id });
    expect(world.link.calls.some((call) => call.startsWith('close'))).toBe(false);
    world.portal({ event: 'resource_deleted', payload: other.id });
    expect(world.link.calls).toContain('close gateway-a 2');
    expect(world.fromTun(udpTo('10.20.0.5'))).toBeUndefined();
    expect(world.drops()).toMatchObject({ 'unknown-resource': 1 });
  });

  test('another name keeps the access, another address ends it', () => {
    const world = connected();
    const renamed = { ...NET, name: 'renamed', sites: [] };
    world.portal({ event: 'resource_created_or_updated', payload: { ...NET, name: 'renamed' } });
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
    world.portal({ event: 'resource_created_or_updated', payload: renamed });
    expect(world.link.calls).toContain('close gateway-a 2');
    world.fromTun(udpTo('10.20.0.5'));
    expect(world.requests()).toEqual(['net']);
  });

  test('an unchanged init after an outage tears nothing down', () => {
    const world = connected();
    world.client.handlePortalDisconnected();
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
    world.client.handlePortalConnected(world.now);
    world.init([NET]);
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
    expect(world.requests()).toEqual([]);
  });

  test('an init without a resource ends it, its request and its packets', () => {
    const world = new ClientWorld([NET]);
    world.fromTun(udpTo('10.20.0.5'));
    world.init([]);
    world.events();
    world.grant('net');
    world.elapse(20_000);
    expect(world.requests()).toEqual([]);
    expect(world.link.slots).toEqual([]);
  });
});

describe('a change of networks', () => {
  test('makes a new key, forgets connections, and asks for what was in use once the portal is back', () => {
    const world = connected();
    const before = world.client.publicKey;
    world.client.reset(world.now);
    expect(world.client.publicKey).not.toEqual(before);
    expect(world.requests()).toEqual([]);
    world.elapse(300_000);
    expect(world.requests()).toEqual([]);
    world.client.handlePortalConnected(world.now);
    expect(world.requests()).toEqual(['net']);
  });

  test('iceless 9: keeps key, gateways and grants where the connections can move', () => {
    const world = connected();
    world.link.canMove = true;
    const before = world.client.publicKey;
    world.client.reset(world.now);
    expect(world.client.publicKey).toEqual(before);
    world.client.handlePortalConnected(world.now);
    expect(world.requests()).toEqual([]);
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
  });

  test('twice at once is as good as once', () => {
    const world = connected();
    world.client.reset(world.now);
    world.client.reset(world.now);
    world.client.handlePortalConnected(world.now);
    expect(world.requests()).toEqual(['net']);
    world.grant('net');
    world.established();
    expect(world.fromTun(udpTo('10.20.0.5'))).toBe('gateway-a');
  });

  test('keeps names and their proxy addresses', () => {
    const world = new ClientWorld([GIT]);
    const before = world.answers('git.corp.test', DNS_TYPE.a);
    world.client.reset(world.now);
    expect(world.answers('git.corp.test', DNS_TYPE.a)).toEqual(before);
  });

  test('holds candidates until the portal is there again', () => {
    const world = connected();
    world.client.reset(world.now);
    world.events();
    world.link.events.push({
      kind: 'candidates-added',
      peer: peerId(GATEWAY_A.id),
      candidates: ['candidate:1 1 udp 1 192.0.2.1 9 typ host'],
    });
    world.client.handleTimeout(world.now);
    expect(world.messages()).toEqual([]);
    world.client.handlePortalConnected(world.now);
    expect(world.messages().map(({ event }) => event)).toContain('new_gateway_ice_candidates');
  });
});

test('shutting down says goodbye on every connection and gives the relays back', () => {
  const world = connected();
  world.client.shutdown(world.now);
  expect(world.link.calls.slice(-2)).toEqual(['close-all 2', 'release-relays']);
});

test('a query to an address that is no sentinel is not answered', () => {
  const world = new ClientWorld([GIT]);
  expect(world.query('git.corp.test', DNS_TYPE.a, '100.100.111.9')).toEqual({
    kind: 'drop',
    reason: 'unassigned-sentinel',
  });
  expect(world.query('example.test', DNS_TYPE.a, SENTINEL).kind).toBe('forward');
});

/** An ICMP error that the gateway sends about a packet of ours to `destination`. */
function prohibited(destination: string, source = destination): Uint8Array {
  return icmpProhibited(udpTo(destination), source, OWN_IPV4);
}
