// Chaining of opened datagrams: rules of operations 6.5, and the same rows from native code and its twin.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ReceiveBatch } from '../../src/base/batch.ts';
import { SUPER } from '../../src/base/batch.ts';
import { at, toHex } from '../../src/base/bytes.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { Coalescer } from '../../src/proto/batch/coalesce.ts';
import { segmentSuperPacket } from '../../src/proto/batch/segment.ts';
import type { Opened, PacketOptions } from './packets.ts';
import {
  ACK,
  CWR,
  copyBatch,
  ECE,
  FIN,
  hasRightChecksums,
  makePacket,
  openedBatch,
  PSH,
  RST,
  SYN,
  URG,
} from './packets.ts';

const coalescer = new Coalescer();
const nativeAead = new NativeAead(1);

const IMPLEMENTATIONS: readonly (readonly [string, (batch: ReceiveBatch) => void])[] = [
  ['twin', (batch) => coalescer.gather(batch)],
  ['native', (batch) => nativeAead.gather(batch)],
];

const bytes = (length: number, value = 1): Uint8Array => new Uint8Array(length).fill(value);

/** `length` segments of one flow that follow each other. */
function stream(length: number, size: number, options: PacketOptions = {}): Opened[] {
  return Array.from({ length }, (_, i) => ({
    packet: makePacket({
      ...options,
      sequence: (options.sequence ?? 0) + i * size,
      identification: i,
      payload: bytes(size, i + 1),
    }),
  }));
}

function packetsOf(batch: ReceiveBatch): string[][] {
  return Array.from({ length: batch.superCount }, (_, i) =>
    segmentSuperPacket(batch, i * SUPER.stride).map(toHex),
  );
}

function segmentCounts(batch: ReceiveBatch): number[] {
  return Array.from({ length: batch.superCount }, (_, i) =>
    at(batch.superPackets, i * SUPER.stride + SUPER.segments),
  );
}

describe.each(IMPLEMENTATIONS)('gather, %s', (_name, gather) => {
  const counts = (opened: readonly Opened[]): number[] => {
    const batch = openedBatch(opened);
    gather(batch);
    return segmentCounts(batch);
  };

  it.each([
    ['TCP over IPv4', { flags: ACK }],
    ['TCP over IPv6', { isIpv6: true }],
    ['TCP with options', { tcpOptions: bytes(12) }],
    ['UDP over IPv4', { protocol: 'udp' as const }],
    ['UDP over IPv6', { protocol: 'udp' as const, isIpv6: true }],
  ])('makes one super-packet of a stream: %s', (_what, options) => {
    const opened = stream(10, 1000, options);
    const batch = openedBatch(opened);
    gather(batch);
    expect(segmentCounts(batch)).toEqual([10]);
    expect(packetsOf(batch)).toEqual([opened.map(({ packet }) => toHex(packet))]);
  });

  it('keeps two interleaved streams whole', () => {
    const a = stream(5, 100, { sourcePort: 1 });
    const b = stream(5, 100, { sourcePort: 2 });
    expect(counts(a.flatMap((packet, i) => [packet, b[i] ?? packet]))).toEqual([5, 5]);
  });

  it('looks back at sixteen flows, no more', () => {
    const nth = (n: number, index: number): Opened[] =>
      Array.from({ length: n }, (_, port) => stream(2, 100, { sourcePort: port })).map((pair) =>
        at(pair, index),
      );
    const flows = (n: number): Opened[] => nth(n, 0);
    const second = (n: number): Opened[] => nth(n, 1);
    expect(counts([...flows(16), ...second(16)])).toEqual(new Array(16).fill(2));
    expect(counts([...flows(17), ...second(17)]).length).toBe(34);
  });

  it('ends at a shorter segment and at PSH', () => {
    const [a, b, c, d] = stream(4, 100) as [Opened, Opened, Opened, Opened];
    const short = { packet: makePacket({ sequence: 200, payload: bytes(50) }) };
    expect(
      counts([a, b, short, { packet: makePacket({ sequence: 250, payload: bytes(50) }) }]),
    ).toEqual([3, 1]);
    const pushed = { packet: makePacket({ sequence: 200, payload: bytes(100), flags: ACK | PSH }) };
    const batch = openedBatch([a, b, pushed, d]);
    gather(batch);
    expect(segmentCounts(batch)).toEqual([3, 1]);
    expect(at(batch.slab, at(batch.superPackets, SUPER.offset) + 33) & PSH).toBe(PSH);
    expect(counts([a, b, c, d])).toEqual([4]);
  });

  const different: readonly (readonly [string, PacketOptions, Partial<Opened>])[] = [
    ['sequence', { sequence: 101 }, {}],
    ['acknowledgement', { acknowledgement: 9 }, {}],
    ['window', { window: 9 }, {}],
    ['type of service', { tos: 4 }, {}],
    ['time to live', { ttl: 9 }, {}],
    ['DF', { fragment: 0 }, {}],
    ['TCP options', { tcpOptions: bytes(4) }, {}],
    ['IP options', { ipOptions: bytes(4) }, {}],
    ['urgent pointer', { urgentPointer: 1 }, {}],
    ['SYN', { flags: ACK | SYN }, {}],
    ['FIN', { flags: ACK | FIN }, {}],
    ['RST', { flags: ACK | RST }, {}],
    ['URG', { flags: ACK | URG }, {}],
    ['ECE', { flags: ACK | ECE }, {}],
    ['CWR', { flags: ACK | CWR }, {}],
    ['size', { payload: bytes(101) }, {}],
    ['no payload', { payload: bytes(0) }, {}],
    ['port', { sourcePort: 4 }, {}],
    ['session', {}, { slot: 1 }],
    ['outer ECN', {}, { ecn: 3 }],
  ];
  it.each(different)('does not chain what differs in %s', (_what, options, extra) => {
    const first = { packet: makePacket({ payload: bytes(100) }) };
    const second = {
      ...extra,
      packet: makePacket({ sequence: 100, payload: bytes(100), ...options }),
    };
    expect(counts([first, second])).toEqual([1, 1]);
  });

  it('counts identifications of packets that may become fragments', () => {
    const nth = (identification: number, sequence: number, fragment = 0): Opened => ({
      packet: makePacket({ identification, sequence, fragment, payload: bytes(100) }),
    });
    expect(counts([nth(0xffff, 0), nth(0, 100), nth(1, 200)])).toEqual([3]);
    expect(counts([nth(7, 0), nth(7, 100), nth(9, 200)])).toEqual([1, 1, 1]);
    expect(counts([nth(7, 0, 0x4000), nth(7, 100, 0x4000)])).toEqual([2]);
  });

  it.each([
    ['TCP', {}],
    ['TCP over IPv6', { isIpv6: true }],
    ['UDP', { protocol: 'udp' as const }],
    ['UDP over IPv6', { protocol: 'udp' as const, isIpv6: true }],
  ])('DP-3: lets a damaged segment stand alone, as it came: %s', (_what, options) => {
    for (const [damaged, segments] of [
      [0, [1, 4]],
      [2, [2, 1, 2]],
      [4, [4, 1]],
    ] as const) {
      const opened = stream(5, 100, options);
      const packet = at(opened, damaged).packet;
      packet[packet.length - 50] = at(packet, packet.length - 50) ^ 1;
      const batch = openedBatch(opened);
      gather(batch);
      expect(segmentCounts(batch)).toEqual(segments);
      expect(packetsOf(batch).flat()).toEqual(opened.map((one) => toHex(one.packet)));
    }
  });

  it('DP-3: lets a segment with a damaged IPv4 header stand alone', () => {
    const opened = stream(3, 100);
    const { packet } = at(opened, 1);
    packet[5] = at(packet, 5) ^ 1;
    expect(counts(opened)).toEqual([1, 1, 1]);
  });

  it('DP-3: leaves UDP without checksum in the middle of a run as it is', () => {
    const opened = stream(5, 100, { protocol: 'udp' });
    const bare = makePacket({ protocol: 'udp', hasUdpChecksum: false, payload: bytes(100, 3) });
    opened[2] = { packet: bare };
    const batch = openedBatch(opened);
    gather(batch);
    expect(segmentCounts(batch)).toEqual([2, 1, 2]);
    expect(packetsOf(batch).flat()).toEqual(opened.map(({ packet }) => toHex(packet)));
  });

  it('ends a run at a packet whose ports are not known', () => {
    const [a, b, c, d] = stream(4, 100) as [Opened, Opened, Opened, Opened];
    const fragment = { packet: makePacket({ fragment: 0x2000, payload: bytes(80) }) };
    expect(counts([a, b, fragment, c, d])).toEqual([2, 1, 2]);
  });

  it('does not chain fragments, UDP without checksum, other protocols', () => {
    const fragment = { packet: makePacket({ fragment: 0x2000, payload: bytes(80) }) };
    expect(counts([fragment, fragment])).toEqual([1, 1]);
    const bare = {
      packet: makePacket({ protocol: 'udp', hasUdpChecksum: false, payload: bytes(80) }),
    };
    expect(counts([bare, bare])).toEqual([1, 1]);
    const echo = { packet: makePacket({ protocol: 'icmp', payload: bytes(80) }) };
    expect(counts([echo, echo])).toEqual([1, 1]);
  });

  it('passes over what was not accepted, keepalives and packets whose lengths lie', () => {
    const good = { packet: makePacket({ payload: bytes(10) }) };
    const long = good.packet.slice();
    long[3] = 255;
    const large = { packet: makePacket({ payload: bytes(9001) }) };
    const opened = [
      { ...good, accepted: false },
      { packet: bytes(0) },
      { packet: long },
      large,
      good,
    ];
    expect(counts(opened)).toEqual([1]);
  });

  it('cuts padding behind the IP length', () => {
    const packet = makePacket({ payload: bytes(10) });
    const padded = new Uint8Array(packet.length + 6);
    padded.set(packet);
    const batch = openedBatch([{ packet: padded }]);
    gather(batch);
    expect(at(batch.superPackets, SUPER.length)).toBe(packet.length);
  });
});

describe('native gather and twin', () => {
  interface Step {
    readonly flow: number;
    readonly size: number;
    readonly odd: number;
  }

  /** Streams of five flows with an oddity now and then. */
  function build(steps: readonly Step[]): Opened[] {
    const sequences = [0, 0xffff_ff00, 7, 0, 0];
    return steps.map(({ flow, size, odd }): Opened => {
      const sequence = at(sequences, flow) >>> 0;
      sequences[flow] = (sequence + size) >>> 0;
      const options: PacketOptions = {
        protocol: flow < 3 ? 'tcp' : 'udp',
        isIpv6: flow % 2 === 1,
        sourcePort: flow,
        sequence,
        payload: bytes(size, odd),
      };
      const changed: readonly PacketOptions[] = [
        { ttl: 1 },
        { tos: 8 },
        { flags: ACK | PSH },
        { flags: ACK | FIN },
        { flags: SYN },
        { window: 3 },
        { acknowledgement: 5 },
        { sequence: sequence + 1 },
        { tcpOptions: bytes(8) },
        { fragment: 0x2000 },
        { fragment: 0 },
        { ipOptions: bytes(4) },
        { hasUdpChecksum: false },
        { protocol: 'icmp' },
        { flags: ACK | ECE },
        { urgentPointer: 9 },
      ];
      const packet = makePacket({ ...options, ...changed[odd] });
      const last = packet.length - 1;
      if (odd === 23) packet[last] = at(packet, last) ^ 0x10;
      return { packet, slot: odd === 20 ? 1 : 0, ecn: odd === 21 ? 3 : 0, accepted: odd !== 22 };
    });
  }

  const step = fc.record({
    flow: fc.nat(4),
    size: fc.constantFrom(100, 100, 100, 100, 40, 0, 101),
    odd: fc.oneof({ weight: 5, arbitrary: fc.constant(99) }, fc.nat(23)),
  });

  it('operations 16, 20: fill the same rows; split again, every packet is as it was, in the order of its flow', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const opened = build(steps);
        const first = openedBatch(opened);
        const second = copyBatch(first);
        coalescer.gather(first);
        nativeAead.gather(second);
        expect(second.superCount).toBe(first.superCount);
        expect(second.superPackets).toEqual(first.superPackets);
        expect(second.datagrams).toEqual(first.datagrams);
        expect(second.slab).toEqual(first.slab);

        const kept = opened
          .filter(({ accepted }) => accepted)
          .map(({ packet, slot }) => canonical(packet, slot ?? 0));
        const out = packetsOf(first).flatMap((packets, i) => {
          const slot = at(first.superPackets, i * SUPER.stride + SUPER.slot);
          return packets.map((text) => canonical(fromText(text), slot));
        });
        expect([...out].sort()).toEqual([...kept].sort());
        for (const flow of new Set(kept.map((text) => text.slice(0, 88)))) {
          const of = (all: readonly string[]): string[] =>
            all.filter((text) => text.startsWith(flow));
          expect(of(out)).toEqual(of(kept));
        }
      }),
      { numRuns: 400 },
    );
  });

  it('survive any bytes in any rows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 20 }),
        fc.array(fc.constantFrom(0x45, 0x60, 0x46, 0x40, 0x4f), { minLength: 20, maxLength: 20 }),
        (packets, starts) => {
          const opened = packets.map((packet, i) => {
            if (packet.length > 3) packet.set([at(starts, i), 0, 0, packet.length]);
            return { packet };
          });
          const first = openedBatch(opened);
          const second = copyBatch(first);
          coalescer.gather(first);
          nativeAead.gather(second);
          expect(second.superPackets).toEqual(first.superPackets);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('leave right checksums on every segment', () => {
    const batch = openedBatch([
      ...stream(20, 999),
      ...stream(7, 33, { protocol: 'udp', isIpv6: true }),
    ]);
    nativeAead.gather(batch);
    const packets = packetsOf(batch).flat().map(fromText);
    expect(packets.length).toBe(27);
    expect(packets.every(hasRightChecksums)).toBe(true);
  });

  function fromText(text: string): Uint8Array {
    return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  }

  /** A packet behind its flow (fragments have none), without the identification of one that cannot become fragments. */
  function canonical(packet: Uint8Array, slot: number): string {
    const isIpv6 = at(packet, 0) >> 4 === 6;
    const header = isIpv6 ? 40 : (at(packet, 0) & 15) * 4;
    const addresses = isIpv6 ? packet.subarray(8, 40) : packet.subarray(12, 20);
    const ports = packet.subarray(header, header + 4);
    const isFragment = !isIpv6 && (at(packet, 6) & 0x3f) !== 0;
    const protocol = isFragment ? 'fragment' : at(packet, isIpv6 ? 6 : 9);
    const flow = `${slot} ${protocol} ${toHex(addresses)} ${toHex(ports)}`.padEnd(88);
    const copy = packet.slice();
    if (!isIpv6 && (at(packet, 6) & 0x40) !== 0) {
      copy.fill(0, 4, 6);
      copy.fill(0, 10, 12);
    }
    return `${flow}${toHex(copy)}`;
  }
});
