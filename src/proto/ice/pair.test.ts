// Two agents over NATs and relays: what they settle on, when, and with how many messages (connectivity 4.7, 11.5 to 11.16).
//
//   client 10.0.0.2 -- [NAT 198.51.100.7] --+-- internet --+-- [NAT 203.0.113.7] -- gateway 192.168.1.5
//                relays at 192.0.2.9 (client's) and 192.0.2.10 (gateway's)

import { describe, expect, it } from 'vitest';
import { IcePeer, IceWorld, type PeerOptions } from '../../../test/support/ice-world.ts';
import {
  ep,
  FULL_CONE,
  type Nat,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNetwork,
} from '../../../test/support/virtual-network.ts';
import { SeededRandom } from '../../base/random.ts';
import { instant } from '../../base/time.ts';
import { parseStun } from '../../wire/stun/message.ts';

const CLIENT = { host: '198.51.100.1:52625' };
const GATEWAY = { host: '203.0.113.1:52625' };
const CLIENT_RELAY = '192.0.2.9:50000';
const GATEWAY_RELAY = '192.0.2.10:60000';
type NatKind = typeof FULL_CONE | typeof PORT_RESTRICTED | typeof SYMMETRIC | undefined;

function behind(client: NatKind, gateway: NatKind): { world: IceWorld; nats: (Nat | undefined)[] } {
  const network = new VirtualNetwork();
  const left = client && network.addNat({ publicAddress: '198.51.100.7', ...client });
  const right = gateway && network.addNat({ publicAddress: '203.0.113.7', ...gateway });
  const ours: PeerOptions = left
    ? { host: '10.0.0.2:52625', nat: left, relay: CLIENT_RELAY }
    : { ...CLIENT, relay: CLIENT_RELAY };
  const theirs: PeerOptions = right
    ? { host: '192.168.1.5:52625', nat: right, relay: GATEWAY_RELAY }
    : { ...GATEWAY, relay: GATEWAY_RELAY };
  return { world: IceWorld.connect(network, ours, theirs), nats: [left, right] };
}

/** Both use the same pair, seen from both ends. */
function agreement(world: IceWorld): string {
  const { client, gateway } = world;
  expect(['connected', 'completed']).toContain(client.agent.state);
  expect(['connected', 'completed']).toContain(gateway.agent.state);
  return `${client.kinds} ${gateway.kinds}`;
}

describe('two hosts without NAT', () => {
  it('settle in two round trips, with few messages', () => {
    const world = IceWorld.connect(new VirtualNetwork(), CLIENT, GATEWAY);
    world.runFor(100);
    const { client, gateway, network } = world;
    expect(client.events.filter(({ kind }) => kind === 'nominated')).toMatchObject([{ at: 20 }]);
    expect(gateway.events.filter(({ kind }) => kind === 'nominated')).toMatchObject([{ at: 30 }]);
    expect(client.states).toEqual(['checking', 'completed']);
    expect(gateway.states).toEqual(['checking', 'completed']);
    // Each checks once, once more because the other's check arrived (it cannot know that its own did), and once for the
    // nomination; each of the six requests has one answer.
    expect(network.sent).toHaveLength(12);
    expect(client.checks.map(({ at }) => at)).toEqual([0, 10, 20]);
    expect(gateway.checks.map(({ at }) => at)).toEqual([0, 10, 30]);
  });

  it('nominate before the peer knows, so that the first data may go at once', () => {
    const world = IceWorld.connect(new VirtualNetwork(), CLIENT, GATEWAY);
    world.runUntil(instant(20));
    expect(world.client.path).toBe('198.51.100.1:52625>203.0.113.1:52625');
    expect(world.gateway.path).toBeUndefined();
  });

  it('use IPv6 where both have it', () => {
    const world = IceWorld.connect(new VirtualNetwork(), CLIENT, GATEWAY);
    const [left, right] = [ep('[2001:db8::1]:52625'), ep('[2001:db8::2]:52625')];
    for (const [peer, address] of [
      [world.client, left],
      [world.gateway, right],
    ] as const) {
      world.network.attach(address, undefined, (datagram, now) => {
        const message = parseStun(datagram.payload);
        const path = { source: datagram.source, local: datagram.destination };
        if (message) peer.agent.handleStun(message, path, now);
      });
      const other = peer === world.client ? world.gateway : world.client;
      const added = peer.agent.addLocalCandidate(
        { kind: 'host', address, base: address },
        world.now,
      );
      peer.signalTo(other, added ? [added] : []);
    }
    world.runFor(1000);
    expect(world.client.path).toBe('[2001:db8::1]:52625>[2001:db8::2]:52625');
    expect(world.gateway.path).toBe('[2001:db8::2]:52625>[2001:db8::1]:52625');
  });
});

describe('NATs', () => {
  it.each<[string, NatKind, NatKind, string]>([
    ['no NAT, no NAT', undefined, undefined, 'host-host host-host'],
    ['full-cone client', FULL_CONE, undefined, 'host-host host-srflx'],
    ['port-restricted client', PORT_RESTRICTED, undefined, 'host-host host-srflx'],
    ['symmetric client', SYMMETRIC, undefined, 'host-host host-prflx'],
    ['port-restricted gateway', undefined, PORT_RESTRICTED, 'host-srflx host-host'],
    ['symmetric gateway', undefined, SYMMETRIC, 'host-prflx host-host'],
    ['full-cone both', FULL_CONE, FULL_CONE, 'host-srflx host-srflx'],
    ['port-restricted both', PORT_RESTRICTED, PORT_RESTRICTED, 'host-srflx host-srflx'],
    ['symmetric client, full-cone gateway', SYMMETRIC, FULL_CONE, 'host-srflx host-prflx'],
    ['full-cone client, symmetric gateway', FULL_CONE, SYMMETRIC, 'host-prflx host-srflx'],
  ])('%s: a direct path', (_name, client, gateway, expected) => {
    const { world } = behind(client, gateway);
    world.runFor(10_000);
    expect(agreement(world)).toBe(expected);
  });

  it.each<[string, NatKind, NatKind]>([
    ['symmetric both', SYMMETRIC, SYMMETRIC],
    ['symmetric client, port-restricted gateway', SYMMETRIC, PORT_RESTRICTED],
    ['port-restricted client, symmetric gateway', PORT_RESTRICTED, SYMMETRIC],
  ])('%s: one relay, never two', (_name, client, gateway) => {
    const { world } = behind(client, gateway);
    world.runFor(10_000);
    const kinds = agreement(world);
    expect(kinds).toMatch(/relayed/);
    expect(kinds).not.toMatch(/relayed-relayed/);
  });

  it('of both sides with both relays unreachable from outside but to each other: two relays', () => {
    const { world } = behind(SYMMETRIC, SYMMETRIC);
    const relays = [CLIENT_RELAY, GATEWAY_RELAY];
    world.network.isDelivered = ({ source, destination }) =>
      relays.includes(source.key) && relays.includes(destination.key);
    world.runFor(10_000);
    expect(agreement(world)).toBe('relayed-relayed relayed-relayed');
  });
});

describe('a relay reached over the same family', () => {
  it.each(['controlling', 'controlled'] as const)('wins, the client being %s', (role) => {
    const gatewayRole = role === 'controlling' ? 'controlled' : 'controlling';
    const world = new IceWorld(
      new VirtualNetwork(),
      { ...CLIENT, role },
      { ...GATEWAY, role: gatewayRole },
    );
    const { client, gateway } = world;
    const infos = [client.allocate('192.0.2.8:1', 6), client.allocate(CLIENT_RELAY, 4)];
    const ours = infos.flatMap((info) => client.agent.addLocalCandidate(info, world.now) ?? []);
    const theirs = gateway.gather(GATEWAY);
    client.signalTo(gateway, ours);
    gateway.signalTo(client, theirs);
    world.runFor(1000);
    expect(client.path).toBe(`${CLIENT_RELAY}>${gateway.host.key}`);
    expect(gateway.path).toBe(`${gateway.host.key}>${CLIENT_RELAY}`);
  });
});

describe('a better pair that works later', () => {
  it('is nominated, and the controlled side follows', () => {
    const network = new VirtualNetwork();
    const world = new IceWorld(network, { ...CLIENT }, { ...GATEWAY });
    const { client, gateway } = world;
    const relayed = client.agent.addLocalCandidate(client.allocate(CLIENT_RELAY), world.now);
    const theirs = gateway.gather(GATEWAY);
    client.signalTo(gateway, relayed ? [relayed] : []);
    gateway.signalTo(client, theirs);
    world.runFor(1000);
    expect(agreement(world)).toBe('relayed-host host-relayed');
    client.signalTo(gateway, client.gather(CLIENT));
    world.runFor(1000);
    expect(agreement(world)).toBe('host-host host-host');
    expect(client.states).not.toContain('disconnected');
    expect(gateway.states).not.toContain('disconnected');
  });

  it('is returned from at once when its candidate is removed, by either side', () => {
    for (const isClientFirst of [true, false]) {
      const { world } = behind(undefined, undefined);
      world.runFor(5000);
      expect(agreement(world)).toBe('host-host host-host');
      const { client, gateway } = world;
      const [first, second] = isClientFirst ? [client, gateway] : [gateway, client];
      const removed = first.agent.removeLocalCandidate(
        { kind: 'host', address: first.host, base: first.host },
        world.now,
      );
      if (removed) second.agent.removeRemoteCandidate(removed, world.now);
      const before = world.now;
      client.drain();
      const nominated = client.events.findLast(({ kind }) => kind === 'nominated');
      expect(nominated?.at).toBe(before);
      world.runFor(1000);
      expect(agreement(world)).toMatch(/^(relayed-host host-relayed|host-relayed relayed-host)$/);
    }
  });
});

describe('a path that dies while another works', () => {
  it('is left by the controlled side also for one of the same priority: a client that begins anew, with the same credentials and another relay', () => {
    const network = new VirtualNetwork();
    const world = new IceWorld(network, { ...CLIENT }, { ...GATEWAY });
    const { gateway } = world;
    const theirs = gateway.gather(GATEWAY);
    const connect = (client: IcePeer, relay: string): void => {
      const relayed = client.agent.addLocalCandidate(client.allocate(relay), world.now);
      client.signalTo(gateway, relayed ? [relayed] : []);
      gateway.signalTo(client, theirs);
    };
    connect(world.client, CLIENT_RELAY);
    world.runFor(1_000);
    expect(gateway.path).toBe(`${gateway.host.key}>${CLIENT_RELAY}`);
    network.isDelivered = ({ destination }) => destination.key !== CLIENT_RELAY;
    world.client = new IcePeer(network, true, { ...CLIENT, host: '198.51.100.2:52625', seed: 9 });
    connect(world.client, '192.0.2.11:50002');
    world.runFor(20_000);
    expect(gateway.path).toBe(`${gateway.host.key}>192.0.2.11:50002`);
  });

  it('is left by the controlled side as soon as the controlling side leaves it, and taken up again with it', () => {
    const { world } = behind(PORT_RESTRICTED, PORT_RESTRICTED);
    world.runFor(5_000);
    const { gateway, network } = world;
    const publicAddresses = ['198.51.100.7', '203.0.113.7'];
    const isDirect = (address: string): boolean => publicAddresses.includes(address);
    const direct = '192.168.1.5 198.51.100.7';
    const path = (): string | undefined =>
      gateway.events
        .flatMap((event) => {
          if (event.kind !== 'nominated') return [];
          return [`${event.local.address} ${event.remote.address}`];
        })
        .at(-1);
    expect(path()).toBe(direct);
    const deadSince = network.now;
    network.isDelivered = ({ source, destination }) =>
      !(isDirect(destination.address) && !source.address.startsWith('192.0.2.'));
    world.runFor(19_000);
    expect(path()).toContain('192.0.2.');
    const leftAt = gateway.events.findLast(({ kind }) => kind === 'nominated')?.at ?? network.now;
    expect(leftAt - deadSince).toBeLessThan(16_500 + 1_600);
    network.isDelivered = () => true;
    world.runFor(20_000);
    expect(path()).toBe(direct);
  });
});

describe('a removed candidate', () => {
  it('connects again when it is added again', () => {
    const world = IceWorld.connect(new VirtualNetwork(), CLIENT, GATEWAY);
    world.runFor(1000);
    const { client, gateway } = world;
    const info = { kind: 'host' as const, address: client.host, base: client.host };
    const removed = client.agent.removeLocalCandidate(info, world.now);
    if (removed) gateway.agent.removeRemoteCandidate(removed, world.now);
    world.runFor(1000);
    expect([client.agent.state, gateway.agent.state]).toEqual(['disconnected', 'disconnected']);
    const again = client.agent.addLocalCandidate(info, world.now);
    client.signalTo(gateway, again ? [again] : []);
    world.runFor(1000);
    expect(agreement(world)).toBe('host-host host-host');
  });
});

describe('a peer-reflexive candidate', () => {
  it.each([5, 15, 25, 35, 500])(
    'is identified by the signalled one after %i ms without a break',
    (delay) => {
      const world = new IceWorld(new VirtualNetwork(), CLIENT, GATEWAY);
      const { client, gateway } = world;
      const ours = client.gather(CLIENT);
      gateway.signalTo(client, gateway.gather(GATEWAY));
      world.runFor(delay);
      client.signalTo(gateway, ours);
      world.runFor(1000);
      expect(client.states).toEqual(['checking', 'completed']);
      expect(gateway.states).toEqual(['checking', 'completed']);
      expect(gateway.agent.snapshot().pairs).toMatchObject([
        { remoteKind: 'host', nomination: 'success', isSelected: true },
      ]);
      expect(gateway.events.filter(({ kind }) => kind === 'nominated')).toHaveLength(1);
    },
  );
});

describe('roles', () => {
  it.each(['controlling', 'controlled'] as const)('that are both %s are settled', (role) => {
    for (let seed = 1; seed <= 10; seed++) {
      const network = new VirtualNetwork();
      const world = IceWorld.connect(
        network,
        { ...CLIENT, role, seed },
        { ...GATEWAY, role, seed: seed + 100 },
      );
      world.runFor(5000);
      const roles = [world.client.agent.role, world.gateway.agent.role];
      expect(roles.toSorted()).toEqual(['controlled', 'controlling']);
      expect(agreement(world)).toBe('host-host host-host');
    }
  });
});

describe('the same seed', () => {
  it('gives the same bytes', () => {
    const run = (): string => {
      const { world } = behind(SYMMETRIC, PORT_RESTRICTED);
      world.runFor(20_000);
      return JSON.stringify(world.network.sent.map(({ at, payload }) => [at, [...payload]]));
    };
    expect(run()).toBe(run());
  });
});

describe('loss', () => {
  it('of a third of all datagrams does not keep them apart', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = IceWorld.connect(new VirtualNetwork(), CLIENT, GATEWAY);
      const random = new SeededRandom(seed);
      world.network.isDelivered = () => random.next() > 0.33;
      world.runFor(14_000);
      expect(agreement(world)).toBe('host-host host-host');
    }
  });

  it('of the first check at the peer’s NAT is made up for as soon as the peer is heard', () => {
    const network = new VirtualNetwork();
    const nat = network.addNat({ publicAddress: '203.0.113.7', ...PORT_RESTRICTED });
    const theirs = { host: '192.168.1.5:52625', nat };
    const world = new IceWorld(network, CLIENT, theirs);
    const [ours, candidates] = [world.client.gather(CLIENT), world.gateway.gather(theirs)];
    world.gateway.signalTo(world.client, candidates);
    world.runFor(15); // The client's first check has arrived, before the gateway's NAT knew the client.
    world.client.signalTo(world.gateway, ours);
    world.runFor(100);
    const nominated = world.client.events.find(({ kind }) => kind === 'nominated');
    expect(nominated?.at).toBe(45); // Heard at 25, checked at once, answered 20 later; not at 250.
  });
});

describe('clients that come late', () => {
  it('find a gateway that has been trying for long', () => {
    const world = new IceWorld(new VirtualNetwork(), CLIENT, GATEWAY);
    const { client, gateway } = world;
    const ours = client.gather(CLIENT);
    client.signalTo(gateway, ours);
    const theirs = gateway.gather(GATEWAY);
    world.runFor(8000);
    gateway.signalTo(client, theirs);
    world.runFor(100);
    expect(agreement(world)).toBe('host-prflx host-host');
  });
});

describe('equal priorities', () => {
  it('do not make the controlling side move', () => {
    const world = new IceWorld(new VirtualNetwork(), CLIENT, GATEWAY);
    const { client, gateway } = world;
    client.signalTo(gateway, client.gather(CLIENT));
    const [theirs] = gateway.gather(GATEWAY);
    if (!theirs) throw new Error('no candidate');
    gateway.signalTo(client, [theirs]);
    world.runFor(1000);
    const twin = ep('203.0.113.2:52625');
    world.network.attach(twin, undefined, (datagram, now) => {
      const message = parseStun(datagram.payload);
      const path = { source: datagram.source, local: twin };
      if (message) gateway.agent.handleStun(message, path, now);
    });
    gateway.agent.addLocalCandidate({ kind: 'host', address: twin, base: twin }, world.now);
    gateway.signalTo(client, [{ ...theirs, address: twin, base: twin }]);
    world.runFor(1000);
    const { pairs } = client.agent.snapshot();
    expect(pairs.map(({ checkState }) => checkState)).toEqual(['succeeded', 'succeeded']);
    expect(new Set(pairs.map(({ priority }) => priority)).size).toBe(1);
    expect(client.events.filter(({ kind }) => kind === 'nominated')).toHaveLength(1);
  });
});
