// What things cost in memory: a client, an authorization, a session, a flow; measured as the difference of the process, garbage collected, and
// with whatever was allocated in advance.

import { at } from '../../src/base/bytes.ts';
import { writeUdpPacket } from '../../src/wire/ip/write-packet.ts';
import { cidr, dns, type GatewayWorld, udp } from '../../test/support/gateway-world.ts';
import { ip } from '../../test/support/packets.ts';
import { authorizeAll, CLIENTS, clientOf, gate, newWorld, report, Sender } from './subject.ts';

const SESSIONS_PER_CLIENT = 1_000;
const MAX_SESSION_BYTES = 160;

function usedBytes(): number {
  // What one collection finds to be finalized, the next one frees.
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** A thousand clients that may reach a network, and a domain whose packets are translated. */
export function withSessions(): GatewayWorld {
  const world = newWorld();
  for (let i = 0; i < CLIENTS; i++) {
    const client = clientOf(i);
    authorizeAll(world, client, [dns('db', 'db.test', [udp(53)])]);
    world.setUp('db', 'db.test', ['100.96.0.1'], ['10.1.2.3'], client);
  }
  return world;
}

/** A million sessions: a thousand of each client. */
export function fillSessions(world: GatewayWorld): void {
  const sender = new Sender(world);
  for (let slot = 0; slot < CLIENTS; slot++) {
    const source = ip(clientOf(slot).ipv4);
    const packet = writeUdpPacket({
      source,
      destination: ip('100.96.0.1'),
      sourcePort: 1,
      destinationPort: 53,
    });
    const view = new DataView(packet.buffer, packet.byteOffset);
    for (let i = 0; i < SESSIONS_PER_CLIENT; i++) {
      view.setUint16(20, 2_000 + i);

      if (!sender.send(slot, packet)) throw new Error('the packet of the benchmark is refused');
    }
  }
}

export function measureMemory(): void {
  const warmUp = newWorld();
  // The first world pays for what the code itself needs.
  for (let i = 0; i < CLIENTS; i++) authorizeAll(warmUp, clientOf(i), [cidr('lan', '10.0.0.0/8')]);
  const world = newWorld();
  const clients = Array.from({ length: CLIENTS }, (_, i) => clientOf(i));
  const before = usedBytes();
  for (const client of clients) authorizeAll(world, client, [cidr('lan', '10.0.0.0/8', [udp(53)])]);
  const withClients = usedBytes();
  report('a client with one authorization', (withClients - before) / CLIENTS, 'bytes');
  const resources = Array.from({ length: 20_000 }, (_, i) =>
    cidr(`resource-${i}`, `10.${i >> 8}.${i & 255}.0/24`, [udp(53), udp(1_000, 2_000)]),
  );
  const withResources = usedBytes();
  authorizeAll(world, at(clients, 0), resources);
  report('an authorization', (usedBytes() - withResources) / resources.length, 'bytes');

  const sessions = withSessions();
  const beforeSessions = usedBytes();
  fillSessions(sessions);
  const perSession = (usedBytes() - beforeSessions) / (CLIENTS * SESSIONS_PER_CLIENT);
  gate('a session of a million', perSession, MAX_SESSION_BYTES, 'bytes');
}
