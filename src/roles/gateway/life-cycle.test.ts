// Authorizations over time (data-plane 7.6, 7.7; portal-protocol 7): P5 to P7, P17, P19, P20; messages in the right order; goodbyes;
// candidates while the portal is away.

import { describe, expect, test } from 'vitest';
import {
  ALICE,
  BOB,
  cidr,
  dns,
  GatewayWorld,
  initPayload,
  internet,
  tcp,
  UNIX_ZERO,
} from '../../../test/support/gateway-world.ts';
import { ip } from '../../../test/support/packets.ts';
import { clientId, peerId, relayId, resourceId } from '../../base/ids.ts';
import { instant, unixMillis } from '../../base/time.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import { writeEchoPacket, writeTcpPacket } from '../../wire/ip/write-packet.ts';
import type { GatewayEvent } from './events.ts';

const HOUR = 3_600_000;

function canReach(world: GatewayWorld, to: string, port: number, client = ALICE): boolean {
  const packet = writeTcpPacket({
    source: ip(client.ipv4),
    destination: ip(to),
    sourcePort: 9,
    destinationPort: port,
    flags: 2,
  });
  return world.fromClient(packet, { client }).forwarded !== undefined;
}

function canBeReachedFrom(world: GatewayWorld, from: string, port: number): boolean {
  const packet = writeTcpPacket({
    source: ip(from),
    destination: ip(ALICE.ipv4),
    sourcePort: port,
    destinationPort: 9,
    flags: 16,
  });
  return world.fromTun(packet).slot >= 0;
}

const sentToPortal = (events: readonly GatewayEvent[]): string[] =>
  events.flatMap((event) => (event.kind === 'send-to-portal' ? [event.message.event] : []));
const revocations = (events: readonly GatewayEvent[]): string[] =>
  events.flatMap((event) =>
    event.kind === 'authorization-revoked'
      ? [`${event.client}/${event.resource} ${event.reason}`]
      : [],
  );

describe('create_authorization', () => {
  test('connects, authorizes, answers, and only then sends candidates', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    const events = world.events();
    expect(sentToPortal(events)).toEqual(['authorization_created', 'broadcast_ice_candidates']);
    expect(events.map(({ kind }) => kind)).toContain('authorization-created');
    expect(world.link.calls).toEqual(['relays - +', 'upsert alice']);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
  });

  test('repeats the reference it was given, and names one client in its candidates', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    const messages = world
      .events()
      .flatMap((event) => (event.kind === 'send-to-portal' ? [event.message] : []));
    expect(messages).toMatchObject([
      { payload: { ref: 'ref-lan' } },
      { payload: { clientIds: ['alice'] } },
    ]);
  });

  test('without a relay nothing is authorized and nothing answered', () => {
    const world = new GatewayWorld();
    world.link.hasRelays = false;
    world.authorize(cidr('lan', '10.0.0.0/24'));
    expect(sentToPortal(world.events())).toEqual(['no_relays']);
    expect(world.gateway.snapshot().clients).toEqual([]);
  });

  test('a second resource reuses the connection and signals its candidates again', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    world.authorize(cidr('lab', '10.1.0.0/24'));
    expect(sentToPortal(world.events())).toEqual([
      'authorization_created',
      'broadcast_ice_candidates',
    ]);
    expect(canReach(world, '10.0.0.1', 1) && canReach(world, '10.1.0.1', 1)).toBe(true);
  });

  test('again for the same resource: filters and expiry are replaced', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]), { expiresIn: HOUR });
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(80)]), { expiresIn: 2 * HOUR });
    expect([canReach(world, '10.0.0.1', 22), canReach(world, '10.0.0.1', 80)]).toEqual([
      false,
      true,
    ]);
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 80)).toBe(true);
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 80)).toBe(false);
  });

  test('a resource never changes its type', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.authorize(internet('lan'));
    expect(canReach(world, '1.1.1.1', 80)).toBe(false);
    expect(canReach(world, '10.0.0.1', 80)).toBe(true);
  });

  test('before init it is stored as well', () => {
    const world = new GatewayWorld({ isInitialized: false });
    world.authorize(cidr('lan', '10.0.0.0/24'));
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
  });

  test('data-plane 15.1-P17: other tunnel addresses make it a new client, the old ones are forgotten', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    const moved = { ...ALICE, ipv4: '100.64.0.50' };
    world.authorize(cidr('lab', '10.1.0.0/24'), { client: moved });
    expect(revocations(world.events())).toEqual(['alice/lan client-replaced']);
    expect(canBeReachedFrom(world, '10.1.0.1', 1)).toBe(false);
    expect(world.drops()).toEqual({ 'no-peer': 1 });
    expect(canReach(world, '10.1.0.1', 1, moved)).toBe(true);
    expect(canReach(world, '10.0.0.1', 1, moved)).toBe(false);
  });

  test('a tunnel address belongs to the client that took it last', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.authorize(cidr('lan', '10.0.0.0/24'), { client: { ...BOB, ipv4: ALICE.ipv4 } });
    const packet = writeTcpPacket({
      source: ip('10.0.0.1'),
      destination: ip(ALICE.ipv4),
      sourcePort: 1,
      destinationPort: 9,
      flags: 16,
    });
    expect(world.fromTun(packet).slot).toBe(1);
    world.revoke('lan', BOB);
    expect(world.fromTun(packet).slot).toBe(-1);
  });
});

describe('data-plane 15.1-P19: the clock (7.7)', () => {
  test.each([1, -1])(
    'DP-9: after a step of the wall clock by %i × 5 years grants end when the clock says so',
    (sign) => {
      const world = new GatewayWorld();
      const stepMs = sign * 5 * 365 * 24 * HOUR;
      world.authorize(cidr('old', '10.0.0.0/24'), { expiresIn: 60_000 });
      world.advance(20_000);
      world.gateway.handleWallClock(unixMillis(UNIX_ZERO + 20_000 + stepMs), world.now);
      world.authorize(cidr('new', '10.0.1.0/24'), { expiresIn: 20_000 + stepMs + 60_000 });
      world.advance(39_999);
      expect([canReach(world, '10.0.0.1', 1), canReach(world, '10.0.1.1', 1)]).toEqual([
        true,
        true,
      ]);
      world.advance(1);
      expect([canReach(world, '10.0.0.1', 1), canReach(world, '10.0.1.1', 1)]).toEqual([
        false,
        true,
      ]);
      world.advance(19_999);
      expect(canReach(world, '10.0.1.1', 1)).toBe(true);
      world.advance(1);
      expect(canReach(world, '10.0.1.1', 1)).toBe(false);
    },
  );

  test('a clock that is only slewed changes nothing', () => {
    const world = new GatewayWorld();
    world.gateway.handleWallClock(unixMillis(UNIX_ZERO + 999), world.now);
    world.authorize(cidr('lan', '10.0.0.0/24'), { expiresIn: 60_000 });
    world.advance(59_999);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    world.advance(1);
    expect(canReach(world, '10.0.0.1', 1)).toBe(false);
  });

  test.each([
    ['25 days', 25 * 24 * HOUR],
    ['90 days', 90 * 24 * HOUR],
    ['2^31 s', 2 ** 31 * 1_000],
    ['the year 9999', 253_402_300_799_000 - UNIX_ZERO],
  ])('DP-8: a grant for %s ends then and not before', (_, expiresIn) => {
    const world = new GatewayWorld();
    for (let i = 0; i < 300; i++) world.authorize(cidr(`r${i}`, '10.0.0.0/24'), { expiresIn });
    world.advance(1_000);
    expect(world.gateway.pollTimeout()).toBe(expiresIn);
    world.advance(expiresIn - 1_001);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    world.advance(1);
    expect(canReach(world, '10.0.0.1', 1)).toBe(false);
  });
});

describe('the sweep', () => {
  test('of many sessions is done in slices with pauses between them', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.authorize(dns('db', 'db.test'));
    world.setUp('db', 'db.test', ['100.96.0.1'], ['10.0.0.1']);
    for (let port = 1; port <= 3_000; port++) {
      const flow = { source: ip(ALICE.ipv4), destination: ip('100.96.0.1'), destinationPort: 443 };
      world.fromClient(writeTcpPacket({ ...flow, sourcePort: port, flags: 2 }));
    }
    const sessions = (): number => world.gateway.snapshot().clients[0]?.natSessions ?? -1;
    world.advance(60_000);
    expect(sessions()).toBeGreaterThan(0);
    let slices = 1;
    for (; sessions() > 0; slices++) {
      const next = world.gateway.pollTimeout() ?? Infinity;
      expect(next - world.now).toBe(2);
      world.advance(1);
      const before = sessions();
      world.advance(1);
      expect(before - sessions()).toBeLessThan(1_100);
    }
    expect(slices).toBeGreaterThan(2);
    expect(world.gateway.pollTimeout()).toBeUndefined();
  });
});

describe('the end of an authorization', () => {
  test('data-plane 15.1-P5: expiry is inclusive and by resource', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('a', '10.0.0.0/24', [tcp(1)]), { expiresIn: 1_000 });
    world.authorize(cidr('b', '10.0.0.0/24', [tcp(2)]), { expiresIn: 2_000 });
    expect(world.gateway.pollTimeout()).toBe(instant(1_000));
    world.advance(999);
    expect([canReach(world, '10.0.0.1', 1), canReach(world, '10.0.0.1', 2)]).toEqual([true, true]);
    world.advance(1);
    expect([canReach(world, '10.0.0.1', 1), canReach(world, '10.0.0.1', 2)]).toEqual([false, true]);
    expect(revocations(world.events())).toEqual(['alice/a expired']);
    world.advance(1_000);
    expect(world.link.calls.at(-1)).toBe('close alice 2');
    expect(world.gateway.pollTimeout()).toBeUndefined();
  });

  test('data-plane 15.1-P6: an expiry in the past holds until the next sweep', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('a', '10.0.0.0/24'), { expiresIn: -HOUR });
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    world.advance(0);
    expect(canReach(world, '10.0.0.1', 1)).toBe(false);
  });

  test('no expiry means never, and a far future is not now', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('a', '10.0.0.0/24', [tcp(1)]));
    world.authorize(cidr('b', '10.0.0.0/24', [tcp(2)]), { expiresIn: 1e15 });
    world.advance(1e12);
    expect([canReach(world, '10.0.0.1', 1), canReach(world, '10.0.0.1', 2)]).toEqual([true, true]);
  });

  test('reject_access works at once in both directions, and the last one says goodbye', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('a', '10.0.0.0/24'));
    world.authorize(cidr('b', '10.1.0.0/24'));
    world.revoke('a');
    expect([canReach(world, '10.0.0.1', 1), canBeReachedFrom(world, '10.0.0.1', 1)]).toEqual([
      false,
      false,
    ]);
    expect(world.link.calls.filter((call) => call.startsWith('close'))).toEqual([]);
    world.revoke('b');
    expect(world.link.calls.at(-1)).toBe('close alice 2');
    expect(world.gateway.snapshot().clients).toEqual([]);
    world.revoke('b');
    world.revoke('a', BOB);
  });

  test('resource_updated replaces filters of whoever has the resource, and nothing else', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]), { expiresIn: HOUR });
    world.authorize(cidr('lan', '10.0.0.0/24', [tcp(22)]), { client: BOB });
    world.portal({ event: 'resource_updated', payload: cidr('lan', '10.9.0.0/24', [tcp(80)]) });
    world.portal({ event: 'resource_updated', payload: cidr('other', '10.9.0.0/24') });
    world.portal({ event: 'resource_updated', payload: dns('lan', 'x.test') });
    for (const client of [ALICE, BOB]) {
      expect(canReach(world, '10.0.0.1', 80, client)).toBe(true);
      expect(canReach(world, '10.0.0.1', 22, client)).toBe(false);
      expect(canReach(world, '10.9.0.1', 80, client)).toBe(false);
    }
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 80)).toBe(false);
  });

  test('an expiry update moves the end; unknown ones are ignored', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'), { expiresIn: HOUR });
    const expiresAt = unixMillis(UNIX_ZERO + 2 * HOUR);
    const update = (client: string, resource: string): void =>
      world.portal({
        event: 'access_authorization_expiry_updated',
        payload: { clientId: clientId(client), resourceId: resourceId(resource), expiresAt },
      });
    update('alice', 'lan');
    update('alice', 'none');
    update('nobody', 'lan');
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 1)).toBe(false);
  });

  test('a client that says goodbye is forgotten and nothing is sent back', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    const { answers } = world.fromClient(writeControlPacket({ kind: 'goodbye' }));
    expect(answers).toEqual([]);
    expect(world.link.calls.at(-1)).toBe('forget alice');
    expect(revocations(world.events())).toEqual(['alice/lan client-left']);
  });

  test('a lost connection costs no authorization', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.link.events.push({
      kind: 'connection-failed',
      peer: peerId('alice'),
      reason: 'ice-disconnected',
    });
    world.advance(1);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    expect(world.events().at(-1)).toEqual({
      kind: 'client-disconnected',
      client: 'alice',
      reason: 'ice-disconnected',
    });
  });

  test('at shutdown everybody hears goodbye, and the portal is not listened to any more', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    world.gateway.shutDown(world.now);
    expect(world.link.calls.slice(-2)).toEqual(['close-all 2', 'release-relays']);
    expect(revocations(world.events())).toEqual(['alice/lan shut-down']);
    world.authorize(cidr('lan', '10.0.0.0/24'));
    expect(world.gateway.snapshot().clients).toEqual([]);
  });
});

describe('init', () => {
  test('data-plane 15.1-P20: revokes what is not listed, also of clients that are not listed at all, and sets the expiry of the rest', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('a', '10.0.0.0/24'), { expiresIn: HOUR });
    world.authorize(cidr('b', '10.1.0.0/24'), { expiresIn: HOUR });
    world.authorize(cidr('a', '10.0.0.0/24'), { client: BOB, expiresIn: HOUR });
    world.events();
    const payload = initPayload([
      { client: 'alice', resource: 'a', expiresIn: 2 * HOUR },
      { client: 'alice', resource: 'unknown', expiresIn: HOUR },
      { client: 'nobody', resource: 'a', expiresIn: HOUR },
    ]);
    world.portal({ event: 'init', payload });
    expect(revocations(world.events())).toEqual(['alice/b not-retained', 'bob/a not-retained']);
    expect(world.link.calls.at(-1)).toBe('close bob 2');
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 1)).toBe(true);
    world.advance(HOUR);
    expect(canReach(world, '10.0.0.1', 1)).toBe(false);
  });

  test('configures the interface each time; new addresses of the gateway reach existing clients', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    const init = initPayload([{ client: 'alice', resource: 'lan', expiresIn: HOUR }]);
    world.portal({
      event: 'init',
      payload: { ...init, interface: { ...init.interface, ipv4: ip('100.64.0.99') } },
    });
    expect(world.events()).toContainEqual({
      kind: 'configure-interface',
      addresses: { ipv4: '100.64.0.99', ipv6: 'fd00:2021:1111::2' },
    });
    const echo = (to: string): Uint8Array =>
      writeEchoPacket({
        source: ip(ALICE.ipv4),
        destination: ip(to),
        kind: 'request',
        identifier: 1,
        sequence: 1,
      });
    expect(world.fromClient(echo('100.64.0.99')).forwarded).toBeDefined();
    expect(world.fromClient(echo('100.64.0.2')).forwarded).toBeUndefined();
  });

  test('data-plane 15.1-P7: with no resource at all there is no client, with one the gateway itself can be pinged both ways', () => {
    const world = new GatewayWorld();
    world.authorize(dns('db', 'db.test', [tcp(1)]));
    const request = writeEchoPacket({
      source: ip(ALICE.ipv4),
      destination: ip('100.64.0.2'),
      kind: 'request',
      identifier: 1,
      sequence: 1,
    });
    const reply = writeEchoPacket({
      source: ip('100.64.0.2'),
      destination: ip(ALICE.ipv4),
      kind: 'reply',
      identifier: 1,
      sequence: 1,
    });
    expect(world.fromClient(request).forwarded).toBeDefined();
    expect(world.fromTun(reply).slot).toBe(0);
  });
});

describe('the portal connection', () => {
  test('capabilities are announced at each connect', () => {
    const world = new GatewayWorld();
    world.gateway.handlePortalConnected(world.now);
    expect(world.events()).toEqual([
      {
        kind: 'send-to-portal',
        message: { event: 'set_snownet_capabilities', payload: { iceless: true } },
      },
    ]);
  });

  test('candidates wait while it is away: additions first, what was withdrawn meanwhile is left out', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    world.gateway.handlePortalDisconnected(world.now);
    const peer = peerId('alice');
    const text = (port: number): string => `candidate:1 1 udp 1 192.0.2.9 ${port} typ host`;
    world.link.events.push({ kind: 'candidates-removed', peer, candidates: [text(3)] });
    world.link.events.push({ kind: 'candidates-added', peer, candidates: [text(1), text(2)] });
    world.link.events.push({ kind: 'candidates-removed', peer, candidates: [text(1)] });
    world.advance(1);
    expect(sentToPortal(world.events())).toEqual([]);
    world.gateway.handlePortalConnected(world.now);
    const messages = world
      .events()
      .flatMap((event) => (event.kind === 'send-to-portal' ? [event.message] : []));
    expect(messages.slice(1)).toEqual([
      {
        event: 'broadcast_ice_candidates',
        payload: { clientIds: ['alice'], candidates: [text(2)] },
      },
      {
        event: 'broadcast_invalidated_ice_candidates',
        payload: { clientIds: ['alice'], candidates: [text(3)] },
      },
    ]);
  });

  test('a connection that failed meanwhile takes its candidates along', () => {
    const world = new GatewayWorld();
    world.authorize(cidr('lan', '10.0.0.0/24'));
    world.events();
    world.gateway.handlePortalDisconnected(world.now);
    const peer = peerId('alice');
    world.link.events.push({
      kind: 'candidates-added',
      peer,
      candidates: ['candidate:1 1 udp 1 192.0.2.9 1 typ host'],
    });
    world.link.events.push({ kind: 'connection-failed', peer, reason: 'no-candidates' });
    world.advance(1);
    world.events();
    world.gateway.handlePortalConnected(world.now);
    expect(sentToPortal(world.events())).toEqual(['set_snownet_capabilities']);
  });

  test('candidates of clients and changes of relays go to the link', () => {
    const world = new GatewayWorld();
    const payload = { clientId: clientId('alice'), candidates: ['x', 'y'] };
    world.portal({ event: 'ice_candidates', payload });
    world.portal({ event: 'invalidate_ice_candidates', payload });
    world.portal({
      event: 'relays_presence',
      payload: { disconnectedIds: [relayId('r1')], connected: [] },
    });
    expect(world.link.calls.slice(1)).toEqual([
      'add alice x',
      'add alice y',
      'remove alice x',
      'remove alice y',
      'relays -r1 +',
    ]);
  });

  test('a link without relays asks the portal for some', () => {
    const world = new GatewayWorld();
    world.link.events.push({ kind: 'no-relays' });
    world.advance(1);
    expect(sentToPortal(world.events())).toEqual(['no_relays']);
  });
});
