// Data-plane 17.15: packets that are longer than a client's tunnel carries. With the standard setting the kernel's TUN device lets none of
// them through, but the gateway would know what to do; with a larger one, what the path of each client carries is found out by probes.

import { describe, expect, test } from 'vitest';
import { ALICE, cidr, dns, GatewayWorld } from '../../../test/support/gateway-world.ts';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { addressFromWords, endpoint, parseIp } from '../../base/address.ts';
import { toHex, viewOf } from '../../base/bytes.ts';
import { instant } from '../../base/time.ts';
import { pathOf } from '../../link/outbound/path.ts';
import { Reassembly } from '../../proto/fragments/reassembly.ts';
import { parseControlPacket, writeControlPacket } from '../../wire/control/p2p-control.ts';
import {
  writeEchoPacket,
  writeIcmpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';

const NOTHING = new Uint8Array(0);
const PEER = { 4: '10.0.0.9', 6: '2001:db8::9' } as const;
const OWN = { 4: ALICE.ipv4, 6: ALICE.ipv6 } as const;

function lan(tunMtu: number): GatewayWorld {
  const world = new GatewayWorld({ packets: { tunMtu } });
  world.authorize(cidr('lan', '10.0.0.0/24'));
  world.authorize(cidr('lan6', '2001:db8::/64'));
  return world;
}

/** The answer of a server that the client asked first; `length` of the whole packet. */
function answerOf(
  world: GatewayWorld,
  family: 4 | 6,
  length: number,
  dontFragment = true,
): Uint8Array {
  const ends = { source: ip(OWN[family]), destination: ip(PEER[family]) };
  world.fromClient(writeUdpPacket({ ...ends, sourcePort: 40_000, destinationPort: 53 }));
  return writeUdpPacket({
    source: ip(PEER[family]),
    destination: ip(OWN[family]),
    sourcePort: 53,
    destinationPort: 40_000,
    identification: 77,
    dontFragment,
    payload: new Uint8Array(length - (family === 4 ? 28 : 48)).fill(5),
  });
}

function toTun(world: GatewayWorld): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let next = world.gateway.pollTunPacket(); next; next = world.gateway.pollTunPacket())
    packets.push(next);
  return packets;
}

/** The client's connection goes another way, which carries packets of `carries` bytes; the client answers what arrives. */
function takePath(world: GatewayWorld, carries: number): number[] {
  const { link, gateway } = world;
  const [peer] = link.slots;
  const [local, remote] = [parseIp('192.0.2.1'), parseIp('192.0.2.2')];
  if (!peer || !local || !remote) throw new Error('a client is connected in this test');
  const ends = { local: endpoint(local, 1), remote: endpoint(remote, 2) };
  const path = pathOf({ ...ends, localKind: 'host', remoteKind: 'host' });
  link.events.push({ kind: 'path-changed', peer, path });
  gateway.handleTimeout(world.now);
  return answerProbes(world, carries);
}

function answerProbes(world: GatewayWorld, carries: number): number[] {
  const { link } = world;
  const before = link.sent.length;
  world.gateway.handleTimeout(world.now);
  const sizes: number[] = [];
  for (const { packet } of link.sent.slice(before)) {
    const event = parseControlPacket(packet);
    if (event?.kind !== 'mtu-probe') continue;
    expect(event.size).toBe(packet.length);
    sizes.push(event.size);
    if (event.size <= carries)
      world.fromClient(writeControlPacket({ ...event, kind: 'mtu-probe-answer' }));
  }
  return sizes;
}

describe('data-plane 17.15: a packet that is longer than the tunnel of its client carries', () => {
  test.each([
    [4, 28 + 8, 3, 4],
    [6, 1_280, 2, 0],
  ] as const)('over IPv%i is answered with "too big"', (family, quoted, type, code) => {
    const world = lan(1_500);
    const large = answerOf(world, family, 1_400);
    const { sealed, alone } = world.fromTun(large);
    expect([sealed, alone]).toEqual([undefined, []]);
    const [error = NOTHING, ...more] = toTun(world);
    expect(more).toEqual([]);
    const { addresses, icmpType, icmpCode, headerLength } = parsed(error);
    // From the client, so that no host takes it for a packet of its own.
    expect(addressFromWords(addresses, 0)).toBe(OWN[family]);
    expect(addressFromWords(addresses, 4)).toBe(PEER[family]);
    expect([icmpType, icmpCode]).toEqual([type, code]);
    expect(viewOf(error).getUint32(headerLength + 4)).toBe(1_280);
    expect(checksumsAreRight(error)).toBe(true);
    const quote = error.subarray(headerLength + 8);
    expect(toHex(quote)).toBe(toHex(large.subarray(0, quote.length)));
    expect(family === 4 ? quote.length : error.length).toBe(quoted - (family === 4 ? 8 : 0));
    expect(world.drops()).toEqual({ 'too-large': 1 });
  });

  test('goes on in fragments if it may', () => {
    const world = lan(1_500);
    const large = answerOf(world, 4, 1_400, false);
    const { alone } = world.fromTun(large);
    expect(alone.length).toBe(2);
    expect(alone.every(({ length }) => length <= 1_280)).toBe(true);
    const reassembly = new Reassembly();
    const [, whole] = alone.map((part) => reassembly.add('', part, instant(0)));
    expect(whole?.kind === 'whole' && toHex(whole.packet.bytes)).toBe(toHex(large));
    expect(toTun(world)).toEqual([]);
    expect(world.gateway.snapshot().counts['packets-fragmented']).toBe(1);
  });

  test('is quoted as the resource sent it, though it is for a translated address', () => {
    const world = new GatewayWorld({ packets: { tunMtu: 1_500 } });
    world.authorize(dns('db', 'db.test'));
    world.setUp('db', 'db.test', ['100.96.0.1'], ['10.9.0.7']);
    const request = { source: ip(ALICE.ipv4), destination: ip('100.96.0.1') };
    world.fromClient(writeUdpPacket({ ...request, sourcePort: 40_000, destinationPort: 53 }));
    const large = writeUdpPacket({
      source: ip('10.9.0.7'),
      destination: ip(ALICE.ipv4),
      sourcePort: 53,
      destinationPort: 40_000,
      dontFragment: true,
      payload: new Uint8Array(1_400),
    });
    world.fromTun(large);
    const [error = NOTHING] = toTun(world);
    expect(toHex(error.subarray(28))).toBe(toHex(large.subarray(0, 28)));
    expect(addressFromWords(parsed(error).addresses, 4)).toBe('10.9.0.7');
  });

  test('of many segments is answered about the first of them', () => {
    const world = lan(1_500);
    const ends = { source: ip(PEER[4]), destination: ip(OWN[4]), sourcePort: 22 };
    const fields = { ...ends, destinationPort: 40_000, flags: 16, dontFragment: true };
    const whole = writeTcpPacket({ ...fields, payload: new Uint8Array(5_000) });
    world.fromTun(whole, { gsoType: 1, gsoSegment: 1_400, headerLength: 40, checksumOffset: 16 });
    const [error = NOTHING] = toTun(world);
    expect(viewOf(error).getUint16(26)).toBe(1_280);
    expect(viewOf(error).getUint16(30)).toBe(1_440);
    expect(checksumsAreRight(error)).toBe(true);
  });

  test('is not answered if it is an error itself, if the policy refuses it, or too often', () => {
    const world = lan(1_500);
    const large = answerOf(world, 6, 1_400);
    const ends = { source: ip(PEER[6]), destination: ip(OWN[6]) };
    world.fromTun(writeIcmpPacket({ ...ends, type: 1, code: 4, payload: large }));
    const foreign = { source: ip('2001:db8:1::9'), destination: ip(OWN[6]) };
    const echo = { kind: 'reply', identifier: 1, sequence: 1 } as const;
    world.fromTun(writeEchoPacket({ ...foreign, ...echo, payload: new Uint8Array(1_400) }));
    expect(toTun(world)).toEqual([]);
    for (let i = 0; i < 300; i++) world.fromTun(large);
    expect(toTun(world).length).toBe(200);
  });
});

describe("data-plane 17.15: a client's packet that is longer than we take", () => {
  test('is answered with "too big", once for a whole super-packet', () => {
    const world = lan(1_280);
    const ends = { source: ip(OWN[4]), destination: ip(PEER[4]), sourcePort: 40_000 };
    const payload = new Uint8Array(1_300);
    const large = writeUdpPacket({ ...ends, destinationPort: 53, payload });
    const { forwarded, answers } = world.fromClient(large);
    expect(forwarded).toBeUndefined();
    const [error = NOTHING] = answers;
    expect(viewOf(error).getUint16(20)).toBe(0x0304);
    expect(viewOf(error).getUint16(26)).toBe(1_280);
    expect(toHex(error.subarray(28))).toBe(toHex(large.subarray(0, 28)));
    const first = writeTcpPacket({ ...ends, destinationPort: 53, flags: 16, payload });
    expect(world.superFromClient(first, { ip: 20, transport: 20 }, 3_900)).toBeUndefined();
    expect(world.drops()).toEqual({ 'too-large': 2 });
    expect(world.link.sent.length).toBe(2);
  });
});

describe('FIREZONE_TUN_MTU', () => {
  test('of 1280 asks for nothing', () => {
    const world = lan(1_280);
    expect(takePath(world, 9_000)).toEqual([]);
    expect(world.gateway.snapshot().clients[0]?.mtu).toBe(1_280);
  });

  test('of more is used for clients whose path carries it', () => {
    const world = lan(1_500);
    expect(takePath(world, 1_500)).toEqual([1_336, 1_408, 1_416, 1_500]);
    expect(world.gateway.snapshot().clients[0]?.mtu).toBe(1_500);
    expect(world.fromTun(answerOf(world, 4, 1_500)).slot).toBe(0);
    expect(world.fromTun(answerOf(world, 6, 1_500)).slot).toBe(0);
    expect(toTun(world)).toEqual([]);
  });

  test('of more is used as far as the path carries it', () => {
    const world = lan(9_000);
    takePath(world, 1_440);
    expect(world.fromTun(answerOf(world, 4, 1_416)).slot).toBe(0);
    expect(world.fromTun(answerOf(world, 4, 1_417)).slot).toBe(-1);
    const [error = NOTHING] = toTun(world);
    expect(viewOf(error).getUint16(26)).toBe(1_416);
  });

  test('begins at 1280 again when the client goes another way', () => {
    const world = lan(1_500);
    takePath(world, 1_500);
    takePath(world, 0);
    expect(world.fromTun(answerOf(world, 4, 1_400)).slot).toBe(-1);
  });

  test('sets the segment size that SYNs announce, by the path', () => {
    const world = lan(9_000);
    const ends = { source: ip(OWN[4]), destination: ip(PEER[4]), sourcePort: 40_000 };
    const syn = writeTcpPacket({
      ...ends,
      destinationPort: 22,
      flags: 2,
      payload: Uint8Array.of(2, 4, 0x23, 0),
    });
    syn[32] = 0x60;
    const mss = (): number =>
      viewOf(world.fromClient(syn.slice()).forwarded ?? NOTHING).getUint16(42);
    expect(mss()).toBe(1_240);
    takePath(world, 1_500);
    expect(mss()).toBe(1_376);
  });

  test('lets a client of ours find out what we take', () => {
    const world = lan(1_500);
    const probe = (size: number): unknown =>
      world
        .fromClient(writeControlPacket({ kind: 'mtu-probe', token: 5, size }))
        .answers.map((packet) => parseControlPacket(packet));
    expect(probe(1_500)).toEqual([{ kind: 'mtu-probe-answer', token: 5, size: 1_500 }]);
    expect(probe(1_501)).toEqual([]);
  });
});
