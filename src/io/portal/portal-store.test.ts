import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { clientId, gatewayId, resourceId } from '../../base/ids.ts';
import { unixMillis } from '../../base/time.ts';
import {
  type AuthorizationRow,
  type Device,
  MemoryStore,
  type PortalStore,
  type StoredToken,
} from '../../roles/portal/store.ts';
import { PortalStoreError, SqlitePortalStore } from './portal-store.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

describe.each<[string, () => PortalStore]>([
  ['memory', () => new MemoryStore()],
  ['SQLite', () => opened(':memory:')],
])('the store in %s', (_, create) => {
  test('remembers ids by kind and name', () => {
    const store = create();
    expect(store.idOf('site', 'home', () => 'one')).toBe('one');
    expect(store.idOf('site', 'home', () => 'two')).toBe('one');
    expect(store.idOf('actor', 'home', () => 'three')).toBe('three');
  });

  test('finds devices by what they say they are, and knows their addresses', () => {
    const store = create();
    const device = deviceNamed('d1', '100.64.0.1', 'fd00:2021:1111::1');
    store.addDevice(device);
    store.addDevice(deviceNamed('d2', '100.64.0.2', 'fd00:2021:1111::2'));
    expect(store.findDevice('client', 'scope', 'd1')).toEqual(device);
    expect(store.findDevice('gateway', 'scope', 'd1')).toBeUndefined();
    expect(store.findDevice('client', 'other', 'd1')).toBeUndefined();
    expect(store.deviceById('id-d1')).toEqual(device);
    expect(store.countDevices('client', 'scope')).toBe(2);
    expect(store.countDevices('gateway', 'scope')).toBe(0);
    expect(store.isAddressTaken(ip('100.64.0.2'))).toBe(true);
    expect(store.isAddressTaken(ip('fd00:2021:1111::1'))).toBe(true);
    expect(store.isAddressTaken(ip('100.64.0.3'))).toBe(false);
  });

  test('keeps tokens by their hash', () => {
    const store = create();
    const token: StoredToken = {
      id: 't1',
      kind: 'gateway',
      owner: 'home',
      name: "it's",
      hash: 'ab',
      createdAt: unixMillis(1_700_000_000_123),
      expiresAt: undefined,
    };
    const other = { ...token, id: 't2', hash: 'cd', expiresAt: unixMillis(1_800_000_000_000) };
    store.addToken(token);
    store.addToken(other);
    expect(store.tokenByHash('ab')).toEqual(token);
    expect(store.tokenByHash('cd')).toEqual(other);
    expect(store.tokenByHash('ef')).toBeUndefined();
    expect(store.tokens()).toEqual([token, other]);
    expect(store.removeToken('t1')).toBe(true);
    expect(store.removeToken('t1')).toBe(false);
    expect(store.tokens()).toEqual([other]);
  });

  test('replaces the row of the same gateway, client and resource', () => {
    const store = create();
    const row = rowNamed('a', 'r1');
    store.putAuthorization(row);
    store.putAuthorization(rowNamed('b', 'r2'));
    const newer = { ...row, id: 'c', remoteIp: undefined, expiresAt: unixMillis(5) };
    store.putAuthorization(newer);
    expect(store.authorizations()).toHaveLength(2);
    expect(store.authorizations()).toContainEqual(newer);
    store.removeAuthorizations([newer, rowNamed('x', 'unknown')]);
    expect(store.authorizations()).toEqual([rowNamed('b', 'r2')]);
    store.removeAuthorizations([]);
  });
});

describe('the database file', () => {
  test('keeps everything over a restart', () => {
    const path = join(folder(), 'portal.db');
    const first = new SqlitePortalStore(path);
    first.idOf('site', 'home', () => 'one');
    first.addDevice(deviceNamed('d1', '100.64.0.1', 'fd00:2021:1111::1'));
    first.putAuthorization(rowNamed('a', 'r1'));
    first.close();
    const second = opened(path);
    expect(second.idOf('site', 'home', () => 'two')).toBe('one');
    expect(second.findDevice('client', 'scope', 'd1')?.id).toBe('id-d1');
    expect(second.authorizations()).toEqual([rowNamed('a', 'r1')]);
  });

  test('gets authorizations a moment later, in one go, and at the latest at the end', async () => {
    const path = join(folder(), 'portal.db');
    const store = opened(path);
    const reader = opened(path);
    store.putAuthorization(rowNamed('a', 'r1'));
    store.putAuthorization(rowNamed('b', 'r2'));
    store.removeAuthorizations([rowNamed('a', 'r1')]);
    expect(reader.authorizations()).toEqual([]);
    await vi.waitFor(() => expect(reader.authorizations()).toHaveLength(1));
    store.putAuthorization(rowNamed('c', 'r3'));
    store.flush();
    expect(reader.authorizations()).toHaveLength(2);
  });

  test('tells of writes by another process, not of its own', () => {
    const path = join(folder(), 'portal.db');
    const portal = opened(path);
    const commandLine = opened(path);
    portal.idOf('site', 'home', () => 'one');
    expect(portal.wasChanged()).toBe(false);
    commandLine.idOf('site', 'away', () => 'two');
    expect(portal.wasChanged()).toBe(true);
    expect(portal.wasChanged()).toBe(false);
    expect(portal.idOf('site', 'away', () => 'three')).toBe('two');
  });

  test('is taken over from a process that was killed while it wrote', () => {
    const path = join(folder(), 'portal.db');
    mkdirSync(`${path}.lock`);
    const old = Date.now() / 1000 - 60;
    utimesSync(`${path}.lock`, old, old);
    expect(opened(path).tokens()).toEqual([]);
  });

  test('that is none is one clear error', () => {
    const path = join(folder(), 'portal.db');
    writeFileSync(
      path,
      'this is not a database, but long enough to look like something'.repeat(20),
    );
    expect(() => new SqlitePortalStore(path)).toThrow(PortalStoreError);
    expect(() => new SqlitePortalStore('/nonexistent/portal.db')).toThrow(PortalStoreError);
  });
});

function opened(path: string): SqlitePortalStore {
  const store = new SqlitePortalStore(path);
  closers.push(() => store.close());
  return store;
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'portal-store-'));
  closers.push(() => rmSync(path, { recursive: true }));
  return path;
}

function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new Error(text);
  return address;
}

function deviceNamed(name: string, ipv4: string, ipv6: string): Device {
  return {
    id: `id-${name}`,
    role: 'client',
    scope: 'scope',
    externalId: name,
    name,
    ipv4: ip(ipv4),
    ipv6: ip(ipv6),
    pskBase: Uint8Array.from({ length: 32 }, (_, i) => i * 7),
  };
}

function rowNamed(id: string, resource: string): AuthorizationRow {
  return {
    id,
    gatewayId: gatewayId('g'),
    clientId: clientId('c'),
    resourceId: resourceId(resource),
    ruleId: 'rule',
    actorId: 'actor',
    tokenHash: 'hash',
    remoteIp: ip('198.51.100.1'),
    place: '["cidr","10.0.0.0/8"]',
    grantedAt: unixMillis(1_700_000_000_000),
    expiresAt: unixMillis(2_145_916_800_000),
  };
}
