// Data-plane 15.1, P1 to P5, P11, P13 to P15: rules, and their composition against a list.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  familyOf,
  type IpAddress,
  type IpNetwork,
  ipFromBytes,
  network,
  networkContains,
  parseNetwork,
  writeAddressWords,
} from '../../base/address.ts';
import { type ResourceId, resourceId } from '../../base/ids.ts';
import { TRANSPORT } from '../../wire/ip/parsed-packet.ts';
import { InternetRejectList, laboratoryNetworks } from './reject-list.ts';
import { RoutingTable } from './routing-table.ts';
import { type FilterRule, Rules } from './rules.ts';

const range = (
  protocol: 'tcp' | 'udp',
  portRangeStart: number,
  portRangeEnd: number,
): FilterRule => ({
  protocol,
  portRangeStart,
  portRangeEnd,
});
const net = (text: string): IpNetwork => parseNetwork(text) as IpNetwork;
const address = (text: string): { family: 4 | 6; words: Int32Array; index: number } => {
  const words = new Int32Array(4);
  writeAddressWords(text as IpAddress, words, 0);
  return { family: familyOf(text as IpAddress), words, index: 0 };
};
const id = (text: string): ResourceId => resourceId(text);

const port = fc.integer({ min: 0, max: 65_535 });
const anyFilter: fc.Arbitrary<FilterRule> = fc.oneof(
  fc.constant<FilterRule>({ protocol: 'icmp' }),
  fc
    .record({ protocol: fc.constantFrom('tcp' as const, 'udp' as const), a: port, b: port })
    .map(({ protocol, a, b }) => range(protocol, Math.min(a, b), Math.max(a, b))),
);
const anyTransport = fc.constantFrom(...Object.values(TRANSPORT));

/** What the specification says, word by word. */
function twinAllows(filters: readonly FilterRule[], transport: number, port: number): boolean {
  if (filters.length === 0) return true;
  return filters.some((filter) => {
    if (filter.protocol === 'icmp')
      return transport === TRANSPORT.echo || transport === TRANSPORT.icmp;
    const wanted = filter.protocol === 'tcp' ? TRANSPORT.tcp : TRANSPORT.udp;
    return transport === wanted && filter.portRangeStart <= port && port <= filter.portRangeEnd;
  });
}

describe('rules', () => {
  test('data-plane 15.1-P1: allow exactly what some filter allows', () => {
    fc.assert(
      fc.property(fc.array(anyFilter, { maxLength: 12 }), anyTransport, port, (filters, t, p) => {
        const rules = new Rules(filters);
        expect(rules.allows(t, p)).toBe(twinAllows(filters, t, p));
        for (const filter of filters) {
          if (filter.protocol === 'icmp') continue;
          const transport = filter.protocol === 'tcp' ? TRANSPORT.tcp : TRANSPORT.udp;
          for (const q of [filter.portRangeStart, filter.portRangeEnd]) {
            expect(rules.allows(transport, q)).toBe(true);
          }
        }
      }),
    );
  });

  test('data-plane 15.1-P14: no filter allows unknown protocols, any filter refuses them', () => {
    expect(new Rules([]).allows(TRANSPORT.other, 0)).toBe(true);
    expect(new Rules([{ protocol: 'icmp' }]).allows(TRANSPORT.other, 0)).toBe(false);
  });

  test('data-plane 15.1-P13: icmp allows echo and every other type', () => {
    const rules = new Rules([{ protocol: 'icmp' }]);
    expect(rules.allows(TRANSPORT.echo, 7)).toBe(true);
    expect(rules.allows(TRANSPORT.icmp, 0)).toBe(true);
    expect(new Rules([range('tcp', 0, 65_535)]).allows(TRANSPORT.icmp, 0)).toBe(false);
  });

  test('a reversed range allows nothing, and is not an empty list', () => {
    const rules = new Rules([range('tcp', 90, 80)]);
    for (const p of [79, 80, 85, 90, 91]) expect(rules.allows(TRANSPORT.tcp, p)).toBe(false);
  });
});

describe('overlapping resources', () => {
  test('data-plane 15.1-P2, P3: ten resources on one network: each port is allowed, gaps are not', () => {
    const table = new RoutingTable();
    for (let i = 0; i < 10; i++) {
      const rules = new Rules([range('tcp', 100 + i * 10, 104 + i * 10)]);
      table.add(net('10.0.0.0/24'), { resourceId: id(`r${i}`), rules });
    }
    for (let p = 95; p < 210; p++) {
      const route = table.find(address('10.0.0.9'), TRANSPORT.tcp, p);
      const isCovered = p >= 100 && p < 200 && p % 10 < 5;
      expect(route?.rules.allows(TRANSPORT.tcp, p)).toBe(isCovered);
    }
  });

  test('data-plane 15.1-P4: removing the narrower leaves the wider', () => {
    const table = new RoutingTable();
    table.add(net('10.0.0.0/8'), {
      resourceId: id('wide'),
      rules: new Rules([range('tcp', 80, 80)]),
    });
    table.add(net('10.0.0.0/24'), {
      resourceId: id('slim'),
      rules: new Rules([range('tcp', 22, 22)]),
    });
    const winner = (p: number): string | undefined =>
      table.find(address('10.0.0.9'), TRANSPORT.tcp, p)?.resourceId;
    expect([winner(22), winner(80), winner(443)]).toEqual(['slim', 'wide', 'slim']);
    table.removeFrom(net('10.0.0.0/24'), id('slim'));
    expect([winner(22), winner(80)]).toEqual(['wide', 'wide']);
    expect(table.count).toBe(1);
  });

  test('data-plane 15.1-P15: of equal entries the greater id wins', () => {
    const table = new RoutingTable();
    const rules = new Rules([]);
    for (const name of ['b', 'c', 'a'])
      table.add(net('10.0.0.1/32'), { resourceId: id(name), rules });
    expect(table.find(address('10.0.0.1'), TRANSPORT.other, 0)?.resourceId).toBe('c');
  });

  test('data-plane 15.1-P15: no covering network: no route', () => {
    const table = new RoutingTable();
    table.add(net('::/0'), { resourceId: id('a'), rules: new Rules([]) });
    expect(table.find(address('10.0.0.1'), TRANSPORT.tcp, 80)).toBeUndefined();
    table.removeFrom(net('::/0'), id('a'));
    expect(table.find(address('::5'), TRANSPORT.tcp, 80)).toBeUndefined();
  });

  test('data-plane 15.1-P15, P16: the winner is the maximum of a list, whatever was added and removed', () => {
    const host = fc.array(fc.constantFrom(0, 10, 255), { minLength: 4, maxLength: 4 });
    const ip = host.map((bytes) => ipFromBytes(Uint8Array.from(bytes)));
    const entry = fc.record({
      network: fc.tuple(ip, fc.nat(32)).map(([a, length]) => network(a, length)),
      resource: fc.constantFrom('a', 'b', 'c', 'd'),
      filters: fc.array(anyFilter, { maxLength: 3 }),
      isRemoval: fc.nat(4).map((n) => n === 0),
    });
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 20 }),
        ip,
        anyTransport,
        port,
        (entries, to, t, p) => {
          const table = new RoutingTable();
          let twin: { network: IpNetwork; resource: string; filters: readonly FilterRule[] }[] = [];
          for (const { network: n, resource, filters, isRemoval } of entries) {
            if (isRemoval) {
              for (const other of twin) table.removeFrom(other.network, id(resource));
              twin = twin.filter((other) => other.resource !== resource);
              continue;
            }
            table.add(n, { resourceId: id(resource), rules: new Rules(filters) });
            twin = twin.filter(
              (other) =>
                other.resource !== resource ||
                other.network.address !== n.address ||
                other.network.prefixLength !== n.prefixLength,
            );
            twin.push({ network: n, resource, filters });
          }
          const covering = twin
            .filter((other) => networkContains(other.network, to))
            .sort(
              (x, y) =>
                Number(twinAllows(y.filters, t, p)) - Number(twinAllows(x.filters, t, p)) ||
                y.network.prefixLength - x.network.prefixLength ||
                (x.resource < y.resource ? 1 : -1),
            );
          const route = table.find(address(to), t, p);
          expect(route?.resourceId).toBe(covering[0]?.resource);
          const isAllowed = covering.some(({ filters }) => twinAllows(filters, t, p));
          expect(route?.rules.allows(t, p) ?? false).toBe(isAllowed);
        },
      ),
    );
  });
});

test('a laboratory is where relays have addresses for documentation', () => {
  const relays = ['203.0.113.21', '2001:db8::21', '1.1.1.1'].map((text) => text as IpAddress);
  expect(laboratoryNetworks(relays)).toEqual([net('203.0.113.0/24'), net('2001:db8::/32')]);
  expect(laboratoryNetworks(['1.1.1.1' as IpAddress])).toEqual([]);
});

describe('the Internet reject list (data-plane 7.5, 17.7)', () => {
  const list = new InternetRejectList({
    ownAddresses: ['8.8.4.9' as IpAddress, '2606:4700::9' as IpAddress],
    exceptions: ['198.51.100.0/24', '10.9.0.0/16', '8.8.0.0/16'].map(net),
  });
  test.each([
    ['10.1.2.3', true],
    ['172.16.0.1', true],
    ['172.32.0.1', false],
    ['192.168.255.255', true],
    ['127.0.0.1', true],
    ['169.254.169.254', true],
    ['100.64.0.1', true],
    ['100.128.0.1', false],
    ['224.0.0.1', true],
    ['255.255.255.255', true],
    ['0.0.0.0', true],
    ['1.1.1.1', false],
    ['8.8.4.8', false],
    ['8.8.4.9', true],
    ['10.9.1.1', false],
    ['10.10.1.1', true],
    ['192.0.0.8', true],
    ['192.0.1.8', false],
    ['192.0.2.1', true],
    ['198.17.255.255', false],
    ['198.18.0.0', true],
    ['198.19.255.255', true],
    ['198.20.0.0', false],
    ['198.51.100.1', false],
    ['203.0.113.8', true],
    ['2001:db8::1', true],
    ['2001:db9::1', false],
    ['64:ff9b::a09:1', false],
    ['64:ff9b::c000:201', true],
    ['::1', true],
    ['::', true],
    ['fd00::1', true],
    ['fe80::1', true],
    ['ff02::1', true],
    ['2002:a00:1::', true],
    ['64:ff9b::a00:1', true],
    ['64:ff9b::101:101', false],
    ['2606:4700::1', false],
    ['2606:4700::9', true],
    ['::ffff:1.1.1.1', true],
  ])('%s: %s', (text, expected) => {
    const { words, index } = address(text);
    expect(list.rejects(text.includes(':') ? 6 : 4, words, index)).toBe(expected);
  });
});
