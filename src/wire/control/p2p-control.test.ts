// Control packets: the vectors of data-plane §16, round trips, and what is ignored.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ip } from '../../../test/support/packets.ts';
import { CONTROL_JSON, vector } from '../../../test/vectors/data-plane.ts';
import { concat, fromHex, toHex, utf8Encode, viewOf } from '../../base/bytes.ts';
import {
  type ControlEvent,
  isControlPacket,
  parseControlPacket,
  writeControlPacket,
} from './p2p-control.ts';

const RESOURCE = '5d0c7b7e-6a7b-4c0e-9a55-0f3a5f1c2b11';
const PROXIES = [1, 2, 3, 4]
  .map((n) => ip(`100.96.0.${n}`))
  .concat(['', '1', '2', '3'].map((n) => ip(`fd00:2021:1111:8000::${n}`)));
const ASSIGNED: ControlEvent = {
  kind: 'assigned-ips',
  resource: RESOURCE,
  domain: 'db.corp.test',
  proxyIps: PROXIES,
};
const STATUS: ControlEvent = {
  kind: 'domain-status',
  resource: RESOURCE,
  domain: 'db.corp.test',
  status: 'active',
};

function packetOf(type: number, json: string): Uint8Array {
  const payload = utf8Encode(json);
  const bytes = concat(
    fromHex('60000000 0000ff00') ?? new Uint8Array(0),
    new Uint8Array(40),
    payload,
  );
  viewOf(bytes).setUint16(4, 8 + payload.length);
  bytes[40] = type;
  return bytes;
}

test.each([
  ['F1', ASSIGNED, packetOf(0, CONTROL_JSON.F1), 288, '6000000000f8ff00'],
  ['F2', STATUS, packetOf(1, CONTROL_JSON.F2), 141, '600000000065ff00'],
  ['F3', { kind: 'goodbye' }, packetOf(2, ''), 48, '600000000008ff00'],
] as const)('vector %s is written and read', (_, event, bytes, length, header) => {
  const written = writeControlPacket(event);
  expect(written.length).toBe(length);
  expect(toHex(written.subarray(0, 8))).toBe(header);
  expect(toHex(written)).toBe(toHex(bytes));
  expect(isControlPacket(viewOf(written), 0, written.length)).toBe(true);
  expect(parseControlPacket(written)).toEqual(event);
});

test('client 20: its AssignedIps and DomainStatus, byte for byte', () => {
  const resource = '5f2d1d86-0d7e-4a39-8d0b-1a2f3c4d5e6f';
  const name = { resource, domain: 'git.corp.test' };
  const json =
    `{"resource":"${resource}","domain":"git.corp.test","proxy_ips":["100.96.0.1","100.96.0.2","100.96.0.3","100.96.0.4",` +
    '"fd00:2021:1111:8000::","fd00:2021:1111:8000::1","fd00:2021:1111:8000::2","fd00:2021:1111:8000::3"]}';
  const assigned = writeControlPacket({ kind: 'assigned-ips', ...name, proxyIps: PROXIES });
  expect(assigned.length).toBe(289);
  expect(toHex(assigned)).toBe(toHex(packetOf(0, json)));
  expect(toHex(assigned.subarray(0, 8))).toBe('6000000000f9ff00');
  const status = writeControlPacket({ kind: 'domain-status', ...name, status: 'active' });
  expect(status.length).toBe(142);
  expect(toHex(status.subarray(0, 8))).toBe('600000000066ff00');
});

test('data-plane 15.3-K6: an unknown status is inactive', () => {
  const packet = packetOf(1, `{"resource":"${RESOURCE}","domain":"a","status":"Warming","x":1}`);
  expect(parseControlPacket(packet)).toMatchObject({ status: 'inactive' });
});

test.each([
  ['an unknown event', packetOf(3, '{}')],
  ['JSON cut short', packetOf(0, CONTROL_JSON.F1.slice(0, -1))],
  ['JSON that is no object', packetOf(0, 'null')],
  ['a missing field', packetOf(0, '{"resource":"r","domain":"d"}')],
  ['an address that is none', packetOf(0, '{"resource":"r","domain":"d","proxy_ips":["x"]}')],
])('%s is ignored', (_, packet) => {
  expect(parseControlPacket(packet)).toBeUndefined();
});

test('packets that only look similar are no control packets', () => {
  const goodbye = writeControlPacket({ kind: 'goodbye' });
  const hasSource = goodbye.slice();
  hasSource[23] = 1;
  for (const packet of [vector('B1'), vector('A1'), goodbye.subarray(0, 47), hasSource]) {
    expect(isControlPacket(viewOf(packet), 0, packet.length)).toBe(false);
  }
});

test('data-plane 15.3-K6: the longest domain with eight short addresses fits into 402 bytes of JSON', () => {
  const domain = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`;
  const proxyIps = ['1.1.1.1', '1.1.1.1', '1.1.1.1', '1.1.1.1', '::', '::', '::', '::'].map(ip);
  const packet = writeControlPacket({ kind: 'assigned-ips', resource: RESOURCE, domain, proxyIps });
  expect(packet.length - 48).toBeLessThanOrEqual(402);
});

test('data-plane 15.3-K6: any event survives a round trip, any bytes are read without an exception', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.subarray(PROXIES), (resource, domain, proxyIps) => {
      const event: ControlEvent = { kind: 'assigned-ips', resource, domain, proxyIps };
      fc.pre(!/\p{Surrogate}/u.test(resource + domain));
      expect(parseControlPacket(writeControlPacket(event))).toEqual(event);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 48, maxLength: 120 }), fc.nat(3), (bytes, type) => {
      bytes[40] = type;
      parseControlPacket(bytes);
    }),
  );
});
