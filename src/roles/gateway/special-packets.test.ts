// Packets that are special (data-plane 5 and 6): who is told about a refusal and in which bytes, what is never answered, congestion marks, hop
// limits, checksums that were wrong before, and sources that are not the sender's.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GatewayWorld,
  icmp,
  internet,
  tcp,
} from '../../../test/support/gateway-world.ts';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { addressFromWords } from '../../base/address.ts';
import { at, toHex, viewOf } from '../../base/bytes.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

const NOTHING = new Uint8Array(0);
const OWN = { 4: ALICE.ipv4, 6: ALICE.ipv6 } as const;
const PEER = { 4: '10.0.0.9', 6: '2001:db8::9' } as const;
const FAMILIES = [4, 6] as const;

function lan(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/24'));
  world.authorize(cidr('lan6', '2001:db8::/64'));
  return world;
}

const udpTo = (
  destination: string,
  more: { trafficClass?: number; hopLimit?: number } = {},
): Uint8Array =>
  writeUdpPacket({
    source: ip(destination.includes(':') ? OWN[6] : OWN[4]),
    destination: ip(destination),
    sourcePort: 40_000,
    destinationPort: 53,
    payload: Uint8Array.of(1, 2, 3),
    ...more,
  });

const answerTo = (
  source: string,
  more: { trafficClass?: number; hopLimit?: number } = {},
): Uint8Array =>
  writeUdpPacket({
    source: ip(source),
    destination: ip(source.includes(':') ? OWN[6] : OWN[4]),
    sourcePort: 53,
    destinationPort: 40_000,
    payload: Uint8Array.of(1, 2, 3),
    ...more,
  });

describe('data-plane 5: a refusal is told', () => {
  test('data-plane 16, C3: "unreachable" over IPv4, bit for bit', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    expect(world.fromClient(vector('C1')).answers.map(toHex)).toEqual([toHex(vector('C3'))]);
  });

  test('data-plane 16, D2: "unreachable" over IPv6, bit for bit', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', ['fd00:2021:1111:8000::2'], ['10.9.0.7']);
    expect(world.fromClient(vector('D1')).answers.map(toHex)).toEqual([toHex(vector('D2'))]);
  });

  const ends = { source: ip(OWN[4]), destination: ip('10.1.0.9') };
  test.each([
    ['TCP', writeTcpPacket({ ...ends, sourcePort: 1, destinationPort: 2, flags: 2 })],
    ['UDP', writeUdpPacket({ ...ends, sourcePort: 1, destinationPort: 2 })],
    ['echo', writeEchoPacket({ ...ends, kind: 'request', identifier: 1, sequence: 1 })],
    ['GRE', writeIpPacket({ ...ends, protocol: 47, payload: new Uint8Array(12) })],
    [
      'fewer than eight bytes',
      writeIpPacket({ ...ends, protocol: 99, payload: new Uint8Array(3) }),
    ],
  ])('about any protocol: %s', (_name, packet) => {
    const { answers } = lan().fromClient(packet);
    const [error = NOTHING] = answers;
    expect([error[20], error[21], error[8], error[1]]).toEqual([3, 13, 20, 0]);
    expect(toHex(error.subarray(28))).toBe(toHex(packet.subarray(0, 28)));
    expect(checksumsAreRight(error)).toBe(true);
  });
});

describe('data-plane 5: never answered is', () => {
  const ends = { source: ip(OWN[4]), destination: ip(PEER[4]) };
  const truncated = udpTo(PEER[4]).subarray(0, 25);
  const fragment = udpTo(PEER[4]);
  fragment[6] = 0x20;
  test.each([
    ['multicast', udpTo('239.1.2.3'), 'multicast'],
    ['multicast of IPv6', udpTo('ff02::1'), 'multicast'],
    [
      'an ICMP error',
      writeIcmpPacket({ ...ends, type: 3, code: 1, payload: udpTo(PEER[4]) }),
      'icmp-error-of-client',
    ],
    ['what cannot be read', truncated, 'malformed'],
    ['a fragment that no sender makes', fragment, 'fragment'],
    [
      'another protocol to a proxy address',
      writeIpPacket({
        ...ends,
        destination: ip('100.96.0.1'),
        protocol: 47,
        payload: new Uint8Array(8),
      }),
      'unsupported-protocol',
    ],
  ])('%s', (_name, packet, reason) => {
    const world = lan();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', ['100.96.0.1'], ['10.9.0.7']);
    const { forwarded, answers } = world.fromClient(packet);
    expect([forwarded, answers]).toEqual([undefined, []]);
    expect(world.drops()).toEqual({ [reason]: 1 });
  });

  test('a packet for which there is no session left', () => {
    const world = lan();
    const from = (port: number): Uint8Array =>
      writeUdpPacket({ ...ends, sourcePort: port, destinationPort: 53 });
    const back = (port: number): Uint8Array =>
      writeUdpPacket({
        source: ends.destination,
        destination: ends.source,
        sourcePort: 53,
        destinationPort: port,
      });
    let port = 0;
    while (world.drops()['nat-exhausted'] === undefined && port < 65_535) {
      port++;
      const { answers } = world.fromClient(from(port));
      expect(answers).toEqual([]);
      world.fromTun(back(port));
    }
    expect(world.drops()).toMatchObject({ 'nat-exhausted': 1 });
  });
});

describe('data-plane 6.2: congestion marks', () => {
  const codepoints = [0, 1, 2, 3];
  const cases = FAMILIES.flatMap((family) =>
    codepoints.flatMap((inner) => codepoints.map((outer) => [family, inner, outer] as const)),
  );

  test.each(cases)('to a resource over IPv%i: inner %i, outer %i', (family, inner, outer) => {
    const packet = udpTo(PEER[family], { trafficClass: 0xa0 | inner });
    const isMarked = outer === 3 && (inner === 1 || inner === 2);
    const expected = udpTo(PEER[family], { trafficClass: 0xa0 | (isMarked ? 3 : inner) });
    const { forwarded = NOTHING } = lan().fromClient(packet, { ecn: outer });
    expect(toHex(forwarded)).toBe(toHex(expected));
  });

  test.each(FAMILIES)('to a client over IPv%i: the datagram has those of the packet', (family) => {
    const world = lan();
    world.fromClient(udpTo(PEER[family]));
    for (const inner of codepoints) {
      const packet = answerTo(PEER[family], { trafficClass: 0xa0 | inner });
      const { sealed = NOTHING, ecn } = world.fromTun(packet);
      expect(ecn).toBe(inner);
      expect(toHex(sealed)).toBe(toHex(packet));
    }
  });

  test('an ICMP error of our own carries none', () => {
    const world = lan();
    world.fromClient(udpTo('10.1.0.9', { trafficClass: 2 }), { ecn: 3 });
    expect(world.link.sent.at(-1)?.ecn).toBe(0);
  });
});

describe('data-plane 6.1', () => {
  test.each(FAMILIES)('the hop limit is left to the kernel, IPv%i', (family) => {
    const world = lan();
    for (const hopLimit of [1, 64, 255]) {
      const packet = udpTo(PEER[family], { hopLimit });
      expect(toHex(world.fromClient(packet).forwarded ?? NOTHING)).toBe(toHex(packet));
      const back = answerTo(PEER[family], { hopLimit });
      expect(toHex(world.fromTun(back).sealed ?? NOTHING)).toBe(toHex(back));
    }
  });

  test('an IPv6 packet that is a whole "fragment" passes (RFC 6946)', () => {
    const plain = udpTo(PEER[6]);
    const atomic = new Uint8Array(plain.length + 8);
    atomic.set(plain.subarray(0, 40));
    atomic.set([17, 0, 0, 0, 1, 2, 3, 4], 40);
    atomic.set(plain.subarray(40), 48);
    atomic[6] = 44;
    viewOf(atomic).setUint16(4, atomic.length - 40);
    expect(toHex(lan().fromClient(atomic).forwarded ?? NOTHING)).toBe(toHex(atomic));
  });

  test('a checksum that was wrong stays wrong, translated or not', () => {
    const world = lan();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', ['100.96.0.1'], ['10.9.0.7']);
    for (const destination of [PEER[4], '100.96.0.1']) {
      const damaged = udpTo(destination);
      damaged[28] = at(damaged, 28) ^ 0x40;
      const { forwarded = NOTHING } = world.fromClient(damaged);
      expect(forwarded.length).toBe(damaged.length);
      expect(checksumsAreRight(forwarded)).toBe(false);
      const repaired = forwarded.slice();
      repaired[28] = at(repaired, 28) ^ 0x40;
      expect(checksumsAreRight(repaired)).toBe(true);
    }
  });

  test('data-plane 15.1-P13: ICMP other than echo passes by a filter for ICMP, and by no other', () => {
    const timestamp = (destination: string): Uint8Array =>
      writeIcmpPacket({
        source: ip(OWN[4]),
        destination: ip(destination),
        type: 13,
        code: 0,
        payload: new Uint8Array(12),
      });
    const world = new GatewayWorld();
    world.authorize(cidr('icmp', '10.0.0.0/24', [icmp]));
    world.authorize(cidr('tcp', '10.0.1.0/24', [tcp(1, 65_535)]));
    expect(world.fromClient(timestamp('10.0.0.9')).forwarded).toBeDefined();
    expect(world.fromClient(timestamp('10.0.1.9')).forwarded).toBeUndefined();
    expect(world.drops()).toEqual({ filtered: 1 });
  });
});

describe('data-plane 6.3: a source that is not the sender', () => {
  test('is refused, and only the sender hears of it', () => {
    const world = lan();
    world.authorize(cidr('lan', '10.0.0.0/24'), { client: BOB });
    const spoofed = writeUdpPacket({
      source: ip(BOB.ipv4),
      destination: ip(PEER[4]),
      sourcePort: 1,
      destinationPort: 53,
    });
    expect(world.fromClient(spoofed).forwarded).toBeUndefined();
    const [answer] = world.link.sent;
    expect(answer?.peer).toBe(ALICE.id);
    expect(addressFromWords(parsed(answer?.packet ?? NOTHING).addresses, 4)).toBe(BOB.ipv4);
    expect(world.drops()).toEqual({ 'source-not-allowed': 1 });
  });

  test.each(['0.0.0.0', '127.0.0.1', '255.255.255.255', '100.64.0.2', '10.0.0.9'])(
    'whatever it is: %s',
    (source) => {
      const world = lan();
      const fields = { source: ip(source), destination: ip(PEER[4]) };
      const packet = writeUdpPacket({ ...fields, sourcePort: 1, destinationPort: 53 });
      expect(world.fromClient(packet).forwarded).toBeUndefined();
      expect(world.drops()).toEqual({ 'source-not-allowed': 1 });
    },
  );
});
