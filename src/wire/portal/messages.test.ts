// Properties of messages (portal-protocol 13.2) and the example conversations (11).

import { describe, expect, it } from 'vitest';
import { INGEST_TOKEN_T7 } from '../../../test/vectors/portal.ts';
import { CLIENT_OUTBOUND, parseClientInbound, parseClientOutbound } from './client-messages.ts';
import { mergeRelays } from './common.ts';
import { GATEWAY_OUTBOUND, parseGatewayInbound, parseGatewayOutbound } from './gateway-messages.ts';

const CLIENT = '11111111-2222-4333-8444-555555555555';
const GATEWAY = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee';
const RESOURCE = '22222222-3333-4444-8555-666666666666';
const RELAY = '2a8abfa8-cb99-4629-8437-854193ca6bca';

const relay = {
  id: RELAY,
  type: 'turn',
  addr: '203.0.113.10:3478',
  username: '2145916800:salt',
  password: 'pw',
  expires_at: 2145916800,
};
const init = {
  interface: { ipv4: '100.64.7.9', ipv6: 'fd00:2021:1111::7:9' },
  config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
  account_slug: 'lab',
  relays: [relay, { ...relay, addr: '[2001:db8::10]:3478' }],
  authorizations: [{ client_id: CLIENT, resource_id: RESOURCE, expires_at: 1767312000 }],
  flow_logs: { api_url: 'https://flows/', upload_interval_secs: 0, upload_batch_size: 1000 },
};
const authorization = {
  ref: 'SFMyNTY.bGFiLXJlZi00.c2ln',
  resource: {
    id: RESOURCE,
    type: 'cidr',
    address: '192.0.2.0/24',
    name: 'lab net',
    filters: [{ protocol: 'udp', port_range_start: 53, port_range_end: 53 }],
  },
  gateway_ice_credentials: { username: 'lvuf', password: 'ig3tbveeiqckgebijbqo5a' },
  client_ice_credentials: { username: 'tqly', password: 'qvcsgnvroyhxr6pe4lrxru' },
  client: {
    id: CLIENT,
    public_key: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=',
    preshared_key: 'N/WOwio/6EA3/kZWjhT/OTVlbvlntrIbeNbIg++oOFg=',
    ipv4: '100.64.3.4',
    ipv6: 'fd00:2021:1111::3:4',
    version: '1.6.1',
  },
  expires_at: 1767312000,
  flow_logs_ingest_token: INGEST_TOKEN_T7,
};

function without(payload: object, key: string): object {
  return Object.fromEntries(Object.entries(payload).filter(([name]) => name !== key));
}

describe('init of a gateway', () => {
  it('is parsed to bytes, brands and milliseconds', () => {
    expect(parseGatewayInbound('init', init)).toMatchObject({
      kind: 'message',
      message: {
        event: 'init',
        payload: {
          interface: { ipv4: '100.64.7.9', ipv6: 'fd00:2021:1111::7:9' },
          config: { ipv4MasqueradeEnabled: true },
          accountSlug: 'lab',
          relays: [{ id: RELAY, addr: { port: 3478, key: '203.0.113.10:3478' } }, {}],
          authorizations: [{ clientId: CLIENT, expiresAt: 1767312000_000 }],
          flowLogs: { uploadIntervalSecs: 0 },
        },
      },
    });
  });

  it.each(['relays', 'authorizations', 'account_slug'])('does without %s', (key) => {
    expect(parseGatewayInbound('init', without(init, key)).kind).toBe('message');
  });

  it.each([
    ['flow_logs', '$.flow_logs'],
    ['interface', '$.interface'],
    ['config', '$.config'],
  ])('does not do without %s', (key, path) => {
    expect(parseGatewayInbound('init', without(init, key))).toMatchObject({
      kind: 'malformed',
      path,
    });
  });

  it('names the place of a fault', () => {
    const authorizations = [init.authorizations[0], { ...init.authorizations[0], client_id: 'x' }];
    expect(parseGatewayInbound('init', { ...init, authorizations })).toEqual({
      kind: 'malformed',
      path: '$.authorizations[1].client_id',
      problem: 'not a UUID',
    });
    const swapped = { ipv4: init.interface.ipv6, ipv6: init.interface.ipv4 };
    expect(parseGatewayInbound('init', { ...init, interface: swapped })).toMatchObject({
      path: '$.interface.ipv4',
      problem: 'not an IPv4 address',
    });
  });

  it('leaves out relays of an unknown kind, stun entries and malformed ones', () => {
    const relays = [{ ...relay, type: 'stun' }, { type: 'quic' }, null, 7, relay];
    const parsed = parseGatewayInbound('init', { ...init, relays });
    expect(parsed).toMatchObject({ message: { payload: { relays: [{ id: RELAY }] } } });
  });

  it.each([-1, 1.5, '1767312000', null])('refuses the unix time %j', (expires_at) => {
    const authorizations = [{ ...init.authorizations[0], expires_at }];
    expect(parseGatewayInbound('init', { ...init, authorizations }).kind).toBe('malformed');
  });
});

describe('create_authorization', () => {
  const parse = (changes: object): ReturnType<typeof parseGatewayInbound> =>
    parseGatewayInbound('create_authorization', { ...authorization, ...changes });

  it('needs the ingest token, and ignores what it does not know', () => {
    const { kind } = parse({ actor: { id: 'x' }, flow_id: 'y', subject: 'odd' });
    expect(kind).toBe('message');
    expect(parse({ flow_logs_ingest_token: undefined })).toMatchObject({
      kind: 'malformed',
      path: '$.flow_logs_ingest_token',
    });
  });

  it('means ICE unless it says otherwise, and never expires without expires_at', () => {
    expect(parse({ expires_at: null })).toMatchObject({
      message: { payload: { useIceless: false, expiresAt: null, subject: null } },
    });
    expect(parse({ expires_at: undefined, use_iceless: true })).toMatchObject({
      message: { payload: { useIceless: true, expiresAt: null } },
    });
  });

  it('holds keys as bytes', () => {
    const parsed = parse({});
    if (parsed.kind !== 'message' || parsed.message.event !== 'create_authorization') {
      throw new Error(JSON.stringify(parsed));
    }
    const { client, resource } = parsed.message.payload;
    expect(client.publicKey).toEqual(Uint8Array.from({ length: 32 }, (_, i) => i));
    expect(client.deviceSerial).toBeNull();
    expect(resource).toMatchObject({ address: { address: '192.0.2.0', prefixLength: 24 } });
  });

  it.each([
    ['a short key', { client: { ...authorization.client, public_key: 'AAAA' } }],
    ['an unpadded key', { client: { ...authorization.client, preshared_key: 'A'.repeat(43) } }],
    ['a CIDR without prefix', { resource: { ...authorization.resource, address: '192.0.2.0' } }],
    ['host bits', { resource: { ...authorization.resource, address: '10.0.0.1/8' } }],
    ['an unknown type', { resource: { ...authorization.resource, type: 'new' } }],
    [
      'an unknown filter',
      { resource: { ...authorization.resource, filters: [{ protocol: 'x' }] } },
    ],
    [
      'a port out of range',
      {
        resource: {
          ...authorization.resource,
          filters: [{ protocol: 'tcp', port_range_start: 65536 }],
        },
      },
    ],
  ])('is malformed with %s', (_, changes) => expect(parse(changes).kind).toBe('malformed'));
});

describe('resources and filters', () => {
  it('default to all ports', () => {
    const payload = {
      type: 'dns',
      id: RESOURCE,
      name: '?.httpbin',
      address: '?.httpbin',
      filters: [
        { protocol: 'icmp' },
        { protocol: 'tcp', port_range_start: 443 },
        { protocol: 'udp' },
      ],
    };
    expect(parseGatewayInbound('resource_updated', payload)).toMatchObject({
      message: {
        payload: {
          filters: [
            { protocol: 'icmp' },
            { protocol: 'tcp', portRangeStart: 443, portRangeEnd: 65535 },
            { protocol: 'udp', portRangeStart: 0, portRangeEnd: 65535 },
          ],
        },
      },
    });
  });

  it('an internet resource may have anything else', () => {
    const payload = { type: 'internet', id: RESOURCE, address: 7, filters: 'x' };
    expect(parseGatewayInbound('resource_updated', payload)).toEqual({
      kind: 'message',
      message: { event: 'resource_updated', payload: { type: 'internet', id: RESOURCE } },
    });
  });
});

describe('candidates and relays', () => {
  it('three garbage strings and a candidate are one candidate', () => {
    const good = 'candidate:1111aaaa 1 udp 2130706431 198.51.100.20 52625 typ host';
    const candidates = ['garbage', 'candidate:1 1 udp 4294967296 x', 'x:1 1 udp 5 y', good];
    for (const event of ['ice_candidates', 'invalidate_ice_candidates']) {
      expect(parseGatewayInbound(event, { client_id: CLIENT, candidates })).toMatchObject({
        message: { payload: { clientId: CLIENT, candidates: [good] } },
      });
    }
  });

  it('relays_presence needs the ids of those that went', () => {
    const payload = { disconnected_ids: [RELAY], connected: [relay] };
    expect(parseGatewayInbound('relays_presence', payload)).toMatchObject({
      message: { payload: { disconnectedIds: [RELAY], connected: [{ id: RELAY }] } },
    });
    expect(parseGatewayInbound('relays_presence', { connected: [] }).kind).toBe('malformed');
  });

  it('entries of one relay are merged wherever they stand, the later credentials win', () => {
    const other = { ...relay, id: GATEWAY, addr: '203.0.113.20:3478' };
    const relays = [
      relay,
      other,
      { ...relay, addr: '[2001:db8::10]:3478', password: 'new' },
      relay,
    ];
    const parsed = parseGatewayInbound('init', { ...init, relays });
    if (parsed.kind !== 'message' || parsed.message.event !== 'init') throw new Error(parsed.kind);
    const entries = parsed.message.payload;
    expect(mergeRelays(entries.relays.slice(0, 3))).toMatchObject([
      {
        id: RELAY,
        addresses: [{ port: 3478 }, { port: 3478 }],
        password: 'new',
        realm: 'firezone',
      },
      { id: GATEWAY, addresses: [{}] },
    ]);
    expect(mergeRelays(entries.relays)[0]?.addresses).toHaveLength(2);
  });
});

describe('what components send', () => {
  it('is written exactly so', () => {
    const write = (message: Parameters<typeof GATEWAY_OUTBOUND.write>[0]): string =>
      JSON.stringify(GATEWAY_OUTBOUND.write(message));
    expect(write({ event: 'authorization_created', payload: { ref: 'r' } })).toBe(
      '{"event":"authorization_created","payload":{"ref":"r"}}',
    );
    expect(write({ event: 'no_relays', payload: {} })).toBe('{"event":"no_relays","payload":{}}');
    expect(write({ event: 'set_snownet_capabilities', payload: { iceless: true } })).toBe(
      '{"event":"set_snownet_capabilities","payload":{"iceless":true}}',
    );
  });

  it('a capability that is not named is none, an unknown one is ignored', () => {
    for (const payload of [{}, { teleport: true }]) {
      expect(parseGatewayOutbound('set_snownet_capabilities', payload)).toEqual({
        kind: 'message',
        message: { event: 'set_snownet_capabilities', payload: { iceless: false } },
      });
    }
  });

  it('a request for anything but a device pool names no address', () => {
    const parsed = parseClientOutbound('request_authorization', {
      resource_id: RESOURCE,
      connected_gateway_ids: [],
    });
    expect(parsed).toMatchObject({ message: { payload: { ipv4: null, ipv6: null } } });
    if (parsed.kind !== 'message') return;
    expect(JSON.stringify(CLIENT_OUTBOUND.write(parsed.message).payload)).toBe(
      `{"resource_id":"${RESOURCE}","connected_gateway_ids":[]}`,
    );
  });
});

describe('what clients are told', () => {
  const site = { id: '77777777-8888-4999-8aaa-bbbbbbbbbbbb', name: 'site' };
  const cidr = { type: 'cidr', id: RESOURCE, name: 'net', address: '10.0.0.0/8', sites: [site] };
  const clientInit = (resources: unknown): object => ({
    interface: { ...init.interface, upstream_do53: [{ ip: '9.9.9.9' }, { ip: 'x' }] },
    resources,
    flow_logs: init.flow_logs,
  });

  it('unknown and malformed resources are left out of init', () => {
    const resources = [
      { type: 'new', id: RESOURCE },
      { ...cidr, address: '10.0.0.1/8' },
      { ...cidr, gateway_groups: [site] },
      { ...cidr, sites: undefined },
      null,
      cidr,
      { ...cidr, sites: undefined, gateway_groups: [site] },
      { type: 'internet', id: RESOURCE, sites: [site] },
    ];
    expect(parseClientInbound('init', clientInit(resources))).toMatchObject({
      message: {
        payload: {
          interface: { upstreamDo53: [{ ip: '9.9.9.9' }], upstreamDns: [], searchDomain: null },
          resources: [
            { type: 'cidr', sites: [site], filters: [], addressDescription: null },
            { type: 'cidr', sites: [site] },
            { type: 'internet', name: 'Internet Resource' },
          ],
          relays: [],
          authorizations: [],
        },
      },
    });
  });

  it('a resource is deleted by its bare id', () => {
    expect(parseClientInbound('resource_deleted', RESOURCE)).toEqual({
      kind: 'message',
      message: { event: 'resource_deleted', payload: RESOURCE },
    });
    expect(parseClientInbound('resource_deleted', { id: RESOURCE })).toMatchObject({ path: '$' });
  });

  it('a reason that is not known is unknown', () => {
    const parse = (reason: unknown): unknown =>
      parseClientInbound('authorization_creation_failed', { resource_id: RESOURCE, reason });
    expect(parse('offline')).toMatchObject({ message: { payload: { reason: 'offline' } } });
    expect(parse('full_moon')).toMatchObject({
      message: { payload: { reason: 'unknown', violatedProperties: [] } },
    });
  });

  it('candidates have two event names each', () => {
    const payload = { gateway_id: GATEWAY, candidates: [] };
    expect(parseClientInbound('gateway_ice_candidates', payload)).toEqual({
      kind: 'message',
      message: { event: 'ice_candidates', payload: { gatewayId: GATEWAY, candidates: [] } },
    });
    expect(parseClientInbound('invalidate_gateway_ice_candidates', payload)).toMatchObject({
      message: { event: 'invalidate_ice_candidates' },
    });
  });

  it('addresses of a device pool come with or without mask', () => {
    for (const ipv4 of ['100.64.0.5', '100.64.0.5/32']) {
      const payload = { resource_id: RESOURCE, domain: 'a.test', ipv4, ipv6: 'fd00::5/128' };
      expect(parseClientInbound('device_pool_domain_resolved', payload)).toMatchObject({
        message: { payload: { ipv4: '100.64.0.5', ipv6: 'fd00::5' } },
      });
    }
  });

  it('an unknown event is said to be one', () => {
    for (const event of ['authorize_flow', 'toString', '__proto__', '']) {
      expect(parseClientInbound(event, {})).toEqual({ kind: 'unknown-event' });
    }
  });
});
