import { request } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  basePolicy,
  CANDIDATE,
  publicKey,
  R1,
  R2,
  STAMP_SECRET,
} from '../../../test/support/portal-bench.ts';
import { RawPeer, type Refused } from '../../../test/support/raw-peer.ts';
import { endpoint, parseIp } from '../../base/address.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { SeededRandom } from '../../base/random.ts';
import { compilePolicy } from '../../roles/portal/policy-compile.ts';
import { Portal } from '../../roles/portal/portal.ts';
import { createWallClock, monotonicNow } from '../clock.ts';
import { createNodeCrypto } from '../crypto/node-crypto.ts';
import { PortalServer } from './portal-server.ts';
import { SqlitePortalStore } from './portal-store.ts';

const crypto = createNodeCrypto();
let store: SqlitePortalStore;
let server: PortalServer;
let peers: RawPeer[];

beforeEach(async () => {
  peers = [];
  store = new SqlitePortalStore(':memory:');
  server = await started('');
});

afterEach(async () => {
  for (const peer of peers) peer.terminate();
  await server.close();
  store.close();
});

describe('a whole conversation', () => {
  test('relay, gateway and client meet, use a resource, and lose it again', async () => {
    const relay = await open(
      '/relay/websocket?ipv4=203.0.113.10&port=3478',
      'relay',
      'relay-token',
    );
    await relay.join({ stamp_secret: STAMP_SECRET });
    expect(await relay.take('init')).toEqual({});

    const gateway = await openGateway();
    await gateway.join();
    const gatewayInit = await gateway.take('init');
    expect(gatewayInit.relays).toHaveLength(1);
    gateway.send('set_snownet_capabilities', { iceless: true });

    const client = await openClient();
    await client.join();
    const init = await client.take('init');
    expect(init.resources).toHaveLength(2);
    client.send('set_snownet_capabilities', { iceless: true });
    const heartbeat = client.send('heartbeat', {}, 'phoenix');
    expect(await client.next()).toEqual({
      topic: 'phoenix',
      event: 'phx_reply',
      payload: { status: 'ok', response: {} },
      ref: heartbeat,
    });

    client.send('request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    const grant = await gateway.take('create_authorization');
    const ref = gateway.send('authorization_created', { ref: grant.ref });
    expect(await gateway.next()).toEqual({
      topic: 'gateway',
      event: 'phx_reply',
      payload: { status: 'ok', response: {} },
      ref,
    });
    const created = await client.take('authorization_created');
    expect(created.gateway_ipv4).toBe(gatewayInit.interface.ipv4);
    const { gateway_id } = created;
    const candidates = [CANDIDATE];
    client.send('new_gateway_ice_candidates', { gateway_id, candidates });
    expect(await gateway.take('ice_candidates')).toMatchObject({ candidates });
    gateway.send('broadcast_ice_candidates', { client_ids: [grant.client.id], candidates });
    expect(await client.take('ice_candidates')).toMatchObject({ gateway_id, candidates });

    server.setPolicy(policyWithout(R1));
    expect(await gateway.take('reject_access')).toMatchObject({ resource_id: R1 });
    const deleted = await client.next();
    expect(deleted).toEqual({ topic: 'client', event: 'resource_deleted', payload: R1, ref: null });
    client.send('request_authorization', { resource_id: R1, connected_gateway_ids: [gateway_id] });
    expect(await client.take('authorization_creation_failed')).toMatchObject({
      reason: 'not_found',
    });
  });

  test('a gateway comes back to its authorizations, its second self is refused', async () => {
    const gateway = await openGateway();
    await gateway.join();
    await gateway.take('init');
    const client = await openClient();
    await client.join();
    await client.take('init');
    client.send('request_authorization', { resource_id: R2, connected_gateway_ids: [] });
    await gateway.take('create_authorization');
    const twin = open(`/gateway/v2/websocket?${queryWith(99)}`, 'gateway', 'gateway-token');
    expect(await refused(twin)).toMatchObject({ status: 409 });
    await gateway.close();
    const back = await openGateway();
    await back.join();
    expect((await back.take('init')).authorizations).toMatchObject([{ resource_id: R2 }]);
  });
});

describe('refusals', () => {
  test('are problem details that components understand', async () => {
    const { status, headers, body } = await refused(
      open(`/gateway/v2/websocket?${query}`, 'gateway', 'wrong'),
    );
    expect(status).toBe(401);
    expect(headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(JSON.parse(body)).toEqual({
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      detail: 'Invalid token',
      code: 'invalid_token',
    });
  });

  test('name the missing token, the old generation, the unknown path', async () => {
    const noToken = RawPeer.open(url(`/gateway/v2/websocket?${query}`), 'gateway', {});
    expect(await refused(noToken)).toMatchObject({
      status: 401,
      body: expect.stringContaining('missing_token'),
    });
    const old = open(`/gateway/websocket?${query}&token=gateway-token`, 'gateway', 'gateway-token');
    expect(await refused(old)).toMatchObject({
      status: 426,
      body: expect.stringContaining('1.6.0'),
    });
    expect(await refused(open('/nowhere', 'gateway', 'gateway-token'))).toMatchObject({
      status: 404,
    });
  });

  test('a token that goes while its owner is connected is told so', async () => {
    const gateway = await openGateway();
    await gateway.join();
    await gateway.take('init');
    const policy = basePolicy();
    for (const site of policy.sites) site.gateway_tokens = [];
    server.setPolicy(compiled(policy));
    expect(await gateway.next()).toEqual({
      topic: 'gateway',
      event: 'disconnect',
      payload: { reason: 'token_expired' },
      ref: null,
    });
    expect(await gateway.closed).toBe(1000);
    expect(await refused(openGateway())).toMatchObject({ status: 401 });
  });
});

describe('hostile peers', () => {
  test('get an error or lose their socket; the others do not notice', async () => {
    const witness = await openGateway();
    await witness.join();
    await witness.take('init');
    const client = await openClient();
    client.send('request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    expect(await client.take('phx_reply')).toMatchObject({
      response: { reason: 'unmatched topic' },
    });
    await client.join();
    await client.take('init');
    client.send('request_authorization', { resource_id: 7 });
    expect(await client.take('phx_reply')).toMatchObject({
      response: { reason: 'malformed_message' },
    });
    client.send('no_such_message', { a: [null] });
    expect(await client.take('phx_reply')).toMatchObject({
      response: { reason: 'unknown_message' },
    });
    client.sendBinary(Uint8Array.of(1, 2, 3));
    client.send('anything', {}, 'gateway');
    expect(await client.take('phx_reply')).toMatchObject({
      response: { reason: 'unmatched topic' },
    });
    client.sendText('{"topic":"client","event":"requ');
    expect(await client.closed).toBeGreaterThanOrEqual(1000);
    witness.send('heartbeat', {}, 'phoenix');
    await witness.take('phx_reply');
    expect(server.snapshot().sessions).toHaveLength(1);
  });

  test('an upgrade that never becomes a socket frees its place', async () => {
    const status = await new Promise<number | undefined>((resolve) => {
      const upgrade = request(
        `http://127.0.0.1:${server.address.port}/gateway/v2/websocket?${query}`,
        {
          headers: {
            connection: 'Upgrade',
            upgrade: 'websocket',
            'sec-websocket-version': '13',
            'sec-websocket-key': 'bad',
            'x-authorization': 'Bearer gateway-token',
          },
        },
      );
      upgrade.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      upgrade.on('error', () => resolve(undefined));
      upgrade.end();
    });
    expect(status).toBe(400);
    expect(server.snapshot().sessions.length).toBeLessThanOrEqual(1);
  });
});

describe('plain HTTP', () => {
  test('answers health, and tells a browser what a path is', async () => {
    const get = (path: string) => fetch(`http://127.0.0.1:${server.address.port}${path}`);
    expect((await get('/healthz')).status).toBe(200);
    expect((await get('/readyz')).status).toBe(200);
    const upgrade = await get('/client/v2/websocket');
    expect(upgrade.status).toBe(426);
    expect(await upgrade.json()).toMatchObject({ code: 'upgrade_required' });
    expect((await get('/x')).headers.get('content-type')).toContain('application/problem+json');
  });

  test('may live below a path', async () => {
    const below = await started('/api');
    const socket = await RawPeer.open(
      `ws://127.0.0.1:${below.address.port}/api/gateway/v2/websocket?${query}`,
      'gateway',
      { 'x-authorization': 'Bearer gateway-token' },
    );
    await socket.join();
    await socket.take('init');
    socket.terminate();
    await below.close();
  });
});

describe('a stop', () => {
  test('tells components to come back', async () => {
    const gateway = await openGateway();
    await gateway.join();
    await server.close();
    expect(await gateway.closed).toBe(1012);
  });
});

const query = queryWith(32);

function queryWith(key: number): string {
  const parameters = { external_id: 'gw-1', name: 'gw 1', public_key: publicKey(key) };
  return new URLSearchParams(parameters).toString();
}

function url(path: string): string {
  return `ws://127.0.0.1:${server.address.port}${path}`;
}

async function open(path: string, topic: string, token: string): Promise<RawPeer> {
  const peer = await RawPeer.open(url(path), topic, { 'x-authorization': `Bearer ${token}` });
  peers.push(peer);
  return peer;
}

const openGateway = () => open(`/gateway/v2/websocket?${query}`, 'gateway', 'gateway-token');
const openClient = () => open(`/client/v2/websocket?${query}`, 'client', 'client-token');

async function refused(opening: Promise<RawPeer>): Promise<Refused> {
  try {
    await opening;
  } catch (error) {
    return error as Refused;
  }
  throw new Error('was admitted');
}

function compiled(data: unknown) {
  const result = compilePolicy(data, { crypto, ids: store });
  if (result.kind === 'faults') throw new Error(JSON.stringify(result.faults));
  return result.policy;
}

function policyWithout(resourceId: string) {
  const policy = basePolicy();
  const name = policy.resources.find((it) => it['id'] === resourceId)?.['name'];
  return compiled({ ...policy, policies: policy.policies.filter((it) => it['resource'] !== name) });
}

async function started(basePath: string): Promise<PortalServer> {
  const now = monotonicNow();
  const portal = new Portal(
    { baseUrl: 'http://127.0.0.1/', connectBurst: 100 },
    {
      crypto,
      random: new SeededRandom(1),
      store,
      wallClock: createWallClock(now),
      log: SILENT_LOG,
    },
    compiled(basePolicy()),
    now,
  );
  const loopback = parseIp('127.0.0.1');
  if (loopback === undefined) throw new Error('loopback');
  const options = { listen: endpoint(loopback, 0), basePath, trustProxy: false };
  return PortalServer.create(options, portal, SILENT_LOG);
}
