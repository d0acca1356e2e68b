// Packets of clients: every row of data-plane 3.3 and 3.4, in order, and what is answered (5, 6, 17.5).

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GatewayWorld,
  icmp,
  initPayload,
  internet,
  tcp,
  UNIX_ZERO,
  udp,
} from '../../../test/support/gateway-world.ts';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { addressFromWords, endpoint } from '../../base/address.ts';
import { toHex } from '../../base/bytes.ts';
import { relayId } from '../../base/ids.ts';
import { unixMillis } from '../../base/time.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { refusalOf } from '../../wire/ip/icmp-error.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

const PROXIES = ['100.96.0.1', '100.96.0.2', 'fd00:2021:1111:8000::', 'fd00:2021:1111:8000::1'];
const V6 = (to: string): boolean => to.includes(':');

function packetTo(to: string, protocol: 'tcp' | 'udp', port: number, from?: string): Uint8Array {
  const source = ip(from ?? (V6(to) ? ALICE.ipv6 : ALICE.ipv4));
  const fields = { source, destination: ip(to), sourcePort: 40_000, destinationPort: port };
  return protocol === 'tcp'
    ? writeTcpPacket({ ...fields, flags: TCP_FLAG.syn })
    : writeUdpPacket(fields);
}

const echoTo = (to: string): Uint8Array =>
  writeEchoPacket({
    source: ip(V6(to) ? ALICE.ipv6 : ALICE.ipv4),
    destination: ip(to),
    kind: 'request',
    identifier: 7,
    sequence: 1,
  });

/** What became of a packet, in one word. */
function outcome(world: GatewayWorld, packet: Uint8Array, client = ALICE): string {
  const { forwarded, answers } = world.fromClient(packet, { client });
  if (forwarded) return `to ${addressFromWords(parsed(forwarded).addresses, 4)}`;
  const [answer] = answers;
  if (!answer) return 'dropped';
  const error = parsed(answer);
  const kind = refusalOf(error) ?? 'control';
  return kind === 'control'
    ? kind
    : `${kind} from ${addressFromWords(error.addresses, 0)} to ${addressFromWords(error.addresses, 4)}`;
}

function workedExample(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]));
  world.authorize(dns('db', 'db.corp.test', [udp(5432)]));
  world.setUp('db', 'db.corp.test', ['100.96.0.1', 'fd00:2021:1111:8000::'], ['10.9.0.7']);
  return world;
}

describe('the worked decisions of data-plane 3.4', () => {
  const world = workedExample();
  test.each([
    ['CIDR, allowed port', packetTo('10.0.0.9', 'tcp', 22), 'to 10.0.0.9'],
    ['CIDR, other port', packetTo('10.0.0.9', 'tcp', 80), 'prohibited from 10.0.0.9 to 100.64.0.5'],
    ['another network', packetTo('10.0.1.9', 'tcp', 22), 'prohibited from 10.0.1.9 to 100.64.0.5'],
    ['proxy, allowed port', packetTo('100.96.0.1', 'udp', 5432), 'to 10.9.0.7'],
    [
      'proxy, other port',
      packetTo('100.96.0.1', 'udp', 53),
      'prohibited from 100.96.0.1 to 100.64.0.5',
    ],
    [
      'the real address of a domain',
      packetTo('10.9.0.7', 'udp', 5432),
      'prohibited from 10.9.0.7 to 100.64.0.5',
    ],
    [
      'a family the domain lacks',
      packetTo('fd00:2021:1111:8000::', 'udp', 5432),
      'unreachable from fd00:2021:1111:8000:: to fd00:2021:1111::5',
    ],
    ['the gateway itself', echoTo('100.64.0.2'), 'to 100.64.0.2'],
    [
      'another peer',
      packetTo('100.64.0.77', 'tcp', 22),
      'prohibited from 100.64.0.77 to 100.64.0.5',
    ],
    [
      'a spoofed source',
      packetTo('10.0.0.9', 'tcp', 22, '100.64.0.6'),
      'prohibited from 10.0.0.9 to 100.64.0.6',
    ],
    ['multicast', packetTo('224.0.0.22', 'udp', 22), 'dropped'],
    [
      'an ICMP error',
      writeIcmpPacket({
        source: ip(ALICE.ipv4),
        destination: ip('10.0.0.9'),
        type: 3,
        code: 3,
        payload: vector('A1'),
      }),
      'dropped',
    ],
  ])('%s', (_, packet, expected) => {
    expect(outcome(world, packet)).toBe(expected);
  });
});

describe('the order of data-plane 3.3', () => {
  const counted = (world: GatewayWorld): readonly string[] => Object.keys(world.drops());

  test('1: malformed packets and fragments are dropped', () => {
    const world = workedExample();
    const fragment = packetTo('10.0.0.9', 'tcp', 22);
    fragment[6] = 0x20;
    const malformed = packetTo('10.0.0.9', 'tcp', 22);
    malformed[3] = 39;
    for (const packet of [fragment, malformed]) expect(outcome(world, packet)).toBe('dropped');
    // Beyond the reference, which says nothing: "fragmentation needed" (tunnel-mtu.test.ts).
    const ends = { source: ip(ALICE.ipv4), destination: ip('10.0.0.9') };
    const payload = new Uint8Array(1260);
    world.fromClient(writeUdpPacket({ ...ends, sourcePort: 1, destinationPort: 2, payload }));
    expect(counted(world)).toEqual(['fragment', 'malformed', 'too-large']);
  });

  test('2: multicast of both families, before anything else', () => {
    const world = new GatewayWorld();
    expect(outcome(world, packetTo('ff02::1', 'udp', 1))).toBe('dropped');
    expect(outcome(world, packetTo('239.255.255.250', 'udp', 1900))).toBe('dropped');
    expect(world.drops()).toEqual({ multicast: 2 });
  });

  test('3: without state for the client even control packets are dropped', () => {
    const world = new GatewayWorld();
    expect(outcome(world, writeControlPacket({ kind: 'goodbye' }))).toBe('dropped');
    world.link.slots.push('alice' as never);
    expect(outcome(world, packetTo('10.0.0.9', 'tcp', 22))).toBe('dropped');
    expect(world.drops()).toEqual({ 'no-peer': 2 });
    expect(world.link.sent).toEqual([]);
  });

  test('4: control packets are handled before the source is looked at', () => {
    const world = workedExample();
    world.assign('db', 'db.corp.test', ['100.96.0.1']);
    expect(world.gateway.snapshot().counts['control-packets']).toBe(2);
    expect(world.drops()).toEqual({});
  });

  test('5, data-plane 15.1-P12: ICMP errors of a client are dropped without an answer, even with a wrong source', () => {
    const world = workedExample();
    const error = writeIcmpPacket({
      source: ip('100.64.0.9'),
      destination: ip('10.0.0.9'),
      type: 11,
      code: 0,
      payload: vector('A1'),
    });
    const unknownInside = writeIcmpPacket({
      source: ip(ALICE.ipv4),
      destination: ip('10.0.0.9'),
      type: 3,
      code: 0,
      payload: new Uint8Array(20),
    });
    expect(outcome(world, error)).toBe('dropped');
    expect(outcome(world, unknownInside)).toBe('prohibited from 10.0.0.9 to 100.64.0.5');
    expect(world.drops()).toEqual({ 'icmp-error-of-client': 1, filtered: 1 });
  });

  test("6: both tunnel addresses of the client are its own, another client's are not", () => {
    const world = workedExample();
    world.authorize(cidr('six', '2001:db8::/32'));
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]), { client: BOB });
    expect(outcome(world, packetTo('2001:db8::1', 'tcp', 1))).toBe('to 2001:db8::1');
    expect(outcome(world, packetTo('2001:db8::1', 'tcp', 1, BOB.ipv6))).toMatch(/^prohibited/);
    expect(outcome(world, packetTo('10.0.0.1', 'tcp', 22), BOB)).toMatch(/^prohibited/);
    expect(outcome(world, packetTo('10.0.0.1', 'tcp', 22, BOB.ipv4), BOB)).toBe('to 10.0.0.1');
  });

  test("7: the gateway's own address answers echo and DNS only", () => {
    const world = workedExample();
    for (const own of ['100.64.0.2', 'fd00:2021:1111::2']) {
      expect(outcome(world, echoTo(own))).toBe(`to ${own}`);
      expect(outcome(world, packetTo(own, 'udp', 53_535))).toBe(`to ${own}`);
      expect(outcome(world, packetTo(own, 'tcp', 53_535))).toBe(`to ${own}`);
      expect(outcome(world, packetTo(own, 'tcp', 22))).toMatch(/^prohibited/);
    }
    expect(world.drops()).toEqual({ 'own-address': 2 });
  });

  test('8, data-plane 15.1-P10: no other peer is reachable, whatever resource there is', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    world.authorize(cidr('all', '100.64.0.0/10'));
    expect(outcome(world, packetTo('100.64.0.6', 'tcp', 22))).toMatch(/^prohibited/);
    expect(outcome(world, packetTo('fd00:2021:1111::6', 'tcp', 22))).toMatch(/^prohibited/);
    expect(world.drops()).toEqual({ 'other-peer': 2 });
  });

  test('9a, 9b: an Internet resource covers the Internet, any protocol, and nothing private', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    const gre = writeIpPacket({
      source: ip(ALICE.ipv4),
      destination: ip('1.1.1.1'),
      protocol: 47,
      payload: new Uint8Array(9),
    });
    expect(outcome(world, gre)).toBe('to 1.1.1.1');
    expect(outcome(world, packetTo('2606:4700::1', 'tcp', 443))).toBe('to 2606:4700::1');
    expect(outcome(world, packetTo('10.0.0.1', 'tcp', 443))).toMatch(/^unreachable/);
    expect(outcome(world, packetTo('fe80::1', 'tcp', 443))).toMatch(/^unreachable/);
    expect(outcome(world, packetTo('::ffff:1.1.1.1', 'tcp', 443))).toBe('dropped');
  });

  test('9, data-plane 15.1-P9: an Internet resource does not open closed ports of a proxy address', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    world.authorize(dns('db', 'db.corp.test', [udp(5432)]));
    world.setUp('db', 'db.corp.test', PROXIES, ['10.9.0.7']);
    expect(outcome(world, packetTo('100.96.0.1', 'udp', 53))).toMatch(/^prohibited/);
    expect(outcome(world, packetTo('100.96.0.1', 'udp', 5432))).toBe('to 10.9.0.7');
    expect(outcome(world, packetTo('100.96.0.9', 'udp', 5432))).toMatch(/^prohibited/);
  });

  test("9: addresses of the gateway's host are not the Internet", () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    expect(outcome(world, packetTo('8.8.4.9', 'tcp', 22))).toBe('to 8.8.4.9');
    world.gateway.setLocalAddresses([{ address: ip('8.8.4.9'), port: 1, key: '' }], world.now);
    expect(outcome(world, packetTo('8.8.4.9', 'tcp', 22))).toMatch(/^unreachable/);
    expect(outcome(world, packetTo('8.8.4.8', 'tcp', 22))).toBe('to 8.8.4.8');
  });

  test('9: addresses for documentation are the Internet where the relays have some', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    expect(outcome(world, packetTo('203.0.113.9', 'tcp', 22))).toMatch(/^unreachable/);
    const relay = {
      type: 'turn' as const,
      id: relayId('r'),
      addr: endpoint(ip('203.0.113.21'), 3478),
      username: 'u',
      password: 'p',
      expiresAt: unixMillis(UNIX_ZERO + 1e9),
    };
    const listed = [{ client: ALICE.id, resource: 'net', expiresIn: 1e9 }];
    world.portal({ event: 'init', payload: { ...initPayload(listed), relays: [relay] } });
    expect(outcome(world, packetTo('203.0.113.9', 'tcp', 22))).toBe('to 203.0.113.9');
    expect(outcome(world, packetTo('198.51.100.9', 'tcp', 22))).toMatch(/^unreachable/);
  });

  test('9c, 9d: what no resource covers, and what no filter allows', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24', [icmp]));
    expect(outcome(world, echoTo('10.0.0.1'))).toBe('to 10.0.0.1');
    expect(outcome(world, packetTo('10.0.0.1', 'tcp', 1))).toMatch(/^prohibited/);
    expect(outcome(world, packetTo('10.0.1.1', 'tcp', 1))).toMatch(/^prohibited/);
    expect(world.drops()).toEqual({ filtered: 1, 'no-resource': 1 });
  });

  test('11: a proxy address nobody set up is unreachable if a network covers it', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('all', '100.96.0.0/11'));
    expect(outcome(world, packetTo('100.96.0.1', 'tcp', 1))).toMatch(/^unreachable/);
    expect(world.drops()).toEqual({ 'no-translation': 1 });
  });

  test('12, data-plane 15.2-N7: a domain without addresses is unreachable', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.corp.test'));
    expect(world.setUp('db', 'db.corp.test', PROXIES, [])).toBe('active');
    expect(outcome(world, packetTo('100.96.0.1', 'tcp', 1))).toMatch(/^unreachable/);
    expect(outcome(world, packetTo('fd00:2021:1111:8000::', 'tcp', 1))).toMatch(/^unreachable/);
    expect(world.drops()).toEqual({ 'no-address': 2 });
  });

  test('14: other protocols to a proxy address are dropped without an answer', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', PROXIES, ['10.9.0.7']);
    const gre = {
      source: ip(ALICE.ipv4),
      destination: ip('100.96.0.1'),
      protocol: 47,
      payload: new Uint8Array(9),
    };
    expect(outcome(world, writeIpPacket(gre))).toBe('dropped');
    expect(world.drops()).toEqual({ 'unsupported-protocol': 1 });
  });

  test('16: a translated packet keeps source and port, and its checksums are right', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', PROXIES, ['10.20.30.40']);
    const { forwarded } = world.fromClient(vector('A1'));
    expect(toHex(forwarded ?? new Uint8Array(0))).toBe(toHex(vector('A2')));
  });
});

describe('answers', () => {
  test('data-plane 16: C1 is answered with C2', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.9.8.0/24', [tcp(1)]));
    const { answers } = world.fromClient(vector('C1'));
    expect(answers.map(toHex)).toEqual([toHex(vector('C2'))]);
  });

  test('errors quote the packet as the client sent it, and are limited', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]));
    let answered = 0;
    for (let i = 0; i < 300; i++)
      answered += world.fromClient(packetTo('10.0.0.1', 'tcp', 80)).answers.length;
    expect(answered).toBe(200);
    expect(world.gateway.snapshot().counts['icmp-errors-limited']).toBe(100);
    world.advance(1_000);
    for (let i = 0; i < 300; i++)
      answered += world.fromClient(packetTo('10.0.0.1', 'tcp', 80)).answers.length;
    expect(answered).toBe(300);
  });
});

describe('ECN and super-packets', () => {
  test('an outer CE marks an ECN-capable packet and keeps its checksum', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    const packet = writeUdpPacket({
      source: ip(ALICE.ipv4),
      destination: ip('10.0.0.1'),
      sourcePort: 1,
      destinationPort: 2,
      trafficClass: 2,
    });
    const { forwarded = new Uint8Array(0) } = world.fromClient(packet, { ecn: 3 });
    expect((forwarded[1] ?? 0) & 3).toBe(3);
    expect(checksumsAreRight(forwarded)).toBe(true);
  });

  test('a chain of segments is decided by its first header and translated without touching checksums', () => {
    const world = new GatewayWorld();
    world.authorize(dns('web', 'web.test', [tcp(443)]));
    world.setUp('web', 'web.test', ['100.96.0.1'], ['10.0.0.80']);
    const fields = {
      source: ip(ALICE.ipv4),
      destination: ip('100.96.0.1'),
      sourcePort: 40_000,
      flags: TCP_FLAG.ack,
    };
    const first = writeTcpPacket({
      ...fields,
      destinationPort: 443,
      payload: new Uint8Array(1240),
    });
    const headers = { ip: 20, transport: 20 };
    const edited = world.superFromClient(first, headers, 30_000) ?? new Uint8Array(0);
    expect(addressFromWords(parsed(edited).addresses, 4)).toBe('10.0.0.80');
    expect(edited.slice(10, 12)).toEqual(first.slice(10, 12));
    expect(edited.slice(36, 38)).toEqual(first.slice(36, 38));
    const other = writeTcpPacket({ ...fields, destinationPort: 80, payload: new Uint8Array(1240) });
    expect(world.superFromClient(other, headers, 30_000)).toBeUndefined();
    expect(world.link.sent).toHaveLength(2);
  });

  test('a packet that arrived alone goes to the TUN device by the same rules', () => {
    const world = workedExample();
    world.link.arrived.push({
      peer: 'alice' as never,
      bytes: packetTo('10.0.0.9', 'tcp', 22),
      ecn: 0,
    });
    world.link.arrived.push({
      peer: 'alice' as never,
      bytes: packetTo('10.0.0.9', 'tcp', 23),
      ecn: 0,
    });
    world.link.arrived.push({
      peer: 'alice' as never,
      bytes: packetTo('100.96.0.1', 'udp', 5432),
      ecn: 0,
    });
    world.advance(1);
    const first = world.gateway.pollTunPacket();
    const second = world.gateway.pollTunPacket();
    expect(toHex(first ?? new Uint8Array(0))).toBe(toHex(packetTo('10.0.0.9', 'tcp', 22)));
    expect(addressFromWords(parsed(second ?? new Uint8Array(0)).addresses, 4)).toBe('10.9.0.7');
    expect(world.gateway.pollTunPacket()).toBeUndefined();
  });
});
