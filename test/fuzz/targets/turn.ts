// A relay and its clients under lists of operations: each three bytes are an operation and its arguments, or a datagram follows.
// Neither side may throw, talk without end, or lose count of channels and allocations.

import { familyOf } from '../../../src/base/address.ts';
import { concat } from '../../../src/base/bytes.ts';
import type { SentMessage } from '../../support/turn-world.ts';
import { PEER, PEER_V6, parsed, TurnWorld } from '../../support/turn-world.ts';

export const name = 'turn';
export const kind = 'operations';

/** A replay of the corpus has to stay short. */
const MAX_OPERATIONS = 12;
const PEERS = [PEER, PEER_V6, parsed('127.0.0.1:1'), parsed('192.0.2.34:52625')];

export function run(bytes: Uint8Array): void {
  const world = new TurnWorld({ ports: { lowest: 50000, highest: 50002 } });
  let seen: SentMessage | undefined;
  let isLossy = false;
  let count = 0;
  world.deliver = (sent) => {
    seen = sent;
    count += 1;
    return !isLossy || count % 3 !== 0;
  };
  world.opens = () => count % 7 !== 6;
  world.addClient();
  const operations = Math.min(MAX_OPERATIONS, Math.floor(bytes.length / 3));
  for (let i = 0; i < operations; i++) {
    const [operation = 0, a = 0, b = 0] = bytes.subarray(i * 3, i * 3 + 3);
    const client = world.clients[a % world.clients.length];
    const peer = PEERS[b % PEERS.length];
    if (!client || !peer) throw new Error('no client');
    const { allocation } = client;
    switch (operation % 12) {
      case 0:
        allocation.bindChannel(peer, world.now);
        break;
      case 1:
        allocation.sendToPeer(peer, bytes, 0, world.now);
        break;
      case 2:
        world.advance(a * 100 + b);
        break;
      case 3:
        world.advance((a * 256 + b) * 2);
        break;
      case 4:
        allocation.refresh(world.now);
        break;
      case 5:
        allocation.restart(world.now);
        break;
      case 6:
        allocation.release(world.now);
        break;
      case 7:
        if (world.clients.length < 4) world.addClient({ port: 40001 + b, salt: `s${a % 3}` });
        break;
      case 8:
        world.restartServer(a % 2 === 0 ? undefined : `secret ${b}`);
        break;
      case 9:
        isLossy = !isLossy;
        break;
      case 10:
        replay(world, seen, a, b);
        break;
      default:
        allocation.handleChannelData(0x4000 + b);
    }
    world.settle();
    check(world);
  }
}

/** The last datagram once more, one byte of it changed, to both sides. */
function replay(world: TurnWorld, seen: SentMessage | undefined, at: number, value: number): void {
  if (!seen || seen.bytes.length === 0) return;
  const bytes = concat(seen.bytes);
  bytes[at % bytes.length] = value;
  for (const { allocation, local } of world.clients) {
    const relay = allocation.activeEndpoint;
    if (!relay) continue;
    const own = local[familyOf(relay.address)];
    allocation.handleDatagram(bytes, relay, own, world.now);
    world.server.handleDatagram(bytes, own, relay, world.now);
  }
}

function check(world: TurnWorld): void {
  const { allocationCount, boundChannelCount } = world.server.snapshot();
  if (allocationCount > 3) throw new Error('more allocations than ports');
  if (allocationCount === 0 && boundChannelCount > 0) throw new Error('channels of no allocation');
  for (const { allocation } of world.clients) {
    const timeout = allocation.pollTimeout();
    if (timeout !== undefined && Number.isNaN(timeout)) throw new Error('no time');
  }
}
