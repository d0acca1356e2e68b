// Data-plane 13: the vectors G, H and I of section 16, the tables of ICMP, and property N9.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ip } from '../../../test/support/packets.ts';
import { fromHex, toHex, viewOf } from '../../base/bytes.ts';
import { ParsedPacket, parsePacket } from '../../wire/ip/parsed-packet.ts';
import {
  writeIcmpPacket,
  writeIpPacket,
  writeTcpPacket,
  writeUdpPacket,
} from '../../wire/ip/write-packet.ts';
import { changeFamily } from './header-translation.ts';

const TO_V4 = { source: ip('100.64.0.5'), destination: ip('10.20.30.40') };
const TO_V6 = { source: ip('fd00:2021:1111::5'), destination: ip('2001:db8:5::80') };
const bytes = (hex: string): Uint8Array => fromHex(hex) ?? new Uint8Array(0);
const hex = (packet: Uint8Array | undefined): string => (packet ? toHex(packet) : 'dropped');

describe('vectors of data-plane 16', () => {
  test('G1 to G2: UDP, traffic class 8, hop limit 63', () => {
    const g1 =
      '60800000 000c113f fd002021 11110000 00000000 00000005 fd002021 11118000 00000000 00000001 9c401538 000c9320 70696e67';
    const g2 = '45200020 00004000 3f11af2c 64400005 0a141e28 9c401538 000ce30b 70696e67';
    expect(hex(changeFamily(bytes(g1), TO_V4))).toBe(toHex(bytes(g2)));
  });

  test('H1 to H2: TOS 0xb8 becomes traffic class 0x2e', () => {
    const h1 = '45b80020 12344000 40115f3b 64400005 64600001 9c401538 000ca6e6 70696e67';
    const h2 =
      '62e00000 000c1140 fd002021 11110000 00000000 00000005 20010db8 00050000 00000000 00000080 9c401538 000c1317 70696e67';
    expect(hex(changeFamily(bytes(h1), TO_V6))).toBe(toHex(bytes(h2)));
  });

  test('I1 to I2: echo', () => {
    const i1 =
      '60000000 00103a40 fd002021 11110000 00000000 00000005 fd002021 11118000 00000000 00000001 800010aa 01020007 61626364 65666768';
    const i2 = '45000024 00004000 4001ae58 64400005 0a141e28 08006561 01020007 61626364 65666768';
    expect(hex(changeFamily(bytes(i1), TO_V4))).toBe(toHex(bytes(i2)));
  });
});

/** Type, code and the word behind them, after the translation of an ICMP packet. */
function translated(type: number, code: number, rest: number, to: typeof TO_V4): unknown {
  const isToV4 = to === TO_V4;
  const from = isToV4 ? TO_V6 : TO_V4;
  const packet = changeFamily(
    writeIcmpPacket({ ...from, type, code, rest, payload: new Uint8Array(600 - 28) }),
    to,
  );
  if (!packet) return 'dropped';
  const view = viewOf(packet);
  const at = isToV4 ? 20 : 40;
  return [view.getUint8(at), view.getUint8(at + 1), view.getUint32(at + 4)];
}

/** Type, code, word behind them; what becomes of them. */
type Row = readonly [number, number, number, unknown];

describe('ICMP 4 to 6 (13.3)', () => {
  test.each<Row>([
    [8, 0, 0x01020304, [128, 0, 0x01020304]],
    [0, 0, 0x01020304, [129, 0, 0x01020304]],
    [11, 1, 0, [3, 1, 0]],
    ...[0, 1, 5, 6, 7, 8, 11, 12].map((code): Row => [3, code, 0, [1, 0, 0]]),
    [3, 2, 0, [4, 1, 6]],
    [3, 3, 0, [1, 4, 0]],
    [3, 4, 0, [2, 0, 508]],
    [3, 4, 1_400, [2, 0, 1_420]],
    ...[9, 10, 13, 15].map((code): Row => [3, code, 0, [1, 1, 0]]),
    ...[
      [3, 14],
      [5, 0],
      [12, 0],
      [13, 0],
      [200, 0],
    ].map(([type = 0, code = 0]): Row => [type, code, 0, 'dropped']),
  ])('%i/%i', (type, code, rest, expected) => {
    expect(translated(type, code, rest, TO_V6)).toEqual(expected);
  });
});

describe('ICMP 6 to 4 (13.4)', () => {
  test.each<Row>([
    [128, 0, 0x01020304, [8, 0, 0x01020304]],
    [129, 0, 0x01020304, [0, 0, 0x01020304]],
    ...[0, 2, 3].map((code): Row => [1, code, 0, [3, 1, 0]]),
    [1, 1, 0, [3, 10, 0]],
    [1, 4, 0, [3, 3, 0]],
    [1, 5, 0, 'dropped'],
    [1, 6, 0, 'dropped'],
    [2, 0, 1_420, [3, 4, 1_400]],
    [2, 0, 0xffffffff, [3, 4, 0xffff]],
    [3, 1, 0, [11, 1, 0]],
    [4, 1, 40, [3, 2, 0]],
    [4, 0, 0, 'dropped'],
    [4, 2, 0, 'dropped'],
    [135, 0, 0, 'dropped'],
    [143, 0, 0, 'dropped'],
  ])('%i/%i', (type, code, rest, expected) => {
    expect(translated(type, code, rest, TO_V4)).toEqual(expected);
  });
});

test('extension headers end the translation; a traffic class that is no DSCP becomes 0', () => {
  for (const protocol of [0, 43, 44, 60]) {
    const packet = writeIpPacket({ ...TO_V6, protocol, payload: new Uint8Array(16) });
    expect(changeFamily(packet, TO_V4)).toBeUndefined();
  }
  const marked = writeUdpPacket({ ...TO_V6, sourcePort: 1, destinationPort: 2, trafficClass: 64 });
  expect(changeFamily(marked, TO_V4)?.[1]).toBe(0);
});

test('UDP without checksum gets one', () => {
  const fields = { sourcePort: 40_000, destinationPort: 53, payload: new Uint8Array(5).fill(7) };
  const packet = writeUdpPacket({ ...TO_V4, ...fields, withoutChecksum: true });
  expect(hex(changeFamily(packet, TO_V6))).toBe(toHex(writeUdpPacket({ ...TO_V6, ...fields })));
});

test('N9: there and back again, every field that both families have is kept, and the payload', () => {
  const fields = fc.record({
    isTcp: fc.boolean(),
    isIpv4First: fc.boolean(),
    sourcePort: fc.nat(65_535),
    destinationPort: fc.nat(65_535),
    hopLimit: fc.nat(255),
    dscp: fc.nat(63),
    payload: fc.uint8Array({ maxLength: 100 }),
  });
  fc.assert(
    fc.property(fields, ({ isTcp, isIpv4First, dscp, ...common }) => {
      const [first, second] = isIpv4First ? [TO_V4, TO_V6] : [TO_V6, TO_V4];
      // The DSCP travels as a plain number.
      const trafficClass = isIpv4First ? dscp << 2 : dscp;
      const all = { ...first, ...common, trafficClass, dontFragment: true };
      const packet = isTcp ? writeTcpPacket({ ...all, flags: 0x18 }) : writeUdpPacket(all);
      const there = changeFamily(packet, second) ?? packet;
      const parsed = new ParsedPacket();
      expect(parsePacket(viewOf(there), 0, there.length, parsed)).toBe('parsed');
      expect(parsed.version).toBe(isIpv4First ? 6 : 4);
      expect(hex(changeFamily(there, first))).toBe(toHex(packet));
    }),
  );
});
