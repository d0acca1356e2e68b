// RFC 791 §3.2, RFC 8200 §4.5, RFC 5722, RFC 8900: what becomes whole, what is refused, and what it may cost.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checksumsAreRight, ip } from '../../../test/support/packets.ts';
import { at, viewOf } from '../../base/bytes.ts';
import { instant } from '../../base/time.ts';
import { parseFragment, splitPacket } from '../../wire/ip/fragment.ts';
import { writeUdpPacket } from '../../wire/ip/write-packet.ts';
import { type FragmentOutcome, MAX_BYTES_OF_OWNER, Reassembly } from './reassembly.ts';

const T0 = instant(0);

function datagram(length: number, isV6 = false, trafficClass = 0): Uint8Array {
  return writeUdpPacket({
    source: ip(isV6 ? '2001:db8::1' : '10.0.0.1'),
    destination: ip(isV6 ? 'fd00:2021:1111::5' : '100.64.0.5'),
    sourcePort: 2049,
    destinationPort: 700,
    trafficClass,
    payload: Uint8Array.from({ length }, (_, i) => i),
  });
}

function addAll(reassembly: Reassembly, parts: readonly Uint8Array[]): FragmentOutcome {
  let outcome: FragmentOutcome = { kind: 'held' };
  for (const part of parts) outcome = reassembly.add('a', part, T0);
  return outcome;
}

const reasonOf = (outcome: FragmentOutcome): string =>
  outcome.kind === 'dropped' ? outcome.reason : outcome.kind;

/** The same fragment at another place (IPv4). */
function moved(fragment: Uint8Array, units: number): Uint8Array {
  const copy = fragment.slice();
  viewOf(copy).setUint16(6, viewOf(copy).getUint16(6) + units);
  return copy;
}

describe('fragments in any order, with copies among them', () => {
  test.each([false, true])('become the packet they were made of (IPv6: %s)', (isV6) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1_300, max: 40_000 }),
        fc.integer({ min: 600, max: 1_280 }),
        fc.infiniteStream(fc.nat()),
        (length, mtu, chance) => {
          const packet = datagram(length, isV6);
          const parts = [...splitPacket(packet, isV6 ? 0x12345678 : 0, mtu)].slice(0, 128);
          fc.pre(parts.length < 100);
          for (const part of parts) expect(part.length).toBeLessThanOrEqual(mtu);
          const keys = new Map(parts.map((part) => [part, chance.next().value as number]));
          const shuffled = parts.sort((a, b) => (keys.get(a) ?? 0) - (keys.get(b) ?? 0));
          const reassembly = new Reassembly();
          const [first = packet] = shuffled;
          const outcome = addAll(reassembly, [first, ...shuffled]);
          expect(outcome.kind === 'whole' && outcome.packet.bytes).toEqual(packet);
          expect(checksumsAreRight(outcome.kind === 'whole' ? outcome.packet.bytes : first)).toBe(
            true,
          );
          expect([reassembly.count, reassembly.bytes]).toEqual([0, 0]);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('of 8 and 32 KiB, as NFS sends them', () => {
    for (const length of [8_192, 32_768, 65_507]) {
      const packet = datagram(length);
      const outcome = addAll(new Reassembly(), splitPacket(packet, 7, 1_280));
      expect(outcome.kind === 'whole' && outcome.packet.bytes.length).toBe(length + 28);
    }
  });
});

describe('refused', () => {
  test('RFC 5722: overlapping fragments, and everything that still comes of that packet', () => {
    const parts = splitPacket(datagram(4_000), 7, 1_280);
    const reassembly = new Reassembly();
    const overlapping = moved(at2(parts, 1), -1);
    reassembly.add('a', at2(parts, 0), T0);
    expect(reasonOf(reassembly.add('a', overlapping, T0))).toBe('fragment-overlap');
    expect(reassembly.bytes).toBe(0);
    for (const part of parts)
      expect(reasonOf(reassembly.add('a', part, T0))).toBe('fragment-overlap');
  });

  test('a copy with other data, a second end, data behind the end', () => {
    const parts = splitPacket(datagram(4_000), 7, 1_280);
    const forged = at2(parts, 0).slice();
    forged[100] = at(forged, 100) ^ 1;
    expect(reasonOf(addAll(new Reassembly(), [at2(parts, 0), forged]))).toBe('fragment-overlap');
    const last = parts.at(-1) ?? new Uint8Array(0);
    expect(reasonOf(addAll(new Reassembly(), [last, moved(last, 100)]))).toBe('fragment-overlap');
    expect(reasonOf(addAll(new Reassembly(), [last, moved(at2(parts, 2), 200)]))).toBe(
      'fragment-overlap',
    );
  });

  test('a fragment beyond 65,535 bytes, and one that no sender makes', () => {
    const part = at2(splitPacket(datagram(4_000), 7, 1_280), 0).slice();
    part.set([0x3f, 0xff], 6);
    expect(reasonOf(new Reassembly().add('a', part, T0))).toBe('fragment-overlap');
    expect(reasonOf(new Reassembly().add('a', part.subarray(0, 30), T0))).toBe('fragment');
    expect(parseFragment(new Uint8Array(0))).toBeUndefined();
  });

  test('a mixture of congestion and of no capability for it (RFC 3168 §5.3)', () => {
    const [first, second] = splitPacket(datagram(2_000), 7, 1_280);
    const marked = at2(splitPacket(datagram(2_000, false, 3), 7, 1_280), 1);
    expect(reasonOf(addAll(new Reassembly(), [first ?? marked, marked]))).toBe('fragment');
    const capable = at2(splitPacket(datagram(2_000, false, 2), 7, 1_280), 0);
    const outcome = addAll(new Reassembly(), [capable, marked]);
    expect(outcome.kind === 'whole' && at(outcome.packet.bytes, 1) & 3).toBe(3);
    expect(second).toBeDefined();
  });
});

describe('the budget', () => {
  test('of time: what is not whole after 15 s is forgotten', () => {
    const reassembly = new Reassembly();
    const [first, second] = splitPacket(datagram(2_000), 7, 1_280);
    reassembly.add('a', first ?? new Uint8Array(0), T0);
    expect(reassembly.handleTimeout(instant(14_999))).toBe(0);
    expect(reassembly.handleTimeout(instant(15_000))).toBe(1);
    expect(reasonOf(reassembly.add('a', second ?? new Uint8Array(0), instant(15_000)))).toBe(
      'held',
    );
  });

  test('of packets and bytes: one owner that floods costs others nothing', () => {
    const reassembly = new Reassembly();
    for (let i = 0; i < 500; i++) {
      for (const part of splitPacket(datagram(20_000), i, 1_280).slice(1))
        reassembly.add('flood', part, T0);
    }
    expect(reassembly.bytes).toBeLessThanOrEqual(MAX_BYTES_OF_OWNER);
    expect(reassembly.count).toBeLessThanOrEqual(64);
    expect(addAll(reassembly, splitPacket(datagram(8_192), 1, 1_280)).kind).toBe('whole');
  });

  test('no bytes break it', () => {
    const reassembly = new Reassembly();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (bytes, isV6) => {
        if (bytes.length > 0) bytes[0] = isV6 ? 0x60 : 0x45;
        reassembly.add('a', bytes, T0);
      }),
    );
  });
});

function at2(parts: readonly Uint8Array[], index: number): Uint8Array {
  const part = parts[index];
  if (!part) throw new Error('no such fragment');
  return part;
}
