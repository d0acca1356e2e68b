// What the gateway does with a super-packet is what it does with each of its segments (issue "Policy and packets, whole"): two gateways of one
// history, one gets what was gathered or what the kernel made, the other gets it segment by segment. The packets that leave both are equal,
// byte by byte, in the order of their flow.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ipBytes } from '../../src/base/address.ts';
import {
  createTunBatch,
  DATAGRAM,
  GSO_TYPE,
  type ReceiveBatch,
  SUPER,
  TUN_FLAG,
  TUN_PACKET,
  VERDICT,
} from '../../src/base/batch.ts';
import { at, toHex, viewOf } from '../../src/base/bytes.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { Coalescer } from '../../src/proto/batch/coalesce.ts';
import { segmentSuperPacket, segmentTunPacket } from '../../src/proto/batch/segment.ts';
import { ALICE, cidr, dns, GatewayWorld, tcp, udp } from '../support/gateway-world.ts';
import { ip } from '../support/packets.ts';
import {
  ACK,
  CWR,
  ECE,
  FIN,
  makePacket,
  type Opened,
  openedBatch,
  type PacketOptions,
  PSH,
  RST,
  SYN,
  URG,
} from './packets.ts';

const address = (text: string): Uint8Array => ipBytes(ip(text));
const PROXY_IPV4 = '100.96.0.1';
const PROXY_IPV6 = 'fd00:2021:1111:8000::1';

/** What clients send: to networks and to translated names, allowed and not, in both families. */
const FLOWS: readonly PacketOptions[] = [
  { destination: address('10.0.0.9'), destinationPort: 22 },
  { destination: address('10.0.0.9'), destinationPort: 80 },
  { destination: address(PROXY_IPV4), destinationPort: 443 },
  { destination: address(PROXY_IPV4), destinationPort: 53, protocol: 'udp' },
  { destination: address('2001:db8::9'), destinationPort: 22, isIpv6: true },
  { destination: address(PROXY_IPV6), destinationPort: 53, isIpv6: true, protocol: 'udp' },
  { destination: address(PROXY_IPV6), destinationPort: 443, isIpv6: true },
  { destination: address('10.7.7.7'), destinationPort: 22 },
];
const own = (isIpv6 = false): Uint8Array => address(isIpv6 ? ALICE.ipv6 : ALICE.ipv4);

/** Oddities: what a packet may have that its neighbours have not. */
const ODDITIES: readonly PacketOptions[] = [
  {},
  { ttl: 9 },
  { tos: 2 },
  { tos: 1 },
  { tos: 3 },
  { tos: 8 },
  { flags: ACK | PSH },
  { flags: ACK | FIN },
  { flags: ACK | RST },
  { flags: SYN, tcpOptions: Uint8Array.of(2, 4, 5, 180) },
  { flags: ACK | URG, urgentPointer: 4 },
  { urgentPointer: 4 },
  { flags: ACK | ECE },
  { flags: ACK | CWR },
  { window: 7 },
  { acknowledgement: 5 },
  { tcpOptions: new Uint8Array(12).fill(1) },
  { ipOptions: new Uint8Array(4).fill(1) },
  { fragment: 0 },
  { hasUdpChecksum: false },
];
const DAMAGED_PAYLOAD = ODDITIES.length;
const DAMAGED_HEADER = DAMAGED_PAYLOAD + 1;
const EXTENDED = DAMAGED_PAYLOAD + 2;
const OUTER_CE = DAMAGED_PAYLOAD + 3;
const SKIPPED_ID = DAMAGED_PAYLOAD + 4;

interface Step {
  readonly flow: number;
  readonly size: number;
  readonly odd: number;
}

const step = fc.record({
  flow: fc.nat(FLOWS.length - 1),
  size: fc.constantFrom(100, 100, 100, 100, 40, 0, 101, 1_200),
  odd: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(SKIPPED_ID)),
});
/** Runs of one flow, so that there is something to gather. */
const steps = fc
  .array(fc.tuple(step, fc.integer({ min: 1, max: 8 })), { minLength: 1, maxLength: 12 })
  .map((runs) =>
    runs.flatMap(([first, count]) =>
      Array.from({ length: count }, (_, i) => (i === count >> 1 ? first : { ...first, odd: 0 })),
    ),
  );

function build(list: readonly Step[]): Opened[] {
  const sequences = new Array<number>(FLOWS.length).fill(0xffff_fe00);
  return list.map(({ flow, size, odd }, i): Opened => {
    const options = at(FLOWS, flow);
    const sequence = at(sequences, flow) >>> 0;
    sequences[flow] = sequence + size;
    const packet = makePacket({
      ...options,
      source: own(options.isIpv6),
      sourcePort: 40_000 + flow,
      sequence,
      identification: odd === SKIPPED_ID ? i + 9 : i,
      payload: Uint8Array.from({ length: size }, (_, k) => k * 7 + i),
      ...ODDITIES[odd],
    });
    const place = odd === DAMAGED_PAYLOAD ? packet.length - 1 : odd === DAMAGED_HEADER ? 8 : -1;
    if (place >= 0) packet[place] = at(packet, place) ^ 1;
    const isExtended = odd === EXTENDED && options.isIpv6 === true;
    return { packet: isExtended ? extended(packet) : packet, ecn: odd === OUTER_CE ? 3 : 0 };
  });
}

/** With a hop-by-hop header of padding. */
function extended(packet: Uint8Array): Uint8Array {
  const longer = new Uint8Array(packet.length + 8);
  longer.set(packet.subarray(0, 40));
  longer.set([at(packet, 6), 0, 1, 4, 0, 0, 0, 0], 40);
  longer.set(packet.subarray(40), 48);
  longer[6] = 0;
  viewOf(longer).setUint16(4, longer.length - 40);
  return longer;
}

function world(): GatewayWorld {
  const world = new GatewayWorld();
  world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]));
  world.authorize(cidr('lan6', '2001:db8::/64', [tcp(22)]));
  world.authorize(dns('name', 'name.test', [tcp(443), udp(53)]));
  world.setUp('name', 'name.test', [PROXY_IPV4, PROXY_IPV6], ['10.9.0.7', '2001:db8:9::7']);
  world.link.sent.length = 0;
  return world;
}

/** The packets that go to the TUN device. */
function forward(world: GatewayWorld, batch: ReceiveBatch): Uint8Array[] {
  world.gateway.handleSuperPackets(batch, world.now);
  const packets: Uint8Array[] = [];
  for (let row = 0; row < batch.superCount * SUPER.stride; row += SUPER.stride)
    if (batch.superPackets[row + SUPER.verdict] === VERDICT.forward)
      packets.push(...segmentSuperPacket(batch, row));
  for (let next = world.gateway.pollTunPacket(); next; next = world.gateway.pollTunPacket())
    packets.push(next);
  return packets;
}

/** By flow, in order. */
function byFlow(packets: readonly Uint8Array[]): Map<string, string[]> {
  const flows = new Map<string, string[]>();
  for (const packet of packets) {
    const isIpv6 = at(packet, 0) >> 4 === 6;
    const header = isIpv6 ? (at(packet, 6) === 0 ? 48 : 40) : (at(packet, 0) & 15) * 4;
    const ends = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
    const flow = `${toHex(ends)} ${toHex(packet.subarray(header, header + 4))}`;
    flows.set(flow, [...(flows.get(flow) ?? []), canonical(packet, header)]);
  }
  return new Map([...flows].sort());
}

/**
 * Two things may differ: the identification of what cannot become fragments (RFC 6864), and whether a checksum of TCP is 0 or 0xffff, which is one number
 * (data-plane 12.4).
 */
function canonical(packet: Uint8Array, header: number): string {
  const copy = packet.slice();
  const isIpv6 = at(packet, 0) >> 4 === 6;
  if (!isIpv6 && (at(packet, 6) & 0x40) !== 0) {
    copy.fill(0, 4, 6);
    copy.fill(0, 10, 12);
  }
  const isTcp = at(packet, isIpv6 ? (header === 48 ? 40 : 6) : 9) === 6;
  if (isTcp && viewOf(copy).getUint16(header + 16) === 0xffff)
    viewOf(copy).setUint16(header + 16, 0);
  return toHex(copy);
}

const coalescer = new Coalescer();
const aead = new NativeAead(1);
const GATHERINGS: readonly (readonly [string, (batch: ReceiveBatch) => void])[] = [
  ['twin', (batch) => coalescer.gather(batch)],
  ['native', (batch) => aead.gather(batch)],
];

describe.each(GATHERINGS)('a super-packet to a resource, %s', (_name, gather) => {
  it('is forwarded, translated and marked as its segments are, or not at all', () => {
    let gathered = 0;
    fc.assert(
      fc.property(steps, (list) => {
        const opened = build(list);
        const whole = world();
        const batch = openedBatch(opened);
        gather(batch);
        gathered += batch.datagramCount - batch.superCount;
        const together = forward(whole, batch);

        const single = world();
        const apart = opened.flatMap((one) => {
          const alone = openedBatch([one]);
          gather(alone);
          return forward(single, alone);
        });
        expect(byFlow(together)).toEqual(byFlow(apart));
        expect(Object.keys(whole.drops()).sort()).toEqual(Object.keys(single.drops()).sort());
        const answered = (world: GatewayWorld): string[] =>
          [...new Set(world.link.sent.map(({ packet }) => toHex(packet.subarray(0, 20))))].sort();
        // One refusal for a super-packet instead of one for each segment, to the same end.
        expect(answered(whole).length > 0).toBe(answered(single).length > 0);
      }),
      { numRuns: 200 },
    );
    expect(gathered).toBeGreaterThan(100);
  });
});

interface TunSuper {
  readonly flow: number;
  readonly segment: number;
  readonly length: number;
  readonly tos: number;
  readonly flags: number;
  readonly identification: number;
  readonly hasOptions: boolean;
}

const ANSWERS: readonly PacketOptions[] = [
  { source: address('10.0.0.9'), sourcePort: 22 },
  { source: address('10.9.0.7'), sourcePort: 443 },
  { source: address('10.9.0.7'), sourcePort: 53, protocol: 'udp' },
  { source: address('2001:db8:9::7'), sourcePort: 443, isIpv6: true },
  { source: address('2001:db8:9::7'), sourcePort: 53, isIpv6: true, protocol: 'udp' },
  { source: address('10.7.7.7'), sourcePort: 22 },
];
/** Flows of `FLOWS` that the answers belong to. */
const REQUESTS = [0, 2, 3, 6, 5, 7];

const tunSuper = fc.record({
  flow: fc.nat(ANSWERS.length - 1),
  segment: fc.constantFrom(1, 7, 500, 1_200),
  length: fc.integer({ min: 1, max: 4_000 }),
  tos: fc.constantFrom(0, 1, 2, 3, 8),
  flags: fc.constantFrom(ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | ECE),
  identification: fc.nat(0xffff),
  hasOptions: fc.boolean(),
});

describe('a super-packet of a resource', () => {
  /** The ports that the gateway shows the resource are those of the client: nothing else is going on. */
  function answerOf({ flow, segment, length, tos, flags, identification, hasOptions }: TunSuper): {
    readonly packet: Uint8Array;
    readonly segment: number;
  } {
    const options = at(ANSWERS, flow);
    const packet = makePacket({
      ...options,
      destination: own(options.isIpv6),
      destinationPort: 40_000 + at(REQUESTS, flow),
      sequence: 0xffff_ff00,
      identification,
      tos,
      flags,
      ...(hasOptions ? { tcpOptions: new Uint8Array(12).fill(1) } : {}),
      payload: Uint8Array.from({ length: Math.min(length, segment * 250) }, (_, i) => i * 3),
    });
    return { packet, segment };
  }

  function asked(): GatewayWorld {
    const gateway = world();
    for (const flow of REQUESTS) {
      const [first] = build([{ flow, size: 10, odd: 0 }]);
      if (first) gateway.fromClient(first.packet);
    }
    gateway.link.sent.length = 0;
    return gateway;
  }

  /** What the client gets: ECN of the datagram and packet. */
  function send(gateway: GatewayWorld, packet: Uint8Array, segment?: number): string[] {
    const batch = createTunBatch(packet.length + 64, 1);
    const isIpv6 = at(packet, 0) >> 4 === 6;
    const ipHeader = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
    const isTcp = at(packet, isIpv6 ? 6 : 9) === 6;
    batch.slab.set(packet, 16);
    batch.packets[TUN_PACKET.offset] = 16;
    batch.packets[TUN_PACKET.length] = packet.length;
    batch.packets[TUN_PACKET.flags] = isIpv6 ? TUN_FLAG.ipv6 : 0;
    if (segment !== undefined) {
      const tcpHeader = (at(packet, ipHeader + 12) >> 4) * 4;
      batch.packets[TUN_PACKET.gsoType] = !isTcp
        ? GSO_TYPE.udp
        : isIpv6
          ? GSO_TYPE.tcp6
          : GSO_TYPE.tcp4;
      batch.packets[TUN_PACKET.gsoSegment] = segment;
      batch.packets[TUN_PACKET.headerLength] = ipHeader + (isTcp ? tcpHeader : 8);
      batch.packets[TUN_PACKET.flags] = TUN_FLAG.checksumNeeded | (isIpv6 ? TUN_FLAG.ipv6 : 0);
      batch.packets[TUN_PACKET.checksumStart] = ipHeader;
      batch.packets[TUN_PACKET.checksumOffset] = isTcp ? 16 : 6;
    }
    batch.packetCount = 1;
    gateway.gateway.handleTunPackets(batch, gateway.now);
    if (at(batch.packets, TUN_PACKET.slot) < 0) return [];
    const packets = segmentTunPacket(batch, 0);
    if (typeof packets === 'string') return [packets];
    const ecn = at(batch.packets, TUN_PACKET.ecn);
    return packets.map((one) => `${ecn} ${canonical(one, ipHeader)}`);
  }

  /** The segments that the kernel would have made. */
  function split(packet: Uint8Array, segment: number): readonly Uint8Array[] {
    const batch = createTunBatch(packet.length + 64, 1);
    const isIpv6 = at(packet, 0) >> 4 === 6;
    const ipHeader = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
    const isTcp = at(packet, isIpv6 ? 6 : 9) === 6;
    batch.slab.set(packet);
    batch.packets[TUN_PACKET.length] = packet.length;
    batch.packets[TUN_PACKET.gsoType] = isTcp ? GSO_TYPE.tcp4 : GSO_TYPE.udp;
    batch.packets[TUN_PACKET.gsoSegment] = segment;
    batch.packets[TUN_PACKET.headerLength] =
      ipHeader + (isTcp ? (at(packet, ipHeader + 12) >> 4) * 4 : 8);
    const packets = segmentTunPacket(batch, 0);
    return typeof packets === 'string' ? [] : packets;
  }

  it('reaches the client as its segments do, or not at all', () => {
    let sent = 0;
    fc.assert(
      fc.property(fc.array(tunSuper, { minLength: 1, maxLength: 6 }), (list) => {
        const [whole, single] = [asked(), asked()];
        for (const one of list) {
          const { packet, segment } = answerOf(one);
          const together = send(whole, packet, segment);
          expect(together).toEqual(split(packet, segment).flatMap((part) => send(single, part)));
          sent += together.length;
        }
        expect(Object.keys(whole.drops()).sort()).toEqual(Object.keys(single.drops()).sort());
      }),
      { numRuns: 150 },
    );
    expect(sent).toBeGreaterThan(500);
  });
});

describe('operations 16', () => {
  it('19: a chain of more than one batch is delivered completely and in order', () => {
    const opened = build(Array.from({ length: 500 }, () => ({ flow: 0, size: 1_200, odd: 0 })));
    const batch = openedBatch(opened);
    aead.gather(batch);
    const packets = forward(world(), batch);
    expect(packets.map((packet) => toHex(packet.subarray(20)))).toEqual(
      opened.map(({ packet }) => toHex(packet.subarray(20))),
    );
    const chained = Array.from({ length: batch.datagramCount }, (_, i) =>
      at(batch.datagrams, i * DATAGRAM.stride + DATAGRAM.next),
    );
    expect(chained.filter((next) => next < 0).length).toBe(batch.superCount);
  });
});
