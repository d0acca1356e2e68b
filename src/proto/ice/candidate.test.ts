import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Endpoint,
  endpoint,
  type IpAddress,
  ipFromBytes,
  parseEndpoint,
} from '../../base/address.ts';
import {
  addressRefusal,
  computeFoundation,
  formatCandidate,
  type IceCandidate,
  parseCandidate,
} from './candidate.ts';

const ep = (text: string): Endpoint => parseEndpoint(text) ?? endpoint('0.0.0.0' as IpAddress, 0);
const HOST =
  'candidate:fffeff7e1c9a70b2d3e4f561 1 udp 2130706175 10.0.0.5 52625 typ host ufrag weos';
const SRFLX =
  'candidate:fffe7f64aa01 1 udp 1686109951 198.51.100.7 40001 typ srflx raddr 0.0.0.0 rport 0 ufrag weos';
const RELAY =
  'candidate:fffe3f0277 1 udp 37748479 203.0.113.9 50100 typ relay raddr 0.0.0.0 rport 0 ufrag weos';

describe('candidate strings', () => {
  it.each([HOST, SRFLX, RELAY])('survive parsing and writing: %s', (text) => {
    const candidate = parseCandidate(text);
    expect(candidate && formatCandidate(candidate)).toBe(text);
  });

  it('mean what they say', () => {
    expect(parseCandidate(RELAY)).toEqual({
      kind: 'relayed',
      foundation: 'fffe3f0277',
      component: 1,
      priority: 37748479,
      address: ep('203.0.113.9:50100'),
      base: ep('203.0.113.9:50100'),
      ufrag: 'weos',
    });
  });

  it('are written with the dummy related address of their family', () => {
    const candidate = parseCandidate('candidate:1 1 udp 5 2001:DB8:0::1 9 typ srflx');
    expect(candidate && formatCandidate(candidate)).toBe(
      'candidate:1 1 udp 5 2001:db8::1 9 typ srflx raddr :: rport 0',
    );
  });

  it.each([
    'candidate:1 1 UDP 1 10.0.0.1 9 typ host',
    'candidate:1  1 udp  1 10.0.0.1 9 typ host ',
    'candidate:1 1 udp 1 10.0.0.1 9 typ host generation 0 network-id 3 ufrag abcd network-cost 10',
    'candidate:1 1 udp 1 10.0.0.1 9 typ srflx rport 5 raddr 10.0.0.9',
    'candidate:1 1 udp 1 10.0.0.1 9 typ host lonely',
    'candidate:1 1 udp 4294967295 10.0.0.1 9 typ prflx',
    'candidate:8254131446092720581 1 udp 2130706431 192.0.2.10 52625 typ host',
  ])('are accepted in other forms: %s', (text) => {
    expect(parseCandidate(text)?.address.port).toBeDefined();
  });

  it('find the ufrag among unknown extensions', () => {
    const text = 'candidate:1 1 udp 1 10.0.0.1 9 typ host ufrag-like ufrag ufrag abcd';
    expect(parseCandidate(text)?.ufrag).toBe('abcd');
  });

  it.each([
    '',
    'candidate:',
    'a=candidate:1 1 udp 1 10.0.0.1 9 typ host',
    'candidate:1 1 tcp 1 10.0.0.1 9 typ host',
    'candidate:1 1 udp 4294967296 10.0.0.1 9 typ host',
    'candidate:1 1 udp -1 10.0.0.1 9 typ host',
    'candidate:1 1 udp 1 10.0.0.1 65536 typ host',
    'candidate:1 1 udp 1 10.0.0.256 9 typ host',
    'candidate:1 1 udp 1 peer.local 9 typ host',
    'candidate:1 1 udp 1 10.0.0.1 9 type host',
    'candidate:1 1 udp 1 10.0.0.1 9 typ relayed',
    'candidate:1 1 udp 1 10.0.0.1 9',
    'candidate:1 65536 udp 1 10.0.0.1 9 typ host',
    `candidate:1 1 udp 1 10.0.0.1 9 typ host ${'x'.repeat(2000)}`,
  ])('are refused: %s', (text) => {
    expect(parseCandidate(text)).toBeUndefined();
  });

  it('never make the parser throw', () => {
    fc.assert(fc.property(fc.string({ maxLength: 300 }), (text) => void parseCandidate(text)));
    fc.assert(
      fc.property(
        fc.string({ maxLength: 300 }),
        (text) => void parseCandidate(`candidate:${text}`),
      ),
    );
  });

  it('survive a round trip for any candidate', () => {
    const address = fc
      .oneof(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
      )
      .chain((bytes) => fc.nat(65535).map((port) => endpoint(ipFromBytes(bytes), port)));
    const candidate = fc.record({
      kind: fc.constantFrom(
        'host' as const,
        'srflx' as const,
        'prflx' as const,
        'relayed' as const,
      ),
      foundation: fc.stringMatching(/^[A-Za-z0-9+/]{1,32}$/),
      component: fc.nat(65535),
      priority: fc.nat(0xffff_ffff),
      address,
      ufrag: fc.stringMatching(/^[A-Za-z0-9+/]{4,32}$/),
    });
    fc.assert(
      fc.property(candidate, (fields) => {
        const full: IceCandidate = { ...fields, base: fields.address };
        expect(parseCandidate(formatCandidate(full))).toEqual(full);
      }),
    );
  });
});

describe('foundations', () => {
  it('begin with the priority, its bytes swapped', () => {
    const { address } = ep('10.0.0.5:1');
    expect(computeFoundation('host', address, 2130706175)).toMatch(/^fffeff7e[0-9a-f]{8}$/);
    expect(computeFoundation('relayed', address, 37748479)).toMatch(/^fffe3f02[0-9a-f]{8}$/);
  });

  it('make strings sort relay, srflx, host', () => {
    const { address } = ep('10.0.0.5:1');
    const host = computeFoundation('host', address, 2130706175);
    const srflx = computeFoundation('srflx', address, 1686109951);
    const relay = computeFoundation('relayed', address, 37748479);
    expect([host, srflx, relay].sort()).toEqual([relay, srflx, host]);
  });
});

describe('addresses of candidates', () => {
  it.each([
    ['127.0.0.1:1', 'loopback'],
    ['[::1]:1', 'loopback'],
    ['0.0.0.0:1', 'unspecified'],
    ['[::]:1', 'unspecified'],
    ['224.0.0.1:1', 'multicast'],
    ['255.255.255.255:1', 'multicast'],
    ['[ff02::1]:1', 'multicast'],
    ['169.254.169.254:80', 'link-local'],
    ['[::ffff:10.0.0.1]:1', 'ipv4-mapped'],
    ['10.0.0.1:0', 'port-zero'],
  ])('%s is refused: %s', (text, reason) => {
    expect(addressRefusal(ep(text))).toBe(reason);
  });

  it.each([
    '10.0.0.1:1',
    '100.64.0.1:1',
    '192.168.0.1:1',
    '8.8.8.8:1',
    '[fd00::1]:1',
    '[fe80::1]:1',
  ])('%s is fine', (text) => {
    expect(addressRefusal(ep(text))).toBeUndefined();
  });
});
