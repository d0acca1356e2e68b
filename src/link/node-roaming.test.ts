// Paths that move without ICE having noticed (connectivity 14.15): a NAT gives its host another mapping, a host gets another address, and
// the data says so first. All with user data in both directions, every 50 ms; what counts is the silence at each end.
//
//   client 192.0.2.10 or behind NAT 203.0.113.7 -- 10 ms -- gateway 198.51.100.20 or behind NAT 203.0.113.9

import { describe, expect, test } from 'vitest';
import { PACKET, silences } from '../../test/support/link-silence.ts';
import { CLIENT, directWorld, GATEWAY, relayedWorld } from '../../test/support/link-world.ts';
import { FULL_CONE, PORT_RESTRICTED, VirtualNetwork } from '../../test/support/virtual-network.ts';

function natWorld(side: 'client' | 'gateway', kind: typeof FULL_CONE | typeof PORT_RESTRICTED) {
  const network = new VirtualNetwork();
  const publicAddress = side === 'client' ? '203.0.113.7' : '203.0.113.9';
  const nat = network.addNat({ publicAddress, ...kind });
  return { world: directWorld({ [side]: nat }, network), nat };
}

describe('connectivity 14.15: data from a new address moves the path', () => {
  test('when the NAT of the client gives it another mapping: half a second of silence, not seven', () => {
    const { world, nat } = natWorld('client', PORT_RESTRICTED);
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    nat.reset();
    expect(silences(world, 20_000)).toEqual({
      client: expect.toSatisfy((ms: number) => ms <= 500),
      gateway: 0,
    });
  });

  test('when the NAT of the gateway gives it another mapping', () => {
    const { world, nat } = natWorld('gateway', PORT_RESTRICTED);
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    nat.reset();
    const silence = silences(world, 20_000);
    expect(silence.client).toBe(0);
    expect(silence.gateway).toBeLessThanOrEqual(500);
  });

  test('of the cold path too, and by a handshake', () => {
    const { world, nat } = natWorld('client', FULL_CONE);
    expect(world.connect()).toBe(true);
    nat.reset();
    expect(world.client.node.sendPacket(GATEWAY, PACKET, 0, world.network.now)).toBe('sent');
    world.run(500);
    world.forgetEvents();
    world.gateway.send(CLIENT, PACKET);
    world.run(50);
    expect(world.client.packets).toHaveLength(1);
  });

  test('and back to the better pair when that works again', () => {
    const { world } = relayedWorld(1, FULL_CONE);
    world.runUntil(() => false, 200);
    expect(world.connect()).toBe(true);
    silences(world, 3_000);
    const best = world.gateway.of('path-changed').at(-1)?.path;
    expect(best?.kind).toBe('direct');
    // Nothing passes directly for a while: the client moves to the relay, the gateway follows its data.
    const isDirect = (key: string): boolean => !key.startsWith('198.51.100.1');
    world.network.isDelivered = ({ source, destination }) =>
      !(isDirect(source.key) && isDirect(destination.key));
    silences(world, 25_000);
    expect(world.gateway.of('path-changed').at(-1)?.path.kind).toBe('relayed');
    world.network.isDelivered = () => true;
    silences(world, 20_000);
    expect(world.gateway.of('path-changed').at(-1)?.path.kind).toBe('direct');
  });
});

describe('data alone moves nothing', () => {
  test('replayed from elsewhere before the original came: who replays it does not answer checks', () => {
    const world = directWorld();
    expect(world.connect()).toBe(true);
    world.forgetEvents();
    const thief = '192.0.2.66';
    const { network } = world;
    network.isDelivered = (datagram) => {
      if (datagram.source.key !== world.client.host.key || datagram.payload[0] !== 4) return true;
      network.redeliver({
        ...datagram,
        source: { ...datagram.source, address: thief as never, key: `${thief}:1`, port: 1 },
      });
      return false;
    };
    silences(world, 5_000);
    expect(world.gateway.packets.length).toBeGreaterThan(50);
    expect(world.gateway.kinds()).not.toContain('path-changed');
    // The thief is asked a bounded number of times: once a second while its copies come.
    const asked = network.sent.filter(({ destination }) => destination.address === thief);
    expect(asked.length).toBeLessThan(20);
  });

  test('over two paths at once: the one in use answers, and stays', () => {
    const { world } = relayedWorld(1, FULL_CONE);
    world.run(200);
    expect(world.connect()).toBe(true);
    silences(world, 3_000);
    world.forgetEvents();
    const { network } = world;
    network.isDelivered = (datagram) => {
      if (datagram.payload[0] === 4 && datagram.payload.length > 32) network.redeliver(datagram);
      return true;
    };
    silences(world, 5_000);
    expect(world.gateway.kinds()).not.toContain('path-changed');
    expect(world.client.kinds()).not.toContain('path-changed');
  });
});
