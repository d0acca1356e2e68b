// Two tunnels under a list of operations: packets, handshakes, loss, delay, copies, replays, forged and damaged messages, pauses of all
// lengths. What arrives was sent, once, in its direction; no nonce is used twice; and in the end, on a good link, packets pass.

import { createHash } from 'node:crypto';
import { equalBytes, toHex, viewOf } from '../../../src/base/bytes.ts';
import { createSeededCrypto } from '../../../src/io/crypto/seeded-crypto.ts';
import { parseWireGuard } from '../../../src/wire/wireguard/messages.ts';
import { echoPacket, Pair, type SentMessage, type Side } from '../../support/wireguard-pair.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'wireguard-pair';
export const kind = 'operations';
export const isHeavy = true;

const crypto = createSeededCrypto(1);
const MAC1_KEYS = { client: mac1KeyOf(0x01), gateway: mac1KeyOf(0x41) };
const REJECT_AFTER_MS = 180_000;
const REKEY_AFTER_MS = 120_000;
/** connectivity 7.5: an initiator seals nothing later than this. */
const INITIATOR_SENDS_MS = 170_000;
const MAX_OPERATIONS = 24;
const PAUSES = [1, 50, 1_000, 5_000, 9_999, 10_000, 20_000, 60_000, 120_000, 180_000, 540_000];
/** Longer than a session. */
const FLOW_PACKETS = 24;
const FLOW_PAUSE_MS = 9_000;
/** Longest time until a good link carries packets again: a handshake that is given up, and one more (WireGuard §6.4). */
const RECOVERY_MS = 60_000;

interface World {
  readonly pair: Pair;
  readonly nonces: Set<string>;
  /** When the first message of a session was seen, by its receiver's index. */
  readonly sessions: Map<number, number>;
  /** Sessions in the order in which each side began to seal with them. */
  readonly used: Record<'client' | 'gateway', number[]>;
  sent: number;
  loss: number;
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const pair = new Pair(1 + (ops.byte() % 4), { padding: ops.byte() % 2 === 0 ? 'none' : 'to-16' });
  const world: World = {
    pair,
    nonces: new Set(),
    sessions: new Map(),
    used: { client: [], gateway: [] },
    sent: 0,
    loss: 0,
  };
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
  if (!pair.client.tunnel.isExpired && !pair.gateway.tunnel.isExpired) {
    flow(world);
  }
  check(world, 0);
  sendDuringHandshake(bytes.length);
  outlive(bytes.length);
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
  const damaged = ops.damage(message.bytes.slice());
  deliver(to, damaged, pair);
  if (message.kind !== 'initiation' || toSender || !equalBytes(damaged, message.bytes)) return;
  const before = pair.sent.length;
  deliver(to, damaged, pair);
  if (pair.sent.slice(before).some(({ kind }) => kind === 'response'))
    throw new Error('an initiation was answered twice');
}

function deliver(to: Side, bytes: Uint8Array, pair: Pair): void {
  const from = to === pair.client ? pair.gateway : pair.client;
  const before = to.gate.counters.snapshot()['admitted'] ?? 0;
  to.deliver(bytes, from.address, pair.now);
  const isAdmitted = (to.gate.counters.snapshot()['admitted'] ?? 0) > before;
  if (isAdmitted && !hasRightMac1(bytes, MAC1_KEYS[to.name]))
    throw new Error('worked on a handshake without a right mac1');
  pair.flush();
}

/** WireGuard §5.4.4, by itself: MAC(HASH(label ‖ key of the receiver), message up to the macs). */
function hasRightMac1(bytes: Uint8Array, key: Uint8Array): boolean {
  const end = bytes.length - 32;
  return equalBytes(crypto.macBlake2s(key, bytes.subarray(0, end)), bytes.subarray(end, end + 16));
}

function check(world: World, kept = 64): void {
  const { pair } = world;
  for (const message of pair.sent.splice(0, Math.max(0, pair.sent.length - kept)))
    noteSealed(world, message);
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

/** No nonce twice (WireGuard §5.4.6); nothing on a session that is over (§6.2). */
function noteSealed({ nonces, sessions, used }: World, { bytes, at, from }: SentMessage): void {
  const message = parseWireGuard(bytes);
  if (message?.kind !== 'data') return;
  const { receiverIndex } = message;
  const nonce = `${receiverIndex} ${message.counterHigh} ${message.counterLow}`;
  if (nonces.has(nonce)) throw new Error('a nonce was used again');
  nonces.add(nonce);
  const since = sessions.get(receiverIndex) ?? at;
  sessions.set(receiverIndex, since);
  if (at - since > REJECT_AFTER_MS) throw new Error('a session that is over still sends');
  // What was left for a newer one is never taken up again (connectivity 7.5).
  if (used[from].at(-1) === receiverIndex) return;
  if (used[from].includes(receiverIndex)) throw new Error('back to an older session');
  used[from].push(receiverIndex);
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

/** One-way traffic for longer than a session lives: all of it arrives, and hardly a handshake is needed. */
function flow(world: World): void {
  const { pair } = world;
  const { received } = pair.gateway;
  const before = received.length;
  const initiations = pair.sentBy('client', 'initiation').length;
  const current = pair.client.tunnel.snapshot().sessions.find(({ isCurrent }) => isCurrent);
  const beginning = pair.now;
  for (let i = 0; i < FLOW_PACKETS; i++) {
    send(world, 'client');
    pair.run(FLOW_PAUSE_MS);
    check(world, Number.POSITIVE_INFINITY);
  }
  if (received.length - before !== FLOW_PACKETS) throw new Error('a flow lost packets');
  if (pair.sentBy('client', 'initiation').length - initiations > 3)
    throw new Error('too many handshakes for one flow');
  if (current?.role !== 'initiator') return;
  const due = current.establishedAt + REKEY_AFTER_MS + FLOW_PAUSE_MS + 1_000;
  const renewals = pair.sent.filter(({ kind, at }) => kind === 'initiation' && at >= beginning);
  if (renewals.every(({ at }) => at > due)) throw new Error('a session grew too old');
}

/** A packet that is sent during a handshake waits for it. */
function sendDuringHandshake(seed: number): void {
  const pair = new Pair(seed);
  pair.client.tunnel.startHandshake(pair.now);
  pair.send('client', echoPacket());
  pair.run(1_000);
  if (pair.gateway.received.length !== 1) throw new Error('what waited is lost');
}

/** A session that nobody renews, because nothing arrives any more, ends for the bulk path, too. */
function outlive(seed: number): void {
  const pair = new Pair(seed);
  pair.connect();
  if (pair.client.tunnel.sendSlot(pair.now) < 0) throw new Error('a new session has no slot');
  pair.rule = () => [];
  pair.run(INITIATOR_SENDS_MS + 1_000);
  if (pair.client.tunnel.sendSlot(pair.now) >= 0) throw new Error('bulk data on an old session');
}

function mac1KeyOf(first: number): Uint8Array {
  const publicKey = crypto.x25519PublicKey(Uint8Array.from({ length: 32 }, (_, i) => first + i));
  return Uint8Array.from(createHash('blake2s256').update('mac1----').update(publicKey).digest());
}

function statesOf(pair: Pair): number {
  return [pair.client, pair.gateway].reduce((state, { tunnel }) => {
    const { sessions, waitingPackets, isInitiating, drops } = tunnel.snapshot();
    const reasons = Object.values(drops).filter((count) => count > 0).length;
    const roles = sessions.map(({ role, isCurrent }) => `${role}${isCurrent}`).join();
    return Math.imul(state, 31) + hashOf(`${roles} ${waitingPackets} ${isInitiating} ${reasons}`);
  }, 0);
}
