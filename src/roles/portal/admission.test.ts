import { describe, expect, test } from 'vitest';
import { basePolicy, PortalBench, publicKey, R1 } from '../../../test/support/portal-bench.ts';
import { createNodeCrypto } from '../../io/crypto/node-crypto.ts';
import { tokenHash } from './policy-compile.ts';

const GATEWAY = '/gateway/v2/websocket';
const CLIENT = '/client/v2/websocket';
const RELAY = '/relay/websocket';
const query = { external_id: 'x', name: 'x', public_key: publicKey(1) };

describe('the connect pipeline', () => {
  test.each([
    [GATEWAY, undefined, query, 401, 'missing_token'],
    [GATEWAY, '', query, 401, 'missing_token'],
    [GATEWAY, 'wrong-token', query, 401, 'invalid_token'],
    [GATEWAY, 'client-token', query, 401, 'invalid_token'],
    [CLIENT, 'gateway-token', query, 401, 'invalid_token'],
    [RELAY, 'gateway-token', { ipv4: '203.0.113.1' }, 401, 'invalid_token'],
    [GATEWAY, 'gateway-token', { external_id: 'x' }, 400, 'invalid_connect_params'],
    [GATEWAY, 'gateway-token', { ...query, public_key: 'AAAA' }, 400, 'invalid_connect_params'],
    [GATEWAY, 'gateway-token', { ...query, external_id: '' }, 400, 'invalid_connect_params'],
    [
      GATEWAY,
      'gateway-token',
      { ...query, external_id: 'x'.repeat(256) },
      400,
      'invalid_connect_params',
    ],
    [RELAY, 'relay-token', {}, 400, 'invalid_connect_params'],
    [RELAY, 'relay-token', { ipv4: '::1' }, 400, 'invalid_connect_params'],
    [RELAY, 'relay-token', { ipv6: '::1', port: '0' }, 400, 'invalid_connect_params'],
    ['/gateway/websocket', 'gateway-token', query, 426, 'unsupported_api_version'],
    ['/client/websocket', 'client-token', query, 426, 'unsupported_api_version'],
    ['/other', 'gateway-token', query, 404, 'not_found'],
  ])('%s with token %s and %j: %i %s', (path, token, parameters, status, code) => {
    const bench = new PortalBench();
    const outcome = bench.connect(path, token, parameters as Record<string, string>);
    expect(outcome).toMatchObject({ kind: 'refused', status, code });
  });

  test('the header wins over the query, the query counts where the header says nothing', () => {
    const bench = new PortalBench();
    const wrong = { queryToken: 'wrong-token' };
    expect(bench.connect(GATEWAY, 'gateway-token', query, wrong).kind).toBe('admitted');
    const right = { queryToken: 'gateway-token' };
    const other = { ...query, external_id: 'y' };
    expect(bench.connect(GATEWAY, undefined, other, right).kind).toBe('admitted');
    expect(bench.connect(GATEWAY, 'wrong-token', other, right).kind).toBe('refused');
  });

  test('the second connection of a gateway is refused as long as the first lives', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway('x', 9);
    const again = { kind: 'refused', status: 409, code: 'gateway_already_connected' };
    expect(bench.connect(GATEWAY, 'gateway-token', query)).toMatchObject(again);
    expect(gateway.ended).toBeUndefined();
    bench.leave(gateway);
    expect(bench.connect(GATEWAY, 'gateway-token', query).kind).toBe('admitted');
    // Also one that has not joined yet holds its place.
    const other = { ...query, public_key: publicKey(77) };
    expect(bench.connect(GATEWAY, 'gateway-token', other)).toMatchObject(again);
  });

  test('the same process on a new path takes its own place', () => {
    const bench = new PortalBench();
    const before = bench.gateway('x', 1);
    before.take('init');
    const client = bench.client();
    client.take('init');
    const after = bench.gateway('x', 1);
    expect(before.ended).toBe('closed');
    after.take('init');
    bench.leave(before);
    expect(bench.authorize(client, after, R1).grant.resource.id).toBe(R1);
  });

  test('the same external id is another gateway at another site, another device for another actor', () => {
    const bench = new PortalBench();
    const init = (token: string) => bench.gateway('x', 1, { token }).take('init').interface;
    expect(init('gateway-token')).not.toEqual(init('away-token'));
    const clientInit = (token: string) => bench.client('x', 1, { token }).take('init').interface;
    expect(clientInit('client-token')).not.toEqual(clientInit('bob-token'));
  });

  test('too many connects of one address with one token have to wait', () => {
    const bench = new PortalBench(basePolicy(), { burst: 1 });
    const from = (ip: string, token = 'client-token') =>
      bench.connect(CLIENT, token, query, { ip });
    expect(from('198.51.100.1').kind).toBe('admitted');
    expect(from('198.51.100.1')).toMatchObject({
      status: 503,
      code: 'rate_limit',
      retryAfterSeconds: 1,
    });
    expect(from('198.51.100.2').kind).toBe('admitted');
    expect(from('198.51.100.1', 'bob-token').kind).toBe('admitted');
    bench.advance(1000);
    expect(from('198.51.100.1').kind).toBe('admitted');
  });

  test('a token may be given as its hash, and may have an end', () => {
    const policy = basePolicy();
    const [home, away] = policy.sites;
    const hash = `sha256:${tokenHash(createNodeCrypto(), 'hashed-token')}`;
    home?.gateway_tokens.push(hash);
    away?.gateway_tokens.push({ token: 'ended-token', expires: '2025-12-31T23:59:59Z' });
    const bench = new PortalBench(policy);
    expect(bench.connect(GATEWAY, 'hashed-token', query).kind).toBe('admitted');
    expect(bench.connect(GATEWAY, hash, query)).toMatchObject({ code: 'invalid_token' });
    expect(bench.connect(GATEWAY, 'ended-token', query)).toMatchObject({ code: 'invalid_token' });
  });
});
