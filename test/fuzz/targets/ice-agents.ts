// Two ICE agents under a list of operations: candidates added, removed, forged, loss, damage, replays, NAT reboots, addresses that move,
// role conflicts, pauses. Tables stay small, deadlines pass, and what is nominated is a pair of addresses that were offered or seen.

import { equalBytes } from '../../../src/base/bytes.ts';
import { parseCandidate } from '../../../src/proto/ice/candidate.ts';
import {
  CLIENT_IDLE_TIMING,
  CLIENT_TIMING,
  GATEWAY_IDLE_TIMING,
  GATEWAY_TIMING,
} from '../../../src/proto/ice/timing.ts';
import { parseStun } from '../../../src/wire/stun/message.ts';
import {
  CLIENT_CREDENTIALS,
  GATEWAY_CREDENTIALS,
  IceWorld,
  type PeerOptions,
} from '../../support/ice-world.ts';
import {
  ep,
  FULL_CONE,
  type Nat,
  PORT_RESTRICTED,
  SYMMETRIC,
  VirtualNetwork,
} from '../../support/virtual-network.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'ice-agents';
export const kind = 'operations';
export const isHeavy = true;

const MAX_OPERATIONS = 20;
const PAUSES = [0, 10, 100, 1_000, 5_000, 20_000, 60_000];
const BEHAVIOURS = [undefined, FULL_CONE, PORT_RESTRICTED, SYMMETRIC];
const FOREIGN = [
  'candidate:1 1 udp 2130706431 203.0.113.66 1 typ host',
  'candidate:2 1 udp 1 [x] 5 typ host',
  'candidate:x 1 UDP 4294967295 2001:db8::66 52625 typ relay',
  'candidate:3 1 udp 100 127.0.0.1 9 typ srflx raddr 0.0.0.0 rport 0',
  'candidate:4 1 udp 7 255.255.255.255 0 typ prflx',
];
const MAX_TABLE = 256;
/** The longest life of a pair that is never answered (connectivity 5.9), and more. */
const GIVE_UP_MS = 1_200_000;
const STRANGER = ep('203.0.113.66:1');

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const network = new VirtualNetwork();
  const nats = ['203.0.113.7', '203.0.113.9'].map((publicAddress) => {
    const behaviour = ops.pick(BEHAVIOURS);
    return behaviour && network.addNat({ ...behaviour, publicAddress });
  });
  const world = IceWorld.connect(network, peerOf(0, nats[0], ops), peerOf(1, nats[1], ops));
  let count = 0;
  let loss = 0;
  network.isDelivered = () => loss === 0 || ++count % loss !== 0;
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    if (ops.byte() % 8 === 0) loss = ops.byte() % 5;
    else perform(ops, world, nats);
    check(world);
  }
  loss = 0;
  const { client, gateway } = world;
  const states = [client, gateway].map(({ agent }) => {
    const { state, role, pairs, heldRequests } = agent.snapshot();
    return `${state} ${role} ${Math.min(4, pairs.length)} ${heldRequests}`;
  });
  observe(hashOf(states.join()));
  settle(world, nats.some(Boolean));
}

function peerOf(index: number, nat: Nat | undefined, ops: Operations): PeerOptions {
  const host = nat ? `10.${index}.0.2:52625` : `198.51.100.${10 + index}:52625`;
  const relayed = ops.byte();
  return {
    host,
    ...(nat ? { nat } : {}),
    ...(relayed % 2 === 0 ? { relay: `192.0.2.${index + 1}:50000` } : {}),
    ...(relayed % 16 === 1 ? { role: 'controlling' } : {}),
    knowsRemote: relayed % 8 !== 3,
  };
}

function perform(ops: Operations, world: IceWorld, nats: readonly (Nat | undefined)[]): void {
  const { network } = world;
  const isClient = ops.byte() % 2 === 0;
  const peer = isClient ? world.client : world.gateway;
  const other = isClient ? world.gateway : world.client;
  const { agent } = peer;
  switch (ops.byte() % 10) {
    case 0:
    case 1:
      return world.runFor(ops.pick(PAUSES));
    case 2: {
      const candidate = parseCandidate(ops.pick(FOREIGN));
      if (candidate) agent.addRemoteCandidate(candidate, network.now);
      return;
    }
    case 3: {
      const candidate = ops.pick([...agent.remoteCandidates(), undefined]);
      if (!candidate) return;
      agent.removeRemoteCandidate(candidate, network.now);
      const { key } = candidate.address;
      const isLeft = agent.remoteCandidates().some(({ address }) => address.key === key);
      if (!isLeft && agent.snapshot().pairs.some(({ remote }) => remote === key))
        throw new Error('a candidate that is gone has pairs');
      return;
    }
    case 4:
      return peer.signalTo(other, agent.localCandidates());
    case 5: {
      const timings = [CLIENT_TIMING, CLIENT_IDLE_TIMING, GATEWAY_TIMING, GATEWAY_IDLE_TIMING];
      return agent.setTiming(ops.pick(timings), network.now);
    }
    case 6:
      if (peer.knowsRemote) return;
      peer.knowsRemote = true;
      return agent.setRemoteCredentials(
        isClient ? GATEWAY_CREDENTIALS : CLIENT_CREDENTIALS,
        network.now,
      );
    case 7:
      return ops.pick(nats)?.reset();
    case 8: {
      const candidate = ops.pick([...agent.localCandidates(), undefined]);
      if (!candidate) return;
      const { kind, address, base } = candidate;
      if (kind === 'prflx') return;
      const info =
        kind === 'relayed'
          ? { kind, address, base, viaFamily: 4 as const }
          : { kind, address, base };
      if (ops.byte() % 2 === 0) agent.removeLocalCandidate(info, network.now);
      else agent.addLocalCandidate(info, network.now);
      return;
    }
    default:
      return replay(ops, world);
  }
}

/** Something of the last that was sent, damaged or not, to anybody, from anywhere. Only what its password protects counts. */
function replay(ops: Operations, { network, client, gateway }: IceWorld): void {
  const datagram = network.sent.at(-1 - (ops.byte() % 8));
  if (!datagram) return;
  const damaged = ops.damage(datagram.payload.slice());
  const message = parseStun(damaged);
  if (!message) return;
  const peer = ops.byte() % 2 === 0 ? client : gateway;
  const source = ops.pick([datagram.source, datagram.destination, STRANGER]);
  const isOfUse = peer.agent.handleStun(message, { source, local: peer.host }, network.now);
  if (!isOfUse) return;
  if (source === STRANGER && message.class !== 'request')
    throw new Error('an answer from a stranger counts');
  // FINGERPRINT, at the end, is not protected.
  const end = datagram.payload.length - 8;
  if (!equalBytes(damaged.subarray(0, end), datagram.payload.subarray(0, end)))
    throw new Error('a message that was changed counts');
}

/** On a good network two hosts without NAT find each other; when all is lost, they notice. */
function settle(world: IceWorld, hasNat: boolean): void {
  const { client, gateway, network } = world;
  if (!client.knowsRemote || !gateway.knowsRemote) return;
  if (!hasNat) {
    for (const { agent, host } of [client, gateway]) {
      agent.addLocalCandidate({ kind: 'host', address: host, base: host }, network.now);
      agent.setTiming(CLIENT_TIMING, network.now);
    }
    for (let i = 0; i < 3; i++) {
      client.signalTo(gateway, client.agent.localCandidates());
      gateway.signalTo(client, gateway.agent.localCandidates());
      world.runFor(20_000);
    }
    requireSelected(world);
    // An own candidate that went and comes back is tried again, without a word to the peer.
    for (const { agent, host } of [client, gateway])
      agent.removeLocalCandidate({ kind: 'host', address: host, base: host }, network.now);
    world.runFor(1_000);
    for (const { agent, host } of [client, gateway])
      agent.addLocalCandidate({ kind: 'host', address: host, base: host }, network.now);
    world.runFor(20_000);
    requireSelected(world);
  }
  network.isDelivered = () => false;
  world.runFor(GIVE_UP_MS);
  for (const { agent } of [client, gateway]) {
    if (agent.snapshot().pairs.length > 0) throw new Error('dead pairs stay');
  }
}

function requireSelected({ client, gateway }: IceWorld): void {
  for (const { agent } of [client, gateway]) {
    const { state, pairs } = agent.snapshot();
    if (!pairs.some(({ isSelected }) => isSelected)) throw new Error(`no pair, but ${state}`);
  }
}

function check({ client, gateway, network }: IceWorld): void {
  for (const { agent, events } of [client, gateway]) {
    const snapshot = agent.snapshot();
    const { localCandidates, remoteCandidates, pairs, heldRequests, transactions } = snapshot;
    for (const list of [localCandidates, remoteCandidates, pairs])
      if (list.length > MAX_TABLE) throw new Error('a table without limit');
    if (heldRequests > MAX_TABLE || transactions > 16 * MAX_TABLE)
      throw new Error('requests without limit');
    if (
      new Set(pairs.map((pair) => JSON.stringify([pair.local, pair.remote]))).size !== pairs.length
    )
      throw new Error('a pair twice');
    const due = agent.pollTimeout();
    if (due !== undefined && Number.isNaN(due)) throw new Error('no time');
    for (const event of events) {
      if (event.kind === 'nominated' && event.at > network.now) throw new Error('from the future');
    }
  }
}
