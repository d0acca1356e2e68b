// The clamp of the segment size: only ever lower, at any place among the options, with a right checksum.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { concat, viewOf } from '../../base/bytes.ts';
import { nonZeroChecksumOf, sumBytes } from './checksum.ts';
import { clampMss } from './mss.ts';
import { KEEP_CHECKSUM } from './parsed-packet.ts';
import { pseudoHeaderSum, writeIpPacket } from './write-packet.ts';

const V4 = { source: ip('100.64.0.5'), destination: ip('10.0.0.9') };
const V6 = { source: ip('fd00:2021:1111::5'), destination: ip('2001:db8::9') };

/** A SYN with these options, padded to whole words. */
function syn(addresses: typeof V4, options: readonly number[]): Uint8Array {
  const length = Math.ceil(options.length / 4) * 4;
  const header = new Uint8Array(20 + length);
  header.set([
    0x9c,
    0x40,
    0x01,
    0xbb,
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    0,
    (5 + length / 4) << 4,
    2,
    0xff,
    0xff,
  ]);
  header.set(options, 20);
  const sum =
    pseudoHeaderSum(addresses, 6, header.length) + sumBytes(viewOf(header), 0, header.length);
  viewOf(header).setUint16(16, nonZeroChecksumOf(sum));
  return writeIpPacket({ ...addresses, protocol: 6, payload: header });
}

const mss = (value: number): number[] => [2, 4, value >> 8, value & 255];

function clamped(packet: Uint8Array, mtu = 1280): { did: boolean; packet: Uint8Array } {
  const did = clampMss(viewOf(packet), parsed(packet), mtu);
  return { did, packet };
}

describe('a SYN that announces more than the tunnel carries', () => {
  test.each([
    ['IPv4', V4, 1240],
    ['IPv6', V6, 1220],
  ])('%s: is lowered to the MTU without headers', (_, addresses, expected) => {
    const { did, packet } = clamped(syn(addresses, mss(1460)));
    expect(did).toBe(true);
    expect(packet).toEqual(syn(addresses, mss(expected)));
  });

  test('is lowered wherever the option stands', () => {
    const before = fc.array(
      fc.constantFrom([1], [3, 3, 7], [4, 2], [8, 10, 0, 0, 0, 1, 0, 0, 0, 0]),
      {
        maxLength: 3,
      },
    );
    fc.assert(
      fc.property(before, fc.integer({ min: 0, max: 65_535 }), (options, value) => {
        const { packet } = clamped(syn(V4, [...options.flat(), ...mss(value)]));
        expect(packet).toEqual(syn(V4, [...options.flat(), ...mss(Math.min(value, 1240))]));
        expect(checksumsAreRight(packet)).toBe(true);
      }),
    );
  });
});

describe('left alone is', () => {
  test.each([
    ['a smaller value', mss(536)],
    ['no option', []],
    ['an option behind the end of the list', [0, ...mss(1460)]],
    ['an option that is cut off', [1, 2, 4, 255]],
    ['an option of length 0', [5, 0, ...mss(1460)]],
    ['an option of another length', [2, 6, 255, 255, 255, 255]],
  ])('%s', (_, options) => {
    const packet = syn(V4, options);
    const before = packet.slice();
    expect(clamped(packet).did).toBe(false);
    expect(packet).toEqual(before);
  });

  test('a checksum that is completed later', () => {
    const bytes = syn(V4, mss(1460));
    const packet = parsed(bytes);
    packet.keepChecksums = KEEP_CHECKSUM.ip;
    const before = bytes.slice(36, 38);
    expect(clampMss(viewOf(bytes), packet, 1280)).toBe(true);
    expect(bytes.slice(36, 38)).toEqual(before);
  });
});

test('no options make the clamp write outside of the option', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (options) => {
      const bytes = syn(V4, [...options]);
      const before = bytes.slice();
      clampMss(viewOf(bytes), parsed(bytes), 1280);
      expect(checksumsAreRight(bytes)).toBe(true);
      expect(bytes.slice(0, 36)).toEqual(concat(before.slice(0, 36)));
    }),
  );
});
