// Two tunnels under a list of operations: packets, handshakes, loss, delay, copies, replays, forged and damaged messages, pauses of all
// lengths. What arrives was sent, once, in its direction; no nonce is used twice; and in the end, on a good link, packets pass.

import { toHex, viewOf } from '../../../src/base/bytes.ts';
import { parseWireGuard } from '../../../src/wire/wireguard/messages.ts';
import { echoPacket, Pair, type SentMessage, type Side } from '../../support/wireguard-pair.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'wireguard-pair';
export const kind = 'operations';

const MAX_OPERATIONS = 24;
const PAUSES = [1, 50, 1_000, 5_000, 9_999, 10_000, 20_000, 60_000, 120_000, 180_000, 540_000];
/** Longest time until a good link carries packets again: a handshake that is given up, and one more (WireGuard §6.4). */
const RECOVERY_MS = 60_000;

interface World {
  readonly pair: Pair;
  readonly nonces: Set<string>;
  sent: number;
  loss: number;
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const pair = new Pair(1 + (ops.byte() % 4), { padding: ops.byte() % 2 === 0 ? 'none' : 'to-16' });
  const world: World = { pair, nonces: new Set(), sent: 0, loss: 0 };
  let copies = 0;
  pair.rule = () => {
    copies += 1;
    if (world.loss > 0 && copies % world.loss === 0) return [];
    return copies % 5 === 4 ? [10, 40] : [10 + (copies % 3) * 15];
  };
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    perform(ops, world);
    check(world);
  }
  recover(world);
  observe(statesOf(pair));
}

function perform(ops: Operations, world: World): void {
  const { pair } = world;
  const side = ops.byte() % 2 === 0 ? 'client' : 'gateway';
  switch (ops.byte() % 10) {
    case 0:
      pair[side].tunnel.startHandshake(pair.now);
      return pair.flush();
    case 1:
    case 2:
      for (let i = 1 + (ops.byte() % 4); i > 0; i--) send(world, side);
      return;
    case 3:
    case 4:
      return pair.run(ops.pick(PAUSES));
    case 5:
      world.loss = [0, 0, 1, 2, 3, 7][ops.byte() % 6] ?? 0;
      return;
    case 6:
    case 7:
      return replay(ops, pair, pair.sent[ops.byte() % Math.max(1, pair.sent.length)]);
    case 8: {
      const junk = ops.bytes(64);
      return deliver(pair[side], junk, pair);
    }
    default:
      return replay(ops, pair, pair.sent.at(-1 - (ops.byte() % 4)));
  }
}

/** Each packet is another: its number is its ICMP sequence. */
function send(world: World, side: 'client' | 'gateway'): void {
  const packet = echoPacket(4);
  viewOf(packet).setUint32(28, ++world.sent);
  packet[1] = side === 'client' ? 1 : 2;
  world.pair.send(side, packet);
}

function replay(ops: Operations, pair: Pair, message: SentMessage | undefined): void {
  if (!message) return;
  const toSender = ops.byte() % 4 === 0;
  const isFromClient = message.from === 'client';
  const to = isFromClient === toSender ? pair.client : pair.gateway;
  deliver(to, ops.damage(message.bytes.slice()), pair);
}

function deliver(to: Side, bytes: Uint8Array, pair: Pair): void {
  const from = to === pair.client ? pair.gateway : pair.client;
  to.deliver(bytes, from.address, pair.now);
  pair.flush();
}

function check({ pair, nonces }: World): void {
  for (const { bytes } of pair.sent.splice(0, Math.max(0, pair.sent.length - 64))) {
    noteNonce(bytes, nonces);
  }
  for (const side of [pair.client, pair.gateway]) {
    const mark = side === pair.client ? 2 : 1;
    const seen = new Set<string>();
    for (const packet of side.received) {
      if (packet[1] !== mark) throw new Error('a packet came back to its sender');
      const text = toHex(packet);
      if (seen.has(text)) throw new Error('a packet arrived twice');
      seen.add(text);
    }
    const due = side.tunnel.pollTimeout();
    if (due === undefined) continue;
    if (Number.isNaN(due)) throw new Error('no time');
  }
}

function noteNonce(bytes: Uint8Array, nonces: Set<string>): void {
  const message = parseWireGuard(bytes);
  if (message?.kind !== 'data') return;
  const nonce = `${message.receiverIndex} ${message.counterHigh} ${message.counterLow}`;
  const tag = toHex(bytes.subarray(-16));
  if (nonces.has(nonce)) throw new Error(`nonce ${nonce} was used again, tag ${tag}`);
  nonces.add(nonce);
}

/** On a good link a packet of each side arrives. */
function recover(world: World): void {
  const { pair } = world;
  world.loss = 0;
  pair.rule = () => [10];
  pair.run(RECOVERY_MS);
  // The node above it starts a handshake when it has a path; without one nothing is sealed.
  pair.client.tunnel.startHandshake(pair.now);
  pair.run(RECOVERY_MS);
  if (pair.client.tunnel.isExpired || pair.gateway.tunnel.isExpired) return;
  for (const side of ['client', 'gateway'] as const) {
    const other = pair[side === 'client' ? 'gateway' : 'client'];
    const before = other.received.length;
    for (let i = 0; i < 3; i++) {
      send(world, side);
      pair.run(7_000);
    }
    if (pair.client.tunnel.isExpired || pair.gateway.tunnel.isExpired) return;
    if (other.received.length === before) throw new Error(`nothing from the ${side} arrives`);
  }
}

function statesOf(pair: Pair): number {
  return [pair.client, pair.gateway].reduce((state, { tunnel }) => {
    const { sessions, waitingPackets, isInitiating, drops } = tunnel.snapshot();
    const reasons = Object.values(drops).filter((count) => count > 0).length;
    const roles = sessions.map(({ role, isCurrent }) => `${role}${isCurrent}`).join();
    return Math.imul(state, 31) + hashOf(`${roles} ${waitingPackets} ${isInitiating} ${reasons}`);
  }, 0);
}
