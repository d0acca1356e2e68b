// Connections of the earliest generation (data-plane 9.3 SEED, 9.5, 13): a domain that lacks a family is reached by the other one.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  authorization,
  CLIENT_IPV4,
  CLIENT_IPV6,
  cidr,
  dns,
  GatewayWorld,
  icmp,
  tcp,
  udp,
} from '../../../../test/support/gateway-world.ts';
import { ip } from '../../../../test/support/packets.ts';
import { addressFromWords } from '../../../base/address.ts';
import { toHex, viewOf } from '../../../base/bytes.ts';
import { ParsedPacket, parsePacket, SOURCE_WORDS } from '../../../wire/ip/parsed-packet.ts';
import { TCP_FLAG } from '../../../wire/ip/tcp.ts';
import { writeEchoPacket, writeTcpPacket, writeUdpPacket } from '../../../wire/ip/write-packet.ts';
import type { GatewayResource } from '../../../wire/portal/resources.ts';

const PROXY4 = '100.96.0.1';
const PROXY6 = 'fd00:2021:1111:8000::1';
const REAL4 = ip('10.20.30.40');
const REAL6 = ip('2001:db8:5::80');

function legacyWorld(
  addresses: readonly string[],
  resource: GatewayResource = dns('db', '*.corp.test', [udp(5_432), tcp(443), icmp]),
): GatewayWorld {
  const world = new GatewayWorld();
  const domain = {
    resource: resource.id,
    domain: 'db.corp.test',
    proxyIps: [PROXY4, PROXY6].map(ip),
  };
  world.gateway.handleLegacyAuthorization(
    authorization(resource, ALICE, undefined),
    domain,
    world.now,
  );
  for (const event of world.events()) {
    if (event.kind !== 'resolve') continue;
    const result = { kind: 'resolved', addresses: addresses.map(ip) } as const;
    world.gateway.handleResolved(event.queryId, result, world.now);
  }
  return world;
}

const statuses = (world: GatewayWorld): string[] =>
  world.events().flatMap((event) => (event.kind === 'legacy-domain-set-up' ? [event.status] : []));

const ports = { sourcePort: 40_000, destinationPort: 5_432 };
const payload = new Uint8Array([112, 105, 110, 103]);

function toTun(world: GatewayWorld, packet: Uint8Array): Uint8Array[] {
  expect(world.fromClient(packet).forwarded).toBeUndefined();
  const packets: Uint8Array[] = [];
  for (let out = world.gateway.pollTunPacket(); out; out = world.gateway.pollTunPacket())
    packets.push(out);
  return packets;
}

describe('a domain with IPv6 only', () => {
  test('is reached by its IPv4 proxy, and answers come back by it (NAT46)', () => {
    const world = legacyWorld([REAL6]);
    expect(statuses(world)).toEqual(['active']);
    const sent = writeUdpPacket({
      source: CLIENT_IPV4,
      destination: ip(PROXY4),
      ...ports,
      payload,
    });
    const there = writeUdpPacket({ source: CLIENT_IPV6, destination: REAL6, ...ports, payload });
    expect(toTun(world, sent).map(toHex)).toEqual([toHex(there)]);
    const answer = { sourcePort: 5_432, destinationPort: 40_000, payload };
    const { sealed, alone } = world.fromTun(
      writeUdpPacket({ source: REAL6, destination: CLIENT_IPV6, ...answer }),
    );
    expect(sealed).toBeUndefined();
    expect(alone.map(toHex)).toEqual([
      toHex(
        writeUdpPacket({
          source: ip(PROXY4),
          destination: CLIENT_IPV4,
          ...answer,
          dontFragment: true,
        }),
      ),
    ]);
  });

  test('echo goes both ways', () => {
    const world = legacyWorld([REAL6]);
    const echo = { identifier: 7, sequence: 1, payload };
    const request = { kind: 'request', ...echo } as const;
    const [there = payload] = toTun(
      world,
      writeEchoPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...request }),
    );
    expect(toHex(there)).toBe(
      toHex(writeEchoPacket({ source: CLIENT_IPV6, destination: REAL6, ...request })),
    );
    const reply = { kind: 'reply', ...echo } as const;
    const { alone } = world.fromTun(
      writeEchoPacket({ source: REAL6, destination: CLIENT_IPV6, ...reply }),
    );
    const [back = payload] = alone;
    const parsed = new ParsedPacket();
    expect(parsePacket(viewOf(back), 0, back.length, parsed)).toBe('parsed');
    expect([addressFromWords(parsed.addresses, SOURCE_WORDS), parsed.sourcePort]).toEqual([
      PROXY4,
      7,
    ]);
  });

  test('the filters of its resource hold in both directions', () => {
    const world = legacyWorld([REAL6]);
    const refused = { ...ports, destinationPort: 53 };
    const packet = writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...refused });
    expect(toTun(world, packet)).toEqual([]);
    expect(world.drops()['filtered']).toBe(1);
    toTun(world, writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...ports }));
    const back = {
      source: REAL6,
      destination: CLIENT_IPV6,
      sourcePort: 53,
      destinationPort: 40_000,
    };
    expect(world.fromTun(writeUdpPacket(back)).alone).toEqual([]);
    expect(world.drops()['not-allowed']).toBe(1);
  });

  test('two proxies of both families share one server, each with its own port', () => {
    const world = legacyWorld([REAL6]);
    const [four = payload] = toTun(
      world,
      writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...ports }),
    );
    const six = world.fromClient(
      writeUdpPacket({ source: CLIENT_IPV6, destination: ip(PROXY6), ...ports }),
    ).forwarded;
    expect(viewOf(four).getUint16(40)).toBe(40_000);
    expect(six && viewOf(six).getUint16(40)).toBe(40_001);
  });
});

test('a domain with IPv4 only is reached by its IPv6 proxy, segment by segment (NAT64)', () => {
  const world = legacyWorld([REAL4]);
  const fields = { sourcePort: 40_000, destinationPort: 443 };
  const flow = { source: CLIENT_IPV6, destination: ip(PROXY6), ...fields };
  const [syn = payload] = toTun(world, writeTcpPacket({ ...flow, flags: TCP_FLAG.syn }));
  expect(toHex(syn)).toBe(
    toHex(
      writeTcpPacket({
        source: CLIENT_IPV4,
        destination: REAL4,
        ...fields,
        flags: TCP_FLAG.syn,
        dontFragment: true,
      }),
    ),
  );
  const answer = writeTcpPacket({
    source: REAL4,
    destination: CLIENT_IPV4,
    sourcePort: 443,
    destinationPort: 40_000,
    flags: TCP_FLAG.ack,
    payload: new Uint8Array(2_500).fill(9),
  });
  const { alone } = world.fromTun(answer, {
    gsoType: 1,
    gsoSegment: 1_000,
    headerLength: 40,
    isPartial: true,
    checksumOffset: 16,
  });
  expect(alone.map((packet) => [packet.length, packet[0]])).toEqual([
    [1_060, 0x60],
    [1_060, 0x60],
    [560, 0x60],
  ]);
});

test('a packet that the other family makes too long is dropped and counted', () => {
  const world = legacyWorld([REAL6]);
  const fields = { ...ports, payload: new Uint8Array(1_250) };
  const packet = writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...fields });
  expect(toTun(world, packet)).toEqual([]);
  expect(world.drops()['other-family']).toBe(1);
});

test('both families: each proxy has its own, as for everybody else', () => {
  const world = legacyWorld([REAL4, REAL6]);
  const packet = writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...ports });
  expect(world.fromClient(packet).forwarded?.slice(16, 20)).toEqual(Uint8Array.of(10, 20, 30, 40));
});

describe('without the switch', () => {
  test('nothing changes its family', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', '*.corp.test', []));
    world.setUp('db', 'db.corp.test', [PROXY4], [REAL6]);
    const packet = writeUdpPacket({ source: CLIENT_IPV4, destination: ip(PROXY4), ...ports });
    expect(world.fromClient(packet).answers).toHaveLength(1);
    expect(world.drops()['no-address']).toBe(1);
  });
});

describe('what came with an authorization is answered with an event', () => {
  test('also without addresses', () => {
    expect(statuses(legacyWorld([]))).toEqual(['active']);
  });

  test('and refused if the resource is none of domains, or has another pattern', () => {
    expect(statuses(legacyWorld([REAL4], cidr('lan', '10.0.0.0/24')))).toEqual([]);
    const world = new GatewayWorld();
    const message = authorization(dns('db', 'other.test'), ALICE, undefined);
    const wish = { resource: 'db', domain: 'db.corp.test', proxyIps: [ip(PROXY4)] };
    world.gateway.handleLegacyAuthorization(message, wish, world.now);
    expect(statuses(world)).toEqual(['inactive']);
    expect(world.link.sent).toEqual([]);
  });

  test('without a relay nothing is granted', () => {
    const world = new GatewayWorld();
    world.link.hasRelays = false;
    const message = authorization(dns('db', '*.corp.test'), ALICE, undefined);
    expect(world.gateway.handleLegacyAuthorization(message, undefined, world.now)).toBe(false);
    expect(world.gateway.snapshot().clients).toEqual([]);
  });
});
