// Two nodes with relays and NATs under a list of operations: packets both ways, losses, roaming, NAT reboots, relays that go and come, closed
// and renewed connections, forged and repeated datagrams, pauses up to hours. What arrives was sent to whom it arrives at, once; tables stay
// within limits; and once the network is good and the portal has introduced them again, packets pass in both directions.

import { udpPacket } from '../../support/inner-packets.ts';
import {
  CLIENT,
  GATEWAY,
  type LinkPeer,
  LinkWorld,
  type PeerOptions,
} from '../../support/link-world.ts';
import { RelayMachine } from '../../support/relay-machine.ts';
import {
  FULL_CONE,
  type Nat,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNetwork,
} from '../../support/virtual-network.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'link-nodes';
export const kind = 'operations';
export const isHeavy = true;

const MAX_OPERATIONS = 20;
const PAUSES = [10, 500, 2_000, 10_000, 20_000, 65_000, 190_000, 600_000];
const BEHAVIOURS = [undefined, FULL_CONE, PORT_RESTRICTED, SYMMETRIC];
/** Sums of timers until both sides have noticed and built a new path (connectivity 4.7, 5.9). */
const RECOVERY_MS = 60_000;
const MAX_TABLE = 1_024;

interface World {
  readonly link: LinkWorld;
  readonly relays: readonly RelayMachine[];
  readonly nats: readonly (Nat | undefined)[];
  readonly announced: Set<RelayMachine>;
  sent: number;
  moves: number;
  loss: number;
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const world = createWorld(ops);
  const { link } = world;
  link.authorize();
  link.run(3_000);
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    perform(ops, world);
    check(world);
  }
  recover(world);
  const { tables, drops } = link.gateway.node.snapshot();
  observe(
    hashOf(`${Object.keys(drops)} ${tables['connections']} ${link.gateway.kinds().length % 4}`),
  );
}

function createWorld(ops: Operations): World {
  const network = new VirtualNetwork();
  const nats = ['203.0.113.7', '203.0.113.9'].map((publicAddress) => {
    const behaviour = ops.pick(BEHAVIOURS);
    return behaviour && network.addNat({ ...behaviour, publicAddress });
  });
  const relays = [0, 1].map((i) => new RelayMachine(network, `198.51.100.${100 + i}:3478`));
  const link = new LinkWorld(network, peerOf(0, nats[0]), peerOf(1, nats[1]));
  for (const relay of relays) link.add(relay);
  const announced = new Set(relays.slice(0, 1 + (ops.byte() % 2)));
  link.announce([...announced]);
  const world = { link, relays, nats, announced, sent: 0, moves: 0, loss: 0 };
  let count = 0;
  network.isDelivered = () => world.loss === 0 || ++count % world.loss !== 0;
  link.run(500);
  return world;
}

function peerOf(index: number, nat: Nat | undefined): PeerOptions {
  if (nat) return { host: `10.${index}.0.2:52625`, nat, knowsHost: false };
  return { host: `192.0.2.${10 + index}:52625` };
}

function perform(ops: Operations, world: World): void {
  const { link, relays, nats, announced } = world;
  const { network, client, gateway } = link;
  switch (ops.byte() % 16) {
    case 0:
    case 1:
    case 2:
      for (let i = 1 + (ops.byte() % 3); i > 0; i--) send(world, ops.byte() % 2 === 0);
      return link.run(100);
    case 3:
    case 4:
    case 5:
      return link.run(ops.pick(PAUSES));
    case 6:
      world.loss = ops.pick([0, 0, 1, 2, 3, 7]);
      return;
    case 7:
      return ops.pick(nats)?.reset();
    case 8:
      // Another network: new sockets, and the portal is told of the new key.
      client.move(
        nats[0] ? `10.0.0.2:${20_000 + ++world.moves}` : `192.0.2.10:${20_000 + ++world.moves}`,
      );
      client.node.reset(network.now);
      if (!nats[0]) client.node.setLocalAddresses([client.host], network.now);
      link.authorize();
      return;
    case 9: {
      const relay = ops.pick(relays);
      if (announced.has(relay)) announced.delete(relay);
      else announced.add(relay);
      return announced.has(relay) ? link.announce([relay]) : link.announce([], [relay]);
    }
    case 10:
      gateway.node.closeConnection(CLIENT, undefined, network.now);
      return link.flush();
    case 11:
      link.authorize();
      return;
    case 12: {
      const texts = [
        'candidate:1 1 udp 2130706431 203.0.113.66 9 typ host',
        'candidate:',
        'candidate:2 1 udp 1 198.51.100.100 49152 typ relay raddr 0.0.0.0 rport 0',
      ];
      const peer = ops.byte() % 2 === 0 ? client : gateway;
      const other = peer === client ? GATEWAY : CLIENT;
      if (ops.byte() % 2 === 0) peer.node.addRemoteCandidate(other, ops.pick(texts), network.now);
      else peer.node.removeRemoteCandidate(other, ops.pick(texts), network.now);
      return link.flush();
    }
    default:
      return replay(ops, world);
  }
}

function send(world: World, isUp: boolean): void {
  const { link } = world;
  const text = `${isUp ? 'up' : 'down'} ${++world.sent}`;
  const packet = udpPacket('100.64.0.1', '10.0.0.5', text);
  if (isUp) link.client.send(GATEWAY, packet);
  else link.gateway.send(CLIENT, packet);
  link.flush();
}

function replay(ops: Operations, { link }: World): void {
  const { network, client, gateway } = link;
  const datagram = network.sent.at(-1 - (ops.byte() % 12));
  if (!datagram) return;
  const to = ops.byte() % 2 === 0 ? client : gateway;
  const payload = ops.damage(datagram.payload.slice());
  const source = ops.byte() % 2 === 0 ? datagram.source : datagram.destination;
  if (payload.length > 0) to.receive([{ source, destination: to.host, payload }], network.now);
  link.flush();
}

function check({ link }: World): void {
  for (const [peer, direction] of [
    [link.client, 'down'],
    [link.gateway, 'up'],
  ] as const) {
    const texts = textsOf(peer);
    if (texts.some((text) => !text.startsWith(direction)))
      throw new Error('came to the wrong side');
    if (new Set(texts).size !== texts.length) throw new Error('a packet came twice');
    for (const [table, size] of Object.entries(peer.node.snapshot().tables)) {
      if (size > MAX_TABLE) throw new Error(`${table} has ${size} entries`);
    }
    const due = peer.node.pollTimeout();
    if (due !== undefined && Number.isNaN(due)) throw new Error('no time');
  }
}

function recover(world: World): void {
  const { link, relays } = world;
  world.loss = 0;
  link.announce([], [...relays]);
  link.run(100);
  link.announce(relays);
  link.run(12_000);
  link.gateway.node.removeConnection(CLIENT, link.network.now);
  link.client.node.removeConnection(GATEWAY, link.network.now);
  link.authorize();
  const answered = (peer: LinkPeer, isUp: boolean): boolean => {
    const before = peer.packets.length;
    for (let waited = 0; waited < RECOVERY_MS; waited += 2_000) {
      send(world, isUp);
      if (link.runUntil(() => peer.packets.length > before, 2_000)) return true;
    }
    return false;
  };
  if (!answered(link.gateway, true)) throw new Error('nothing reaches the gateway');
  if (!answered(link.client, false)) throw new Error('nothing reaches the client');
  check(world);
  idle(world, answered);
}

/** A connection with some traffic lives on through every timer of the tunnel. */
function idle(world: World, answered: (peer: LinkPeer, isUp: boolean) => boolean): void {
  const { link } = world;
  for (let minute = 0; minute < 5; minute++) {
    link.run(55_000);
    if (!answered(link.gateway, true)) throw new Error(`silent after ${minute + 1} minutes`);
  }
}

function textsOf({ packets }: LinkPeer): string[] {
  return packets.map((packet) => String.fromCharCode(...packet.subarray(28)));
}
