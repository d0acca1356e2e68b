import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { fromHex, toHex } from '../../base/bytes.ts';
import { writeUdpPacket } from '../ip/write-packet.ts';
import { PROBE_LENGTH, type Probe, parseProbe, writeProbe } from './probe.ts';

const HEAD = '6000000000083a4001000000000000000000dead01ce000101000000000000000000dead01ce0002';
const REQUEST: Probe = { kind: 'request', id: 0, sequence: 0 };

describe('iceless 12: probes', () => {
  test.each([
    ['request', 0x0000, 0x0000, '8000bcc200000000'],
    ['reply', 0x0000, 0x0000, '8100bbc200000000'],
    ['request', 0x0003, 0x000b, '8000bcb40003000b'],
    ['request', 0x1234, 0x5678, '8000541612345678'],
    ['reply', 0x1234, 0x5678, '8100531612345678'],
    ['reply', 0x0001, 0xffff, '8100bbc10001ffff'],
    ['request', 0xffff, 0xffff, '8000bcc2ffffffff'],
  ] as const)('%s %d %d', (kind, id, sequence, tail) => {
    expect(toHex(writeProbe({ kind, id, sequence }))).toBe(HEAD + tail);
    expect(parseProbe(fromHex(HEAD + tail) ?? expect.unreachable())).toEqual({
      kind,
      id,
      sequence,
    });
  });
});

describe('iceless 11-18: probe parse', () => {
  test('wrong source rejected', () => {
    const packet = writeProbe(REQUEST);
    packet[23] = 2;
    packet[39] = 1; // the checksum stays right
    expect(parseProbe(packet)).toBeUndefined();
  });

  test('UDP rejected', () => {
    const ip = (text: string): IpAddress => parseIp(text) ?? expect.unreachable();
    const packet = writeUdpPacket({
      source: ip('100::dead:1ce:1'),
      destination: ip('100::dead:1ce:2'),
      sourcePort: 0,
      destinationPort: 0,
    });
    expect(packet).toHaveLength(PROBE_LENGTH);
    expect(parseProbe(packet)).toBeUndefined();
  });

  test('id and sequence preserved over the full range', () => {
    const word = fc.integer({ min: 0, max: 0xffff });
    const kind = fc.constantFrom('request' as const, 'reply' as const);
    fc.assert(
      fc.property(kind, word, word, (kind, id, sequence) => {
        expect(parseProbe(writeProbe({ kind, id, sequence }))).toEqual({ kind, id, sequence });
      }),
    );
  });
});

test('iceless 13: a probe with any bit altered is none, or another valid one with the same checksum', () => {
  const packet = writeProbe({ kind: 'request', id: 0x1234, sequence: 0x5678 });
  for (let bit = 0; bit < PROBE_LENGTH * 8; bit++) {
    const altered = Uint8Array.from(packet);
    altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(parseProbe(altered)).toBeUndefined();
  }
});

test('other lengths are no probes', () => {
  for (const length of [0, 47, 49, 1280])
    expect(parseProbe(new Uint8Array(length))).toBeUndefined();
});
