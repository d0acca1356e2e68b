// Proxy addresses: order, gaps and exhaustion (client 10.1, 20; data-plane 11.1).

import { expect, test } from 'vitest';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { ProxyAddressTable } from './proxy-addresses.ts';

const ip = (text: string): IpAddress => parseIp(text) as IpAddress;

test('the first and second name get the addresses of the specification', () => {
  const table = new ProxyAddressTable();
  expect(table.getOrAssign('git.corp.test')).toEqual({
    ipv4: ['100.96.0.1', '100.96.0.2', '100.96.0.3', '100.96.0.4'],
    ipv6: [
      'fd00:2021:1111:8000::',
      'fd00:2021:1111:8000::1',
      'fd00:2021:1111:8000::2',
      'fd00:2021:1111:8000::3',
    ],
  });
  expect(table.getOrAssign('second.corp.test').ipv4).toEqual([
    '100.96.0.5',
    '100.96.0.6',
    '100.96.0.7',
    '100.96.0.8',
  ]);
  expect(table.getOrAssign('second.corp.test').ipv6[0]).toBe('fd00:2021:1111:8000::4');
});

test('a name keeps its addresses, and an address its name', () => {
  const table = new ProxyAddressTable();
  const first = table.getOrAssign('a.test');
  expect(table.getOrAssign('a.test')).toBe(first);
  expect(table.nameOf(ip('100.96.0.3'))).toBe('a.test');
  expect(table.nameOf(ip('100.96.0.9'))).toBeUndefined();
});

test('the sentinel range is skipped', () => {
  const table = new ProxyAddressTable(0x04_6f00 / 4 - 1);
  expect(table.getOrAssign('before.test').ipv4).toEqual([
    '100.100.110.253',
    '100.100.110.254',
    '100.100.110.255',
    '100.100.112.0',
  ]);
  const later = new ProxyAddressTable(0x04_6f00 / 4);
  expect(later.getOrAssign('after.test').ipv4[0]).toBe('100.100.112.1');
});

test('a used-up range gives fewer addresses and then none', () => {
  const names = Math.floor((2 ** 21 - 2 - 256) / 4);
  const table = new ProxyAddressTable(names);
  expect(table.getOrAssign('last.test').ipv4).toEqual(['100.127.255.253', '100.127.255.254']);
  expect(table.getOrAssign('none.test').ipv4).toEqual([]);
  expect(table.getOrAssign('none.test').ipv6).toHaveLength(4);
});
