// Client, gateway, relay and portal together: what a user gets, and what ends it.

import { describe, expect, test } from 'vitest';
import { DNS_TYPE } from '../../src/wire/dns/records.ts';
import { type ClientMember, type GatewayMember, PairWorld } from '../support/pair-world.ts';
import { basePolicy, R1 } from '../support/portal-bench.ts';
import { SYMMETRIC } from '../support/virtual-network.ts';

const CLIENT_HOST = { host: '192.0.2.10:52625' };
const GATEWAY_HOST = { host: '198.51.100.20:52625' };
const TOKEN = 'client-token';

function directPair(policy: unknown = basePolicy()): {
  world: PairWorld;
  gateway: GatewayMember;
  client: ClientMember;
} {
  const world = new PairWorld(policy);
  world.addRelay('203.0.113.10:3478');
  const gateway = world.addGateway('gw-1', GATEWAY_HOST);
  const client = world.addClient('client-1', CLIENT_HOST);
  return { world, gateway, client };
}

/** Sends and waits for the echo. */
function reaches(
  world: PairWorld,
  client: ClientMember,
  destination: string,
  text: string,
  withinMs = 5_000,
): boolean {
  client.send(destination, text);
  return world.runUntil(() => client.texts().includes(text.toUpperCase()), withinMs);
}

describe('a network resource', () => {
  test('answers the first packet, each packet once', () => {
    const { world, client, gateway } = directPair();
    for (const text of ['one', 'two', 'three']) client.send('10.20.0.5', text);
    world.run(5_000);
    expect(client.texts()).toEqual(['ONE', 'TWO', 'THREE']);
    expect(gateway.delivered[0]).toEqual({
      source: client.ipv4,
      destination: '10.20.0.5',
      text: 'one',
    });
    expect(client.states).toContain('connection-established');
  });

  test('is reached through a relay where both sides are behind symmetric NATs', () => {
    const world = new PairWorld(basePolicy());
    const relay = world.addRelay('203.0.113.10:3478');
    const nat = (publicAddress: string): ReturnType<typeof world.network.addNat> =>
      world.network.addNat({ ...SYMMETRIC, publicAddress });
    world.addGateway('gw-1', {
      host: '10.2.0.2:52625',
      nat: nat('203.0.113.99'),
      knowsHost: false,
    });
    const client = world.addClient('client-1', {
      host: '10.1.0.2:52625',
      nat: nat('203.0.113.77'),
      knowsHost: false,
    });
    expect(reaches(world, client, '10.20.0.5', 'relayed', 10_000)).toBe(true);
    expect(relay.forwardedCount).toBeGreaterThan(0);
  });

  test('that the client may not see is asked for by nobody', () => {
    const { world, client, gateway } = directPair();
    expect(reaches(world, client, '10.99.0.5', 'nowhere', 3_000)).toBe(false);
    expect(gateway.heard).toEqual(['init']);
  });
});

describe('a DNS resource', () => {
  test('is reached by proxy addresses of both families, under its filters', () => {
    const policy = basePolicy();
    policy.resources[1] = { ...policy.resources[1], filters: ['udp 4000'] };
    const { world, client, gateway } = directPair(policy);
    gateway.names.set('git.corp.test', ['10.2.0.40', '2001:db8:2::40']);
    const [proxy = ''] = client.resolve('git.corp.test');
    const [proxy6 = ''] = client.resolve('git.corp.test', DNS_TYPE.aaaa);
    expect(reaches(world, client, proxy, 'four')).toBe(true);
    expect(reaches(world, client, proxy6, 'six')).toBe(true);
    expect(gateway.delivered.map(({ destination }) => destination)).toEqual([
      '10.2.0.40',
      '2001:db8:2::40',
    ]);
    expect(client.arrivals().map(({ source }) => source)).toEqual([proxy, proxy6]);
  });

  test('that no longer resolves goes on with its old addresses until it does', () => {
    const policy = basePolicy();
    policy.resources[1] = { ...policy.resources[1], filters: [] };
    const { world, client, gateway } = directPair(policy);
    gateway.names.set('git.corp.test', ['10.2.0.40']);
    const [proxy = ''] = client.resolve('git.corp.test');
    expect(reaches(world, client, proxy, 'before')).toBe(true);
    gateway.names.set('git.corp.test', ['10.2.0.41']);
    client.resolve('git.corp.test');
    world.run(1_000);
    expect(reaches(world, client, proxy, 'after')).toBe(true);
  });
});

describe('the end of access', () => {
  test('a policy that is withdrawn ends it at both sides with a goodbye', () => {
    const { world, client, gateway } = directPair();
    expect(reaches(world, client, '10.20.0.5', 'before')).toBe(true);
    const policy = basePolicy();
    policy.policies = policy.policies.filter(({ resource }) => resource !== 'net');
    world.setPolicy(policy);
    world.run(500);
    expect(client.heard).toContain('resource_deleted');
    expect(gateway.heard).toContain('reject_access');
    expect(reaches(world, client, '10.20.0.5', 'after', 5_000)).toBe(false);
    expect(gateway.delivered.map(({ text }) => text)).toEqual(['before']);
  });

  test('an expiry in the policy ends it on time, without anybody saying so', () => {
    const policy = basePolicy();
    policy.policies[0] = { ...policy.policies[0], expires: '2026-01-01T00:02:00Z' };
    const { world, client, gateway } = directPair(policy);
    expect(reaches(world, client, '10.20.0.5', 'before')).toBe(true);
    gateway.disconnect();
    world.run(110_000 - world.network.now);
    expect(reaches(world, client, '10.20.0.5', 'in time')).toBe(true);
    world.run(126_000 - world.network.now);
    expect(reaches(world, client, '10.20.0.5', 'too late', 5_000)).toBe(false);
    expect(gateway.delivered.map(({ text }) => text)).toEqual(['before', 'in time']);
  });

  test('a policy that is given back works again', () => {
    const { world, client } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    const policy = basePolicy();
    policy.policies = [];
    world.setPolicy(policy);
    world.run(500);
    world.setPolicy(basePolicy());
    world.run(500);
    expect(reaches(world, client, '10.20.0.5', 'again')).toBe(true);
  });

  test('a gateway that shuts down says goodbye; when it is back the next packet connects', () => {
    const { world, client, gateway } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    gateway.host.role.shutDown(world.network.now);
    world.run(100);
    world.kill(gateway);
    world.run(1_000);
    world.addGateway('gw-1', { host: '198.51.100.20:52626' });
    expect(reaches(world, client, '10.20.0.5', 'again', 10_000)).toBe(true);
  });

  test('a gateway that dies in silence is noticed, and a second one of the site takes over', () => {
    const { world, client, gateway } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    const second = world.addGateway('gw-2', { host: '198.51.100.21:52625' });
    const survivor = gateway.delivered.length > 0 ? second : gateway;
    world.kill(survivor === second ? gateway : second);
    let sent = 0;
    const isBack = (): boolean => survivor.delivered.some(({ text }) => text.startsWith('try'));
    while (!isBack() && sent < 60) {
      client.send('10.20.0.5', `try ${sent++}`);
      world.run(1_000);
    }
    expect(isBack()).toBe(true);
    expect(sent).toBeLessThan(30);
  });

  test('a gateway that restarted with a new key is asked again for everything', () => {
    const { world, client, gateway } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    world.kill(gateway);
    const fresh = world.addGateway('gw-1', { host: '198.51.100.20:52625' });
    for (let i = 0; i < 40 && fresh.delivered.length === 0; i++) {
      client.send('10.20.0.5', `try ${i}`);
      world.run(1_000);
    }
    expect(fresh.delivered.length).toBeGreaterThan(0);
  });
});

describe('a portal that is away', () => {
  test('leaves running tunnels alone; new access waits for it', () => {
    const { world, client, gateway } = directPair();
    gateway.names.set('git.corp.test', ['10.2.0.40']);
    reaches(world, client, '10.20.0.5', 'before');
    client.disconnect();
    world.run(60_000);
    expect(reaches(world, client, '10.20.0.5', 'without portal')).toBe(true);
    const [proxy = ''] = client.resolve('git.corp.test');
    client.send('10.20.0.6', 'still');
    client.connect(TOKEN);
    world.run(1_000);
    expect(
      client.states.filter((state) => state !== 'granted' && state !== 'path-changed'),
    ).toEqual(['connection-established']);
    expect(proxy).toBe('100.96.0.1');
    expect(client.texts()).toContain('STILL');
  });

  test('gets requests that were made meanwhile', () => {
    const { world, client } = directPair();
    client.disconnect();
    client.send('10.20.0.5', 'patient');
    world.run(30_000);
    client.connect(TOKEN);
    expect(world.runUntil(() => client.texts().includes('PATIENT'), 5_000)).toBe(true);
  });

  test('and a gateway that reconnects keeps its clients', () => {
    const { world, client, gateway } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    gateway.disconnect();
    world.run(10_000);
    expect(reaches(world, client, '10.20.0.5', 'during')).toBe(true);
    gateway.connect('gateway-token');
    world.run(1_000);
    expect(reaches(world, client, '10.20.0.5', 'after')).toBe(true);
    expect(client.states).not.toContain('connection-failed');
  });
});

describe('a client that moves', () => {
  test('has a new key and is connected again without new traffic', () => {
    const { world, client, gateway } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    const key = client.publicKey;
    client.roam('192.0.2.77:52625', TOKEN);
    expect(client.publicKey).not.toEqual(key);
    const wasThere = client.states.length;
    const isThere = (): boolean => client.states.slice(wasThere).includes('connection-established');
    expect(world.runUntil(isThere, 10_000)).toBe(true);
    expect(reaches(world, client, '10.20.0.5', 'after')).toBe(true);
    expect(gateway.delivered.map(({ source }) => source)).toEqual([client.ipv4, client.ipv4]);
  });

  test('twice within a moment is connected as well', () => {
    const { world, client } = directPair();
    reaches(world, client, '10.20.0.5', 'before');
    client.roam('192.0.2.77:52625', TOKEN);
    world.run(40);
    client.roam('192.0.2.78:52625', TOKEN);
    expect(reaches(world, client, '10.20.0.5', 'after', 10_000)).toBe(true);
  });
});

describe('two clients', () => {
  function twoClients(): {
    world: PairWorld;
    alice: ClientMember;
    bob: ClientMember;
    gateway: GatewayMember;
  } {
    const policy = basePolicy();
    policy.policies.push({ group: 'guests', resource: 'net' });
    const { world, client: alice, gateway } = directPair(policy);
    const bob = world.addClient('client-2', { host: '192.0.2.11:52625' }, 'bob-token');
    return { world, alice, bob, gateway };
  }

  test('get their own answers, and cannot speak for each other', () => {
    const { world, alice, bob, gateway } = twoClients();
    expect(reaches(world, alice, '10.20.0.5', 'alice')).toBe(true);
    expect(reaches(world, bob, '10.20.0.5', 'bob')).toBe(true);
    expect(alice.texts()).toEqual(['ALICE']);
    expect(bob.texts()).toEqual(['BOB']);
    alice.send('10.20.0.5', 'spoofed', bob.ipv4);
    world.run(2_000);
    expect(gateway.delivered.map(({ text }) => text)).toEqual(['alice', 'bob']);
  });

  test('cannot reach each other through the gateway', () => {
    const { world, alice, bob } = twoClients();
    reaches(world, alice, '10.20.0.5', 'alice');
    reaches(world, bob, '10.20.0.5', 'bob');
    expect(reaches(world, alice, bob.ipv4, 'hello bob', 3_000)).toBe(false);
    expect(bob.texts()).toEqual(['BOB']);
  });

  test('what ends for one goes on for the other', () => {
    const { world, alice, bob } = twoClients();
    reaches(world, alice, '10.20.0.5', 'alice');
    reaches(world, bob, '10.20.0.5', 'bob');
    world.setPolicy(basePolicy());
    world.run(500);
    expect(reaches(world, bob, '10.20.0.5', 'bob again', 3_000)).toBe(false);
    expect(reaches(world, alice, '10.20.0.5', 'alice again')).toBe(true);
  });
});

test('a resource is named by its own id in what the client asks for', () => {
  const { world, client, gateway } = directPair();
  client.send('10.20.0.5', 'x');
  world.run(1_000);
  const [row] = world.bench.portal.snapshot().authorizations;
  expect(row).toMatchObject({ resourceId: R1 });
  expect(gateway.states).toContain('client-connected');
});
