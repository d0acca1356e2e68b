// ICMP errors: the vectors of data-plane §16, the limits of what is quoted, and errors that are read back.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anyPacket, checksumsAreRight, ip, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { addressFromWords } from '../../base/address.ts';
import { toHex, viewOf } from '../../base/bytes.ts';
import { EmbeddedPacket, parseEmbeddedPacket } from './embedded-packet.ts';
import { isIcmpError, refusalOf, writeIcmpError } from './icmp-error.ts';
import { TRANSPORT } from './parsed-packet.ts';
import { writeIcmpPacket, writeUdpPacket } from './write-packet.ts';

const V4 = { source: ip('10.0.0.1'), destination: ip('10.0.0.2') };
const V6 = { source: ip('2001:db8::1'), destination: ip('2001:db8::2') };

describe('errors we answer with', () => {
  test.each([
    ['C1', 'prohibited', 'C2'],
    ['C1', 'unreachable', 'C3'],
    ['D1', 'unreachable', 'D2'],
  ] as const)('%s refused as %s gives %s', (offending, kind, expected) => {
    const bytes = vector(offending);
    expect(toHex(writeIcmpError(kind, bytes, parsed(bytes)))).toBe(toHex(vector(expected)));
  });

  test('data-plane 15.3-K4: the largest packet is quoted to 1280 bytes of error in IPv6, to header and eight bytes in IPv4', () => {
    const ports = { sourcePort: 1, destinationPort: 2 };
    const large6 = writeUdpPacket({ ...V6, ...ports, payload: new Uint8Array(1280 - 48) });
    const large4 = writeUdpPacket({ ...V4, ...ports, payload: new Uint8Array(1280 - 28) });
    expect(writeIcmpError('prohibited', large6, parsed(large6)).length).toBe(1280);
    expect(writeIcmpError('prohibited', large4, parsed(large4)).length).toBe(20 + 8 + 28);
  });

  test('data-plane 15.3-K3: for any packet, the error goes back where it came from and tells what it was', () => {
    fc.assert(
      fc.property(anyPacket, fc.constantFrom('prohibited', 'unreachable'), (bytes, kind) => {
        const offending = parsed(bytes);
        const error = writeIcmpError(kind, bytes, offending);
        const packet = parsed(error);
        expect(error.length).toBeLessThanOrEqual(1280);
        expect(checksumsAreRight(error)).toBe(true);
        expect(addressFromWords(packet.addresses, 0)).toBe(
          addressFromWords(offending.addresses, 4),
        );
        expect(addressFromWords(packet.addresses, 4)).toBe(
          addressFromWords(offending.addresses, 0),
        );
        expect(refusalOf(packet)).toBe(kind);
        const embedded = new EmbeddedPacket();
        const isEchoReply =
          offending.transport === TRANSPORT.echo && [0, 129].includes(offending.icmpType);
        expect(parseEmbeddedPacket(viewOf(error), packet, embedded)).toBe(!isEchoReply);
        if (isEchoReply) return;
        expect([...embedded.addresses]).toEqual([...offending.addresses]);
        expect(embedded.transport).toBe(offending.transport);
        expect(embedded.sourcePort).toBe(offending.sourcePort);
        expect(embedded.destinationPort).toBe(offending.destinationPort);
      }),
    );
  });
});

describe('errors from the network', () => {
  const quoted = vector('A3');
  test.each<[string, number, number, boolean]>([
    ['destination unreachable of any code', 3, 200, true],
    ['time exceeded', 11, 0, true],
    ['redirect', 5, 1, false],
    ['parameter problem', 12, 0, false],
    ['timestamp', 13, 0, false],
  ])('IPv4 %s', (_, type, code, expected) => {
    const packet = parsed(writeIcmpPacket({ ...V4, type, code, payload: quoted }));
    expect(isIcmpError(packet)).toBe(expected);
  });

  test.each<[string, number, number, boolean]>([
    ['destination unreachable', 1, 7, true],
    ['packet too big', 2, 0, true],
    ['packet too big with a code', 2, 1, false],
    ['time exceeded', 3, 1, true],
    ['parameter problem', 4, 0, false],
    ['neighbour solicitation', 135, 0, false],
  ])('IPv6 %s', (_, type, code, expected) => {
    const packet = parsed(writeIcmpPacket({ ...V6, type, code, payload: vector('B2') }));
    expect(isIcmpError(packet)).toBe(expected);
  });

  test('eight bytes of TCP are enough to know the ports, three are not', () => {
    const tcp = quoted.slice(0, 24);
    tcp[9] = 6;
    const embedded = new EmbeddedPacket();
    for (const [length, expected] of [
      [24, true],
      [23, false],
    ] as const) {
      const error = writeIcmpPacket({ ...V4, type: 3, code: 4, payload: tcp.subarray(0, length) });
      expect(parseEmbeddedPacket(viewOf(error), parsed(error), embedded)).toBe(expected);
    }
    expect(embedded.transport).toBe(TRANSPORT.tcp);
  });

  test('the total length of what is quoted does not matter', () => {
    const embedded = new EmbeddedPacket();
    const error = writeIcmpPacket({ ...V4, type: 3, code: 3, payload: quoted.subarray(0, 28) });
    expect(parseEmbeddedPacket(viewOf(error), parsed(error), embedded)).toBe(true);
    expect(embedded.sourcePort).toBe(40_001);
  });

  test('no embedded bytes make the reader throw', () => {
    const embedded = new EmbeddedPacket();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (payload, isIpv4) => {
        const error = isIpv4
          ? writeIcmpPacket({ ...V4, type: 3, code: 1, payload })
          : writeIcmpPacket({ ...V6, type: 1, code: 1, payload });
        parseEmbeddedPacket(viewOf(error), parsed(error), embedded);
      }),
      { numRuns: 1000 },
    );
  });
});
