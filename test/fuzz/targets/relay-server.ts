// The relay's server under a list of requests of raw clients: right ones, ones with a wrong nonce, password or user, replayed and damaged
// ones, in any order, with pauses. A success is given only to whom it belongs (RFC 8489 §9.2.4, RFC 8656 §7 to §12), a channel keeps its peer,
// and when everything has ended nothing is left.

import { type Endpoint, writeAddressWords } from '../../../src/base/address.ts';
import { equalBytes } from '../../../src/base/bytes.ts';
import { relayPassword } from '../../../src/proto/turn/server/credentials.ts';
import type { StunAttribute } from '../../../src/wire/stun/attributes.ts';
import { longTermKey } from '../../../src/wire/stun/integrity.ts';
import {
  findAttribute,
  parseStun,
  STUN_METHOD,
  type StunMessage,
  writeStun,
} from '../../../src/wire/stun/message.ts';
import { PEER, parsed, RELAY_V4, STAMP_SECRET, TurnWorld } from '../../support/turn-world.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'relay-server';
export const kind = 'operations';

const MAX_OPERATIONS = 32;
const EXPIRY = '1999999999';
const CLIENTS = [40_000, 40_001, 40_002].map((port) => parsed(`203.0.113.9:${port}`));
const PEERS = [PEER, parsed('192.0.2.34:52625'), parsed('127.0.0.1:1'), parsed('192.0.2.33:1')];
const NUMBERS = [0x4000, 0x4001, 0x4fff, 0x5000, 0x3fff, 0];
const PAUSES = [1, 1_000, 60_000, 299_000, 600_000, 901_000, 3_600_000];
const TRANSPORT_UDP = 17;
const COOL_DOWN_MS = 300_000;
const CHANNEL_MS = 600_000;
const LIFETIMES = [undefined, 0, 1, 600, 3_600, 1e9];

interface Channel {
  readonly peer: string;
  endsAt: number;
}

interface Client {
  readonly endpoint: Endpoint;
  readonly username: string;
  readonly key: Uint8Array;
  nonce: string;
  /** Whether the server is sure to know the nonce still. */
  last: Uint8Array | undefined;
  isAllocated: boolean;
  channels: Map<number, Channel>;
}

interface World {
  readonly turn: TurnWorld;
  readonly clients: readonly Client[];
  count: number;
}

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const turn = new TurnWorld({ ports: { lowest: 50_000, highest: 50_003 } });
  const clients = CLIENTS.map((endpoint, i): Client => {
    const username = `${EXPIRY}:s${i}`;
    const password = relayPassword(EXPIRY, STAMP_SECRET, `s${i}`, turn.crypto);
    const key = longTermKey(username, 'firezone', password, turn.crypto);
    return {
      endpoint,
      username,
      key,
      nonce: '',
      last: undefined,
      isAllocated: false,
      channels: new Map(),
    };
  });
  const world: World = { turn, clients, count: 0 };
  for (const client of clients) allocate(world, client);
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) perform(ops, world);
  const { allocationCount, boundChannelCount, responses } = turn.server.snapshot();
  observe(hashOf(`${allocationCount} ${boundChannelCount} ${Object.keys(responses)}`));
  end(world);
}

function perform(ops: Operations, world: World): void {
  const { turn } = world;
  const client = ops.pick(world.clients);
  switch (ops.byte() % 12) {
    case 0:
    case 1:
      return void allocate(world, client);
    case 2: {
      const value = ops.pick(LIFETIMES);
      const wish = value === undefined ? [] : [{ kind: 'lifetime' as const, value }];
      const answer = ask(world, client, STUN_METHOD.refresh, wish);
      if (answer?.class === 'success' && !client.isAllocated) throw new Error('nothing to refresh');
      if (answer?.class === 'success' && value === 0) forget(client);
      return;
    }
    case 3:
    case 4:
    case 5:
      return bind(world, client, ops.pick(NUMBERS), ops.pick(PEERS));
    case 6:
      return pass(world, ops.pick(PAUSES));
    case 7:
      return refused(world, client, 'a wrong nonce', {
        nonce: 'deadbeef-0000-4000-8000-00000000beef',
      });
    case 8:
      return refused(world, client, 'a wrong password', { key: new Uint8Array(16).fill(7) });
    case 9:
      return refused(world, client, 'the name of another', {
        username: ops.pick(world.clients.filter((other) => other !== client)).username,
      });
    case 10:
      return replay(ops, world, client);
    default:
      turn.server.handleDatagram(ops.bytes(64), client.endpoint, RELAY_V4, turn.now);
      return void drain(world);
  }
}

function bind(world: World, client: Client, number: number, peer: Endpoint): void {
  const { now } = world.turn;
  const answer = ask(world, client, STUN_METHOD.channelBind, [
    { kind: 'channel-number', value: number },
    { kind: 'xor-peer-address', value: peer },
  ]);
  if (answer?.class !== 'success') return;
  if (!client.isAllocated) throw new Error('a channel of no allocation');
  if (number < 0x4000 || number > 0x4fff) throw new Error('a number that is no channel');
  if (peer.address === '127.0.0.1') throw new Error('a way to the relay itself');
  for (const [other, channel] of client.channels) {
    if (channel.endsAt + COOL_DOWN_MS <= now) continue;
    if ((other === number) !== (channel.peer === peer.key))
      throw new Error('a channel and its peer are no pair any more');
  }
  client.channels.set(number, { peer: peer.key, endsAt: now + CHANNEL_MS });
}

interface Change {
  readonly nonce?: string;
  readonly key?: Uint8Array;
  readonly username?: string;
}

/** Asks, and once more with the nonce that the server gives. */
function ask(
  world: World,
  client: Client,
  method: number,
  wish: readonly StunAttribute[],
): StunMessage | undefined {
  const first = request(world, client, method, wish);
  const nonce = first && findAttribute(first, 'nonce');
  if (nonce === undefined) return first;
  client.nonce = nonce;
  return request(world, client, method, wish);
}

function refused(world: World, client: Client, what: string, change: Change): void {
  const wish: StunAttribute[] = [{ kind: 'lifetime', value: 0 }];
  const answer = request(world, client, STUN_METHOD.refresh, wish, change);
  if (answer?.class === 'success') throw new Error(`${what} was good enough`);
}

function request(
  world: World,
  client: Client,
  method: number,
  wish: readonly StunAttribute[],
  change: Change = {},
): StunMessage | undefined {
  const { turn } = world;
  const transactionId = new Uint8Array(12);
  new DataView(transactionId.buffer).setUint32(8, ++world.count);
  const { nonce, key, username } = { ...client, ...change };
  const who: readonly StunAttribute[] =
    nonce === ''
      ? []
      : [
          { kind: 'username', value: username },
          { kind: 'realm', value: 'firezone' },
          { kind: 'nonce', value: nonce },
        ];
  const attributes = [...wish, ...who];
  const message = { method, class: 'request' as const, transactionId, attributes };
  const bytes = writeStun(nonce === '' ? message : { ...message, integrityKey: key }, turn.crypto);
  if (nonce !== '' && change.nonce === undefined && change.key === undefined) client.last = bytes;
  turn.server.handleDatagram(bytes, client.endpoint, RELAY_V4, turn.now);
  return drain(world).find((answer) => equalBytes(answer.transactionId, transactionId));
}

/** The last request of another, or a damaged one of its own, gets nothing. */
function replay(ops: Operations, world: World, client: Client): void {
  const victim = ops.pick(world.clients);
  if (!victim.last) return;
  const bytes = ops.damage(victim.last.slice());
  world.turn.server.handleDatagram(bytes, client.endpoint, RELAY_V4, world.turn.now);
  const isOwn = victim === client && equalBytes(bytes, victim.last);
  if (isOwn) return noteRepeated(client, drain(world));
  for (const { class: cls, method } of drain(world)) {
    if (cls === 'success' && method !== STUN_METHOD.binding)
      throw new Error('a request of somebody else, or none, was answered');
  }
}

/** A request that comes twice counts twice. */
function noteRepeated(client: Client, answers: readonly StunMessage[]): void {
  for (const answer of answers) {
    if (answer.class !== 'success') continue;
    if (answer.method === STUN_METHOD.allocate) client.channels = new Map();
    if (answer.method === STUN_METHOD.allocate) client.isAllocated = true;
    if (findAttribute(answer, 'lifetime') === 0) forget(client);
  }
}

function pass(world: World, milliseconds: number): void {
  const { turn, clients } = world;
  turn.advance(milliseconds);
  drain(world);
  // Whether an allocation is still there is asked with the next request.
  if (turn.server.allocationCount === 0) for (const client of clients) forget(client);
}

function drain({ turn }: World): StunMessage[] {
  const answers: StunMessage[] = [];
  for (let command = turn.server.pollCommand(); command; command = turn.server.pollCommand()) {
    if (command.kind === 'open-sockets')
      turn.server.handleSocketsOpened(command.allocation, turn.now);
  }
  for (let out = turn.server.pollTransmit(); out; out = turn.server.pollTransmit()) {
    const message = parseStun(out.payload);
    if (!message) throw new Error('an answer that cannot be read');
    answers.push(message);
  }
  return answers;
}

function end(world: World): void {
  const { turn, clients } = world;
  pass(world, 2 * 3_600_000);
  const { allocationCount, boundChannelCount } = turn.server.snapshot();
  if (allocationCount > 0 || boundChannelCount > 0) throw new Error('something is left');
  const words = new Int32Array(4);
  for (const { address, port } of PEERS) {
    writeAddressWords(address, words, 0);
    for (let index = 0; index < 16; index++) {
      if (turn.server.channels.findByPeer(words, 0, port, index) >= 0)
        throw new Error('a peer still has a way in');
    }
  }
  for (const client of clients) {
    forget(client);
    if (!allocate(world, client)) throw new Error('no port is free any more');
  }
}

function forget(client: Client): void {
  client.isAllocated = false;
  client.channels = new Map();
}

function allocate(world: World, client: Client): boolean {
  const wish: StunAttribute[] = [{ kind: 'requested-transport', value: TRANSPORT_UDP }];
  const isGranted = ask(world, client, STUN_METHOD.allocate, wish)?.class === 'success';
  if (!isGranted) return false;
  forget(client);
  client.isAllocated = true;
  return true;
}
