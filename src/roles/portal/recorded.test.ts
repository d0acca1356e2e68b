// The portal beside recorded conversations of official programs (test/vectors/SOURCES.md): what they sent is understood,
// and what this portal says to them has every member of what they were told then.

import { describe, expect, test } from 'vitest';
import { basePolicy, type Party, PortalBench, R1, R2 } from '../../../test/support/portal-bench.ts';
import { recordedFrames, recordedUpgrades } from '../../../test/support/portal-recordings.ts';

const recorded = recordedFrames('1.6');

describe('upgrades of official programs', () => {
  const policy = basePolicy();
  policy.sites[0]?.gateway_tokens.push('lab-gateway-token');
  policy.actors[0]?.tokens.push('lab-client-token');
  policy.relays[0]?.tokens.push('lab-relay-token');

  test.each(recordedUpgrades())('$url', ({ url, headers }) => {
    const bench = new PortalBench(policy);
    const { pathname, searchParams } = new URL(url, 'http://portal');
    const token = headers['x-authorization']?.replace('Bearer ', '');
    const agent = headers['user-agent'] ?? '';
    const outcome = bench.connect(pathname, token, Object.fromEntries(searchParams), { agent });
    const isOld = /^\/(gateway|client)\/websocket$/.test(pathname);
    if (isOld) expect(outcome).toMatchObject({ status: 426 });
    else expect(outcome.kind).toBe('admitted');
  });
});

describe('messages of official programs', () => {
  test('are all known and well-formed', () => {
    const bench = new PortalBench();
    const parties = { gateway: bench.gateway(), client: bench.client(), relay: bench.relay() };
    for (const { component, direction, frame } of recorded) {
      if (direction !== 'to-portal' || frame.topic === 'phoenix' || frame.event === 'phx_join')
        continue;
      const outcome = bench.send(parties[component], frame.event, frame.payload);
      if (frame.event === 'authorization_created')
        expect(outcome).toEqual({ kind: 'error', reason: 'invalid_ref' });
      else expect(outcome, frame.event).toEqual({ kind: 'none' });
    }
  });
});

describe('messages to official programs', () => {
  const ours = conversation();

  test.each([
    ['gateway', 'init'],
    ['gateway', 'create_authorization'],
    ['gateway', 'relays_presence'],
    ['gateway', 'reject_access'],
    ['gateway', 'ice_candidates'],
    ['client', 'init'],
    ['client', 'authorization_created'],
    ['client', 'authorization_creation_failed'],
    ['client', 'relays_presence'],
    ['client', 'ice_candidates'],
    ['client', 'resource_deleted'],
    ['client', 'resource_created_or_updated'],
  ] as const)('%s: %s has every member', (component, event) => {
    const theirs = recorded.filter(
      (it) =>
        it.component === component && it.direction === 'from-portal' && it.frame.event === event,
    );
    expect(theirs.length).toBeGreaterThan(0);
    const members = new Set(
      ours[component].filter((it) => it.event === event).flatMap((it) => membersOf(it.payload)),
    );
    const missing = theirs
      .flatMap((it) => membersOf(it.frame.payload))
      .filter((it) => !members.has(it));
    expect([...new Set(missing)]).toEqual([]);
  });
});

/** One of everything, with every kind of resource. */
function conversation(): Record<'gateway' | 'client', Party['inbox']> {
  const policy = basePolicy();
  const filters = ['tcp 80', 'icmp'];
  Object.assign(policy.resources[0] ?? {}, { filters });
  policy.policies.push({ group: 'staff', resource: 'everything' });
  const bench = new PortalBench(policy);
  const relay = bench.relay();
  const gateway = bench.gateway();
  const client = bench.client();
  const seen = { gateway: [...gateway.inbox], client: [...client.inbox] };
  gateway.inbox.length = 0;
  client.inbox.length = 0;
  const request = { resource_id: R1, connected_gateway_ids: [] };
  bench.send(client, 'request_authorization', request);
  const { ref, client: it } = gateway.inbox[0]?.payload ?? {};
  bench.send(gateway, 'authorization_created', { ref });
  const candidates = ['candidate:1 1 udp 2130706431 198.51.100.20 52625 typ host'];
  bench.send(gateway, 'broadcast_ice_candidates', { client_ids: [it.id], candidates });
  const { gateway_id } = client.inbox[0]?.payload ?? {};
  bench.send(client, 'new_gateway_ice_candidates', { gateway_id, candidates });
  bench.send(client, 'request_authorization', { ...request, resource_id: R2.replace('2', '9') });
  bench.relay('ab'.repeat(32), '203.0.113.77');
  bench.leave(relay);
  bench.advance(2000);
  const sites = policy.sites;
  const resources = policy.resources.map((resource) => ({
    ...resource,
    name: `${resource['name']} 2`,
  }));
  const policies = policy.policies.map((rule) => ({ ...rule, resource: `${rule['resource']} 2` }));
  bench.setPolicy({ ...policy, sites, resources, policies });
  bench.setPolicy({ ...policy, policies: [] });
  seen.gateway.push(...gateway.inbox);
  seen.client.push(...client.inbox);
  return seen;
}

/** Paths of all members, array positions left out: `relays[].addr`. */
function membersOf(value: unknown, path = '$'): string[] {
  if (Array.isArray(value)) return value.flatMap((element) => membersOf(element, `${path}[]`));
  if (typeof value !== 'object' || value === null) return [`${path}`];
  return [
    path,
    ...Object.entries(value).flatMap(([key, member]) => membersOf(member, `${path}.${key}`)),
  ];
}
