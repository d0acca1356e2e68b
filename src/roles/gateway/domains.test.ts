// Setting up the NAT of domains (data-plane 9.2, 9.3, 17.1 to 17.4, 17.18, 17.22, 17.23): what is asked, answered, mapped and refused.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GatewayWorld,
  tcp,
  udp,
} from '../../../test/support/gateway-world.ts';
import { ip, parsed } from '../../../test/support/packets.ts';
import { addressFromWords, writeAddressWords } from '../../base/address.ts';
import { resourceId } from '../../base/ids.ts';
import { instant } from '../../base/time.ts';
import { InternetRejectList } from '../../proto/filter/reject-list.ts';
import { parseControlPacket } from '../../wire/control/p2p-control.ts';
import { writeUdpPacket } from '../../wire/ip/write-packet.ts';
import { Authorizations } from './authorizations.ts';
import { MAX_TRANSLATIONS, Translations } from './translations.ts';

const V4 = ['100.96.0.1', '100.96.0.2', '100.96.0.3', '100.96.0.4'];
const V6 = ['', '1', '2', '3'].map((n) => `fd00:2021:1111:8000::${n}`);
const PROXIES = [...V4, ...V6];

/** Where a packet to a proxy address goes, or `undefined`. */
function realOf(world: GatewayWorld, proxy: string, sourcePort = 1_000): string | undefined {
  const source = ip(proxy.includes(':') ? ALICE.ipv6 : ALICE.ipv4);
  const packet = writeUdpPacket({
    source,
    destination: ip(proxy),
    sourcePort,
    destinationPort: 53,
  });
  const { forwarded } = world.fromClient(packet);
  return forwarded && addressFromWords(parsed(forwarded).addresses, 4);
}

const queries = (world: GatewayWorld): number[] =>
  world.events().flatMap((event) => (event.kind === 'resolve' ? [event.queryId] : []));

function worldWith(pattern: string): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(dns('db', pattern));
  world.events();
  return world;
}

describe('mapping', () => {
  test.each([
    ['two A', ['10.0.0.9', '10.0.0.3'], ['.3', '.9', '.3', '.9'], undefined],
    ['one AAAA', ['2001:db8::1'], undefined, '2001:db8::1'],
    ['both', ['10.0.0.9', '2001:db8::1'], ['.9', '.9', '.9', '.9'], '2001:db8::1'],
    ['duplicates', ['10.0.0.9', '10.0.0.9', '10.0.0.10'], ['.9', '.10', '.9', '.10'], undefined],
    ['nothing', [], undefined, undefined],
  ])('%s', (_, addresses, v4, v6) => {
    const world = worldWith('db.test');
    expect(world.setUp('db', 'db.test', PROXIES, addresses)).toBe('active');
    expect(V4.map((proxy) => realOf(world, proxy))).toEqual(
      V4.map((_p, i) => v4 && `10.0.0${v4[i]}`),
    );
    for (const proxy of V6) expect(realOf(world, proxy)).toBe(v6);
  });

  test.each([
    '127.0.0.1',
    '0.0.0.0',
    '169.254.169.254',
    '100.64.0.6',
    '100.96.0.1',
    '100.64.0.2',
    '224.0.0.251',
    '255.255.255.255',
    '::1',
    '::',
    '::ffff:127.0.0.1',
    'fe80::1',
    '64:ff9b::7f00:1',
    'ff02::1',
    'fd00:2021:1111::6',
  ])('a name that leads to %s does not lead there', (special) => {
    const world = worldWith('db.test');
    world.setUp('db', 'db.test', PROXIES, [special]);
    for (const proxy of PROXIES) expect(realOf(world, proxy)).toBeUndefined();
    expect(world.gateway.snapshot().counts['domain-addresses-refused']).toBe(1);
    world.advance(2_000);
    world.setUp('db', 'db.test', PROXIES, [special, '10.2.0.5', '::ffff:10.2.0.5']);
    expect(V4.map((proxy) => realOf(world, proxy))).toEqual(V4.map(() => '10.2.0.5'));
  });

  test('data-plane 15.2-N5: a refresh moves new flows only', () => {
    const world = worldWith('db.test');
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    expect(realOf(world, '100.96.0.1', 1)).toBe('10.0.0.1');
    world.advance(2_000);
    world.setUp('db', 'db.test', V4, ['10.0.0.2']);
    expect(realOf(world, '100.96.0.1', 1)).toBe('10.0.0.1');
    expect(realOf(world, '100.96.0.1', 2)).toBe('10.0.0.2');
  });

  test('a refresh without addresses refuses new flows only', () => {
    const world = worldWith('db.test');
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    realOf(world, '100.96.0.1', 1);
    world.advance(2_000);
    world.setUp('db', 'db.test', V4, []);
    expect(realOf(world, '100.96.0.1', 1)).toBe('10.0.0.1');
    expect(realOf(world, '100.96.0.1', 2)).toBeUndefined();
  });

  test('data-plane 15.2-N6: a proxy that belongs to another domain now resets all of the client, case does not matter', () => {
    const world = worldWith('**.test');
    world.setUp('db', 'a.test', V4, ['10.0.0.1']);
    world.setUp('db', 'b.test', V6, ['2001:db8::1']);
    realOf(world, '100.96.0.1');
    world.advance(2_000);
    world.setUp('db', 'A.Test', V4, ['10.0.0.1']);
    expect(world.gateway.snapshot().counts['nat-resets']).toBeUndefined();
    world.setUp('db', 'c.test', ['100.96.0.4'], ['10.0.0.3']);
    expect(world.gateway.snapshot()).toMatchObject({
      counts: { 'nat-resets': 1 },
      clients: [{ natSessions: 0, translations: 1, domains: 1 }],
    });
    expect(realOf(world, '100.96.0.4')).toBe('10.0.0.3');
    expect(realOf(world, '100.96.0.1')).toBeUndefined();
  });

  test('data-plane 15.1-P11: two resources of one domain share its proxies; each filter counts, and one can go', () => {
    const world = new GatewayWorld();
    world.authorize(dns('a', 'db.test', [udp(53)]));
    world.authorize(dns('b', '*.test', [udp(54), tcp(1)]));
    world.setUp('a', 'db.test', V4, ['10.0.0.1']);
    world.setUp('b', 'db.test', V4, ['10.0.0.1']);
    const reaches = (port: number): boolean =>
      world.fromClient(
        writeUdpPacket({
          source: ip(ALICE.ipv4),
          destination: ip('100.96.0.1'),
          sourcePort: 1,
          destinationPort: port,
        }),
      ).forwarded !== undefined;
    expect([reaches(53), reaches(54), reaches(55)]).toEqual([true, true, false]);
    world.revoke('a');
    expect([reaches(53), reaches(54), reaches(55)]).toEqual([false, true, false]);
    world.authorize(dns('a', 'db.test', [udp(53)]));
    expect([reaches(53), reaches(54), reaches(55)]).toEqual([true, true, false]);
  });

  test('data-plane 15.1-P8: a network with the real address opens no port of the proxy address, nor the other way round', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.test', [udp(1)]));
    world.authorize(cidr('lan', '10.0.0.0/24', [udp(53)]));
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    expect(realOf(world, '100.96.0.1')).toBeUndefined();
    const direct = (port: number): Uint8Array =>
      writeUdpPacket({
        source: ip(ALICE.ipv4),
        destination: ip('10.0.0.1'),
        sourcePort: 1,
        destinationPort: port,
      });
    expect(world.fromClient(direct(1)).forwarded).toBeUndefined();
    expect(world.fromClient(direct(53)).forwarded).toBeDefined();
  });

  test('clients do not share anything', () => {
    const world = worldWith('db.test');
    world.authorize(dns('db', 'db.test'), { client: BOB });
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    world.setUp('db', 'db.test', V4, ['10.0.0.2'], BOB);
    expect(realOf(world, '100.96.0.1')).toBe('10.0.0.1');
    world.revoke('db', BOB);
    expect(realOf(world, '100.96.0.1')).toBe('10.0.0.1');
  });

  test('the domain set up longest ago makes room, in the routes as well', () => {
    const translations = new Translations(1);
    const authorizations = new Authorizations(translations);
    authorizations.allow(dns('r', '**.test'), undefined);
    const proxyOf = (i: number): string => `100.96.${i >> 8}.${i & 255}`;
    for (let i = 0; i <= MAX_TRANSLATIONS; i++) {
      const domain = `d${i}.test`;
      const proxies = [ip(proxyOf(i))];
      const mapping = { resource: resourceId('r'), key: domain, domain, proxies };
      authorizations.removeRoutes(translations.map(mapping, [], instant(i)));
      authorizations.addRoutes(
        [translations.get(ip(proxyOf(i)))].filter((entry) => entry !== undefined),
      );
    }
    expect(translations.count).toBe(MAX_TRANSLATIONS);
    const routeOf = (proxy: string): string => {
      const words = new Int32Array(4);
      writeAddressWords(ip(proxy), words, 0);
      const key = { family: 4, words, index: 0 } as const;
      return authorizations.classify(key, { transport: 2, port: 1 }, new InternetRejectList());
    };
    expect([translations.get(ip(proxyOf(0))), routeOf(proxyOf(0))]).toEqual([
      undefined,
      'no-resource',
    ]);
    expect(translations.get(ip(proxyOf(1)))).toBeDefined();
    expect(routeOf(proxyOf(1))).toBe('allowed');
  });
});

describe('refused without asking the resolver', () => {
  test.each<[string, string, string, readonly string[]]>([
    ['an unknown resource', 'none', 'db.test', V4],
    ['a resource that is no domain', 'lan', 'db.test', V4],
    ['a domain the pattern does not cover', 'db', 'evil.example', V4],
    ['no domain', 'db', '', V4],
    ['a name that is none', 'db', 'a..test', V4],
    ['no proxies', 'db', 'db.test', []],
    ['a private address', 'db', 'db.test', ['10.0.0.5']],
    ['a tunnel address', 'db', 'db.test', ['100.64.0.5']],
    ['a sentinel', 'db', 'db.test', ['100.100.111.1']],
    ['an IPv6 sentinel', 'db', 'db.test', ['fd00:2021:1111:8000:100:100:111:0']],
    ['a duplicate', 'db', 'db.test', ['100.96.0.1', '100.96.0.1']],
    ['nine proxies', 'db', 'db.test', [...PROXIES, '100.96.0.5']],
  ])('%s', (_, resource, domain, proxies) => {
    const world = worldWith('db.test');
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    world.assign(resource, domain, proxies);
    expect(world.lastStatus()).toBe('inactive');
    expect(queries(world)).toEqual([]);
    expect(world.gateway.snapshot().clients[0]?.translations).toBe(0);
  });

  test('an invalid request resets nothing', () => {
    const world = worldWith('db.test');
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    world.assign('db', 'other.example', V4);
    expect(realOf(world, '100.96.0.1')).toBe('10.0.0.1');
  });
});

describe('queries', () => {
  test('one query for one wish, however often it is asked for; one answer', () => {
    const world = worldWith('db.test');
    for (let i = 0; i < 5; i++) world.assign('db', 'db.test', V4);
    const [query = -1, ...others] = queries(world);
    expect(others).toEqual([]);
    world.gateway.handleResolved(
      query,
      { kind: 'resolved', addresses: [ip('10.0.0.1')] },
      world.now,
    );
    expect(world.link.sent).toHaveLength(1);
    expect(parseControlPacket(world.link.sent[0]?.packet ?? new Uint8Array(48))).toEqual({
      kind: 'domain-status',
      resource: 'db',
      domain: 'db.test',
      status: 'active',
    });
  });

  test('a domain set up a moment ago is not asked for again', () => {
    const world = worldWith('db.test');
    world.setUp('db', 'db.test', V4, ['10.0.0.1']);
    world.assign('db', 'db.test', V4);
    expect([world.lastStatus(), queries(world).length, world.link.sent.length]).toEqual([
      'active',
      0,
      2,
    ]);
    world.assign('db', 'db.test', V6);
    expect(queries(world)).toHaveLength(1);
    world.advance(1_000);
    world.assign('db', 'db.test', V4);
    expect(queries(world)).toHaveLength(0);
  });

  test('a failed query and one without answer for 10 s make the domain inactive; late answers are ignored', () => {
    const world = worldWith('**.test');
    world.assign('db', 'a.test', V4);
    const [first = -1] = queries(world);
    world.gateway.handleResolved(first, { kind: 'failed' }, world.now);
    expect(world.lastStatus()).toBe('inactive');
    world.assign('db', 'b.test', V4);
    const [second = -1] = queries(world);
    world.advance(9_999);
    expect(world.link.sent).toHaveLength(1);
    expect(world.gateway.pollTimeout()).toBe(10_000);
    world.advance(1);
    expect(world.link.sent).toHaveLength(2);
    world.gateway.handleResolved(
      second,
      { kind: 'resolved', addresses: [ip('10.0.0.1')] },
      world.now,
    );
    expect(world.link.sent).toHaveLength(2);
    expect(world.gateway.snapshot().clients[0]?.translations).toBe(0);
  });

  test('the answer counts only if the resource is still there', () => {
    const world = worldWith('db.test');
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.assign('db', 'db.test', V4);
    const [query = -1] = queries(world);
    world.revoke('db');
    world.gateway.handleResolved(
      query,
      { kind: 'resolved', addresses: [ip('10.0.0.1')] },
      world.now,
    );
    expect(world.lastStatus()).toBe('inactive');
    world.revoke('lan');
    world.gateway.handleResolved(query, { kind: 'failed' }, world.now);
    expect(world.link.sent).toHaveLength(1);
  });

  test('one client cannot keep the others waiting, and is refused beyond its limit', () => {
    const world = worldWith('**.test');
    world.authorize(dns('db', '**.test'), { client: BOB });
    world.events();
    for (let i = 0; i < 64 + 1_024 + 3; i++)
      world.assign('db', `n${i}.test`, [`100.97.${i >> 8}.${i & 255}`]);
    expect(world.gateway.snapshot().domainQueries).toEqual({ running: 64, waiting: 1_024 });
    expect(world.gateway.snapshot().counts['domains-refused']).toBe(3);
    expect(queries(world)).toHaveLength(64);
    world.assign('db', 'bob.test', V4, BOB);
    const [ofBob = -1] = queries(world);
    world.gateway.handleResolved(
      ofBob,
      { kind: 'resolved', addresses: [ip('10.0.0.1')] },
      world.now,
    );
    expect(world.lastStatus()).toBe('active');
    world.gateway.handleResolved(1, { kind: 'resolved', addresses: [ip('10.0.0.1')] }, world.now);
    expect(world.gateway.snapshot().domainQueries).toEqual({ running: 64, waiting: 1_023 });
    expect(queries(world)).toHaveLength(1);
  });

  test('wishes are limited; those beyond are not looked at and answered with Inactive', () => {
    const world = worldWith('db.test');
    for (let i = 0; i < 2_050; i++) world.assign('db', 'evil.example', V4);
    expect(world.link.sent).toHaveLength(2_050);
    world.assign('db', 'db.test', V4);
    expect([world.lastStatus(), queries(world)]).toEqual(['inactive', []]);
    expect(world.gateway.snapshot().counts['domain-wishes-limited']).toBe(51);
    world.advance(10);
    world.assign('db', 'db.test', V4);
    expect(queries(world)).toHaveLength(1);
  });
});
