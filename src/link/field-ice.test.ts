// Cases from the field about ICE and relays: ports that nobody announced, private addresses that both ends own, and checks taken for a scan.

import { describe, expect, test } from 'vitest';
import { udpPacket } from '../../test/support/inner-packets.ts';
import { CLIENT, directWorld, GATEWAY, LinkWorld } from '../../test/support/link-world.ts';
import { RelayMachine } from '../../test/support/relay-machine.ts';
import { ep, SYMMETRIC, VirtualNetwork } from '../../test/support/virtual-network.ts';
import { parseNetwork } from '../base/address.ts';
import { relayId } from '../base/ids.ts';

const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'hello');

describe('IC-4: through a standard relay the peer’s packets come from a port that nobody announced', () => {
  /** The client has the relay; the gateway has none, and a NAT that gives each destination another port. */
  function world(): { world: LinkWorld; relay: RelayMachine } {
    const network = new VirtualNetwork();
    const nat = (publicAddress: string) => network.addNat({ ...SYMMETRIC, publicAddress });
    const made = new LinkWorld(
      network,
      { host: '10.1.0.2:52625', nat: nat('203.0.113.7') },
      { host: '10.2.0.2:52625', nat: nat('203.0.113.9'), allowNoRelays: true },
    );
    const relay = new RelayMachine(network, '198.51.100.100:3478');
    made.add(relay);
    const info = relay.info('relay', 'client');
    made.client.node.updateRelays([], [{ ...info, id: relayId('relay') }], network.now);
    made.run(1_000);
    made.authorize();
    made.run(30);
    // What the gateway's NAT once showed to somebody else: the client gets a permission for its address.
    const known = 'candidate:1 1 udp 1686109951 203.0.113.9 40000 typ srflx raddr 0.0.0.0 rport 0';
    made.client.node.addRemoteCandidate(GATEWAY, known, network.now);
    return { world: made, relay };
  }

  test('a check in a Data indication opens the only possible path, and data goes by a channel', () => {
    const { world: made, relay } = world();
    relay.isStandard = true;
    expect(made.runUntil(() => made.isConnected, 3_000)).toBe(true);
    made.client.send(GATEWAY, REQUEST);
    made.run(200);
    made.gateway.send(CLIENT, REQUEST);
    made.run(200);
    expect(made.gateway.packets).toEqual([REQUEST]);
    expect(made.client.packets).toEqual([REQUEST]);
    expect(made.client.of('path-changed').at(-1)?.path).toMatchObject({
      localKind: 'relayed',
      remote: { address: '203.0.113.9' },
    });
  });

  test('a relay that only knows channels drops such packets, and nothing breaks', () => {
    const { world: made } = world();
    expect(made.runUntil(() => made.isConnected, 3_000)).toBe(false);
  });

  test('indications that are no valid checks of a known peer are dropped, counted, and leave nothing behind', () => {
    const { world: made, relay } = world();
    relay.isStandard = true;
    const { network, client } = made;
    const target = client
      .of('candidates-added')
      .flatMap(({ candidates }) => candidates)
      .map((text) => text.split(' '))
      .find((words) => words[7] === 'relay');
    const destination = ep(`${target?.[4]}:${target?.[5]}`);
    made.run(1_000);
    const before = client.node.snapshot();
    for (let port = 1; port <= 500; port++) {
      const payload = Uint8Array.of(port & 1 ? 1 : 4, 0, 0, 0, 1, 2, 3, 4);
      network.attach(ep(`192.0.2.66:${port}`), undefined, () => {});
      network.send({ source: ep(`192.0.2.66:${port}`), destination, payload });
    }
    made.run(100);
    const after = client.node.snapshot();
    expect(after.drops).toMatchObject({ 'not-ours': 500 });
    expect(after.relays[0]?.channelCount).toBe(before.relays[0]?.channelCount);
    expect(after.tables['connections']).toBe(1);
  });
});

describe('IC-5: both ends own the same private address', () => {
  const BRIDGE = '172.17.0.1:52625';

  /** Whatever is sent to the bridge address comes back from there, byte for byte. */
  function echoing(change: (payload: Uint8Array) => Uint8Array): LinkWorld {
    const world = directWorld();
    const { network, client, gateway } = world;
    for (const peer of [client, gateway]) {
      peer.node.setLocalAddresses([peer.host, ep(BRIDGE)], network.now);
    }
    network.isDelivered = ({ source, destination, payload }) => {
      if (destination.key !== BRIDGE) return true;
      const from = source.key === gateway.host.key ? gateway : client;
      from.node.handleDatagram(change(payload), destination, from.host, 0, network.now);
      return false;
    };
    return world;
  }

  test.each([
    ['echoes every datagram', (payload: Uint8Array): Uint8Array => payload.slice()],
    [
      'answers with a wrong integrity',
      (payload: Uint8Array): Uint8Array => {
        const answer = payload.slice();
        if (answer[1] === 1) answer.set([1, 1]);
        return answer;
      },
    ],
  ])('what %s there is no path, and costs no time', (_, change) => {
    const world = echoing(change);
    expect(world.connect(200)).toBe(true);
    world.run(5_000);
    for (const peer of [world.client, world.gateway]) {
      const remotes = peer.of('path-changed').map(({ path }) => path.remote.key);
      expect(remotes).not.toContain(BRIDGE);
      expect(Object.keys(peer.node.snapshot().drops).length).toBeGreaterThan(0);
    }
  });
});

describe('IC-6: the hosting company reports the gateway for scanning', () => {
  const PRIVATE = Array.from(
    { length: 5 },
    (_, i) => `candidate:1 1 udp 2130706175 10.66.0.${i + 1} 52625 typ host`,
  );
  const isPrivate = (address: string): boolean => address.startsWith('10.66.');

  test('the datagrams to one address that does not answer are bounded, and end', () => {
    const world = directWorld();
    const { gateway, network } = world;
    world.connect();
    for (const text of PRIVATE) gateway.node.addRemoteCandidate(CLIENT, text, network.now);
    world.run(1_300_000);
    const times = network.sent
      .filter(({ destination }) => destination.address === '10.66.0.1')
      .map(({ at }) => at);
    expect(times.length).toBeLessThanOrEqual(45);
    expect(Math.max(...times)).toBeLessThan(1_100_000);
  });

  test('with the option not one leaves for such a network, is counted, and the connection takes no longer', () => {
    const never = parseNetwork('10.66.0.0/16') ?? expect.unreachable();
    const network = new VirtualNetwork();
    const world = new LinkWorld(
      network,
      { host: '192.0.2.10:52625', allowNoRelays: true },
      { host: '198.51.100.20:52625', allowNoRelays: true, neverProbed: [never] },
    );
    world.authorize();
    for (const text of PRIVATE) world.gateway.node.addRemoteCandidate(CLIENT, text, network.now);
    expect(world.runUntil(() => world.isConnected, 100)).toBe(true);
    world.run(10_000);
    expect(network.sent.filter(({ destination }) => isPrivate(destination.address))).toEqual([]);
    expect(world.gateway.node.snapshot().notSent['never-probed']).toBeGreaterThan(0);
  });
});
