import { describe, expect, test } from 'vitest';
import {
  basePolicy,
  CANDIDATE,
  type Party,
  type PolicyData,
  PortalBench,
  publicKey,
  R1,
  R2,
  R3,
  SITE,
  STAMP_SECRET,
} from '../../../test/support/portal-bench.ts';
import { parseIngestToken } from '../../wire/portal/ingest-token.ts';

describe('joining', () => {
  test('a gateway gets its addresses, relays, authorizations and flow-log settings', () => {
    const bench = new PortalBench();
    bench.relay();
    const init = bench.gateway().take('init');
    expect(init).toMatchObject({
      interface: {
        ipv4: expect.stringMatching(/^100\.(6[4-9]|[78]\d|9[0-5])\./),
        ipv6: expect.stringMatching(/^fd00:2021:1111:/),
      },
      config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
      account_slug: 'lab',
      authorizations: [],
      flow_logs: { upload_interval_secs: 0, upload_batch_size: 1000 },
    });
    expect(init.relays).toEqual([
      {
        type: 'turn',
        id: '2a8abfa8-cb99-4629-8437-854193ca6bca',
        addr: '203.0.113.10:3478',
        username: '2145916800:uRn9aO+q3ZLJ+WSCwUd6KAg+lKk/p+EL5iN8qCTCKgY',
        password: 'GMhDvAv7rikzWwmBA960UDwexWcokZ4nonXaG7N8iQQ',
        expires_at: 2_145_916_800,
      },
    ]);
  });

  test('a client gets what its actor may see, and the settings for names', () => {
    const bench = new PortalBench();
    const init = bench.client().take('init');
    expect(init.interface).toMatchObject({
      upstream_do53: [{ ip: '9.9.9.9' }],
      upstream_doh: [],
      search_domain: null,
    });
    expect(init.resources).toEqual([
      {
        type: 'cidr',
        id: R1,
        name: 'net',
        address: '10.20.0.0/24',
        address_description: null,
        sites: [{ id: SITE, name: 'home' }],
        filters: [],
      },
      {
        type: 'dns',
        id: R2,
        name: 'git',
        address: 'git.corp.test',
        address_description: null,
        sites: [{ id: SITE, name: 'home' }],
        ip_stack: 'dual',
        filters: [{ protocol: 'tcp', port_range_start: 443, port_range_end: 443 }],
      },
    ]);
    expect(init.authorizations).toEqual([]);
    expect(init.flow_logs).toBeDefined();
    expect(bench.client('phone', 5, { token: 'bob-token' }).take('init').resources).toEqual([]);
  });

  test('a reconnect keeps id and addresses, relay credentials follow the key', () => {
    const bench = new PortalBench();
    bench.relay();
    const first = bench.gateway();
    const before = first.take('init');
    bench.leave(first);
    const same = bench.gateway();
    const again = same.take('init');
    expect(again.interface).toEqual(before.interface);
    expect(again.relays).toEqual(before.relays);
    bench.leave(same);
    const rekeyed = bench.gateway('gw-1', 0x40).take('init');
    expect(rekeyed.interface).toEqual(before.interface);
    expect(rekeyed.relays[0].username).not.toBe(before.relays[0].username);
    expect(bench.gateway('gw-2').take('init').interface).not.toEqual(before.interface);
  });

  test('a relay gets an empty init, and is online at once for who joins later', () => {
    const bench = new PortalBench();
    expect(bench.relay().take('init')).toEqual({});
    expect(bench.client().take('init').relays).toHaveLength(1);
  });

  test('a relay without a stamp secret is refused', () => {
    const bench = new PortalBench();
    const outcome = bench.connect('/relay/websocket', 'relay-token', { ipv4: '203.0.113.1' });
    expect(() => bench.join(outcome, {})).toThrow('stamp_secret');
  });

  test('a client that connects again ends its older session', () => {
    const bench = new PortalBench();
    const first = bench.client();
    const second = bench.client('client-1', 9);
    expect(first.ended).toBe('expired');
    expect(second.ended).toBeUndefined();
    bench.leave(first);
    bench.gateway();
    bench.send(second, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    expect(bench.send(first, 'no_relays', {})).toEqual({ kind: 'none' });
  });
});

describe('authorizations', () => {
  test('the gateway is told first, the client after its answer, with equal secrets', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    const gatewayInit = gateway.take('init');
    const clientInit = client.take('init');
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    expect(client.inbox).toEqual([]);
    const grant = gateway.take('create_authorization');
    expect(grant).toMatchObject({
      resource: { type: 'cidr', id: R1, name: 'net', address: '10.20.0.0/24', filters: [] },
      client: {
        public_key: publicKey(0),
        ipv4: clientInit.interface.ipv4,
        ipv6: clientInit.interface.ipv6,
        version: '1.5.11',
        device_os_name: 'Debian',
        device_os_version: '12.0.0',
      },
      expires_at: 2_145_916_800,
      use_iceless: false,
      subject: { actor_name: 'alice', ip: '198.51.100.7' },
    });
    expect(parseIngestToken(grant.flow_logs_ingest_token)?.claims.role).toBe('responder');
    const reply = bench.send(gateway, 'authorization_created', { ref: grant.ref });
    expect(reply).toEqual({ kind: 'ok' });
    const created = client.take('authorization_created');
    expect(created).toMatchObject({
      resource_id: R1,
      site_id: SITE,
      gateway_public_key: publicKey(0x20),
      gateway_ipv4: gatewayInit.interface.ipv4,
      gateway_ipv6: gatewayInit.interface.ipv6,
      preshared_key: grant.client.preshared_key,
      client_ice_credentials: grant.client_ice_credentials,
      gateway_ice_credentials: grant.gateway_ice_credentials,
      use_iceless: false,
    });
    const claims = parseIngestToken(created.flow_logs_ingest_token)?.claims;
    expect(claims).toMatchObject({ role: 'initiator', uploadsEnabled: false, resourceId: R1 });
  });

  test('a second resource of the same pair has the same secrets; a new key has others', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    const first = bench.authorize(client, gateway, R1).created;
    const second = bench.authorize(client, gateway, R2).created;
    expect(second.preshared_key).toBe(first.preshared_key);
    expect(second.client_ice_credentials).toEqual(first.client_ice_credentials);
    const rekeyed = bench.client('client-1', 77);
    rekeyed.take('init');
    expect(bench.authorize(rekeyed, gateway, R1).created.preshared_key).not.toBe(
      first.preshared_key,
    );
  });

  test('each refusal has its reason', () => {
    const bench = new PortalBench({
      ...basePolicy(),
      policies: [
        { group: 'staff', resource: 'net' },
        { group: 'staff', resource: 'git', conditions: { remote_ip: ['192.0.2.0/24'] } },
      ],
    });
    const client = bench.client();
    client.take('init');
    const ask = (resource_id: string): unknown => {
      bench.send(client, 'request_authorization', { resource_id, connected_gateway_ids: [] });
      return client.take('authorization_creation_failed');
    };
    expect(ask(R1)).toMatchObject({ resource_id: R1, reason: 'offline', violated_properties: [] });
    expect(ask(R3)).toMatchObject({ reason: 'not_found' });
    expect(ask(SITE)).toMatchObject({ reason: 'not_found' });
    expect(ask(R2)).toMatchObject({ reason: 'forbidden', violated_properties: ['remote_ip'] });
    bench.gateway('old', 1, { agent: 'gateway/1.2.0' });
    expect(ask(R1)).toMatchObject({ reason: 'version_mismatch' });
  });

  test('a condition that holds lets the client in', () => {
    const policy = basePolicy();
    const rule = {
      group: 'staff',
      resource: 'net',
      conditions: { remote_ip: ['198.51.100.0/24'] },
    };
    const bench = new PortalBench({ ...policy, policies: [rule] });
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    expect(bench.authorize(client, gateway, R1).grant.resource.id).toBe(R1);
  });

  test('a gateway that does not answer makes the resource offline after 15 s, a late answer is quiet', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    const grant = gateway.take('create_authorization');
    bench.advance(14_999);
    expect(client.inbox).toEqual([]);
    bench.advance(1);
    expect(client.take('authorization_creation_failed').reason).toBe('offline');
    const reply = bench.send(gateway, 'authorization_created', { ref: grant.ref });
    expect(reply).toEqual({ kind: 'ok' });
    expect(client.inbox).toEqual([]);
  });

  test('a second request for the same resource starts the time anew; either answer is enough, once', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    const request = { resource_id: R1, connected_gateway_ids: [] };
    bench.send(client, 'request_authorization', request);
    const first = gateway.take('create_authorization');
    bench.advance(10_000);
    bench.send(client, 'request_authorization', request);
    const second = gateway.take('create_authorization');
    bench.advance(4000);
    expect(bench.send(gateway, 'authorization_created', { ref: first.ref })).toEqual({
      kind: 'ok',
    });
    client.take('authorization_created');
    expect(bench.send(gateway, 'authorization_created', { ref: second.ref })).toEqual({
      kind: 'ok',
    });
    bench.advance(20_000);
    expect(client.inbox).toEqual([]);
  });

  test('only the gateway it was given to can use a ref', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const other = bench.gateway('other', 50, { token: 'away-token' });
    const client = bench.client();
    client.take('init');
    gateway.take('init');
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    const { ref } = gateway.take('create_authorization');
    const invalid = { kind: 'error', reason: 'invalid_ref' };
    expect(bench.send(other, 'authorization_created', { ref })).toEqual(invalid);
    expect(bench.send(gateway, 'authorization_created', { ref: 'guess' })).toEqual(invalid);
    expect(bench.send(gateway, 'authorization_created', { ref })).toEqual({ kind: 'ok' });
  });

  test('a gateway that comes back is asked again what it had not answered', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    client.take('init');
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    bench.leave(gateway);
    const back = bench.gateway('gw-1', 0x60);
    expect(back.take('init').authorizations).toHaveLength(1);
    const grant = back.take('create_authorization');
    bench.send(back, 'authorization_created', { ref: grant.ref });
    expect(client.take('authorization_created').gateway_public_key).toBe(publicKey(0x60));
  });

  test('one client cannot ask without end', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    for (let i = 0; i < 2000; i++)
      bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    expect(gateway.inbox).toHaveLength(1024);
    expect(bench.portal.snapshot().drops['too-many-requests']).toBe(976);
    bench.advance(60_000);
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    expect(gateway.inbox).toHaveLength(1025);
  });
});

describe('candidates', () => {
  test('pass both ways between a pair with an authorization, and only there', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    const clientId = bench.authorize(client, gateway, R1).grant.client.id;
    const gatewayId = bench.authorize(client, gateway, R2).created.gateway_id;
    const candidates = [CANDIDATE];
    bench.send(client, 'new_gateway_ice_candidates', { gateway_id: gatewayId, candidates });
    expect(gateway.take('ice_candidates')).toEqual({ client_id: clientId, candidates });
    bench.send(client, 'invalidate_gateway_ice_candidates', { gateway_id: gatewayId, candidates });
    expect(gateway.take('invalidate_ice_candidates')).toEqual({ client_id: clientId, candidates });
    bench.send(gateway, 'broadcast_ice_candidates', { client_ids: [clientId], candidates });
    expect(client.take('ice_candidates')).toEqual({ gateway_id: gatewayId, candidates });
    const removed = { client_ids: [clientId], candidates };
    bench.send(gateway, 'broadcast_invalidated_ice_candidates', removed);
    expect(client.take('invalidate_ice_candidates')).toEqual({ gateway_id: gatewayId, candidates });

    const stranger = bench.client('stranger', 90, { token: 'bob-token' });
    bench.send(stranger, 'new_gateway_ice_candidates', { gateway_id: gatewayId, candidates });
    const foreign = bench.gateway('foreign', 91, { token: 'away-token' });
    bench.send(foreign, 'broadcast_ice_candidates', { client_ids: [clientId], candidates });
    expect([...gateway.inbox, ...client.inbox]).toEqual([]);
    expect(bench.portal.snapshot().drops['not-paired']).toBe(2);
  });

  test('those of a gateway that has not answered yet wait for its answer', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    const grant = gateway.take('create_authorization');
    const client_ids = [grant.client.id];
    const gone = CANDIDATE.replace('1111aaaa', '2222');
    const all = { client_ids, candidates: [CANDIDATE, gone] };
    bench.send(gateway, 'broadcast_ice_candidates', all);
    const removed = { client_ids, candidates: [gone] };
    bench.send(gateway, 'broadcast_invalidated_ice_candidates', removed);
    expect(client.inbox).toEqual([]);
    bench.send(gateway, 'authorization_created', { ref: grant.ref });
    expect(client.events()).toEqual(['authorization_created', 'ice_candidates']);
    expect(client.inbox[1]?.payload.candidates).toEqual([CANDIDATE]);
  });
});

describe('relays', () => {
  const SECOND = 'ff'.repeat(32);

  test('one that only reconnects with its secret is not mentioned', () => {
    const bench = new PortalBench();
    const relay = bench.relay();
    bench.relay(SECOND, '203.0.113.20');
    const gateway = bench.gateway();
    gateway.take('init');
    bench.leave(relay);
    bench.advance(500);
    bench.relay();
    bench.advance(5000);
    expect(gateway.inbox).toEqual([]);
  });

  test('one that is gone for a second is, with those that are left', () => {
    const bench = new PortalBench();
    const relay = bench.relay();
    bench.relay(SECOND, '203.0.113.20');
    const parties = [bench.gateway(), bench.client()];
    for (const party of parties) party.take('init');
    bench.leave(relay);
    bench.advance(999);
    expect(parties.flatMap((party) => party.inbox)).toEqual([]);
    bench.advance(1);
    for (const party of parties) {
      const presence = party.take('relays_presence');
      expect(presence.disconnected_ids).toEqual(['2a8abfa8-cb99-4629-8437-854193ca6bca']);
      expect(presence.connected.map((it: { addr: string }) => it.addr)).toEqual([
        '203.0.113.20:3478',
      ]);
    }
  });

  test('the newer of two with the same id stays', () => {
    const bench = new PortalBench();
    const older = bench.relay();
    const newer = bench.relay(STAMP_SECRET, '203.0.113.99');
    expect(older.ended).toBe('closed');
    bench.leave(older);
    bench.advance(2000);
    expect(newer.ended).toBeUndefined();
    expect(bench.client().take('init').relays[0].addr).toBe('203.0.113.99:3478');
  });

  test('who says it has none is told what there is, even if that is nothing', () => {
    const bench = new PortalBench();
    const gateway = bench.gateway();
    const client = bench.client();
    gateway.take('init');
    client.take('init');
    expect(bench.send(gateway, 'no_relays', {})).toEqual({ kind: 'none' });
    expect(gateway.take('relays_presence')).toEqual({ disconnected_ids: [], connected: [] });
    bench.relay();
    bench.send(client, 'no_relays', {});
    expect(client.take('relays_presence').connected).toHaveLength(1);
  });

  test('the first relay is announced to who has none', () => {
    const bench = new PortalBench();
    const client = bench.client();
    client.take('init');
    bench.relay();
    bench.advance(1000);
    expect(client.take('relays_presence').connected).toHaveLength(1);
  });
});

describe('messages', () => {
  test('unknown ones are answered so, and harm nobody', () => {
    const bench = new PortalBench();
    const unknown = { kind: 'error', reason: 'unknown_message' };
    expect(bench.send(bench.gateway(), 'flow_authorized', { ref: 'x' })).toEqual(unknown);
    expect(bench.send(bench.client(), 'create_flow', {})).toEqual(unknown);
    expect(bench.send(bench.relay(), 'anything', {})).toEqual(unknown);
  });

  test('iceless 2.2: capabilities are taken without a reply', () => {
    const bench = new PortalBench();
    const capabilities = { iceless: true, more: 1 };
    const gateway = bench.gateway();
    expect(bench.send(gateway, 'set_snownet_capabilities', capabilities)).toEqual({ kind: 'none' });
  });
});

describe('the mode of a connection', () => {
  const withIceless = (): PolicyData => ({ ...basePolicy(), settings: { iceless: true } });

  /** What both ends are told, after they said what they can do. */
  function modesOf(bench: PortalBench, gateway: unknown, client: unknown): [unknown, unknown] {
    const [server, device] = [bench.gateway(), bench.client()];
    server.take('init');
    device.take('init');
    if (gateway !== undefined) bench.send(server, 'set_snownet_capabilities', gateway);
    if (client !== undefined) bench.send(device, 'set_snownet_capabilities', client);
    return ask(bench, server, device);
  }

  function ask(bench: PortalBench, server: Party, device: Party): [unknown, unknown] {
    bench.send(device, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    const grant = server.take('create_authorization');
    bench.send(server, 'authorization_created', { ref: grant.ref });
    return [grant.use_iceless, device.take('authorization_created').use_iceless];
  }

  test.each([
    [{ iceless: true }, { iceless: true }, true],
    [{ iceless: true }, { iceless: false }, false],
    [{ iceless: false }, { iceless: true }, false],
    [{ iceless: true }, undefined, false],
    [undefined, { iceless: true }, false],
    [{ iceless: true, future: 1 }, { iceless: true }, true],
    [{ iceless: true }, {}, false],
    [undefined, undefined, false],
  ])('iceless 2.3: gateway %j and client %j: %s at both ends', (gateway, client, expected) => {
    expect(modesOf(new PortalBench(withIceless()), gateway, client)).toEqual([expected, expected]);
  });

  test('iceless 2.3: without the account it is ICE, whatever both can', () => {
    const can = { iceless: true };
    expect(modesOf(new PortalBench(), can, can)).toEqual([false, false]);
  });

  test('iceless 2.6: a switch of the account counts from the next authorization on', () => {
    const bench = new PortalBench(withIceless());
    const [server, device] = [bench.gateway(), bench.client()];
    server.take('init');
    device.take('init');
    for (const party of [server, device]) {
      bench.send(party, 'set_snownet_capabilities', { iceless: true });
    }
    expect(ask(bench, server, device)).toEqual([true, true]);
    bench.setPolicy(basePolicy());
    expect(server.events()).toEqual([]);
    expect(ask(bench, server, device)).toEqual([false, false]);
  });

  test('a gateway that is back and has not said anything yet goes on with the mode of the pair', () => {
    const bench = new PortalBench(withIceless());
    const [server, device] = [bench.gateway(), bench.client()];
    device.take('init');
    server.take('init');
    for (const party of [server, device]) {
      bench.send(party, 'set_snownet_capabilities', { iceless: true });
    }
    ask(bench, server, device);
    const again = bench.gateway();
    again.take('init');
    expect(ask(bench, again, device)).toEqual([true, true]);
    bench.send(again, 'set_snownet_capabilities', { iceless: false });
    expect(ask(bench, again, device)).toEqual([false, false]);
  });
});
