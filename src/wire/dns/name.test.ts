// Domain names on the wire and in text.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../../base/bytes.ts';
import { addressOfReverseName, DnsNameWriter, dnsKey, dnsLabels, parseDnsName } from './name.ts';

const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array(0);

describe('reading', () => {
  test('labels, and a pointer to a suffix', () => {
    // "f.isi.arpa" at 0, then "foo" and a pointer to it (RFC 1035 §4.1.4).
    const message = hex('0166 03697369 0461727061 00 03666f6f c000');
    expect(parseDnsName(message, 0)).toEqual({ name: 'f.isi.arpa', end: 12 });
    expect(parseDnsName(message, 12)).toEqual({ name: 'foo.f.isi.arpa', end: 18 });
  });

  test.each([
    ['a pointer to itself', 'c000'],
    ['a pointer forwards', 'c002 0161 00'],
    ['a label beyond the end', '0561 62'],
    ['no end', '0161'],
    ['half a pointer', 'c0'],
    ['a reserved label type', '4161 00'],
  ])('%s is malformed', (_, text) => {
    expect(parseDnsName(hex(text), 0)).toBeUndefined();
  });

  test('255 bytes are a name, 256 are none', () => {
    const label = `3f${'61'.repeat(63)}`;
    expect(parseDnsName(hex(`${label.repeat(3)}3d${'61'.repeat(61)}00`), 0)).toBeDefined();
    expect(parseDnsName(hex(`${label.repeat(3)}3e${'61'.repeat(62)}00`), 0)).toBeUndefined();
  });

  test('bytes that are no text are escaped', () => {
    expect(parseDnsName(hex('04 61 2e 5c 00 00'), 0)?.name).toBe('a\\.\\\\\\000');
  });
});

describe('writing', () => {
  test('a suffix that was written before is pointed to', () => {
    const writer = new DnsNameWriter();
    expect(toHex(writer.write('a.test', 12) ?? hex(''))).toBe('0161047465737400');
    expect(toHex(writer.write('b.test', 20) ?? hex(''))).toBe('0162c00e');
    expect(toHex(writer.write('a.test.', 24) ?? hex(''))).toBe('c00c');
    expect(toHex(writer.write('', 26) ?? hex(''))).toBe('00');
  });

  test.each(['a..b', '.a', 'ä.test', `${'a'.repeat(64)}.test`, 'a\\', 'a\\300'])(
    '%s is no name',
    (name) => {
      expect(dnsLabels(name)).toBeUndefined();
    },
  );

  test('any labels survive a round trip', () => {
    const label = fc.uint8Array({ minLength: 1, maxLength: 63 });
    fc.assert(
      fc.property(fc.array(label, { maxLength: 3 }), (labels) => {
        const bytes = Uint8Array.from([...labels.flatMap((l) => [l.length, ...l]), 0]);
        const parsed = parseDnsName(bytes, 0);
        const written = new DnsNameWriter().write(parsed?.name ?? 'x', 0);
        expect(toHex(written ?? hex(''))).toBe(toHex(bytes));
      }),
    );
  });
});

describe('keys and reverse names', () => {
  test('keys fold ASCII case only and drop the dot at the end', () => {
    expect(dnsKey('Db.Corp.TEST.')).toBe('db.corp.test');
    expect(dnsKey('a\\.')).toBe('a\\.');
  });

  test.each([
    ['5.0.64.100.in-addr.arpa', '100.64.0.5'],
    [
      '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.1.1.1.1.1.2.0.2.0.0.d.f.ip6.arpa',
      'fd00:2021:1111:8000::1',
    ],
    ['5.0.64.100.IN-ADDR.ARPA.', '100.64.0.5'],
    ['1.5.0.64.100.in-addr.arpa', undefined],
    ['5.0.64.100.ip6.arpa', undefined],
    ['5.0.64.in-addr.arpa', undefined],
    ['x.0.64.100.in-addr.arpa', undefined],
    ['5.0.64.100.in-addr.test', undefined],
  ])('%s stands for %s', (name, address) => {
    expect(addressOfReverseName(name)).toBe(address);
  });
});
