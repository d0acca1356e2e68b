// From TUN to UDP and from UDP to TUN: what native code sends and writes is what the twin computes, and every packet is right.
// Traffic stays on loopback and in pairs of stand-in TUN devices.

import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseIp, writeAddressWords } from '../../src/base/address.ts';
import type { TunBatch } from '../../src/base/batch.ts';
import {
  createReceiveBatch,
  createTunBatch,
  DATAGRAM,
  GSO_TYPE,
  PATH,
  RUN,
  SUPER,
  TUN_PACKET,
  VERDICT,
} from '../../src/base/batch.ts';
import { at, fromHex, toHex } from '../../src/base/bytes.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { NativeAead } from '../../src/io/packets/aead.ts';
import { TunDevice } from '../../src/io/packets/tun.ts';
import { TunnelSockets, UdpSocket } from '../../src/io/packets/udp.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import { sealBatch, segmentSuperPacket, segmentTunPacket } from '../../src/proto/batch/segment.ts';
import type { Opened, PacketOptions, TunPacket } from './packets.ts';
import {
  ACK,
  CWR,
  copyBatch,
  FIN,
  hasRightChecksums,
  makePacket,
  openedBatch,
  PSH,
  tunBatch,
} from './packets.ts';

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
const LOOPBACK = parseIp('127.0.0.1');
if (LOOPBACK === undefined) throw new Error('unreachable');

const KEY = new Uint8Array(32).fill(5);
const sockets = TunnelSockets.open({ port: 0, addresses: [LOOPBACK] });
const receiver = UdpSocket.open({ family: 4, address: LOOPBACK, port: 0 });
const received = createReceiveBatch(16 * 65_536, 16, 4096);

afterAll(() => {
  sockets.close();
  receiver.close();
});

/** Datagrams that arrived at the receiver, in order. */
function drain(): string[] {
  const datagrams: string[] = [];
  while (receiver.receive(received) > 0) {
    for (let i = 0; i < received.runCount; i++) {
      const row = i * RUN.stride;
      const start = at(received.runs, row + RUN.offset);
      const end = start + at(received.runs, row + RUN.length);
      const segment = at(received.runs, row + RUN.segmentLength);
      for (let offset = start; offset < end; offset += segment) {
        datagrams.push(toHex(received.slab.subarray(offset, Math.min(end, offset + segment))));
      }
    }
  }
  return datagrams;
}

/** A cipher with two sessions; the second one leads into a channel. */
function withPaths<T extends PlainAead | NativeAead>(aead: T): T {
  for (const slot of [0, 1]) {
    aead.install(KEY, KEY, 100 + slot);
    const row = slot * PATH.stride;
    writeAddressWords(receiver.address, aead.paths, row + PATH.remote);
    aead.paths[row + PATH.remotePort] = receiver.port;
    aead.paths[row + PATH.channel] = slot === 1 ? 0x4001 : 0;
    aead.paths[row + PATH.usable] = 1;
  }
  return aead;
}

const packetOptions = fc.record({
  isIpv6: fc.boolean(),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
  identification: fc.nat(0xffff),
  flags: fc.constantFrom(ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR),
  tcpOptions: fc.constantFrom(new Uint8Array(), new Uint8Array(12).fill(1)),
  payload: fc.uint8Array({ minLength: 1, maxLength: 5000 }),
});

const tunPacket = fc
  .record({
    options: packetOptions,
    segment: fc.constantFrom(1000, 1208, 7, 500),
    kind: fc.nat(5),
    slot: fc.constantFrom(0, 0, 1, -1),
    ecn: fc.constantFrom(0, 0, 2),
  })
  .map(({ options, segment, kind, slot, ecn }): TunPacket => {
    if (kind < 3) return { packet: makePacket(options), segment, slot, ecn };
    const packet = makePacket({ ...options, payload: options.payload.subarray(0, 1000) });
    return { packet, checksumNeeded: kind === 3, slot, ecn };
  });

describe('sealSend', () => {
  it('sends what the twin seals: same datagrams, in order for each session', () => {
    fc.assert(
      fc.property(fc.array(tunPacket, { maxLength: 8 }), (packets) => {
        const twin = withPaths(new PlainAead(createSeededCrypto(1), 2));
        const native = withPaths(new NativeAead(2));
        const batch = tunBatch(packets);
        const expected = sealBatch(batch, twin).datagrams;
        expect(sockets.sealSend(batch, native)).toBe(true);
        const sent = drain();
        for (const slot of [0, 1]) {
          const marks = (text: string): boolean => text.startsWith('4001') === (slot === 1);
          const wanted = expected.filter((datagram) => datagram.slot === slot);
          for (const ecn of [0, 2]) {
            const ofEcn = new Set(wanted.filter((d) => d.ecn === ecn).map((d) => toHex(d.bytes)));
            const sentOfEcn = sent.filter((text) => marks(text) && ofEcn.has(text));
            expect(sentOfEcn).toEqual([...ofEcn]);
          }
        }
        expect(sent.length).toBe(expected.length);
        expect(native.sendCounters).toEqual(twin.sendCounters);
      }),
      { numRuns: 150 },
    );
  });

  it('drops what has no path or no key, and counts on', () => {
    const aead = withPaths(new NativeAead(2));
    aead.paths[PATH.usable] = 0;
    const packet = makePacket({ payload: new Uint8Array(10) });
    expect(sockets.sealSend(tunBatch([{ packet, slot: 0 }]), aead)).toBe(true);
    expect(sockets.sealSend(tunBatch([{ packet, slot: 7 }]), aead)).toBe(true);
    expect(drain()).toEqual([]);
    aead.remove(1);
    expect(sockets.sealSend(tunBatch([{ packet, slot: 1 }]), aead)).toBe(true);
    expect(drain()).toEqual([]);
  });

  it('survives any rows', () => {
    const aead = withPaths(new NativeAead(2));
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 64, maxLength: 512 }),
        fc.array(fc.oneof(fc.integer({ min: -3, max: 70 }), fc.integer()), {
          minLength: TUN_PACKET.stride * 2,
          maxLength: TUN_PACKET.stride * 2,
        }),
        fc.constantFrom(0x45, 0x60, 0x4f, 0x41),
        (bytes, rows, first) => {
          const batch = createTunBatch(1024, 2);
          bytes[0] = first;
          batch.slab.set(bytes);
          batch.packets.set(rows);
          for (const i of [0, 1]) batch.packets[i * TUN_PACKET.stride + TUN_PACKET.slot] = 0;
          batch.packetCount = 2;
          sockets.sealSend(batch, aead);
          drain();
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('segmentation', () => {
  it('operations 16, 17: gives the segments of operations 17.2', () => {
    const packet = hex(
      '45000026100040004011ba7a0a01020364400009138817700012707041414141424242424343',
    );
    const segments = segmentTunPacket(tunBatch([{ packet, segment: 4, slot: 0 }]), 0);
    expect(typeof segments === 'string' ? segments : segments.map(toHex)).toEqual([
      '45000020100040004011ba800a0102036440000913881770000ce20e41414141',
      '45000020100140004011ba7f0a0102036440000913881770000ce00c42424242',
      '4500001e100240004011ba800a0102036440000913881770000a21524343',
    ]);
  });

  it('operations 16, 18: completes the checksum of operations 17.2', () => {
    const packet = hex('45000020000740004011ca790a0102036440000913881770000c706a70696e67');
    const segments = segmentTunPacket(tunBatch([{ packet, checksumNeeded: true, slot: 0 }]), 0);
    expect(typeof segments === 'string' ? segments : segments.map(toHex)).toEqual([
      '45000020000740004011ca790a0102036440000913881770000c85c070696e67',
    ]);
  });

  it('operations 16, 17: leaves right checksums on every segment', () => {
    fc.assert(
      fc.property(packetOptions, fc.constantFrom(1000, 7, 1208), (options, segment) => {
        const batch = tunBatch([{ packet: makePacket(options), segment, slot: 0 }]);
        const segments = segmentTunPacket(batch, 0);
        expect(typeof segments !== 'string' && segments.every(hasRightChecksums)).toBe(true);
      }),
    );
  });
});

describe('TUN', () => {
  const opened = (options: PacketOptions, length: number, size: number): Opened[] =>
    Array.from({ length }, (_, i) => ({
      packet: makePacket({
        ...options,
        sequence: i * size,
        identification: i,
        payload: new Uint8Array(size).fill(i),
      }),
    }));

  function readAll(device: TunDevice): { packets: string[]; gsoTypes: number[] } {
    const batch: TunBatch = createTunBatch(2 * 65_536 + 256, 64);
    const packets: string[] = [];
    const gsoTypes: number[] = [];
    while (device.read(batch) > 0) {
      for (let i = 0; i < batch.packetCount; i++) {
        const row = i * TUN_PACKET.stride;
        const segments = segmentTunPacket(batch, row);
        if (typeof segments === 'string') throw new Error(segments);
        packets.push(...segments.map(toHex));
        gsoTypes.push(at(batch.packets, row + TUN_PACKET.gsoType));
      }
    }
    return { packets, gsoTypes };
  }

  const flows = [
    ...opened({ sourcePort: 1 }, 12, 1000),
    ...opened({ sourcePort: 2, isIpv6: true, tcpOptions: new Uint8Array(12) }, 5, 800),
    ...opened({ protocol: 'udp' }, 9, 333),
    ...opened({ protocol: 'udp', isIpv6: true }, 3, 33),
    ...opened({ protocol: 'icmp' }, 2, 40),
  ];

  it.each([
    [{ tcp: true, udp: true }, [GSO_TYPE.tcp4, GSO_TYPE.tcp6, GSO_TYPE.udp, GSO_TYPE.udp, 0, 0]],
    [{ tcp: true, udp: false }, undefined],
    [{ tcp: false, udp: false }, undefined],
  ])('delivers the same packets with offloads %o', (offloads, gsoTypes) => {
    const [left, right] = TunDevice.pair(offloads);
    const aead = new NativeAead(1);
    const batch = openedBatch(flows);
    aead.gather(batch);
    const twin = copyBatch(batch);
    twin.superPackets.set(batch.superPackets);
    const expected: string[] = [];
    for (let i = 0; i < batch.superCount; i++) {
      batch.superPackets[i * SUPER.stride + SUPER.verdict] = VERDICT.forward;
      expected.push(...segmentSuperPacket(twin, i * SUPER.stride).map(toHex));
    }
    left.write(batch);
    const read = readAll(right);
    expect(read.packets).toEqual(expected);
    expect(expected).toEqual(flows.map(({ packet }) => toHex(packet)));
    if (gsoTypes !== undefined) expect(read.gsoTypes).toEqual(gsoTypes);
    left.close();
    right.close();
  });

  it('writes nothing without a verdict, and survives any rows', () => {
    const [left, right] = TunDevice.pair({ tcp: true, udp: true });
    const batch = openedBatch(flows);
    new NativeAead(1).gather(batch);
    left.write(batch);
    expect(right.read(createTunBatch(2 * 65_536, 4))).toBe(0);
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.integer({ min: -2, max: 90 }), fc.integer()), {
          minLength: SUPER.stride,
          maxLength: SUPER.stride,
        }),
        fc.array(fc.oneof(fc.integer({ min: -2, max: 90 }), fc.integer()), {
          minLength: DATAGRAM.stride * 3,
          maxLength: DATAGRAM.stride * 3,
        }),
        (row, datagrams) => {
          const hostile = createReceiveBatch(1024, 1, 3);
          hostile.superPackets.set(row);
          hostile.superPackets[SUPER.verdict] = VERDICT.forward;
          hostile.datagrams.set(datagrams);
          hostile.superCount = 1;
          left.write(hostile);
          right.read(createTunBatch(2 * 65_536, 64));
        },
      ),
      { numRuns: 1000 },
    );
    left.close();
    right.close();
  });
});
