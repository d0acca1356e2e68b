// DNS on the client: what the stub answers, which sentinels there are, and what the gateway is told of names (client 10, 11).

import { describe, expect, test } from 'vitest';
import { tcpTo, udpTo } from '../../../test/support/client-packets.ts';
import {
  ClientWorld,
  dnsResource,
  GATEWAY_A,
  interfaceSettings,
  valuesOf,
} from '../../../test/support/client-world.ts';
import { ip } from '../../../test/support/packets.ts';
import { concat } from '../../base/bytes.ts';
import { later } from '../../base/time.ts';
import { DNS_RCODE, dnsQuery, parseDnsMessage, writeDnsMessage } from '../../wire/dns/message.ts';
import { DNS_CLASS, DNS_TYPE } from '../../wire/dns/records.ts';
import type { ClientEvent, InterfaceSettings } from './client.ts';

const GIT = dnsResource('git', 'git.corp.test');
const FIRST_IPV4 = ['100.96.0.1', '100.96.0.2', '100.96.0.3', '100.96.0.4'];
const FIRST_IPV6 = [0, 1, 2, 3].map((n) => `fd00:2021:1111:8000::${n === 0 ? '' : n}`);

describe('the stub resolver', () => {
  test('gives a name four addresses of each family, always the same; the next name gets the next ones', () => {
    const world = new ClientWorld([GIT, dnsResource('all', '**.corp.test')]);
    expect(world.answers('git.corp.test', DNS_TYPE.a)).toEqual(FIRST_IPV4);
    expect(world.answers('git.corp.test', DNS_TYPE.aaaa)).toEqual(FIRST_IPV6);
    expect(world.answers('a.b.corp.test', DNS_TYPE.a)?.[0]).toBe('100.96.0.5');
    expect(world.answers('git.corp.test', DNS_TYPE.a)).toEqual(FIRST_IPV4);
  });

  test('takes capital letters for small ones, and repeats the question as it was asked', () => {
    const world = new ClientWorld([dnsResource('git', 'Git.Corp.Test')]);
    world.answers('git.corp.test', DNS_TYPE.a);
    const decision = world.query('gIT.coRP.Test', DNS_TYPE.a);
    if (decision.kind !== 'answer') throw new Error(decision.kind);
    expect(valuesOf(decision.response)).toEqual(FIRST_IPV4);
    expect(decision.response.questions[0]?.name).toBe('gIT.coRP.Test');
    expect(decision.response.answers[0]).toMatchObject({ name: 'gIT.coRP.Test', ttlSeconds: 1 });
  });

  test('leaves out a family only if no resource of the name has it', () => {
    const only4 = dnsResource('four', '*.corp.test', { ipStack: 'ipv4_only' });
    const only6 = dnsResource('six', 'git.corp.test', { ipStack: 'ipv6_only' });
    const one = new ClientWorld([only4]);
    expect(one.answers('a.corp.test', DNS_TYPE.aaaa)).toEqual([]);
    expect(one.answers('a.corp.test', DNS_TYPE.a)).toHaveLength(4);
    const both = new ClientWorld([only4, only6]);
    expect(both.answers('git.corp.test', DNS_TYPE.a)).toHaveLength(4);
    expect(both.answers('git.corp.test', DNS_TYPE.aaaa)).toHaveLength(4);
  });

  test('answers PTR of a proxy address with its name, and forwards other pointers', () => {
    const world = new ClientWorld([GIT]);
    world.answers('git.corp.test', DNS_TYPE.a);
    expect(world.answers('2.0.96.100.in-addr.arpa', DNS_TYPE.ptr)).toEqual(['git.corp.test']);
    const nibbles = [...'fd00202111118000'.padEnd(31, '0'), '1'].reverse().join('.');
    expect(world.answers(`${nibbles}.ip6.arpa`, DNS_TYPE.ptr)).toEqual(['git.corp.test']);
    expect(world.answers('9.0.96.100.in-addr.arpa', DNS_TYPE.ptr)).toBeUndefined();
    expect(world.answers('1.1.1.1.in-addr.arpa', DNS_TYPE.ptr)).toBeUndefined();
  });

  test('HTTPS of a resource is empty, other types are forwarded, the canary does not exist', () => {
    const world = new ClientWorld([GIT]);
    expect(world.answers('git.corp.test', DNS_TYPE.https)).toEqual([]);
    expect(world.query('git.corp.test', 15).kind).toBe('forward');
    const canary = world.query('Use-Application-DNS.net', DNS_TYPE.a);
    expect(canary).toMatchObject({ kind: 'answer', response: { rcode: DNS_RCODE.nameError } });
  });

  test('SRV and TXT of a resource are asked at its gateway, once access is there', () => {
    const world = new ClientWorld([GIT]);
    expect(world.query('git.corp.test', DNS_TYPE.txt)).toEqual({
      kind: 'drop',
      reason: 'site-not-ready',
    });
    expect(world.requests()).toEqual(['git']);
    world.grant('git');
    world.established();
    for (const type of [DNS_TYPE.txt, DNS_TYPE.srv]) {
      expect(world.query('git.corp.test', type)).toMatchObject({
        kind: 'forward',
        upstream: { address: GATEWAY_A.ipv4, port: 53_535 },
      });
    }
    expect(world.query('example.test', DNS_TYPE.txt)).toMatchObject({ upstream: { port: 53 } });
  });

  test('reads a query with EDNS and answers without', () => {
    const world = new ClientWorld([GIT]);
    const question = { name: 'git.corp.test', type: DNS_TYPE.a, class: DNS_CLASS.internet };
    const bytes = writeDnsMessage(dnsQuery(9, question)) ?? new Uint8Array();
    bytes[11] = 1; // One additional record: OPT, 1232 bytes, DO.
    const query = concat(bytes, Uint8Array.of(0, 0, 41, 4, 0xd0, 0, 0, 0x80, 0, 0, 0));
    const decision = world.client.handleDnsQuery(query, ip('100.100.111.1'), world.now);
    if (decision.kind !== 'answer') throw new Error(decision.kind);
    expect(decision.response).toMatchObject({ id: 9, additionals: [], recursionAvailable: true });
    expect(parseDnsMessage(writeDnsMessage(decision.response, 512) ?? bytes)).toBeDefined();
  });

  test('drops what is no query of one question', () => {
    const world = new ClientWorld([GIT]);
    const question = { name: 'git.corp.test', type: DNS_TYPE.a, class: DNS_CLASS.internet };
    const query = dnsQuery(1, question);
    const odd = [
      { ...query, questions: [] },
      { ...query, questions: [question, question] },
      { ...query, isResponse: true },
      { ...query, opcode: 5 },
    ];
    for (const message of odd) {
      const bytes = writeDnsMessage(message) ?? new Uint8Array();
      const decision = world.client.handleDnsQuery(bytes, ip('100.100.111.1'), world.now);
      expect(decision).toEqual({ kind: 'drop', reason: 'dns-malformed' });
    }
  });
});

describe('sentinels', () => {
  test('one for each server, of its family; the servers of the portal win over those of the host', () => {
    const world = new ClientWorld([], []);
    world.client.setSystemResolvers([ip('192.168.1.1'), ip('2001:db8::53')]);
    expect(sentinelsOf(world.events())).toEqual([
      '100.100.111.1 192.168.1.1 host',
      'fd00:2021:1111:8000:100:100:111:0 2001:db8::53 host',
    ]);
    world.init([], ['9.9.9.9', '9.9.9.9', '100.100.111.7']);
    expect(sentinelsOf(world.events())).toEqual(['100.100.111.2 9.9.9.9 portal']);
  });

  test('the same servers in another order keep their sentinels', () => {
    const world = new ClientWorld([], ['9.9.9.9', '1.1.1.1']);
    world.init([], ['1.1.1.1', '9.9.9.9']);
    expect(sentinelsOf(world.events())).toEqual([
      '100.100.111.1 9.9.9.9 portal',
      '100.100.111.2 1.1.1.1 portal',
    ]);
  });

  test('a host that changes its servers is noticed only where the portal sets none', () => {
    const world = new ClientWorld([], []);
    world.client.setSystemResolvers([ip('192.168.1.1')]);
    world.events();
    world.client.setSystemResolvers([ip('192.168.1.1')]);
    expect(world.events()).toEqual([]);
    world.client.setSystemResolvers([ip('10.0.0.1')]);
    expect(sentinelsOf(world.events())).toEqual(['100.100.111.2 10.0.0.1 host']);
    const interfaceWithServer = interfaceSettings(['9.9.9.9']);
    world.portal({ event: 'config_changed', payload: { interface: interfaceWithServer } });
    expect(sentinelsOf(world.events())).toEqual(['100.100.111.3 9.9.9.9 portal']);
  });

  test('stay within the range however often the servers change', () => {
    const world = new ClientWorld([], []);
    const seen = new Set<string>();
    for (let i = 0; i < 600; i++) {
      world.client.setSystemResolvers([ip(`10.0.${i >> 8}.${i & 255}`)]);
      for (const text of sentinelsOf(world.events())) seen.add(text.split(' ')[0] ?? '');
    }
    expect(seen.size).toBe(254);
    expect(seen.has('100.100.111.0') || seen.has('100.100.111.255')).toBe(false);
  });
});

describe('telling the gateway of names', () => {
  /** A name answered, a packet to it waiting, the grant there. */
  function granted(resources = [GIT]): ClientWorld {
    const world = new ClientWorld(resources);
    world.answers('git.corp.test', DNS_TYPE.a);
    world.fromTun(tcpTo('100.96.0.1', 443));
    world.grant('git');
    world.established();
    return world;
  }

  test('with the grant, before any packet; "active" releases the packets in order', () => {
    const world = granted();
    expect(world.sentControl()).toEqual([
      {
        kind: 'assigned-ips',
        resource: 'git',
        domain: 'git.corp.test',
        proxyIps: [...FIRST_IPV4, ...FIRST_IPV6],
      },
    ]);
    world.fromTun(udpTo('100.96.0.2'));
    expect(world.sentData()).toEqual([]);
    world.status('git', 'git.corp.test', 'active');
    expect(world.sentData()).toEqual([tcpTo('100.96.0.1', 443), udpTo('100.96.0.2')]);
    expect(world.fromTun(udpTo('fd00:2021:1111:8000::3'))).toBe(GATEWAY_A.id);
  });

  test('repeats it after two seconds, and only with traffic', () => {
    const world = granted();
    world.elapse(30_000);
    expect(world.sentControl()).toHaveLength(1);
    world.fromTun(udpTo('100.96.0.2'));
    expect(world.sentControl()).toHaveLength(2);
    world.now = later(world.now, 1_999);
    world.fromTun(udpTo('100.96.0.2', 'again'));
    expect(world.sentControl()).toHaveLength(2);
  });

  test('"inactive" drops what waits and ends the wait; a new lookup tries again', () => {
    const world = granted();
    world.status('git', 'git.corp.test', 'inactive');
    expect(world.fromTun(udpTo('100.96.0.2'))).toBe(GATEWAY_A.id);
    world.answers('git.corp.test', DNS_TYPE.a);
    expect(world.sentControl()).toHaveLength(2);
    expect(world.fromTun(udpTo('100.96.0.2'))).toBeUndefined();
    world.status('git', 'git.corp.test', 'active');
    expect(world.sentData()).toEqual([udpTo('100.96.0.2')]);
  });

  test('a lookup refreshes the mapping without holding packets; a pointer does not', () => {
    const world = granted();
    world.status('git', 'git.corp.test', 'active');
    world.answers('git.corp.test', DNS_TYPE.aaaa);
    expect(world.sentControl()).toHaveLength(2);
    expect(world.fromTun(udpTo('100.96.0.2'))).toBe(GATEWAY_A.id);
    world.status('git', 'git.corp.test', 'active');
    world.answers('1.0.96.100.in-addr.arpa', DNS_TYPE.ptr);
    expect(world.sentControl()).toHaveLength(2);
  });

  test('only the family that the resource has', () => {
    const world = granted([dnsResource('git', 'git.corp.test', { ipStack: 'ipv4_only' })]);
    expect(world.sentControl()).toMatchObject([{ proxyIps: FIRST_IPV4 }]);
  });

  test('a burst of packets while it connects does not push the announcement out', () => {
    const world = new ClientWorld([GIT, dnsResource('web', 'web.corp.test')]);
    world.answers('git.corp.test', DNS_TYPE.a);
    world.fromTun(tcpTo('100.96.0.1', 443));
    world.link.isReady = false;
    world.link.sendOutcome = 'still-connecting';
    world.grant('git');
    for (let i = 0; i < 300; i++) world.fromTun(udpTo(GATEWAY_A.ipv4, `${i}`));
    world.link.sendOutcome = 'sent';
    world.established();
    expect(world.sentControl()).toHaveLength(1);
    expect(world.sentData()).toHaveLength(128);
  });

  test('a status for nothing, or from a gateway that was not asked, is counted and ignored', () => {
    const world = granted();
    world.status('other', 'git.corp.test', 'active');
    world.status('git', 'other.test', 'active');
    expect(world.client.snapshot()['access']).toMatchObject({
      drops: { 'status-for-nothing': 2 },
    });
    expect(world.sentData()).toEqual([]);
  });
});

function sentinelsOf(events: readonly ClientEvent[]): string[] {
  const settings = events
    .flatMap((event): InterfaceSettings[] =>
      event.kind === 'interface-changed' ? [event.settings] : [],
    )
    .at(-1);
  return (settings?.sentinels ?? []).map(
    ({ address, upstream, isFromPortal }) =>
      `${address} ${upstream.address} ${isFromPortal ? 'portal' : 'host'}`,
  );
}
