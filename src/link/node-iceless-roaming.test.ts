// Connections without ICE that move (iceless 9 and 13): a client with another address, a gateway with another address, NATs that forget, relays
// that go. With user data in both directions every 50 ms; what counts is the silence at each end.

import { describe, expect, test } from 'vitest';
import { silences } from '../../test/support/link-silence.ts';
import {
  CLIENT,
  directWorld,
  GATEWAY,
  type LinkWorld,
  relayedWorld,
} from '../../test/support/link-world.ts';
import { RelayMachine } from '../../test/support/relay-machine.ts';
import {
  ep,
  FULL_CONE,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNetwork,
} from '../../test/support/virtual-network.ts';
import { at, toHex } from '../base/bytes.ts';

function connected(made: ReturnType<typeof relayedWorld>): ReturnType<typeof relayedWorld> {
  made.world.useIceless = true;
  made.world.run(1_000);
  expect(made.world.connect()).toBe(true);
  silences(made.world, 2_000);
  return made;
}

/** Other sockets on another port, as the client's process makes them. */
function roam(world: LinkWorld, host: string): string {
  const { client, network } = world;
  const outcome = client.node.reset(network.now);
  client.move(host);
  world.flush();
  return outcome;
}

/** Alone, or on a channel. */
const initiations = (world: LinkWorld): number =>
  world.network.sent.filter(({ payload }) =>
    [payload, payload.subarray(4)].some(
      (message) => message.length === 148 && message[0] === 1 && message[1] === 0,
    ),
  ).length;

describe('iceless 9: a client that changes networks', () => {
  test.each([
    ['direct', PORT_RESTRICTED],
    ['relayed', SYMMETRIC],
  ] as const)(
    'keeps key, connection and session, with less than a second of silence (%s)',
    (kind, nat) => {
      const { world } = connected(relayedWorld(1, nat));
      const { client } = world;
      const key = toHex(client.node.publicKey);
      const [before] = client.node.snapshot().connections;
      const handshakes = initiations(world);
      world.forgetEvents();
      expect(roam(world, '10.1.0.2:40123')).toBe('moved');
      const silence = silences(world, 15_000);
      expect(silence.client).toBeLessThanOrEqual(1_000);
      expect(silence.gateway).toBeLessThanOrEqual(1_000);
      expect(toHex(client.node.publicKey)).toBe(key);
      const [after] = client.node.snapshot().connections;
      expect(after?.index).toBe(before?.index);
      expect(initiations(world)).toBe(handshakes);
      expect(client.of('path-changed').at(-1)?.path.kind).toBe(kind);
      expect(client.kinds()).not.toContain('connection-closed');
      expect(world.gateway.kinds()).not.toContain('connection-failed');
    },
  );

  test('iceless 11-20: with one ICE connection all are closed and the key is another one', () => {
    const { world } = connected(relayedWorld(1, PORT_RESTRICTED));
    const { client, network } = world;
    const key = toHex(client.node.publicKey);
    const terms = {
      ...world.terms('client'),
      id: 'other gateway' as typeof CLIENT,
      useIceless: false,
    };
    client.node.upsertConnection(
      { ...terms, remotePublicKey: new Uint8Array(32).fill(9) },
      network.now,
    );
    expect(client.node.reset(network.now)).toBe('replaced');
    client.drain(network.now);
    expect(client.kinds().filter((kind) => kind === 'connection-closed')).toHaveLength(2);
    expect(toHex(client.node.publicKey)).not.toBe(key);
  });

  test('iceless 9: without any connection the key is another one, too', () => {
    const { world } = relayedWorld(1, PORT_RESTRICTED);
    const { client, network } = world;
    expect(client.node.reset(network.now)).toBe('replaced');
  });

  test('iceless 13: packets on the way wait for a path instead of being lost', () => {
    const { world } = connected(relayedWorld(1, SYMMETRIC));
    roam(world, '10.1.0.2:40123');
    const before = world.gateway.packets.length;
    const packet = Uint8Array.from([0x45, 0, 0, 20, ...new Array(16).fill(7)]);
    for (let count = 0; count < 20; count++) {
      expect(world.client.send(GATEWAY, packet)).toBe('sent');
    }
    world.run(2_000);
    expect(world.gateway.packets.length - before).toBe(20);
  });

  test('twice in a row, and back again', () => {
    const { world } = connected(relayedWorld(1, PORT_RESTRICTED));
    for (const host of ['10.1.0.2:40123', '10.1.0.2:40124', '10.1.0.2:52625']) {
      roam(world, host);
      world.run(20);
    }
    const silence = silences(world, 5_000);
    expect(silence.client).toBeLessThanOrEqual(1_000);
    expect(silence.gateway).toBeLessThanOrEqual(1_000);
  });

  test('what never comes back fails when WireGuard gives up', () => {
    const { world } = connected(relayedWorld(1, PORT_RESTRICTED));
    world.cut();
    roam(world, '10.1.0.2:40123');
    world.client.send(GATEWAY, Uint8Array.of(0x45));
    world.run(110_000);
    expect(world.client.of('connection-failed')[0]?.reason).toBe('wireguard-expired');
  });
});

describe('a gateway that gets another address', () => {
  test('goes on, and its clients find it', () => {
    const world = directWorld();
    world.useIceless = true;
    expect(world.connect()).toBe(true);
    silences(world, 2_000);
    world.gateway.move('198.51.100.99:52625');
    world.gateway.node.setLocalAddresses([ep('198.51.100.99:52625')], world.network.now);
    world.gateway.node.handleNetworkChange(world.network.now);
    world.flush();
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(500);
    expect(silence.gateway).toBeLessThanOrEqual(500);
  });
});

describe('NATs that forget', () => {
  test.each(['client', 'gateway'] as const)(
    'when the NAT of the %s gives it another mapping',
    (side) => {
      const network = new VirtualNetwork();
      const nat = network.addNat({ publicAddress: '203.0.113.7', ...PORT_RESTRICTED });
      const world = directWorld({ [side]: nat }, network);
      const relay = new RelayMachine(network, '198.51.100.100:3478');
      world.add(relay);
      world.announce([relay]);
      connected({ world, relays: [relay] });
      expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
      nat.reset();
      const silence = silences(world, 20_000);
      expect(silence.client).toBeLessThanOrEqual(500);
      expect(silence.gateway).toBeLessThanOrEqual(500);
    },
  );

  test('iceless 13: only one direction dies, and only the other end has data: noticed within seconds', () => {
    const { world } = connected(relayedWorld(1, FULL_CONE));
    expect(world.gateway.of('path-changed').at(-1)?.path.kind).toBe('direct');
    // What the client sends directly is lost from now on; the gateway alone has data.
    world.network.isDelivered = ({ source, destination }) =>
      source.address !== '10.1.0.2' || destination.address.startsWith('198.51.100.');
    world.forgetEvents();
    const packet = Uint8Array.from([0x45, 0, 0, 20, ...new Array(16).fill(7)]);
    for (let count = 0; count < 200; count++) {
      world.gateway.send(CLIENT, packet);
      world.run(50);
    }
    expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('relayed');
    expect(Number(world.client.timeOf('path-changed'))).toBeLessThan(
      Number(world.network.now) - 1_000,
    );
  });
});

describe('relays that go', () => {
  test('iceless 11-22: one of two is withdrawn: traffic goes on', () => {
    const { world, relays } = connected(relayedWorld(2, SYMMETRIC));
    const used = world.client.node.snapshot().connections[0]?.relay;
    const [first, second] = relays[0]?.listen.key === used ? relays : relays.toReversed();
    if (!first || !second) throw new Error('there are two relays');
    world.announce([second], [first]);
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(1_000);
    expect(silence.gateway).toBeLessThanOrEqual(1_000);
    expect(world.client.kinds()).not.toContain('connection-failed');
  });

  test('iceless 11-21: all relays are unreachable for a minute: a direct connection does not care, a relayed one comes back', () => {
    for (const nat of [PORT_RESTRICTED, SYMMETRIC]) {
      const { world, relays } = connected(relayedWorld(1, nat));
      world.network.isDelivered = ({ source, destination }) =>
        !source.address.startsWith('198.51.100.') && !destination.address.startsWith('198.51.100.');
      const silence = silences(world, 20_000);
      if (nat === PORT_RESTRICTED) expect(silence).toEqual({ client: 0, gateway: 0 });
      world.network.isDelivered = () => true;
      // They were given up, and the portal names them again when it is told.
      expect(world.client.kinds()).toContain('no-relays');
      world.announce(relays);
      silences(world, 30_000);
      expect(world.client.kinds()).not.toContain('connection-failed');
      expect(world.gateway.kinds()).not.toContain('connection-failed');
      const last = silences(world, 2_000);
      expect(last).toEqual({ client: 0, gateway: 0 });
    }
  });

  test('a direct path that dies is left for the relay within two seconds', () => {
    const { world } = connected(relayedWorld(1, PORT_RESTRICTED));
    expect(world.client.of('path-changed').at(-1)?.path.kind).toBe('direct');
    const nats = ['203.0.113.7', '203.0.113.9'];
    world.network.isDelivered = ({ source, destination }) =>
      source.address.startsWith('198.51.100.') || !nats.includes(destination.address);
    const silence = silences(world, 20_000);
    expect(silence.client).toBeLessThanOrEqual(2_000);
    expect(silence.gateway).toBeLessThanOrEqual(2_000);
    expect(
      at(world.client.of('path-changed'), -1 + world.client.of('path-changed').length).path.kind,
    ).toBe('relayed');
    world.network.isDelivered = () => true;
  });
});
