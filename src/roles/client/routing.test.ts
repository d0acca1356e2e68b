// Which way a packet takes on the client, and what may come in (client 6.1, 6.3, 16).

import { describe, expect, test } from 'vitest';
import { icmpProhibited, tcpTo, udpFrom, udpTo } from '../../../test/support/client-packets.ts';
import {
  ClientWorld,
  cidrResource,
  dnsResource,
  GATEWAY_A,
  GATEWAY_B,
  internetResource,
  OWN_IPV4,
  OWN_IPV6,
} from '../../../test/support/client-world.ts';
import { icmp, tcp, udp } from '../../../test/support/gateway-world.ts';
import { ip, parsed } from '../../../test/support/packets.ts';
import { DNS_TYPE } from '../../wire/dns/records.ts';
import type { ClientResource } from '../../wire/portal/resources.ts';

/** The resource that the first packet asks for. */
function asksFor(resources: readonly ClientResource[], packet: Uint8Array): string | undefined {
  const world = new ClientWorld(resources);
  world.answers('git.corp.test', DNS_TYPE.a);
  world.fromTun(packet);
  return world.requests()[0];
}

describe('outbound', () => {
  test('multicast, foreign sources and packets to ourselves are dropped', () => {
    const world = new ClientWorld([cidrResource('all', '0.0.0.0/0'), internetResource('net')]);
    world.fromTun(udpTo('224.0.0.251'));
    world.fromTun(udpTo('ff02::1:3'));
    world.fromTun(udpFrom('10.0.0.9', 'spoofed', '10.20.0.5'));
    world.fromTun(udpFrom(OWN_IPV4, 'self', OWN_IPV4));
    expect(world.drops()).toEqual({ multicast: 2, 'source-not-ours': 1, 'packet-to-self': 1 });
    expect(world.requests()).toEqual([]);
  });

  test('the longest prefix wins; of equal ones the greater id', () => {
    const wide = cidrResource('wide', '10.0.0.0/8');
    const narrow = cidrResource('narrow', '10.20.0.0/16');
    const twin = cidrResource('twin', '10.20.0.0/16');
    expect(asksFor([wide, narrow], udpTo('10.20.0.5'))).toBe('narrow');
    expect(asksFor([narrow, wide, twin], udpTo('10.20.0.5'))).toBe('twin');
    expect(asksFor([wide, narrow], udpTo('10.21.0.5'))).toBe('wide');
    expect(asksFor([cidrResource('six', '2001:db8::/32')], udpTo('2001:db8::1'))).toBe('six');
  });

  test('a resource that allows the packet is preferred to a longer one that does not', () => {
    const wide = cidrResource('wide', '10.0.0.0/8', [tcp(80)]);
    const narrow = cidrResource('narrow', '10.20.0.0/16', [tcp(443)]);
    expect(asksFor([wide, narrow], tcpTo('10.20.0.5', 80))).toBe('wide');
    expect(asksFor([wide, narrow], tcpTo('10.20.0.5', 443))).toBe('narrow');
  });

  test('a proxy address beats every network, and the more specific pattern the other', () => {
    const everything = cidrResource('everything', '0.0.0.0/0');
    const exact = dnsResource('exact', 'git.corp.test');
    const broad = dnsResource('broad', '**.corp.test');
    expect(asksFor([everything, broad], udpTo('100.96.0.1'))).toBe('broad');
    expect(asksFor([everything, broad, exact], udpTo('100.96.0.1'))).toBe('exact');
  });

  test('tunnel, proxy and sentinel addresses never go to the Internet resource; others do', () => {
    const world = new ClientWorld([internetResource('net')]);
    for (const address of [
      '100.64.0.99',
      'fd00:2021:1111::99',
      '100.96.0.99',
      '100.100.111.9',
      'fd00:2021:1111:8000:100:100:111:9',
    ]) {
      world.fromTun(udpTo(address));
    }
    expect(world.drops()).toEqual({ 'unknown-resource': 5 });
    world.fromTun(udpTo('1.1.1.1'));
    expect(world.requests()).toEqual(['net']);
  });

  test('a resource in the tunnel range is a resource', () => {
    expect(asksFor([cidrResource('shared', '100.64.7.0/24')], udpTo('100.64.7.1'))).toBe('shared');
  });

  test('what the filters refuse is answered here: "prohibited" of its family, and nothing is asked', () => {
    const world = new ClientWorld([
      cidrResource('four', '10.20.0.0/24', [tcp(443), udp(53), icmp]),
      cidrResource('six', '2001:db8::/64', [tcp(1, 1_000)]),
    ]);
    world.fromTun(tcpTo('10.20.0.5', 444));
    world.fromTun(tcpTo('2001:db8::5', 1_001));
    const errors = world.toTun().map((packet) => parsed(packet));
    expect(errors.map(({ icmpType, icmpCode }) => [icmpType, icmpCode])).toEqual([
      [3, 13],
      [1, 1],
    ]);
    expect(world.requests()).toEqual([]);
    expect(world.drops()).toEqual({ 'refused-by-filter': 2 });
    world.fromTun(tcpTo('2001:db8::5', 1_000));
    world.fromTun(udpTo('10.20.0.5', 'dns', 53));
    expect(world.requests()).toEqual(['six', 'four']);
  });

  test('an ICMP error is never answered by another', () => {
    const world = new ClientWorld([cidrResource('four', '10.20.0.0/24', [tcp(443)])]);
    world.fromTun(icmpProhibited(udpFrom('10.20.0.5'), OWN_IPV4, '10.20.0.5'));
    expect(world.toTun()).toEqual([]);
    expect(world.drops()).toEqual({ 'refused-by-filter': 1 });
  });

  test('answers generated for a TUN device that nobody reads are limited', () => {
    const world = new ClientWorld([cidrResource('four', '10.20.0.0/24', [tcp(443)])]);
    for (let i = 0; i < 300; i++) world.fromTun(tcpTo('10.20.0.5', 444));
    expect(world.drops()).toMatchObject({ 'tun-queue-full': 44 });
    expect(world.toTun()).toHaveLength(256);
  });

  test('a new resource is seen at once, also by destinations that led nowhere', () => {
    const world = new ClientWorld([]);
    world.fromTun(udpTo('10.20.0.5'));
    const resource = cidrResource('net', '10.20.0.0/24');
    world.portal({ event: 'resource_created_or_updated', payload: resource });
    world.fromTun(udpTo('10.20.0.5'));
    expect(world.requests()).toEqual(['net']);
    const [event] = world.events();
    expect(event).toBeUndefined();
  });

  test('remembers many destinations without mixing them up', () => {
    const world = new ClientWorld([
      cidrResource('a', '10.1.0.0/16'),
      cidrResource('b', '10.2.0.0/16'),
    ]);
    world.fromTun(udpTo('10.1.0.1'));
    world.grant('a');
    world.fromTun(udpTo('10.2.0.1'));
    world.grant('b', GATEWAY_B);
    for (let i = 0; i < 3_000; i++) {
      const host = `${i >> 8}.${i & 255}`;
      expect(world.fromTun(udpTo(`10.1.${host}`))).toBe('gateway-a');
      expect(world.fromTun(udpTo(`10.2.${host}`))).toBe('gateway-b');
    }
  });
});

describe('inbound', () => {
  function connected(resources: readonly ClientResource[], packet: Uint8Array): ClientWorld {
    const world = new ClientWorld(resources);
    world.answers('git.corp.test', DNS_TYPE.a);
    world.fromTun(packet);
    world.grant(world.requests()[0] ?? '');
    return world;
  }

  test('a gateway speaks for itself and for the networks granted through it, to us alone', () => {
    const world = connected([cidrResource('net', '10.20.0.0/24')], udpTo('10.20.0.5'));
    expect(world.fromGateway(udpFrom('10.20.0.77'))).toBe(true);
    expect(world.fromGateway(udpFrom(GATEWAY_A.ipv4))).toBe(true);
    expect(world.fromGateway(udpFrom(GATEWAY_A.ipv6))).toBe(true);
    expect(world.fromGateway(udpFrom('10.21.0.1'))).toBe(false);
    expect(world.fromGateway(udpFrom(GATEWAY_B.ipv4))).toBe(false);
    expect(world.fromGateway(udpFrom('10.20.0.77', 'x', '192.168.1.1'))).toBe(false);
    expect(world.fromGateway(udpFrom('10.20.0.77'), 'gateway-b')).toBe(false);
    expect(world.drops()).toEqual({
      'source-not-allowed': 2,
      'destination-not-ours': 1,
      'no-gateway': 1,
    });
  });

  test('a granted name speaks by its proxy addresses of both families, and by no others', () => {
    const world = connected([dnsResource('git', 'git.corp.test')], udpTo('100.96.0.1'));
    expect(world.fromGateway(udpFrom('100.96.0.3'))).toBe(true);
    expect(world.fromGateway(udpFrom('fd00:2021:1111:8000::2'))).toBe(true);
    expect(world.fromGateway(udpFrom('100.96.0.9'))).toBe(false);
  });

  test('the Internet resource speaks for the Internet, but not for peers and names', () => {
    const world = connected([internetResource('net')], udpTo('1.1.1.1'));
    expect(world.fromGateway(udpFrom('8.8.8.8'))).toBe(true);
    expect(world.fromGateway(udpFrom('2001:4860::8'))).toBe(true);
    expect(world.fromGateway(udpFrom('100.64.0.77'))).toBe(false);
    expect(world.fromGateway(udpFrom('100.96.0.3'))).toBe(false);
    expect(world.fromGateway(udpFrom('fd00:2021:1111::77'))).toBe(false);
  });

  test('what was withdrawn may not speak any more, also if it spoke last', () => {
    const other = cidrResource('other', '10.30.0.0/24');
    const world = connected([cidrResource('net', '10.20.0.0/24'), other], udpTo('10.20.0.5'));
    world.fromTun(udpTo('10.30.0.1'));
    world.grant('other');
    expect(world.fromGateway(udpFrom('10.30.0.1'))).toBe(true);
    world.portal({ event: 'resource_deleted', payload: other.id });
    expect(world.fromGateway(udpFrom('10.30.0.1'))).toBe(false);
  });

  test('malformed and truncated packets are dropped and counted', () => {
    const world = connected([cidrResource('net', '10.20.0.0/24')], udpTo('10.20.0.5'));
    for (const length of [0, 1, 19, 27]) world.fromGateway(udpFrom('10.20.0.5').slice(0, length));
    expect(world.drops()).toEqual({ malformed: 4 });
  });

  test('a packet by the cold path is held to the same rules', () => {
    const world = connected([cidrResource('net', '10.20.0.0/24')], udpTo('10.20.0.5'));
    const [peer = GATEWAY_A.id as never] = world.link.slots;
    for (const bytes of [udpFrom('10.20.0.7'), udpFrom('10.99.0.7')])
      world.link.arrived.push({ peer, bytes, ecn: 0 });
    world.client.handleTimeout(world.now);
    expect(world.toTun()).toEqual([udpFrom('10.20.0.7')]);
  });
});

test('the interface has the networks of the resources and default routes only for the Internet resource', () => {
  const world = new ClientWorld([cidrResource('net', '10.20.0.0/24'), internetResource('all')]);
  world.portal({ event: 'resource_deleted', payload: internetResource('all').id });
  const [changed] = world.events();
  if (changed?.kind !== 'interface-changed') throw new Error('no change');
  expect(changed.settings).toMatchObject({
    ipv4: OWN_IPV4,
    ipv6: OWN_IPV6,
    isInternetActive: false,
  });
  expect(changed.settings.networks.map(({ address }) => address)).toContain(ip('10.20.0.0'));
});
