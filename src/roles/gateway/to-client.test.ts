// Packets for clients: every row of data-plane 4.2, in order; NAT replies; ICMP errors (10); what does not fit the hot path.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GATEWAY_IPV4,
  GatewayWorld,
  internet,
  tcp,
  udp,
} from '../../../test/support/gateway-world.ts';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { addressFromWords } from '../../base/address.ts';
import { toHex } from '../../base/bytes.ts';
import { InvariantError } from '../../base/errors.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { TCP_FLAG } from '../../wire/ip/tcp.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

const NOTHING = new Uint8Array(0);

function reply(
  from: string,
  port: number,
  to: string = from.includes(':') ? ALICE.ipv6 : ALICE.ipv4,
): Uint8Array {
  return writeTcpPacket({
    source: ip(from),
    destination: ip(to),
    sourcePort: port,
    destinationPort: 40_000,
    flags: TCP_FLAG.ack,
  });
}

function request(to: string, port: number, flags: number = TCP_FLAG.syn): Uint8Array {
  const source = ip(to.includes(':') ? ALICE.ipv6 : ALICE.ipv4);
  return writeTcpPacket({
    source,
    destination: ip(to),
    sourcePort: 40_000,
    destinationPort: port,
    flags,
  });
}

function worldWithDomain(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(dns('db', 'db.corp.test', [tcp(443), udp(5432)]));
  world.setUp(
    'db',
    'db.corp.test',
    ['100.96.0.1', 'fd00:2021:1111:8000::1'],
    ['10.20.30.40', '2001:db8:5::80'],
  );
  return world;
}

const sourceOf = (packet: Uint8Array | undefined): string | undefined =>
  packet && addressFromWords(parsed(packet).addresses, 0);

describe('the order of data-plane 4.2', () => {
  test('1, 2: malformed packets and fragments are dropped, control packets are counted', () => {
    const world = worldWithDomain();
    const fragment = reply('10.0.0.1', 1);
    fragment[6] = 0x20;
    const malformed = reply('10.0.0.1', 1);
    malformed[0] = 0x44;
    for (const packet of [fragment, malformed, writeControlPacket({ kind: 'goodbye' })]) {
      expect(world.fromTun(packet).slot).toBe(-1);
    }
    expect(world.drops()).toEqual({ fragment: 1, malformed: 1, 'not-a-peer': 1 });
    expect(world.gateway.snapshot().counts['control-packets-from-tun']).toBe(1);
    expect(world.gateway.snapshot().clients).toHaveLength(1);
  });

  test('3, 4: only tunnel addresses of known clients', () => {
    const world = worldWithDomain();
    world.fromTun(reply('10.0.0.1', 1, '8.8.8.8'));
    world.fromTun(reply('10.0.0.1', 1, '100.64.0.9'));
    world.fromTun(reply('2001:db8::1', 1, 'ff02::1'));
    expect(world.drops()).toEqual({ 'not-a-peer': 2, 'no-peer': 1 });
  });

  test('5: what the gateway itself sends passes as it is', () => {
    const world = worldWithDomain();
    const packet = writeUdpPacket({
      source: GATEWAY_IPV4,
      destination: ip(ALICE.ipv4),
      sourcePort: 53_535,
      destinationPort: 9,
    });
    expect(toHex(world.fromTun(packet).sealed ?? NOTHING)).toBe(toHex(packet));
    const error = writeIcmpPacket({
      source: GATEWAY_IPV4,
      destination: ip(ALICE.ipv4),
      type: 11,
      code: 0,
    });
    expect(world.fromTun(error).slot).toBe(0);
  });

  test('6: ICMP that is neither echo nor a known error, or about nothing known', () => {
    const world = worldWithDomain();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    const addresses = { source: ip('10.0.0.1'), destination: ip(ALICE.ipv4) };
    world.fromTun(writeIcmpPacket({ ...addresses, type: 13, code: 0 }));
    world.fromTun(writeIcmpPacket({ ...addresses, type: 3, code: 0, payload: new Uint8Array(28) }));
    expect(world.drops()).toEqual({ 'unsupported-icmp': 2 });
  });

  test('8: other protocols are no exception: what nobody asked for has no way in', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.fromTun(
      writeIpPacket({
        source: ip('10.0.0.1'),
        destination: ip(ALICE.ipv4),
        protocol: 47,
        payload: NOTHING,
      }),
    );
    expect(world.drops()).toEqual({ 'not-initiated': 1 });
  });

  test('9, data-plane 15.2-N4: a reply comes from the proxy address; after the session it is dropped', () => {
    const world = worldWithDomain();
    world.fromClient(request('100.96.0.1', 443));
    const { sealed } = world.fromTun(reply('10.20.30.40', 443));
    expect(sourceOf(sealed)).toBe('100.96.0.1');
    expect(checksumsAreRight(sealed ?? NOTHING)).toBe(true);
    world.advance(7_440_000);
    world.fromTun(reply('10.20.30.40', 443));
    expect(world.drops()).toEqual({ 'expired-session': 1 });
  });

  test('9, data-plane 15.2-N3: a reset session is gone after the next sweep', () => {
    const world = worldWithDomain();
    world.fromClient(request('100.96.0.1', 443));
    world.fromTun(reply('10.20.30.40', 443));
    world.fromClient(request('100.96.0.1', 443, TCP_FLAG.rst));
    world.advance(1_000);
    expect(world.fromTun(reply('10.20.30.40', 443)).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'expired-session': 1 });
  });

  test('10: a reply that was translated for another client', () => {
    const world = worldWithDomain();
    world.authorize(cidr('lan', '10.0.0.0/24'), { client: BOB });
    const toBob = reply('10.0.0.1', 1, BOB.ipv4);
    expect(world.fromTun(toBob).slot).toBe(1);
    expect(world.fromTun(reply('10.0.0.1', 1)).slot).toBe(-1);
  });

  test('11, data-plane 15.1-P10: no peer reaches another through the gateway', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    world.fromTun(reply(BOB.ipv4, 1));
    const error = writeIcmpPacket({
      source: ip(BOB.ipv4),
      destination: ip(ALICE.ipv4),
      type: 3,
      code: 3,
      payload: request('8.8.8.8', 1),
    });
    world.fromTun(error);
    expect(world.drops()).toEqual({ 'source-is-peer': 2 });
  });

  test('12: an ICMP error needs no resource', () => {
    const world = worldWithDomain();
    const error = writeIcmpPacket({
      source: ip('172.16.0.1'),
      destination: ip(ALICE.ipv4),
      type: 3,
      code: 1,
      payload: request('10.0.0.1', 1),
    });
    expect(toHex(world.fromTun(error).sealed ?? NOTHING)).toBe(toHex(error));
  });

  test("13: the filter looks at the resource's port, and never answers", () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]));
    expect(world.fromTun(reply('10.0.0.1', 22)).slot).toBe(0);
    expect(world.fromTun(reply('10.0.0.1', 23)).slot).toBe(-1);
    expect(world.fromTun(reply('10.0.1.1', 22)).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-allowed': 2 });
    expect(world.link.sent).toEqual([]);
  });

  test('13: an Internet resource accepts the Internet only', () => {
    const world = new GatewayWorld();
    world.authorize(internet('net'));
    expect(world.fromTun(reply('1.1.1.1', 443)).slot).toBe(0);
    expect(world.fromTun(reply('192.168.1.1', 443)).slot).toBe(-1);
  });

  test('13: revoking cuts the way back at once, translated or not', () => {
    const world = worldWithDomain();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.fromClient(request('100.96.0.1', 443));
    expect(world.fromTun(reply('10.0.0.1', 9)).slot).toBe(0);
    expect(world.fromTun(reply('10.20.30.40', 443)).slot).toBe(0);
    world.revoke('lan');
    expect(world.fromTun(reply('10.0.0.1', 9)).slot).toBe(-1);
    world.authorize(cidr('other', '10.1.0.0/24'));
    world.revoke('db');
    expect(world.fromTun(reply('10.20.30.40', 443)).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'not-allowed': 2 });
  });

  test('14: without a key slot single packets go through the link, GSO packets are dropped', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.link.isReady = false;
    const packet = reply('10.0.0.1', 9);
    expect(world.fromTun(packet).alone.map(toHex)).toEqual([toHex(packet)]);
    const gso = writeTcpPacket({
      source: ip('10.0.0.1'),
      destination: ip(ALICE.ipv4),
      sourcePort: 9,
      destinationPort: 1,
      flags: 16,
      payload: new Uint8Array(5_000),
    });
    expect(world.fromTun(gso, { gsoType: 1, gsoSegment: 1_200, headerLength: 40 }).alone).toEqual(
      [],
    );
    world.link.sendOutcome = 'failed';
    world.fromTun(packet);
    expect(world.drops()).toEqual({ 'not-connected': 2 });
  });
});

describe('details', () => {
  test('a GSO packet of the kernel is one decision, its checksum is not touched', () => {
    const world = worldWithDomain();
    world.fromClient(request('100.96.0.1', 443));
    const gso = writeTcpPacket({
      source: ip('10.20.30.40'),
      destination: ip(ALICE.ipv4),
      sourcePort: 443,
      destinationPort: 40_000,
      flags: 16,
      payload: new Uint8Array(20_000),
      trafficClass: 2,
    });
    const {
      sealed = NOTHING,
      slot,
      ecn,
    } = world.fromTun(gso, { gsoType: 1, gsoSegment: 1_240, headerLength: 40, isPartial: true });
    expect([slot, ecn]).toEqual([0, 2]);
    expect(sourceOf(sealed)).toBe('100.96.0.1');
    expect(sealed.slice(36, 38)).toEqual(gso.slice(36, 38));
    expect(world.fromTun(gso, { gsoType: 1, gsoSegment: 1_241, headerLength: 40 }).slot).toBe(-1);
    expect(world.drops()).toEqual({ 'too-large': 1 });
  });

  test('a packet with a checksum left to the device is completed when it goes alone', () => {
    const world = worldWithDomain();
    world.fromClient(request('100.96.0.1', 443));
    world.link.isReady = false;
    const packet = reply('10.20.30.40', 443);
    packet.set([0xab, 0xcd], 36);
    const { alone } = world.fromTun(packet, { isPartial: true, checksumOffset: 16 });
    expect(sourceOf(alone[0])).toBe('100.96.0.1');
    expect(checksumsAreRight(alone[0] ?? NOTHING)).toBe(true);
  });

  test('replies to an echo find their way back by the identifier', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp(
      'db',
      'db.corp.test',
      ['fd00:2021:1111:8000::1', 'fd00:2021:1111:8000::2'],
      ['2001:db8:5::80'],
    );
    const { forwarded = NOTHING } = world.fromClient(vector('B1'));
    const to = parsed(forwarded);
    const echo = writeEchoPacket({
      source: ip('2001:db8:5::80'),
      destination: ip(ALICE.ipv6),
      kind: 'reply',
      identifier: to.sourcePort,
      sequence: 7,
    });
    const { sealed = NOTHING } = world.fromTun(echo);
    expect(sourceOf(sealed)).toBe('fd00:2021:1111:8000::2');
    expect(parsed(sealed).sourcePort).toBe(0x102);
  });

  test('data-plane 16 E1, E2: an error about the outside port 40001 becomes one about the packet that was sent', () => {
    const world = worldWithDomain();
    world.authorize(dns('db', 'db.corp.test'));
    world.setUp('db', 'db.corp.test', ['100.96.0.2'], ['10.20.30.40']);
    const occupant = vector('A1');
    occupant.set([100, 96, 0, 2], 16);
    occupant.set([0, 0], 26);
    expect(sourceOf(world.fromClient(occupant).forwarded)).toBe('100.64.0.5');
    expect(toHex(world.fromClient(vector('A1')).forwarded ?? NOTHING)).toBe(toHex(vector('A3')));
    const { slot, alone } = world.fromTun(vector('E1'));
    expect(slot).toBe(-1);
    const [error = NOTHING] = alone;
    // Beyond the vector (17.14), the checksums inside are right, too.
    expect(toHex(error.slice(28))).toBe(toHex(vector('A1').subarray(0, 28)));
    expect(checksumsAreRight(error)).toBe(true);
    const expected = vector('E2');
    for (const field of [22, 38, 54]) {
      error.set([0, 0], field);
      expected.set([0, 0], field);
    }
    expect(toHex(error)).toBe(toHex(expected));
  });

  test.each([
    [3, 4, 0x0000_0514, 0x0514],
    [3, 4, 0xabcd_0514, 0x0514],
    [11, 0, 0x1234_5678, 0],
  ])('IPv4 error %i/%i keeps nothing but the MTU', (type, code, rest, kept) => {
    const world = worldWithDomain();
    const { forwarded = NOTHING } = world.fromClient(request('100.96.0.1', 443));
    const error = writeIcmpPacket({
      source: ip('192.0.2.1'),
      destination: ip(ALICE.ipv4),
      type,
      code,
      rest,
      payload: forwarded.subarray(0, 28),
    });
    const { alone } = world.fromTun(error);
    const view = new DataView((alone[0] ?? NOTHING).buffer);
    expect([view.getUint8(20), view.getUint8(21), view.getUint32(24)]).toEqual([type, code, kept]);
  });

  test('an IPv6 packet-too-big is translated with its MTU', () => {
    const world = worldWithDomain();
    const { forwarded = NOTHING } = world.fromClient(request('fd00:2021:1111:8000::1', 443));
    const error = writeIcmpPacket({
      source: ip('2001:db8::ff'),
      destination: ip(ALICE.ipv6),
      type: 2,
      code: 0,
      rest: 1_300,
      payload: forwarded,
    });
    const [translated = NOTHING] = world.fromTun(error).alone;
    expect(sourceOf(translated)).toBe('fd00:2021:1111:8000::1');
    expect(new DataView(translated.buffer).getUint32(44)).toBe(1_300);
    expect(checksumsAreRight(translated)).toBe(true);
  });

  test('an error about a session that is over is dropped', () => {
    const world = worldWithDomain();
    const { forwarded = NOTHING } = world.fromClient(request('100.96.0.1', 443));
    world.advance(61_000);
    world.fromTun(
      writeIcmpPacket({
        source: ip('192.0.2.1'),
        destination: ip(ALICE.ipv4),
        type: 3,
        code: 1,
        payload: forwarded,
      }),
    );
    expect(world.drops()).toEqual({ 'expired-session': 1 });
  });

  test('pings with one identifier to an address and to two names for it find their own way back', () => {
    const world = new GatewayWorld();
    world.authorize(dns('names', '*.test'));
    world.authorize(cidr('lan', '10.2.0.0/24'));
    world.setUp('names', 'a.test', ['100.96.0.1'], ['10.2.0.9']);
    world.setUp('names', 'b.test', ['100.96.0.2'], ['10.2.0.9']);
    const targets = ['10.2.0.9', '100.96.0.1', '100.96.0.2'];
    const sent = targets.map((to) => {
      const ping = writeEchoPacket({
        source: ip(ALICE.ipv4),
        destination: ip(to),
        kind: 'request',
        identifier: 1,
        sequence: 9,
      });
      const { forwarded = NOTHING } = world.fromClient(ping);
      expect(addressFromWords(parsed(forwarded).addresses, 4)).toBe('10.2.0.9');
      return parsed(forwarded).sourcePort;
    });
    expect(new Set(sent).size).toBe(3);
    const answers = sent.map((identifier) => {
      const pong = writeEchoPacket({
        source: ip('10.2.0.9'),
        destination: ip(ALICE.ipv4),
        kind: 'reply',
        identifier,
        sequence: 9,
      });
      const { sealed = NOTHING } = world.fromTun(pong);
      expect(parsed(sealed).sourcePort).toBe(1);
      expect(checksumsAreRight(sealed)).toBe(true);
      return sourceOf(sealed);
    });
    expect(answers).toEqual(targets);
  });

  test('a flow to an address that a name has, too, is not cut off when its session ends', () => {
    const world = worldWithDomain();
    world.authorize(cidr('lan', '10.20.0.0/16'));
    const { forwarded = NOTHING } = world.fromClient(request('10.20.30.40', 443));
    expect(toHex(forwarded)).toBe(toHex(request('10.20.30.40', 443)));
    world.advance(61_000);
    expect(sourceOf(world.fromTun(reply('10.20.30.40', 443)).sealed)).toBe('10.20.30.40');
    const error = writeIcmpPacket({
      source: ip('192.0.2.1'),
      destination: ip(ALICE.ipv4),
      type: 3,
      code: 1,
      payload: forwarded,
    });
    world.fromClient(request('10.20.30.40', 443));
    expect(toHex(world.fromTun(error).sealed ?? NOTHING)).toBe(toHex(error));
  });

  test('an invariant that breaks costs the client that was served, and no other', () => {
    const world = worldWithDomain();
    world.authorize(cidr('lan', '10.0.0.0/24'), { client: BOB });
    world.fromTun(reply('10.0.0.1', 9));
    expect(world.gateway.handleFault(new InvariantError('nobody is served'), world.now)).toBe(
      false,
    );
    world.link.sendSlot = () => {
      throw new InvariantError('broken');
    };
    expect(() => world.fromTun(reply('10.0.0.1', 9, BOB.ipv4))).toThrow('broken');
    expect(world.gateway.handleFault(new InvariantError('broken'), world.now)).toBe(true);
    expect(world.link.calls.at(-1)).toBe('close bob 2');
    expect(world.gateway.snapshot().clients.map(({ id }) => id)).toEqual(['alice']);
  });
});
