// In-place edits: the translated packets of data-plane §16, and checksums that stay right under any sequence of edits.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { anyPacket, checksumsAreRight, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { type IpAddress, ipFromBytes, writeAddressWords } from '../../base/address.ts';
import { toHex, viewOf } from '../../base/bytes.ts';
import {
  ecnOf,
  mergeEcn,
  setDestination,
  setDestinationPort,
  setSource,
  setSourcePort,
} from './edit.ts';
import { KEEP_CHECKSUM, ParsedPacket, parsePacket } from './parsed-packet.ts';

const words = (text: string): Int32Array => {
  const out = new Int32Array(4);
  writeAddressWords(text as IpAddress, out, 0);
  return out;
};

function translated(bytes: Uint8Array, destination: string, port: number): string {
  const packet = parsed(bytes);
  setDestination(viewOf(bytes), packet, words(destination), 0);
  setSourcePort(viewOf(bytes), packet, port);
  return toHex(bytes);
}

test('data-plane 16: A1 becomes A2 and A3', () => {
  expect(translated(vector('A1'), '10.20.30.40', 40_000)).toBe(toHex(vector('A2')));
  expect(translated(vector('A1'), '10.20.30.40', 40_001)).toBe(toHex(vector('A3')));
});

test('data-plane 16: a UDP checksum of zero stays zero: A4 becomes A5', () => {
  expect(translated(vector('A4'), '10.20.30.40', 40_000)).toBe(toHex(vector('A5')));
});

test('data-plane 16: an echo identifier is rewritten: B1 becomes B2', () => {
  expect(translated(vector('B1'), '2001:db8:5::80', 0x103)).toBe(toHex(vector('B2')));
});

test('data-plane 16: an outer CE marks an ECN-capable packet: J1 becomes J2', () => {
  const bytes = vector('A1');
  bytes.set(vector('J1'));
  mergeEcn(viewOf(bytes), parsed(bytes), 3);
  expect(toHex(bytes.subarray(0, 20))).toBe(toHex(vector('J2')));
});

test.each([0, 1, 2])('an outer ECN of %i changes nothing', (outer) => {
  const bytes = vector('A1');
  bytes.set(vector('J1'));
  const before = toHex(bytes);
  mergeEcn(viewOf(bytes), parsed(bytes), outer);
  expect(toHex(bytes)).toBe(before);
});

test('an outer CE leaves a packet that is not ECN-capable alone', () => {
  for (const id of ['A1', 'B1'] as const) {
    const bytes = vector(id);
    mergeEcn(viewOf(bytes), parsed(bytes), 3);
    expect(toHex(bytes)).toBe(toHex(vector(id)));
  }
});

test('data-plane 15.3-K2: after any sequence of edits all checksums are right', () => {
  const edit = fc.record({
    kind: fc.nat(4),
    port: fc.integer({ min: 0, max: 65_535 }),
    address: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  });
  fc.assert(
    fc.property(anyPacket, fc.array(edit, { maxLength: 8 }), (bytes, edits) => {
      const packet = parsed(bytes);
      const view = viewOf(bytes);
      const udpWithoutChecksum =
        packet.protocol === 17 && view.getUint16(packet.headerLength + 6) === 0;
      for (const { kind, port, address } of edits) {
        const to = words(ipFromBytes(packet.version === 4 ? address.subarray(0, 4) : address));
        if (kind === 0) setSource(view, packet, to, 0);
        if (kind === 1) setDestination(view, packet, to, 0);
        if (kind === 2) setSourcePort(view, packet, port);
        if (kind === 3) setDestinationPort(view, packet, port);
        if (kind === 4) mergeEcn(view, packet, port & 3);
      }
      expect(checksumsAreRight(bytes)).toBe(true);
      if (udpWithoutChecksum) expect(view.getUint16(packet.headerLength + 6)).toBe(0);
      const again = parsed(bytes);
      expect([...again.addresses]).toEqual([...packet.addresses]);
      expect(again.sourcePort).toBe(packet.sourcePort);
      expect(again.destinationPort).toBe(packet.destinationPort);
    }),
    { numRuns: 500 },
  );
});

test('checksums that are completed later are left alone', () => {
  const bytes = vector('A1');
  const packet = new ParsedPacket();
  parsePacket(viewOf(bytes), 0, bytes.length, packet);
  packet.keepChecksums = KEEP_CHECKSUM.none;
  setDestination(viewOf(bytes), packet, words('10.20.30.40'), 0);
  setSourcePort(viewOf(bytes), packet, 40_001);
  expect(toHex(bytes.subarray(10, 12))).toBe('5ff3');
  expect(toHex(bytes.subarray(26, 28))).toBe('a6e6');
  expect(toHex(bytes.subarray(16, 22))).toBe('0a141e289c41');
});

test('ECN is read from both families', () => {
  const v4 = vector('A1');
  v4[1] = 0x0b;
  expect(ecnOf(viewOf(v4), parsed(v4))).toBe(3);
  const v6 = vector('B1');
  v6[1] = 0x20;
  expect(ecnOf(viewOf(v6), parsed(v6))).toBe(2);
});
