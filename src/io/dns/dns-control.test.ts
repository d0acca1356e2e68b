// resolv.conf taken over and given back, whatever it contains and whoever writes it meanwhile (client 10.3; field case DN-8).

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { IpAddress } from '../../base/address.ts';
import { ResolvConf } from './dns-control.ts';

const SENTINELS = ['100.100.111.1' as IpAddress];
const ORIGINAL = 'search corp.test\nnameserver 192.168.1.1\n';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'resolv-'));
  path = join(folder, 'resolv.conf');
  writeFileSync(path, ORIGINAL);
});

afterEach(() => rmSync(folder, { recursive: true }));

function open(): ResolvConf {
  return new ResolvConf(join(folder, 'state', 'backup'), path);
}

test('is rewritten with the sentinels, and put back as it was, twice if need be', () => {
  const file = open();
  file.apply(SENTINELS, 'corp.test');
  expect(readFileSync(path, 'utf8')).toBe(
    '# BEGIN Firezone DNS configuration\nnameserver 100.100.111.1\nsearch corp.test\noptions ndots:1\n',
  );
  expect(file.isInForce).toBe(true);
  expect(file.systemServers()).toEqual(['192.168.1.1']);
  file.revert();
  file.revert();
  expect(readFileSync(path, 'utf8')).toBe(ORIGINAL);
});

test('no sentinels leave it as it is', () => {
  open().apply([], 'corp.test');
  expect(readFileSync(path, 'utf8')).toBe(ORIGINAL);
});

test('a run that crashed is undone by the next one', () => {
  open().apply(SENTINELS, undefined);
  const next = open();
  next.revert();
  expect(readFileSync(path, 'utf8')).toBe(ORIGINAL);
});

test('another program that replaces it is noticed; its servers are the new original', () => {
  const file = open();
  file.apply(SENTINELS, undefined);
  writeFileSync(path, 'nameserver 10.0.0.1\n');
  expect(file.isInForce).toBe(false);
  expect(file.systemServers()).toEqual(['10.0.0.1']);
  file.apply(SENTINELS, undefined);
  file.revert();
  expect(readFileSync(path, 'utf8')).toBe('nameserver 10.0.0.1\n');
});

test('odd lines cost nothing but themselves', () => {
  const lines = [
    '\ufeffnameserver 10.0.0.9',
    'nameserver\t10.0.0.1   ',
    '  nameserver 10.0.0.2 # site',
    'nameserver fe80::53%eth0',
    'nameserver',
    'nameserver not-an-address',
    '#nameserver 10.0.0.3',
    'nameserver 10.0.0.1',
    'options retrans:1 timeout:x edns0',
    'nameserver 2001:db8::53',
    '',
  ];
  writeFileSync(path, lines.join('\r\n'));
  expect(open().systemServers()).toEqual([
    '10.0.0.9',
    '10.0.0.1',
    '10.0.0.2',
    'fe80::53',
    '2001:db8::53',
  ]);
});
