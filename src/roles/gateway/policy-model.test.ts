// The whole policy of one client against a model that follows the words of data-plane 3.3 and 7: any sequence of authorizations, revocations,
// expiries and domains, with packets in between (P1 to P4, P8, P9, P11, P14 to P16: no cached answer survives a change).

import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  ALICE,
  cidr,
  dns,
  GatewayWorld,
  icmp,
  internet,
  tcp,
  udp,
} from '../../../test/support/gateway-world.ts';
import { ip, parsed } from '../../../test/support/packets.ts';
import { addressFromWords, networkContains } from '../../base/address.ts';
import { refusalOf } from '../../wire/ip/icmp-error.ts';
import { writeEchoPacket, writeTcpPacket, writeUdpPacket } from '../../wire/ip/write-packet.ts';
import type { Filter } from '../../wire/portal/common.ts';
import type { GatewayResource } from '../../wire/portal/resources.ts';

type Protocol = 'tcp' | 'udp' | 'icmp';

const PROXIES = ['100.96.0.1', '100.96.0.2'] as const;
const DOMAINS = ['a.test', 'b.test'] as const;
const REALS = ['10.0.0.1', '10.0.1.1', '1.1.1.1'] as const;
const TARGETS = [...REALS, ...PROXIES, '192.168.0.1', '100.96.0.9'];

class Model {
  readonly resources = new Map<string, { resource: GatewayResource; expiresAt: number }>();
  readonly translations = new Map<string, { resources: Set<string>; real: string | undefined }>();

  authorize(resource: GatewayResource, expiresAt: number): void {
    const known = this.resources.get(resource.id)?.resource;
    if (known && known.type !== resource.type) return;
    const kept = known && known.type !== 'internet' && resource.type !== 'internet';
    const updated = kept ? ({ ...known, filters: resource.filters } as GatewayResource) : resource;
    this.resources.set(resource.id, { resource: updated, expiresAt });
  }

  setUp(id: string, domain: string, proxy: string, real: string | undefined): void {
    const resource = this.resources.get(id)?.resource;
    if (resource?.type !== 'dns') return;
    if (resource.address !== domain && resource.address !== '*.test') return;
    const known = this.translations.get(proxy) ?? { resources: new Set<string>(), real };
    known.resources.add(id);
    known.real = real;
    this.translations.set(proxy, known);
  }

  expire(now: number): void {
    for (const [id, { expiresAt }] of this.resources)
      if (now >= expiresAt) this.resources.delete(id);
  }

  decide(to: string, protocol: Protocol, port: number): string {
    const all = [...this.resources.values()].map(({ resource }) => resource);
    const isProxy = to.startsWith('100.96.');
    if (!isProxy && all.some(({ type }) => type === 'internet')) {
      return /^(10|192)\./.test(to) ? 'unreachable' : to;
    }
    const covering = all.filter((resource) => {
      if (resource.type === 'cidr') return networkContains(resource.address, ip(to));
      return (
        resource.type === 'dns' && this.translations.get(to)?.resources.has(resource.id) === true
      );
    });
    const passes = covering.some(
      (resource) => resource.type !== 'internet' && allows(resource.filters, protocol, port),
    );
    if (!passes) return 'prohibited';
    if (!isProxy) return to;
    return this.translations.get(to)?.real ?? 'unreachable';
  }
}

function allows(filters: readonly Filter[], protocol: Protocol, port: number): boolean {
  return (
    filters.length === 0 ||
    filters.some((filter) =>
      filter.protocol === 'icmp'
        ? protocol === 'icmp'
        : filter.protocol === protocol &&
          filter.portRangeStart <= port &&
          port <= filter.portRangeEnd,
    )
  );
}

const filters = fc.array(fc.constantFrom(tcp(80), tcp(80, 90), udp(53), icmp), { maxLength: 2 });
const resource = fc.oneof(
  fc
    .record({
      id: fc.constantFrom('a', 'b', 'c'),
      net: fc.constantFrom('10.0.0.0/24', '10.0.0.0/16', '10.0.0.1/32', '100.96.0.0/30'),
      filters,
    })
    .map((r) => cidr(r.id, r.net, r.filters)),
  fc
    .record({
      id: fc.constantFrom('d', 'e'),
      address: fc.constantFrom('a.test', '*.test'),
      filters,
    })
    .map((r) => dns(r.id, r.address, r.filters)),
  fc.constant(internet('i')),
);
const step = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('authorize' as const),
      resource,
      lifetime: fc.constantFrom(5_000, 1e9),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('revoke' as const),
      id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'i'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('set-up' as const),
      id: fc.constantFrom('d', 'e'),
      which: fc.nat(1),
      real: fc.option(fc.constantFrom(...REALS)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      time: fc.constantFrom(1_000, 5_000),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('packet' as const),
      to: fc.constantFrom(...TARGETS),
      protocol: fc.constantFrom<Protocol>('tcp', 'udp', 'icmp'),
      port: fc.constantFrom(53, 80, 85, 443),
    }),
  },
);

let flow = 0;

/** A packet of a new flow, so that old NAT sessions do not matter. */
function outcome(world: GatewayWorld, to: string, protocol: Protocol, port: number): string {
  flow = (flow + 1) & 0x7fff;
  const addresses = { source: ip(ALICE.ipv4), destination: ip(to) };
  const ports = { sourcePort: 1_000 + flow, destinationPort: port };
  const packet =
    protocol === 'tcp'
      ? writeTcpPacket({ ...addresses, ...ports, flags: 2 })
      : protocol === 'udp'
        ? writeUdpPacket({ ...addresses, ...ports })
        : writeEchoPacket({ ...addresses, kind: 'request', identifier: flow, sequence: 1 });
  const { forwarded, answers } = world.fromClient(packet);
  if (forwarded) return addressFromWords(parsed(forwarded).addresses, 4);
  return (answers[0] && refusalOf(parsed(answers[0]))) ?? 'dropped';
}

test('data-plane 15.1: whatever happened before, a packet fares as the words of the specification say', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new GatewayWorld();
      const model = new Model();
      // Keeps the client alive while its other authorizations come and go.
      world.authorize(cidr('anchor', '198.51.100.1/32'));
      for (const event of steps) {
        if (event.kind === 'authorize') {
          const expiresIn = world.now + event.lifetime;
          world.authorize(event.resource, { expiresIn });
          model.authorize(event.resource, expiresIn);
        } else if (event.kind === 'revoke') {
          world.revoke(event.id);
          model.resources.delete(event.id);
        } else if (event.kind === 'set-up') {
          const [domain, proxy] = [DOMAINS[event.which] ?? '', PROXIES[event.which] ?? ''];
          world.advance(1_000);
          model.expire(world.now);
          world.setUp(event.id, domain, [proxy], event.real === null ? [] : [event.real]);
          model.setUp(event.id, domain, proxy, event.real ?? undefined);
        } else if (event.kind === 'wait') {
          world.advance(event.time);
          model.expire(world.now);
        } else {
          world.advance(1_000);
          model.expire(world.now);
          const expected = model.decide(event.to, event.protocol, event.port);
          expect(outcome(world, event.to, event.protocol, event.port)).toBe(expected);
          // And again, from the cache.
          expect(outcome(world, event.to, event.protocol, event.port)).toBe(expected);
        }
      }
    }),
    { numRuns: 150 },
  );
});
