// The resources of a client: what an update means, and which patterns cover a name in which order (client 5.4, 6.1, 10.2).

import { expect, test } from 'vitest';
import { cidrResource, dnsResource } from '../../../test/support/client-world.ts';
import { siteId } from '../../base/ids.ts';
import { ResourceTable } from './resource-table.ts';

function idsOf(table: ResourceTable, name: string): string[] {
  return table.matching(name).map(({ resource }) => resource.id);
}

test('the most specific pattern comes first; of equal ones the greater id', () => {
  const table = new ResourceTable();
  const patterns = ['**.corp.test', '*.corp.test', '?.corp.test', 'a.corp.test'];
  for (const [i, pattern] of patterns.entries()) table.upsert(dnsResource(`r${i}`, pattern));
  table.upsert(dnsResource('r9', 'a.corp.test'));
  expect(idsOf(table, 'a.corp.test')).toEqual(['r9', 'r3', 'r2', 'r1', 'r0']);
  expect(idsOf(table, 'x.y.corp.test')).toEqual(['r0']);
  expect(idsOf(table, 'corp.test')).toEqual(['r1', 'r0']);
});

test('a pattern that is none covers nothing, and a change is seen at once', () => {
  const table = new ResourceTable();
  table.upsert(dnsResource('bad', '***.test'));
  table.upsert(dnsResource('git', 'git.test'));
  expect(idsOf(table, 'git.test')).toEqual(['git']);
  table.upsert(dnsResource('git', 'hub.test'));
  expect(idsOf(table, 'git.test')).toEqual([]);
  expect(idsOf(table, 'hub.test')).toEqual(['git']);
  expect(table.remove(dnsResource('git', 'x').id)).toBe(true);
  expect(table.remove(dnsResource('git', 'x').id)).toBe(false);
  expect(idsOf(table, 'hub.test')).toEqual([]);
});

test('names and descriptions are for display; address, filters, family and sites are not', () => {
  const table = new ResourceTable();
  const net = cidrResource('net', '10.0.0.0/8');
  const two = { a: { id: siteId('a'), name: 'a' }, b: { id: siteId('b'), name: 'b' } };
  if (net.type !== 'cidr') throw new Error('a network');
  expect(table.upsert(net)).toBe('added');
  expect(table.upsert({ ...net, name: 'other', addressDescription: 'text' })).toBe('display-only');
  expect(table.upsert({ ...net, sites: [two.a, two.b] })).toBe('replaced');
  expect(table.upsert({ ...net, sites: [two.b, { ...two.a, name: 'renamed' }] })).toBe(
    'display-only',
  );
  expect(table.upsert({ ...net, filters: [{ protocol: 'icmp' }] })).toBe('replaced');
});

test('thousands of patterns at once are sorted once', () => {
  const table = new ResourceTable();
  for (let i = 0; i < 5_000; i++) table.upsert(dnsResource(`r${i}`, `**.n${i}.corp.test`));
  expect(idsOf(table, 'x.n4999.corp.test')).toEqual(['r4999']);
  expect(table.count).toBe(5_000);
});
