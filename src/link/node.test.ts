// Two nodes without relays on a virtual network: set-up, data by the batch path, reuse, replacement, candidates, reset.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { CLIENT, directWorld, GATEWAY } from '../../test/support/link-world.ts';
import { PORT_RESTRICTED, VirtualNetwork } from '../../test/support/virtual-network.ts';

const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'hello');
const ANSWER = udpPacket('10.0.0.5', '100.64.0.1', 'hello yourself');

describe('setting up', () => {
  test('one authorization establishes a direct connection, and data goes both ways', () => {
    const world = directWorld();
    expect(world.authorize()).toBe('created');
    expect(world.runUntil(() => world.isConnected, 2_000)).toBe(true);
    expect(world.client.send(GATEWAY, REQUEST)).toBe('bulk');
    world.run(100);
    expect(world.gateway.send(CLIENT, ANSWER)).toBe('bulk');
    world.run(100);
    expect(world.gateway.packets).toEqual([REQUEST]);
    expect(world.client.packets).toEqual([ANSWER]);
    expect(world.gateway.of('path-changed').map(({ path }) => path.kind)).toEqual(['direct']);
  });

  test('a client behind a NAT reaches a public gateway by a peer-reflexive address', () => {
    const network = new VirtualNetwork();
    const nat = network.addNat({ ...PORT_RESTRICTED, publicAddress: '203.0.113.7' });
    const world = directWorld({ client: nat }, network);
    expect(world.connect()).toBe(true);
    const [path] = world.gateway.of('path-changed');
    expect(path?.path.remote.address).toBe('203.0.113.7');
    world.gateway.send(CLIENT, ANSWER);
    world.run(100);
    expect(world.client.packets).toEqual([ANSWER]);
  });

  test('it takes few datagrams: the handshake is answered before the path is nominated', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    const types = world.network.sent
      .filter(({ payload }) => payload[1] === 0)
      .map(({ payload }) => payload[0]);
    expect(types).toEqual([1, 2, 4]);
    const answered = world.network.sent.find(
      ({ payload }) => payload.length === 92 && payload[0] === 2,
    );
    const initiated = world.network.sent.find(({ payload }) => payload.length === 148);
    expect(Number(answered?.at) - Number(initiated?.at)).toBe(world.network.latencyMs);
  });

  test('output that waits makes the next deadline now', () => {
    const world = directWorld();
    const { node } = world.gateway;
    expect(node.pollTimeout()).toBeUndefined();
    node.upsertConnection(world.terms('gateway'), world.network.now);
    expect(node.pollTimeout()).toBe(world.network.now);
  });

  test('the first packets of the gateway are not lost while the handshake completes', () => {
    const world = directWorld();
    const { gateway, network } = world;
    // The first response is lost: the path is there before the session.
    network.isDelivered = ({ payload }) => payload[0] !== 2;
    world.authorize();
    world.runUntil(() => gateway.node.connectionState(CLIENT) === 'connected', 2_000);
    network.isDelivered = () => true;
    expect(gateway.send(CLIENT, ANSWER)).toBe('waiting');
    world.run(300);
    expect(world.client.packets).toEqual([ANSWER]);
  });

  test('without a path a packet is refused', () => {
    const world = directWorld();
    expect(world.gateway.send(CLIENT, ANSWER)).toBe('unknown-peer');
    world.authorize();
    expect(world.gateway.send(CLIENT, ANSWER)).toBe('still-connecting');
  });
});

describe('the batch path', () => {
  test('a run of several messages is opened at once and chained', () => {
    const world = directWorld();
    world.connect();
    const packets = ['one', 'two', 'six'].map((text) => udpPacket('100.64.0.1', '10.0.0.5', text));
    world.network.isDelivered = () => false;
    for (const packet of packets) world.client.send(GATEWAY, packet);
    const run = world.network.sent.slice(-3);
    const destination = world.gateway.host;
    world.gateway.receive(
      run.map((datagram) => ({ ...datagram, destination })),
      world.network.now,
    );
    expect(world.gateway.packets.length).toBeGreaterThan(0);
    expect(world.gateway.node.snapshot().drops).toEqual({});
  });

  test('a message that was received before is not delivered again', () => {
    const world = directWorld();
    world.connect();
    world.client.send(GATEWAY, REQUEST);
    const sealed = world.network.sent.at(-1);
    world.run(50);
    if (sealed) world.gateway.receive([sealed, sealed], world.network.now);
    expect(world.gateway.packets).toEqual([REQUEST]);
  });

  test('a datagram foreign to its run is looked at by itself', () => {
    const world = directWorld();
    world.connect();
    world.network.isDelivered = () => false;
    world.client.send(GATEWAY, REQUEST);
    const good = world.network.sent.at(-1);
    if (!good) throw new Error('nothing was sent');
    const foreign = { ...good, payload: good.payload.slice() };
    foreign.payload.fill(0xee, 4, 8);
    const forged = { ...good, payload: good.payload.slice() };
    forged.payload.fill(0, 20);
    world.gateway.receive([good, foreign, forged], world.network.now);
    expect(world.gateway.packets).toEqual([REQUEST]);
    const { drops } = world.gateway.node.snapshot();
    expect(drops).toMatchObject({ 'unknown-index': 1, 'not-authenticated': 1 });
  });
});

describe('authorizing again', () => {
  test('the same terms reuse the connection and signal all candidates again', () => {
    const world = directWorld();
    world.connect();
    const before = world.gateway.of('candidates-added');
    expect(world.authorize()).toBe('reused');
    world.run(100);
    const after = world.gateway.of('candidates-added');
    expect(after.length).toBe(before.length + 1);
    expect(after.at(-1)?.candidates).toEqual(before[0]?.candidates);
    expect(world.client.kinds()).not.toContain('connection-closed');
    world.client.send(GATEWAY, REQUEST);
    world.run(100);
    expect(world.gateway.packets).toEqual([REQUEST]);
  });

  test('a reusing client starts one handshake, but not within 20 s of the last', () => {
    const world = directWorld();
    world.connect();
    const initiations = (): number =>
      world.network.sent.filter(({ payload }) => payload[0] === 1 && payload.length === 148).length;
    world.authorize();
    world.run(1_000);
    expect(initiations()).toBe(1);
    world.run(20_000);
    world.authorize();
    world.run(1_000);
    expect(initiations()).toBe(2);
  });

  test.each(['preshared key', 'credentials', 'public key'])(
    'another %s replaces the connection',
    (what) => {
      const world = directWorld();
      world.connect();
      const terms = world.terms('gateway');
      const other = {
        'preshared key': { presharedKey: new Uint8Array(32).fill(9) },
        credentials: {
          remoteCredentials: { ...terms.remoteCredentials, password: 'x'.repeat(22) },
        },
        'public key': { remotePublicKey: new Uint8Array(32).fill(9) },
      }[what];
      const { gateway, network } = world;
      expect(gateway.node.upsertConnection({ ...terms, ...other }, network.now)).toBe('replaced');
      expect(gateway.node.connectionState(CLIENT)).toBe('connecting');
      gateway.drain(network.now);
      expect(gateway.kinds()).not.toContain('connection-closed');
      // What is still under way for the old one is told apart from a stranger's.
      world.client.send(GATEWAY, REQUEST);
      network.now = (network.nextArrival() ?? network.now) as typeof network.now;
      network.deliver();
      expect(gateway.node.snapshot().drops).toMatchObject({ 'recently-disconnected': 1 });
    },
  );

  test('without a relay and without own addresses nothing is changed', () => {
    const world = directWorld();
    world.connect();
    world.gateway.node.setLocalAddresses([], world.network.now);
    expect(world.authorize()).toBe('no-relays');
    expect(world.gateway.node.connectionState(CLIENT)).toBe('connected');
  });
});

describe('candidates', () => {
  test('are signalled with the fragment of their owner, and later addresses too', () => {
    const world = directWorld();
    world.connect();
    const ufrag = world.terms('gateway').localCredentials.ufrag;
    const [first] = world.gateway.of('candidates-added');
    expect(first?.candidates).toEqual([
      expect.stringMatching(
        new RegExp(`^candidate:\\S+ 1 udp 2130706175 198.51.100.20 52625 typ host ufrag ${ufrag}$`),
      ),
    ]);
    const { gateway, network } = world;
    const another = { ...gateway.host, address: '198.51.100.21', key: '198.51.100.21:52625' };
    gateway.node.setLocalAddresses([gateway.host, another as typeof gateway.host], network.now);
    gateway.drain(network.now);
    expect(
      gateway
        .of('candidates-added')
        .at(-1)
        ?.candidates.map((text) => text.split(' ')[4]),
    ).toEqual(['198.51.100.21']);
  });

  test('that cannot be read, or are for nobody, are counted and dropped', () => {
    const world = directWorld();
    const { node } = world.gateway;
    node.addRemoteCandidate(CLIENT, 'candidate:1 1 udp 1 192.0.2.1 1 typ host', world.network.now);
    world.authorize();
    node.addRemoteCandidate(CLIENT, 'nonsense', world.network.now);
    expect(node.snapshot().drops).toEqual({
      'candidate-for-unknown-peer': 1,
      'malformed-candidate': 1,
    });
  });

  test('of a reflexive address the host port is tried too, twice per call and only for IPv4', () => {
    const world = directWorld();
    world.authorize();
    const { node } = world.gateway;
    const add = (kind: string, address: string, port: number): void =>
      node.addRemoteCandidate(
        CLIENT,
        `candidate:1 1 udp 1 ${address} ${port} typ ${kind}`,
        world.network.now,
      );
    const remotes = (): string[] =>
      (node.snapshot().connections[0]?.ice?.remoteCandidates ?? [])
        .map(({ address }) => address.key)
        .sort();
    add('host', '192.168.1.2', 52625);
    add('host', '2001:db8::2', 52625);
    add('host', '192.168.2.2', 1111);
    add('host', '192.168.3.2', 2222);
    add('srflx', '203.0.113.7', 4001);
    expect(remotes().filter((key) => key.startsWith('203.0.113.7'))).toEqual([
      '203.0.113.7:1111',
      '203.0.113.7:4001',
      '203.0.113.7:52625',
    ]);
    add('srflx', '2001:db8:1::7', 4001);
    expect(remotes().filter((key) => key.startsWith('[2001:db8:1::7]'))).toEqual([
      '[2001:db8:1::7]:4001',
    ]);
    expect(remotes()).toContain('203.0.113.7:2222');
  });

  test('a peer cannot take a candidate of ours away, even with the same private address', () => {
    const world = directWorld();
    world.connect();
    const { node, host } = world.gateway;
    node.removeRemoteCandidate(
      CLIENT,
      `candidate:1 1 udp 2130706175 ${host.address} ${host.port} typ host`,
      world.network.now,
    );
    expect(node.snapshot().connections[0]?.ice?.localCandidates).toHaveLength(1);
    world.client.send(GATEWAY, REQUEST);
    world.run(100);
    expect(world.gateway.packets).toEqual([REQUEST]);
  });
});

describe('reset', () => {
  test('makes a new key, closes all connections, and the next authorization replaces the stale one', () => {
    const world = directWorld();
    world.connect();
    const { client, gateway, network } = world;
    const oldKey = client.node.publicKey;
    client.node.reset(network.now);
    client.drain(network.now);
    expect(client.node.publicKey).not.toEqual(oldKey);
    expect(client.kinds().at(-1)).toBe('connection-closed');
    expect(client.node.hasConnection(GATEWAY)).toBe(false);
    expect(client.node.snapshot().tables).toMatchObject({
      connections: 0,
      usernames: 0,
      sessions: 0,
    });

    client.move('192.0.2.99:40000');
    client.node.setLocalAddresses([client.host], network.now);
    client.events.length = 0;
    world.forgetEvents();
    expect(world.authorize()).toBe('replaced');
    const isBack = (): boolean => client.kinds().includes('connection-established');
    expect(world.runUntil(isBack, 2_000)).toBe(true);
    world.run(100);
    gateway.send(CLIENT, ANSWER);
    world.run(100);
    expect(client.packets).toEqual([ANSWER]);
  });
});
