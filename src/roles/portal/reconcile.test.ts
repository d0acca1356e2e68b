import { describe, expect, test } from 'vitest';
import {
  basePolicy,
  type Party,
  type PolicyData,
  PortalBench,
  R1,
  R2,
  R3,
  START,
} from '../../../test/support/portal-bench.ts';
import { unixMillis } from '../../base/time.ts';
import { tokenHash } from './policy-compile.ts';
import { MemoryStore } from './store.ts';

describe('edits of the policy', () => {
  test('a rule that goes ends the access at the gateway, and only that access', () => {
    const { bench, gateway, client, grants } = connected();
    bench.setPolicy(edited((policy) => policy.policies.shift()));
    expect(gateway.inbox).toEqual([
      { event: 'reject_access', payload: { client_id: grants.clientId, resource_id: R1 } },
    ]);
    expect(client.inbox).toEqual([{ event: 'resource_deleted', payload: R1 }]);
    bench.send(client, 'request_authorization', { resource_id: R1, connected_gateway_ids: [] });
    client.take('resource_deleted');
    expect(client.take('authorization_creation_failed').reason).toBe('not_found');
  });

  test('an edit that changes nothing for anybody says nothing to anybody', () => {
    const { bench, gateway, client } = connected();
    bench.setPolicy(
      edited((policy) => policy.actors.push({ name: 'eve', groups: [], tokens: [] })),
    );
    bench.setPolicy(basePolicy());
    expect([...gateway.inbox, ...client.inbox]).toEqual([]);
  });

  test('access is kept when another rule still gives it', () => {
    const both = edited((policy) => {
      policy.groups.push('more');
      policy.actors[0]?.groups.push('more');
      policy.policies.push({ group: 'more', resource: 'net' });
    });
    const { bench, gateway } = connected(both);
    bench.setPolicy({ ...both, policies: both.policies.slice(1) });
    expect(gateway.inbox).toEqual([]);
    expect(bench.portal.snapshot().authorizations).toHaveLength(2);
  });

  test('leaving the group, or the actor itself, ends all of it', () => {
    for (const change of [
      (policy: PolicyData) => policy.actors[0]?.groups.pop(),
      (policy: PolicyData) => policy.actors.shift(),
    ]) {
      const { bench, gateway } = connected();
      bench.setPolicy(edited(change));
      expect(gateway.events()).toEqual(['reject_access', 'reject_access']);
      expect(bench.portal.snapshot().authorizations).toEqual([]);
    }
  });

  test('an actor that is gone is signed out', () => {
    const { bench, client, gateway } = connected();
    bench.setPolicy(edited((policy) => policy.actors.shift()));
    expect(client.ended).toBe('expired');
    expect(gateway.ended).toBeUndefined();
  });

  test('a new rule shows the resource to those it is for', () => {
    const { bench, client } = connected();
    const bob = bench.client('phone', 60, { token: 'bob-token' });
    bob.take('init');
    bench.setPolicy(
      edited((policy) => policy.policies.push({ group: 'guests', resource: 'everything' })),
    );
    expect(client.inbox).toEqual([]);
    expect(bob.take('resource_created_or_updated')).toMatchObject({
      type: 'internet',
      id: R3,
      can_be_disabled: true,
    });
  });

  test('new filters reach the gateway as such and the client as an update; access stays', () => {
    const { bench, gateway, client } = connected();
    bench.setPolicy(
      edited((policy) => Object.assign(policy.resources[1] ?? {}, { filters: ['tcp 22'] })),
    );
    const filters = [{ protocol: 'tcp', port_range_start: 22, port_range_end: 22 }];
    expect(gateway.take('resource_updated')).toMatchObject({ id: R2, filters });
    expect(client.take('resource_created_or_updated')).toMatchObject({ id: R2, filters });
    expect(gateway.inbox).toEqual([]);
    expect(bench.portal.snapshot().authorizations).toHaveLength(2);
  });

  test.each([
    ['address', { address: 'hub.corp.test' }],
    ['ip_stack', { ip_stack: 'ipv4_only' }],
    ['site', { site: 'away' }],
  ])('another %s ends the access and updates the client', (_, change) => {
    const { bench, gateway, client, grants } = connected();
    bench.setPolicy(edited((policy) => Object.assign(policy.resources[1] ?? {}, change)));
    expect(gateway.take('reject_access')).toEqual({ client_id: grants.clientId, resource_id: R2 });
    expect(gateway.inbox).toEqual([]);
    expect(client.take('resource_created_or_updated').id).toBe(R2);
  });

  test('another type under the same id ends the access too', () => {
    const { bench, gateway } = connected();
    bench.setPolicy(
      edited((policy) => {
        policy.resources[1] = {
          id: R2,
          type: 'cidr',
          name: 'git',
          site: 'home',
          address: '10.9.0.0/16',
        };
      }),
    );
    expect(gateway.events()).toEqual(['reject_access']);
  });

  test('a new name or description changes what clients see and nothing else', () => {
    const { bench, gateway, client } = connected();
    bench.setPolicy(
      edited((policy) => Object.assign(policy.resources[0] ?? {}, { description: 'the net' })),
    );
    expect(gateway.inbox).toEqual([]);
    expect(client.take('resource_created_or_updated').address_description).toBe('the net');
  });

  test('a resource that goes is deleted everywhere', () => {
    const { bench, gateway, client } = connected();
    bench.setPolicy(
      edited((policy) => {
        policy.resources.shift();
        policy.policies.shift();
      }),
    );
    expect(gateway.events()).toEqual(['reject_access']);
    expect(client.inbox).toEqual([{ event: 'resource_deleted', payload: R1 }]);
  });

  test('other DNS servers are a new configuration for clients', () => {
    const { bench, client, gateway } = connected();
    bench.setPolicy(edited((policy) => Object.assign(policy.dns, { search_domain: 'corp.test' })));
    expect(client.take('config_changed').interface).toMatchObject({
      search_domain: 'corp.test',
      upstream_do53: [{ ip: '9.9.9.9' }],
    });
    expect(gateway.inbox).toEqual([]);
  });

  test('another account name is a new init for gateways', () => {
    const { bench, client, gateway } = connected();
    bench.setPolicy({ ...basePolicy(), account: 'other' });
    const init = gateway.take('init');
    expect(init.account_slug).toBe('other');
    expect(init.authorizations).toHaveLength(2);
    expect([...gateway.inbox, ...client.inbox]).toEqual([]);
  });

  test('a token that is taken out ends those who use it, and no others', () => {
    const { bench, gateway, client } = connected();
    const other = bench.gateway('other', 44, { token: 'away-token' });
    const withoutToken = edited((policy) =>
      Object.assign(policy.sites[0] ?? {}, { gateway_tokens: [] }),
    );
    bench.setPolicy(withoutToken);
    expect([gateway.ended, client.ended, other.ended]).toEqual(['expired', undefined, undefined]);
  });

  test('a pending request whose rule goes is refused and its late answer does nothing', () => {
    const { bench, gateway, client } = connected();
    const again = { resource_id: R1, connected_gateway_ids: [] };
    bench.send(client, 'request_authorization', again);
    const { ref } = gateway.take('create_authorization');
    bench.setPolicy(edited((policy) => policy.policies.shift()));
    bench.send(gateway, 'authorization_created', { ref });
    expect(client.events()).toEqual(['resource_deleted']);
  });
});

describe('the end of time', () => {
  const HOUR = 3_600_000;
  const inHours = (hours: number): string => new Date(START + hours * HOUR).toISOString();
  const withExpiry = (hours: number): PolicyData =>
    edited((policy) => Object.assign(policy.policies[0] ?? {}, { expires: inHours(hours) }));

  test('a rule with an end gives access until then, which the gateway ends by itself', () => {
    const { bench, gateway, client, grants } = connected(withExpiry(2));
    expect(grants.first.expires_at).toBe(START / 1000 + 7200);
    bench.advance(2 * HOUR - 1);
    expect([...gateway.inbox, ...client.inbox]).toEqual([]);
    bench.advance(1);
    expect(gateway.inbox).toEqual([]);
    expect(client.inbox).toEqual([{ event: 'resource_deleted', payload: R1 }]);
    expect(bench.portal.snapshot().authorizations).toHaveLength(1);
  });

  test('an end brought forward is enforced by the portal', () => {
    const { bench, gateway } = connected(withExpiry(2));
    bench.setPolicy(withExpiry(1));
    expect(gateway.inbox).toEqual([]);
    bench.advance(HOUR);
    expect(gateway.events()).toEqual(['reject_access']);
  });

  test('an end put off is told to the gateway before the old one, with the same secrets', () => {
    const { bench, gateway, client, grants } = connected(withExpiry(1));
    bench.setPolicy(withExpiry(3));
    const again = gateway.take('create_authorization');
    expect(again.expires_at).toBe(START / 1000 + 3 * 3600);
    expect(again.client.preshared_key).toBe(grants.first.client.preshared_key);
    bench.send(gateway, 'authorization_created', { ref: again.ref });
    bench.advance(HOUR);
    expect([...gateway.inbox, ...client.inbox]).toEqual([]);
    expect(bench.portal.snapshot().authorizations).toHaveLength(2);
  });

  test('an end put off while the client is away is told when it is back', () => {
    const { bench, gateway, client } = connected(withExpiry(2));
    bench.leave(client);
    bench.setPolicy(withExpiry(3));
    expect(gateway.inbox).toEqual([]);
    bench.client();
    expect(gateway.take('create_authorization').expires_at).toBe(START / 1000 + 3 * 3600);
  });

  test('of several rules the one that lasts longest counts', () => {
    const policy = withExpiry(1);
    policy.policies.push({ group: 'staff', resource: 'net', expires: inHours(5) });
    expect(connected(policy).grants.first.expires_at).toBe(START / 1000 + 5 * 3600);
  });

  test('a token with an end ends access, relay credentials and the session with it', () => {
    const policy = edited((it) => {
      const alice = it.actors[0];
      if (alice) alice.tokens = [{ token: 'client-token', expires: inHours(1) }];
    });
    const { bench, client, grants } = connected(policy);
    expect(grants.first.expires_at).toBe(START / 1000 + 3600);
    expect(grants.clientInit.relays[0].expires_at).toBe(START / 1000 + 3600);
    bench.advance(HOUR - 1);
    expect(client.ended).toBeUndefined();
    bench.advance(1);
    expect(client.ended).toBe('expired');
    const again = bench.connect('/client/v2/websocket', 'client-token', {});
    expect(again).toMatchObject({ kind: 'refused', code: 'invalid_token' });
  });

  test('a lifetime limits what has no other end', () => {
    const policy = edited((it) => Object.assign(it.settings, { authorization_lifetime: '8h' }));
    const { bench, grants } = connected(policy);
    expect(grants.first.expires_at).toBe(START / 1000 + 8 * 3600);
    bench.advance(8 * HOUR);
    expect(bench.portal.snapshot().authorizations).toEqual([]);
  });

  test('a gateway that was away is told what is still granted, and no more', () => {
    const { bench, gateway } = connected(withExpiry(1));
    bench.leave(gateway);
    bench.advance(2 * HOUR);
    const { authorizations } = bench.gateway().take('init');
    expect(authorizations.map((it: { resource_id: string }) => it.resource_id)).toEqual([R2]);
  });

  test('a revocation while the gateway is away is in its next init', () => {
    const { bench, gateway, grants } = connected();
    bench.leave(gateway);
    bench.setPolicy(edited((policy) => policy.policies.shift()));
    expect(bench.gateway().take('init').authorizations).toEqual([
      { client_id: grants.clientId, resource_id: R2, expires_at: 2_145_916_800 },
    ]);
  });
});

describe('tokens of the command line', () => {
  test('admit their owner until they are revoked', () => {
    const store = new MemoryStore();
    const bench = new PortalBench(basePolicy(), { store });
    store.addToken({
      id: 'one',
      kind: 'client',
      owner: 'alice',
      name: 'laptop',
      hash: tokenHash(bench.crypto, 'made-token'),
      createdAt: START,
      expiresAt: unixMillis(START + 60_000),
    });
    const client = bench.client('laptop', 7, { token: 'made-token' });
    client.take('init');
    const gateway = bench.gateway();
    gateway.take('init');
    expect(bench.authorize(client, gateway, R1).grant.expires_at).toBe(START / 1000 + 60);
    store.removeToken('one');
    bench.portal.recheckTokens(bench.now);
    bench.drain();
    expect(client.ended).toBe('expired');
    expect(gateway.events()).toEqual(['reject_access']);
  });
});

describe('a restart of the portal', () => {
  test('forgets nobody and nothing that the policy still allows', () => {
    const store = new MemoryStore();
    const { bench, grants } = connected(basePolicy(), store);
    const after = new PortalBench(
      edited((policy) => policy.policies.shift()),
      { store, now: bench.now },
    );
    const init = after.gateway().take('init');
    expect(init.interface).toEqual(grants.gatewayInit.interface);
    expect(init.authorizations.map((it: { resource_id: string }) => it.resource_id)).toEqual([R2]);
    expect(after.client().take('init').interface).toEqual(grants.clientInit.interface);
  });
});

function edited(change: (policy: PolicyData) => unknown): PolicyData {
  const policy = basePolicy();
  change(policy);
  return policy;
}

/** A gateway, a client and a relay; the client has been granted both of its resources; inboxes are empty. */
function connected(policy: unknown = basePolicy(), store = new MemoryStore()) {
  const bench = new PortalBench(policy, { store });
  bench.relay();
  const gateway: Party = bench.gateway();
  const client: Party = bench.client();
  const gatewayInit = gateway.take('init');
  const clientInit = client.take('init');
  const first = bench.authorize(client, gateway, R1).grant;
  bench.authorize(client, gateway, R2);
  bench.advance(0);
  const grants = { first, clientId: first.client.id, gatewayInit, clientInit };
  return { bench, gateway, client, grants };
}
