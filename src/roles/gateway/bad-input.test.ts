// Issue "Policy and packets, whole", Proof: every rejected domain, filter, resource or control packet leaves all state as it was; and what one
// client does in excess changes nothing for another.
//
// Two gateways live through the same history; one of them also gets what must be rejected. Afterwards the same packets must fare alike in both,
// and their snapshots must agree, apart from what was counted.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  CLIENT_IPV4,
  CLIENT_IPV6,
  cidr,
  dns,
  GatewayWorld,
  icmp,
  internet,
  type TestClient,
  tcp,
  UNIX_ZERO,
  udp,
} from '../../../test/support/gateway-world.ts';
import { ip } from '../../../test/support/packets.ts';
import { toHex } from '../../base/bytes.ts';
import { clientId, resourceId } from '../../base/ids.ts';
import { unixMillis } from '../../base/time.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

type Step = (world: GatewayWorld) => void;

const PROXIES = ['100.96.0.1', '100.96.0.2', '100.96.0.3', 'fd00:2021:1111:8000::1'];
const NAMES = ['db.corp.test', 'www.corp.test', 'DB.corp.test'];
const TARGETS = ['10.0.0.9', '10.0.1.9', '1.1.1.1', ...PROXIES];

function packetTo(client: TestClient, to: string, port: number, kind: string): Uint8Array {
  const source = ip(to.includes(':') ? client.ipv6 : client.ipv4);
  const fields = {
    source,
    destination: ip(to),
    sourcePort: 40_000 + (port & 1),
    destinationPort: port,
  };
  if (kind === 'tcp') return writeTcpPacket({ ...fields, flags: TCP_FLAG.syn });
  if (kind === 'udp') return writeUdpPacket({ ...fields, payload: new Uint8Array(3) });
  return writeEchoPacket({ ...fields, kind: 'request', identifier: port, sequence: 1 });
}

function packetFrom(from: string, port: number): Uint8Array {
  const destination = from.includes(':') ? CLIENT_IPV6 : CLIENT_IPV4;
  const ports = { sourcePort: port, destinationPort: 40_000 + (port & 1) };
  return writeUdpPacket({ source: ip(from), destination, ...ports });
}

/** Everything that can be asked of a gateway without knowing its inside. */
function ask(world: GatewayWorld): unknown[] {
  const heard: unknown[] = [];
  for (const to of TARGETS) {
    for (const port of [53, 80, 443]) {
      for (const kind of ['tcp', 'udp', 'echo']) {
        const { forwarded, answers } = world.fromClient(packetTo(ALICE, to, port, kind));
        heard.push([to, port, kind, forwarded && toHex(forwarded), answers.map(toHex)]);
      }
    }
  }
  for (const from of ['10.0.0.9', '10.20.30.40', '2001:db8::7', '1.1.1.1']) {
    const { sealed, alone } = world.fromTun(packetFrom(from, 53));
    heard.push([from, sealed && toHex(sealed), alone.map(toHex)]);
  }
  world.events();
  world.link.sent.length = 0;
  return heard;
}

function stateOf(world: GatewayWorld): unknown {
  const {
    counts: _counts,
    dropsToClient: _a,
    dropsToResource: _b,
    ...state
  } = world.gateway.snapshot();
  return state;
}

const resources = [
  cidr('lan', '10.0.0.0/24', [tcp(443), udp(53)]),
  cidr('narrow', '10.0.0.8/29', [icmp, tcp(80)]),
  dns('db', '*.corp.test', [udp(53), tcp(443)]),
  dns('all', '**.corp.test', [tcp(80), icmp]),
  internet('net'),
];
const resource = fc.constantFrom(...resources);

const good: fc.Arbitrary<Step> = fc.oneof(
  resource.map(
    (value): Step =>
      (world) =>
        world.authorize(value),
  ),
  resource.map(
    (value): Step =>
      (world) =>
        world.revoke(value.id),
  ),
  fc
    .tuple(
      fc.constantFrom('db', 'all'),
      fc.constantFrom(...NAMES),
      fc.subarray(PROXIES, { minLength: 1 }),
      fc.subarray(['10.20.30.40', '10.20.30.41', '2001:db8::7']),
    )
    .map(
      ([id, name, proxies, addresses]): Step =>
        (world) =>
          void world.setUp(id, name, proxies, addresses),
    ),
  fc
    .tuple(fc.constantFrom(...TARGETS), fc.constantFrom(53, 80, 443), fc.constantFrom('tcp', 'udp'))
    .map(
      ([to, port, kind]): Step =>
        (world) =>
          void world.fromClient(packetTo(ALICE, to, port, kind)),
    ),
  fc.constantFrom(1_500, 61_000).map(
    (ms): Step =>
      (world) =>
        world.advance(ms),
  ),
);

const assigned = (id: string, domain: string, proxies: readonly string[]): Step => {
  const proxyIps = proxies.map(ip);
  const event = { kind: 'assigned-ips', resource: id, domain, proxyIps } as const;
  return (world) => void world.fromClient(writeControlPacket(event));
};

/** A control packet of any content. */
function control(type: number, content: Uint8Array): Uint8Array {
  const payload = new Uint8Array(8 + content.length);
  payload[0] = type;
  payload.set(content, 8);
  return writeIpPacket({
    source: ip('::'),
    destination: ip('::'),
    protocol: 255,
    hopLimit: 0,
    payload,
  });
}

const badDomain: fc.Arbitrary<Step> = fc.oneof(
  // Not authorized, no domain resource, another pattern, no name at all.
  fc.constantFrom(...NAMES).map((name) => assigned('nobody', name, ['100.96.0.9'])),
  fc.constantFrom(...NAMES).map((name) => assigned('lan', name, ['100.96.0.9'])),
  fc
    .constantFrom(
      'corp.example',
      'evil.test',
      'a..corp.test',
      '',
      '.',
      'x'.repeat(64),
      'y.'.repeat(200),
    )
    .map((name) => assigned('db', name, PROXIES)),
  // Not the client's to give: outside of the range, sentinels, twice, none, too many.
  fc
    .constantFrom(
      ['10.0.0.9'],
      ['100.64.0.2'],
      ['100.100.111.1'],
      ['fd00:2021:1111:8000:100:100:111:0'],
      ['100.96.0.1', '100.96.0.1'],
      [],
      Array.from({ length: 9 }, (_, i) => `100.96.1.${i}`),
      ['100.96.0.1', '::1'],
    )
    .map((proxies) => assigned('db', 'db.corp.test', proxies)),
);

const badControl: fc.Arbitrary<Step> = fc
  .tuple(fc.constantFrom(0, 1, 3, 255), fc.uint8Array({ maxLength: 80 }))
  .map(
    ([type, content]): Step =>
      (world) =>
        void world.fromClient(control(type, content)),
  );

const badPortal: fc.Arbitrary<Step> = fc.constantFrom<Step>(
  // Another type under a known id; unknown ids; unknown clients.
  (world) => world.portal({ event: 'resource_updated', payload: cidr('nobody', '10.9.0.0/16') }),
  (world) => world.revoke('nobody'),
  (world) => world.revoke('lan', { ...BOB, id: 'nobody' }),
  (world) =>
    world.portal({
      event: 'access_authorization_expiry_updated',
      payload: {
        clientId: clientId('alice'),
        resourceId: resourceId('nobody'),
        expiresAt: unixMillis(UNIX_ZERO),
      },
    }),
);

const badPacket: fc.Arbitrary<Step> = fc
  .oneof(
    fc.uint8Array({ maxLength: 60 }),
    // From another's address, to another's, to where nothing leads.
    fc.constantFrom(
      packetTo(BOB, '10.0.0.9', 443, 'tcp'),
      packetTo(ALICE, BOB.ipv4, 443, 'tcp'),
      packetTo(ALICE, '100.96.7.7', 443, 'tcp'),
      packetTo(ALICE, '224.0.0.1', 443, 'udp'),
    ),
  )
  .map(
    (bytes): Step =>
      (world) =>
        void world.fromClient(bytes),
  );

const changedType: fc.Arbitrary<Step> = fc.constantFrom<Step>(
  (world) => world.portal({ event: 'resource_updated', payload: dns('lan', '**') }),
  (world) => world.portal({ event: 'resource_updated', payload: cidr('db', '0.0.0.0/0') }),
);

test.each([
  ['domain', badDomain],
  ['control packet', badControl],
  ['portal message', badPortal],
  ['resource', changedType],
  ['packet', badPacket],
] as const)('every rejected %s leaves all state as it was', (_, bad) => {
  fc.assert(
    fc.property(
      fc.array(good, { maxLength: 12 }),
      fc.array(bad, { minLength: 1, maxLength: 4 }),
      fc.array(good, { maxLength: 4 }),
      (history, rejected, later) => {
        const [plain, hostile] = [new GatewayWorld(), new GatewayWorld()];
        const both = [plain, hostile];
        for (const world of both) for (const step of history) step(world);
        for (const world of both) world.events();
        for (const step of rejected) step(hostile);
        expect(hostile.events()).toEqual([]);
        expect(stateOf(hostile)).toEqual(stateOf(plain));
        for (const world of both) for (const step of later) step(world);
        expect(ask(hostile)).toEqual(ask(plain));
        expect(stateOf(hostile)).toEqual(stateOf(plain));
      },
    ),
    { numRuns: 60 },
  );
});

test('an authorization whose resource changed its type keeps what was granted', () => {
  const [plain, hostile] = [new GatewayWorld(), new GatewayWorld()];
  for (const world of [plain, hostile]) world.authorize(cidr('lan', '10.0.0.0/24', [tcp(443)]));
  hostile.authorize(internet('lan'));
  expect(ask(hostile)).toEqual(ask(plain));
});

test('a reversed range of ports allows nothing, and the ranges beside it what they allow', () => {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/24', [tcp(500, 400), udp(53)]));
  const isForwarded = (port: number, kind: string): boolean =>
    world.fromClient(packetTo(ALICE, '10.0.0.9', port, kind)).forwarded !== undefined;
  expect([isForwarded(450, 'tcp'), isForwarded(53, 'udp'), isForwarded(54, 'udp')]).toEqual([
    false,
    true,
    false,
  ]);
});

describe('a client that floods changes nothing for another', () => {
  const hostOf = (i: number): string => `${(i >> 8) & 255}.${i & 255}`;
  const floods: Readonly<Record<string, (world: GatewayWorld, i: number) => void>> = {
    'domains it may have': (world, i) =>
      world.assign('db', `n${i}.corp.test`, [`100.97.${hostOf(i)}`], BOB),
    'domains it may not have': (world, i) =>
      world.assign('db', `n${i}.example`, [`100.97.${hostOf(i)}`], BOB),
    'numbering anew': (world, i) =>
      void world.setUp('db', `n${i % 7}.corp.test`, ['100.96.0.1'], ['10.20.30.40'], BOB),
    'malformed control packets': (world, i) =>
      void world.fromClient(control(i & 255, new Uint8Array(i % 50)), { client: BOB }),
    connections: (world, i) => {
      const fields = { sourcePort: 1 + (i % 60_000), destinationPort: 53 };
      const source = ip(BOB.ipv4);
      const destination = ip(`10.0.0.${i % 200}`);
      world.fromClient(writeUdpPacket({ source, destination, ...fields }), { client: BOB });
    },
    'what is refused': (world, i) =>
      void world.fromClient(packetTo(BOB, `10.7.${hostOf(i)}`, 443, 'tcp'), { client: BOB }),
    fragments: (world, i) => {
      const packet = writeUdpPacket({
        source: ip(BOB.ipv4),
        destination: ip('10.0.0.9'),
        sourcePort: 1,
        destinationPort: 53,
        identification: i & 0xffff,
        payload: new Uint8Array(600),
      });
      new DataView(packet.buffer).setUint16(6, 0x2000);
      world.fromClient(packet, { client: BOB });
    },
  };

  test.each(Object.keys(floods))('%s', (kind) => {
    const [plain, flooded] = [new GatewayWorld(), new GatewayWorld()];
    for (const world of [plain, flooded]) {
      for (const client of [ALICE, BOB]) {
        world.authorize(cidr('lan', '10.0.0.0/24', [udp(53)]), { client });
        world.authorize(dns('db', '*.corp.test', [udp(53), tcp(443)]), { client });
      }
      world.setUp('db', 'db.corp.test', PROXIES, ['10.20.30.40', '2001:db8::7']);
      ask(world);
    }
    for (let i = 0; i < 3_000; i++) {
      floods[kind]?.(flooded, i);
      if (i % 500 === 0) flooded.events();
    }
    flooded.events();
    flooded.link.sent.length = 0;
    expect(ask(flooded)).toEqual(ask(plain));
    const own = (world: GatewayWorld): unknown =>
      world.gateway.snapshot().clients.find(({ id }) => id === ALICE.id);
    expect(own(flooded)).toEqual(own(plain));
    // What is new is set up at once, too.
    expect(flooded.setUp('db', 'new.corp.test', ['100.96.0.77'], ['10.20.30.44'])).toBe('active');
  });
});
