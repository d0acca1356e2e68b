import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { basePolicy, publicKey, R1, R2 } from '../../test/support/portal-bench.ts';
import { RawPeer } from '../../test/support/raw-peer.ts';
import { endpoint, parseIp } from '../base/address.ts';
import type { Log } from '../base/log.ts';
import { unixMillis } from '../base/time.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { SqlitePortalStore } from '../io/portal/portal-store.ts';
import { tokenHash } from '../roles/portal/policy-compile.ts';
import { type RunningPortal, startPortal } from './portal-serve.ts';

let folder: string;
let policyPath: string;
let database: string;
let portal: RunningPortal;
let warnings: string[];
let onWarning: () => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'portal-serve-'));
  policyPath = join(folder, 'policy.yaml');
  database = join(folder, 'portal.db');
  warnings = [];
  onWarning = () => {};
  writePolicy(basePolicy());
  portal = await start();
});

afterEach(async () => {
  await portal.stop();
  rmSync(folder, { recursive: true });
});

describe('a running portal', () => {
  test('an edit of the file reaches who is connected', async () => {
    const client = await connect('client-token');
    writePolicy({ ...basePolicy(), policies: [{ group: 'staff', resource: 'git' }] });
    expect(await client.take('resource_deleted')).toBe(R1);
    writePolicy(basePolicy());
    expect(await client.take('resource_created_or_updated')).toMatchObject({ id: R1 });
    client.terminate();
  });

  test('a faulty file is one warning with its places, and changes nothing', async () => {
    const client = await connect('client-token');
    const warned = new Promise<void>((resolve) => {
      onWarning = resolve;
    });
    const text = readFileSync(policyPath, 'utf8');
    writeFileSync(
      policyPath,
      text.replace('site: home', 'site: hme').replace('type: dns', 'type: dnss'),
    );
    await warned;
    writePolicy({ ...basePolicy(), policies: [{ group: 'staff', resource: 'git' }] });
    expect(await client.take('resource_deleted')).toBe(R1);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(
      /policy\.yaml:\d+:\d+: resources\[1\]\.type: .*allowed: cidr, dns, internet/,
    );
    client.terminate();
  });

  test('a token made and revoked by the command line counts at once', async () => {
    const store = new SqlitePortalStore(database);
    store.addToken({
      id: 'one',
      kind: 'client',
      owner: 'alice',
      name: '',
      hash: tokenHash(createNodeCrypto(), 'made-token'),
      createdAt: unixMillis(0),
      expiresAt: undefined,
    });
    const client = await connect('made-token');
    store.removeToken('one');
    store.close();
    expect(await client.take('disconnect')).toEqual({ reason: 'token_expired' });
    await client.closed;
  });

  test('a restart keeps addresses and ids', async () => {
    const client = await open('client-token');
    await client.join();
    const before = await client.take('init');
    const closed = client.closed;
    await portal.stop();
    expect(await closed).toBe(1012);
    portal = await start();
    const again = await open('client-token');
    await again.join();
    const after = await again.take('init');
    expect(after.interface).toEqual(before.interface);
    expect(after.resources).toEqual(before.resources);
    expect(after.resources.map((it: { id: string }) => it.id)).toEqual([R1, R2]);
    again.terminate();
  });
});

describe('a portal that cannot start', () => {
  test('says where the policy is wrong', async () => {
    await portal.stop();
    writeFileSync(policyPath, 'sites: 5\n');
    await expect(start()).rejects.toThrow(/policy\.yaml:1:1: sites: expected a list, found 5/);
    writePolicy(basePolicy());
    portal = await start();
  });

  test('says that its address is taken', async () => {
    await expect(start(portal.address.port, ':memory:')).rejects.toThrow('in use');
  });
});

function writePolicy(data: unknown): void {
  writeFileSync(`${policyPath}.new`, stringify(data));
  renameSync(`${policyPath}.new`, policyPath);
}

function start(port = 0, file = database): Promise<RunningPortal> {
  const loopback = parseIp('127.0.0.1');
  if (loopback === undefined) throw new Error('loopback');
  return startPortal(
    {
      listen: endpoint(loopback, port),
      policy: policyPath,
      database: file,
      baseUrl: 'http://127.0.0.1/',
      trustProxy: false,
      healthAddress: undefined,
    },
    recordingLog(),
  );
}

function open(token: string): Promise<RawPeer> {
  const query = new URLSearchParams({ external_id: 'c', name: 'c', public_key: publicKey(1) });
  const url = `ws://127.0.0.1:${portal.address.port}/client/v2/websocket?${query}`;
  return RawPeer.open(url, 'client', { 'x-authorization': `Bearer ${token}` });
}

async function connect(token: string): Promise<RawPeer> {
  const client = await open(token);
  await client.join();
  await client.take('init');
  return client;
}

function recordingLog(): Log {
  const log: Log = {
    debugEnabled: false,
    traceEnabled: false,
    error: (message) => warnings.push(`error: ${message}`),
    warn: (message) => {
      warnings.push(message);
      onWarning();
    },
    info() {},
    debug() {},
    trace() {},
    child: () => log,
  };
  return log;
}
