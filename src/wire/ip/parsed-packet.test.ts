// The strict rules of data-plane 12.1, one by one, and that no bytes get past them with an exception.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { anyPacket, ip, parse, parsed } from '../../../test/support/packets.ts';
import { vector } from '../../../test/vectors/data-plane.ts';
import { addressFromWords } from '../../base/address.ts';
import { concat, fromHex, viewOf } from '../../base/bytes.ts';
import { ParsedPacket, parsePacket, TRANSPORT } from './parsed-packet.ts';
import { writeIpPacket, writeTcpPacket, writeUdpPacket } from './write-packet.ts';

const V4 = { source: ip('10.0.0.1'), destination: ip('10.0.0.2') };
const V6 = { source: ip('2001:db8::1'), destination: ip('2001:db8::2') };
const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array(0);

function changed(bytes: Uint8Array, offset: number, ...values: number[]): Uint8Array {
  const out = bytes.slice();
  out.set(values, offset);
  return out;
}

/** An IPv6 packet with UDP behind the given extension headers. */
function withExtensions(first: number, extensions: string): Uint8Array {
  const udp = hex('0001 0002 0008 0000');
  return writeIpPacket({ ...V6, protocol: first, payload: concat(hex(extensions), udp) });
}

describe('what is accepted', () => {
  test('UDP over IPv4 with its addresses and ports', () => {
    const packet = parsed(vector('A1'));
    expect(packet.version).toBe(4);
    expect(packet.transport).toBe(TRANSPORT.udp);
    expect([packet.sourcePort, packet.destinationPort]).toEqual([40_000, 5432]);
    expect(addressFromWords(packet.addresses, 0)).toBe('100.64.0.5');
    expect(addressFromWords(packet.addresses, 4)).toBe('100.96.0.1');
  });

  test('an ICMPv6 echo with its identifier as both ports', () => {
    const packet = parsed(vector('B1'));
    expect(packet.transport).toBe(TRANSPORT.echo);
    expect([packet.sourcePort, packet.destinationPort]).toEqual([0x102, 0x102]);
    expect(addressFromWords(packet.addresses, 4)).toBe('fd00:2021:1111:8000::2');
  });

  test('an echo with a code is other ICMP', () => {
    expect(parsed(changed(vector('B1'), 41, 1)).transport).toBe(TRANSPORT.icmp);
  });

  test('unknown protocols are opaque', () => {
    const gre = writeIpPacket({ ...V4, protocol: 47, payload: new Uint8Array(3) });
    expect(parsed(gre).transport).toBe(TRANSPORT.other);
  });

  test.each([
    ['hop-by-hop', 0, '1100 0000 00000000'],
    [
      'two headers of different length',
      60,
      '2b01 0000 00000000 00000000 00000000 1100 0000 00000000',
    ],
    ['an atomic fragment', 44, '1100 0000 12345678'],
  ])('IPv6 extension headers: %s', (_, first, extensions) => {
    const packet = parsed(withExtensions(first, extensions));
    expect(packet.transport).toBe(TRANSPORT.udp);
    expect(packet.destinationPort).toBe(2);
    expect(packet.headerLength).toBe(40 + extensions.replaceAll(' ', '').length / 2);
  });

  test.each([50, 51, 59])('protocol %i ends the walk as another protocol', (protocol) => {
    const packet = writeIpPacket({ ...V6, protocol, payload: new Uint8Array(8) });
    expect(parsed(packet).transport).toBe(TRANSPORT.other);
  });
});

describe('what is refused', () => {
  const udp4 = writeUdpPacket({ ...V4, sourcePort: 1, destinationPort: 2 });
  const udp6 = writeUdpPacket({ ...V6, sourcePort: 1, destinationPort: 2 });
  const tcp4 = writeTcpPacket({ ...V4, sourcePort: 1, destinationPort: 2, flags: 2 });
  const icmp = (fields: typeof V4, protocol: number, length: number): Uint8Array =>
    writeIpPacket({ ...fields, protocol, payload: new Uint8Array(length) });
  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['19 bytes', udp4.subarray(0, 19)],
    ['version 5', changed(udp4, 0, 0x55)],
    ['IHL below five', changed(udp4, 0, 0x44)],
    ['options beyond the end', changed(udp4, 0, 0x4f)],
    ['a total length that is too small', changed(udp4, 3, 27)],
    ['a total length that is too large', changed(udp4, 3, 29)],
    ['an IPv6 header cut short', udp6.subarray(0, 39)],
    ['an IPv6 payload length of zero', changed(udp6, 5, 0)],
    ['a truncated extension chain', withExtensions(0, '1105 0000 00000000')],
    ['a UDP length of zero', changed(udp4, 25, 0)],
    ['a UDP length beyond the end', changed(udp4, 25, 9)],
    ['a TCP data offset below five', changed(tcp4, 32, 0x40)],
    ['TCP options beyond the end', changed(tcp4, 32, 0x60)],
    ['seven bytes of ICMP', icmp(V4, 1, 7)],
    ['ICMPv6 in IPv4', icmp(V4, 58, 8)],
    ['ICMPv4 in IPv6', icmp(V6, 1, 8)],
    ['an IPv4-mapped IPv6 source', icmp({ ...V6, source: ip('::ffff:10.0.0.1') }, 17, 8)],
    ['an IPv4-mapped IPv6 destination', icmp({ ...V6, destination: ip('::ffff:10.0.0.1') }, 17, 8)],
  ])('%s', (_, bytes) => {
    expect(parse(bytes).outcome).toBe('malformed');
  });

  test.each<[string, Uint8Array]>([
    ['more fragments', changed(udp4, 6, 0x20)],
    ['a fragment offset', changed(udp4, 7, 1)],
    ['an IPv6 fragment with offset', withExtensions(44, '1100 0008 12345678')],
    ['an IPv6 fragment with more to come', withExtensions(44, '1100 0001 12345678')],
  ])('fragments: %s', (_, bytes) => {
    expect(parse(bytes).outcome).toBe('fragment');
  });
});

describe('properties', () => {
  test('data-plane 15.3-K1: no bytes make the parser throw or look outside', () => {
    const target = new ParsedPacket();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(5), (bytes, first) => {
        if (bytes.length > 0) bytes[0] = [0x45, 0x46, 0x60, 0x4f, 0x00, 0xff][first] ?? 0;
        if (bytes.length >= 6) viewOf(bytes).setUint16(first === 2 ? 4 : 2, bytes.length);
        parsePacket(viewOf(bytes), 0, bytes.length, target);
      }),
      { numRuns: 2000 },
    );
  });

  test('what the builders write is parsed, wherever in a slab it stands', () => {
    const target = new ParsedPacket();
    fc.assert(
      fc.property(anyPacket, fc.nat(33), (bytes, offset) => {
        const slab = new Uint8Array(offset + bytes.length + 7);
        slab.set(bytes, offset);
        expect(parsePacket(viewOf(slab), offset, bytes.length, target)).toBe('parsed');
        expect(target.length).toBe(bytes.length);
      }),
    );
  });
});
