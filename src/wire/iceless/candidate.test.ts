import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Endpoint, endpoint, ipFromBytes, parseEndpoint } from '../../base/address.ts';
import {
  formatPathCandidate,
  foundationOf,
  isFamilyMatched,
  type PathCandidate,
  type PathCandidateKind,
  parsePathCandidate,
  sendAddressOf,
} from './candidate.ts';

const at = (text: string): Endpoint => parseEndpoint(text) ?? expect.unreachable();

function candidate(kind: PathCandidateKind, address: string, base = address): PathCandidate {
  return { kind, address: at(address), base: at(base) };
}

const VECTORS: readonly (readonly [PathCandidate, bigint, string])[] = [
  [
    candidate('host', '192.168.7.20:52625'),
    0x03fbb4c60df6377en,
    'candidate:287021763998922622 1 udp 2130706431 192.168.7.20 52625 typ host',
  ],
  [
    candidate('srflx', '203.0.113.9:40001', '192.168.7.20:52625'),
    0xe9f8c8e1fdafa42fn,
    'candidate:16859446078010795055 1 udp 1694498815 203.0.113.9 40001 typ srflx raddr 192.168.7.20 rport 52625',
  ],
  [
    candidate('relayed', '198.51.100.5:49170', '192.168.7.20:52625'),
    0x0f3da70be74d014an,
    'candidate:1098217553715331402 1 udp 16777215 198.51.100.5 49170 typ relay raddr 192.168.7.20 rport 52625',
  ],
  [
    candidate('host', '[2001:db8::20]:52625'),
    0x7fd29f4fcb3c4bf7n,
    'candidate:9210599352987044855 1 udp 2130706431 2001:db8::20 52625 typ host',
  ],
  [
    candidate('srflx', '[2001:db8::20]:52625', '[2001:db8::20]:52625'),
    0xade0a67933b00eccn,
    'candidate:12529197202833149644 1 udp 1694498815 2001:db8::20 52625 typ srflx raddr 2001:db8::20 rport 52625',
  ],
  [
    candidate('relayed', '[2001:db8:77::5]:49171', '192.168.7.20:52625'),
    0x18738ebbdc5c0a55n,
    'candidate:1761908816739043925 1 udp 16777215 2001:db8:77::5 49171 typ relay raddr 192.168.7.20 rport 52625',
  ],
  [
    candidate('relayed', '[2001:db8:77::5]:49171', '[2001:db8::20]:52625'),
    0x8051fbce7f957cd4n,
    'candidate:9246448374290676948 1 udp 16777215 2001:db8:77::5 49171 typ relay raddr 2001:db8::20 rport 52625',
  ],
];

describe('iceless 12: candidates', () => {
  test.each(VECTORS)('%#', (value, foundation, text) => {
    expect(foundationOf(value)).toBe(foundation);
    expect(formatPathCandidate(value)).toBe(text);
    expect(parsePathCandidate(text)).toEqual(value);
  });

  test.each([
    ['candidate:1 1 udp 100 198.51.100.9 80 typ srflx', 'missing-base'],
    ['candidate:1 1 tcp 100 198.51.100.9 80 typ host', 'unsupported-transport'],
    ['candidate:1 1 udp 100 300.1.1.1 80 typ host', 'invalid-address'],
    ['candidate:1 1 udp 100 198.51.100.9 80 typ prflx', 'unknown-type'],
    ['a=candidate:1 1 udp 100 198.51.100.9 80 typ host', 'malformed'],
  ])('refused: %s', (text, reason) => expect(parsePathCandidate(text)).toBe(reason));
});

describe('iceless 11-17: candidate strings', () => {
  const byteCount = fc.constantFrom(4, 16);
  const socketAddress = byteCount
    .chain((length) => fc.uint8Array({ minLength: length, maxLength: length }))
    .chain((bytes) =>
      fc.integer({ min: 0, max: 65_535 }).map((port) => endpoint(ipFromBytes(bytes), port)),
    );

  test('round-trip for all kinds and families, and deterministic', () => {
    const kinds = fc.constantFrom<PathCandidateKind[]>('host', 'srflx', 'relayed');
    fc.assert(
      fc.property(kinds, socketAddress, socketAddress, (kind, address, other) => {
        const value = { kind, address, base: kind === 'host' ? address : other };
        const text = formatPathCandidate(value);
        expect(parsePathCandidate(text)).toEqual(value);
        expect(formatPathCandidate(value)).toBe(text);
        expect(text.includes('raddr')).toBe(kind !== 'host');
      }),
    );
  });

  test('whatever a peer says is a candidate or a reason, never an error', () => {
    const words = fc.array(
      fc.oneof(
        fc.constantFrom('typ', 'host', 'srflx', 'relay', 'raddr', 'rport', 'udp'),
        fc.string(),
      ),
    );
    fc.assert(
      fc.property(words, (list) => {
        const outcome = parsePathCandidate(`candidate:${list.join(' ')}`);
        expect(['string', 'object']).toContain(typeof outcome);
      }),
    );
  });

  test.each([
    ['candidate:1 1 UDP 100 198.51.100.9 80 typ host', 'host'],
    ['candidate:1  1\tudp 100 198.51.100.9 80 typ srflx x y raddr 10.0.0.1 z rport 9', 'srflx'],
    ['candidate:1 1 udp 100 198.51.100.9 80 typ relay rport 9 raddr 10.0.0.1', 'relayed'],
  ])('tolerant: %s', (text, kind) => {
    expect(parsePathCandidate(text)).toMatchObject({ kind });
  });

  test.each([
    ['candidate:1 1 udp x 198.51.100.9 80 typ host', 'malformed'],
    ['candidate:1 1 udp 4294967296 198.51.100.9 80 typ host', 'malformed'],
    ['candidate:1 1 udp 100 198.51.100.9 65536 typ host', 'invalid-address'],
    ['candidate:1 1 udp 100 198.51.100.9 80 type host', 'malformed'],
    ['candidate:1 1 udp 100 198.51.100.9 80 typ srflx raddr 10.0.0.1', 'missing-base'],
    ['candidate:1 1 udp 100 198.51.100.9 80 typ srflx raddr ten rport 1', 'invalid-address'],
    ['candidate:', 'malformed'],
    [`candidate:${'1'.repeat(2000)} 1 udp 100 198.51.100.9 80 typ host`, 'malformed'],
  ])('strict: %s', (text, reason) => expect(parsePathCandidate(text)).toBe(reason));
});

test('iceless 11-19: only a relayed candidate compares the families of address and base', () => {
  expect(isFamilyMatched(candidate('relayed', '[2001:db8::1]:1', '10.0.0.1:1'))).toBe(false);
  expect(isFamilyMatched(candidate('relayed', '[2001:db8::1]:1', '[2001:db8::2]:1'))).toBe(true);
  expect(isFamilyMatched(candidate('srflx', '[2001:db8::1]:1', '10.0.0.1:1'))).toBe(true);
  expect(isFamilyMatched(candidate('host', '10.0.0.1:1'))).toBe(true);
});

test('a reflexive candidate sends from its base, a relayed one from its own address', () => {
  expect(sendAddressOf(candidate('srflx', '203.0.113.9:4', '10.0.0.1:1')).key).toBe('10.0.0.1:1');
  expect(sendAddressOf(candidate('relayed', '203.0.113.9:4', '10.0.0.1:1')).key).toBe(
    '203.0.113.9:4',
  );
});
