// All roles together while somebody sends what he likes: from the network at random, and from inside as a client with access.

import { describe, expect, test } from 'vitest';
import { randomBelow, SeededRandom } from '../../src/base/random.ts';
import { writeControlPacket } from '../../src/wire/control/p2p-control.ts';
import { writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import { Mutator } from '../fuzz/engine/mutator.ts';
import { ip } from '../support/packets.ts';
import { type ClientMember, type GatewayMember, PairWorld } from '../support/pair-world.ts';
import { basePolicy } from '../support/portal-bench.ts';
import { type Datagram, ep } from '../support/virtual-network.ts';

const RELAY = '203.0.113.10:3478';

interface Lab {
  readonly world: PairWorld;
  readonly gateway: GatewayMember;
  readonly alice: ClientMember;
  readonly mallory: ClientMember;
}

/** Alice and Mallory, both with access to the same network and names. */
function lab(): Lab {
  const policy = basePolicy();
  policy.resources[1] = { ...policy.resources[1], address: '**.corp.test', filters: [] };
  policy.policies.push({ group: 'guests', resource: 'net' }, { group: 'guests', resource: 'git' });
  const world = new PairWorld(policy);
  world.addRelay(RELAY);
  const gateway = world.addGateway('gw-1', { host: '198.51.100.20:52625' });
  const alice = world.addClient('alice', { host: '192.0.2.10:52625' });
  const mallory = world.addClient('mallory', { host: '192.0.2.66:52625' }, 'bob-token');
  for (const client of [alice, mallory])
    expect(reaches(world, client, '10.20.0.5', 'hello')).toBe(true);
  return { world, gateway, alice, mallory };
}

function reaches(world: PairWorld, client: ClientMember, to: string, text: string): boolean {
  client.send(to, text);
  return world.runUntil(() => client.texts().includes(text.toUpperCase()), 10_000);
}

/** A datagram of Mallory's making, past every check of her own client. */
function fromMallory({ mallory, world }: Lab, inner: Uint8Array): void {
  const sent = mallory.host.sealForGateway(inner);
  if (!sent) throw new Error('mallory is not connected');
  world.run(20);
}

describe('from the network', () => {
  test('mutated copies of everything that was ever sent, from anywhere to anyone, end nothing', () => {
    const { world, alice, gateway } = lab();
    const random = new SeededRandom(11);
    const mutator = new Mutator(11, []);
    const seen: Datagram[] = [...world.network.sent];
    const targets = ['198.51.100.20:52625', '192.0.2.10:52625', RELAY].map(ep);
    const sources = ['192.0.2.66:52625', '203.0.113.200:9', '198.51.100.20:52625', RELAY].map(ep);
    for (let round = 0; round < 3_000; round++) {
      const original = seen[randomBelow(random, seen.length)];
      const destination = targets[randomBelow(random, targets.length)];
      const source = sources[randomBelow(random, sources.length)];
      if (!original || !destination || !source) throw new Error('no datagram');
      const isReplay = round % 4 === 0;
      const payload = isReplay ? original.payload : mutator.mutated(original.payload);
      world.network.send({ source, destination, payload });
      if (round % 50 === 0) world.run(25);
    }
    world.run(5_000);
    expect(reaches(world, alice, '10.20.0.5', 'still here')).toBe(true);
    expect(gateway.delivered.filter(({ text }) => text === 'hello')).toHaveLength(2);
    expect(alice.states).not.toContain('connection-failed');
  });

  test('a network that loses, doubles and reorders delivers each packet at most once', () => {
    const { world, alice, gateway } = lab();
    const random = new SeededRandom(5);
    const { network } = world;
    network.isDelivered = (datagram) => {
      network.latencyMs = 5 + randomBelow(random, 40);
      const chance = randomBelow(random, 100);
      if (chance < 10) network.redeliver(datagram);
      return chance >= 5;
    };
    for (let i = 0; i < 200; i++) {
      alice.send('10.20.0.5', `number ${i}`);
      world.run(10);
    }
    world.run(2_000);
    const texts = gateway.delivered.map(({ text }) => text).filter((text) => text.startsWith('n'));
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts.length).toBeGreaterThan(150);
    network.isDelivered = () => true;
    expect(reaches(world, alice, '10.20.0.5', 'after the storm')).toBe(true);
  });
});

describe('a client with access that breaks all rules', () => {
  test('reaches nothing under a foreign or impossible source', () => {
    const attack = lab();
    const { gateway, alice, mallory } = attack;
    const before = gateway.delivered.length;
    for (const source of [
      alice.ipv4,
      '10.20.0.9',
      '127.0.0.1',
      '0.0.0.0',
      '100.64.0.0',
      '255.255.255.255',
    ]) {
      fromMallory(attack, udp(source, '10.20.0.5', 'spoofed'));
    }
    for (const source of [alice.ipv6, '::1', '::', 'fe80::1']) {
      fromMallory(attack, udp(source, 'fd00:2021:1111:8000::', 'spoofed'));
    }
    for (const destination of [
      '10.21.0.1',
      '127.0.0.1',
      '169.254.169.254',
      '224.0.0.1',
      '100.96.0.1',
      alice.ipv4,
    ]) {
      fromMallory(attack, udp(mallory.ipv4, destination, 'outside'));
    }
    expect(gateway.delivered.length).toBe(before);
    expect(alice.texts()).toEqual(['HELLO']);
  });

  test('does not take over what another has set up, nor its proxy addresses', () => {
    const attack = lab();
    const { world, gateway, alice, mallory } = attack;
    gateway.names.set('git.corp.test', ['10.2.0.40']);
    gateway.names.set('evil.corp.test', ['10.2.0.66']);
    const [proxy = ''] = alice.resolve('git.corp.test');
    expect(reaches(world, alice, proxy, 'alice to git')).toBe(true);
    gateway.names.set('x.corp.test', ['10.2.0.50']);
    const [own = ''] = mallory.resolve('x.corp.test');
    expect(reaches(world, mallory, own, 'mallory')).toBe(true);
    fromMallory(attack, assignedIps('evil.corp.test', [proxy]));
    world.run(1_000);
    expect(reaches(world, alice, proxy, 'alice again')).toBe(true);
    expect(gateway.delivered.at(-1)?.destination).toBe('10.2.0.40');
  });

  test('a flood of names, packets and errors leaves room for the other', () => {
    const attack = lab();
    const { world, gateway, alice, mallory } = attack;
    mallory.resolve('x.corp.test');
    mallory.send('100.96.0.1', 'asks for the names');
    world.run(1_000);
    for (let i = 0; i < 3_000; i++) {
      const proxy = `100.${96 + (i >> 14)}.${(i >> 6) & 63}.${(i * 4) & 255}`;
      mallory.host.sealForGateway(assignedIps(`name-${i}.corp.test`, [proxy]));
      mallory.host.sealForGateway(udp(mallory.ipv4, '10.99.0.1', 'refused'));
    }
    gateway.names.set('git.corp.test', ['10.2.0.40']);
    const [proxy = ''] = alice.resolve('git.corp.test');
    expect(reaches(world, alice, proxy, 'me too')).toBe(true);
    const { domainQueries, clients } = gateway.host.role.snapshot();
    expect(domainQueries.running + domainQueries.waiting).toBeLessThanOrEqual(64 + 1_024);
    expect(clients.every(({ translations }) => translations <= 32_768)).toBe(true);
  });

  test('says goodbye for itself only', () => {
    const attack = lab();
    const { world, alice, mallory } = attack;
    fromMallory(attack, writeControlPacket({ kind: 'goodbye' }));
    world.run(500);
    expect(reaches(world, alice, '10.20.0.5', 'not me')).toBe(true);
    // Her own client knows nothing of it, and finds out when the gateway is silent.
    for (let i = 0; i < 30 && !mallory.texts().includes('ME AGAIN'); i++) {
      mallory.send('10.20.0.5', 'me again');
      world.run(1_000);
    }
    expect(mallory.texts()).toContain('ME AGAIN');
  });
});

function assignedIps(domain: string, proxies: readonly string[]): Uint8Array {
  const resource = '10000000-0000-4000-8000-000000000002';
  return writeControlPacket({ kind: 'assigned-ips', resource, domain, proxyIps: proxies.map(ip) });
}

function udp(source: string, destination: string, text: string): Uint8Array {
  return writeUdpPacket({
    source: ip(source),
    destination: ip(destination),
    hopLimit: 64,
    sourcePort: 40_000,
    destinationPort: 4_000,
    payload: new TextEncoder().encode(text),
  });
}
