// One cell of the matrix: a client and a gateway at their positions, one relay that both know, a portal; the client's user has sent the first packet when
// time begins. What is measured is when its answer is there, and by what kind of path data goes in the end.
//
//   client --10 ms-- Internet --10 ms-- gateway        each to the relay 20 ms, each to the portal 10 ms (one way)

import { udpPacket } from '../../support/inner-packets.ts';
import type { PeerOptions } from '../../support/link-world.ts';
import { CLIENT, GATEWAY, LinkWorld } from '../../support/link-world.ts';
import { RelayMachine } from '../../support/relay-machine.ts';
import { GOOD_LINK } from '../network/link.ts';
import { ACCESS_MS, type Position } from './positions.ts';
import { RoutedNetwork } from './routed-network.ts';

/** Portal and peers are as far away as each other. */
export const ROUND_TRIP_MS: number = 4 * ACCESS_MS;

const RELAY_IPV4 = '198.51.100.200';
const RELAY_IPV6 = '2001:db8:ffff::1';
const REQUEST = udpPacket('100.64.0.1', '10.0.0.5', 'first byte');
const ANSWER = udpPacket('10.0.0.5', '100.64.0.1', 'and its answer');
/** Until relays are known and allocated, as they are for programs that run; where UDP is blocked that is found out first. */
const WARM_UP_MS = 4_000;
/** What TCP is tried at, and passes everywhere. */
const STREAM_WAYS = [{ isSecure: false }];
/** Nothing is found later that was not found by then. */
const PATIENCE_MS = 12_000;
/** Until the best path is found. */
const SETTLING_MS = 3_000;

export type PathKind = 'direct' | 'relayed' | 'none';

export interface Outcome {
  /** Of the data in the end. */
  readonly kind: PathKind;
  /** From the request of the client until its first byte of an answer. */
  readonly firstByteMs: number | undefined;
}

export type MatrixWorld = LinkWorld<RoutedNetwork>;

export function matrixWorld(client: Position, gateway: Position): MatrixWorld {
  const network = new RoutedNetwork();
  const place = (position: Position, name: 'client' | 'gateway', number: number): PeerOptions => ({
    ...position.place(network, { name, number }),
    allowNoRelays: true,
    streamWays: STREAM_WAYS,
  });
  const world = new LinkWorld(network, place(client, 'client', 1), place(gateway, 'gateway', 2));
  world.signallingMs = 2 * ACCESS_MS;
  world.streams.latencyMs = 2 * ACCESS_MS;
  const link = { ...GOOD_LINK, latencyMs: ACCESS_MS };
  network.addHost('relay', network.internet.internet, [RELAY_IPV4, RELAY_IPV6], link);
  const relay = new RelayMachine(network, `${RELAY_IPV4}:3478`, `[${RELAY_IPV6}]:3478`);
  relay.streamPorts.add(relay.listen.port);
  world.add(relay);
  world.announce([relay]);
  world.run(WARM_UP_MS);
  return world;
}

export function measure(world: MatrixWorld): Outcome {
  const { client, gateway, network } = world;
  const begin = network.now;
  // The client asks the portal, which asks the gateway.
  world.run(2 * ACCESS_MS);
  world.authorize();
  const isEstablished = (): boolean => client.kinds().includes('connection-established');
  if (!world.runUntil(isEstablished, PATIENCE_MS)) return { kind: 'none', firstByteMs: undefined };
  client.send(GATEWAY, REQUEST);
  world.runUntil(() => gateway.packets.length > 0, PATIENCE_MS);
  gateway.send(CLIENT, ANSWER);
  if (!world.runUntil(() => client.packets.length > 0, PATIENCE_MS)) {
    return { kind: 'none', firstByteMs: undefined };
  }
  const firstByteMs = network.now - begin;
  world.run(SETTLING_MS);
  return { kind: kindOf(world), firstByteMs };
}

/** Both sides must agree; the relay's count says whether they are right. */
function kindOf({ client, gateway }: MatrixWorld): PathKind {
  const kinds = [client, gateway].map((peer) => peer.of('path-changed').at(-1)?.path.kind);
  if (kinds[0] !== kinds[1]) throw new Error(`paths differ: ${kinds.join(', ')}`);
  return kinds[0] ?? 'none';
}
