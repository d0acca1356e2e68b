// The client's table of the gateways' DNS NATs under a list of operations: nothing is announced too often, packets wait only while
// nothing is confirmed, and what waits is handed out once.

import { type PeerId, peerId, type ResourceId, resourceId } from '../../../src/base/ids.ts';
import { type Instant, instant, later } from '../../../src/base/time.ts';
import { DnsNatTable } from '../../../src/roles/client/dns-nat.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'dns-nat-table';
export const kind = 'operations';

const MAX_OPERATIONS = 64;
const GATEWAYS = ['a', 'b'].map(peerId);
const RESOURCES = ['x', 'y'].map(resourceId);
const DOMAINS = ['a.test', 'b.test', 'c.test'];
const PAUSES = [0, 1, 1_999, 2_000, 10_000];
const MAX_WAITING = 32;

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  const table = new DnsNatTable();
  const announcedAt = new Map<string, Instant>();
  const inside = new Map<string, number>();
  let now = instant(0);
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    const key = {
      gateway: ops.pick(GATEWAYS),
      domain: ops.pick(DOMAINS),
      resource: ops.pick(RESOURCES),
    };
    const text = Object.values(key).join();
    switch (ops.byte() % 8) {
      case 0:
      case 1: {
        const last = announcedAt.get(text);
        if (!table.announce(key, now)) break;
        if (last !== undefined && now - last < 2_000) throw new Error('announced again too soon');
        announcedAt.set(text, now);
        break;
      }
      case 2: {
        const isActive = ops.byte() % 2 === 0;
        const packets = table.handleStatus(key, isActive);
        if (packets && packets.length > (inside.get(text) ?? 0))
          throw new Error('packets of nobody');
        if (!isActive && packets && packets.length > 0) throw new Error('packets to nowhere');
        if (packets) inside.delete(text);
        announcedAt.delete(text);
        break;
      }
      case 3:
        table.refresh(key.domain);
        announcedAt.clear();
        break;
      case 4:
        table.refreshResource(key.resource);
        announcedAt.clear();
        break;
      case 5:
        announcedAt.clear();
        remove(table, inside, ops.byte() % 2 === 0 ? key.gateway : key.resource);
        for (const domain of DOMAINS)
          if (table.waitingBuffer({ ...key, domain })) throw new Error('waits for what is gone');
        break;
      case 6:
        now = later(now, ops.pick(PAUSES));
        break;
      default: {
        const buffer = table.waitingBuffer(key);
        buffer?.push(Uint8Array.of(0x45, ops.byte(), i, 0));
        if (buffer && buffer.count > MAX_WAITING) throw new Error('too much waits');
        if (buffer) inside.set(text, (inside.get(text) ?? 0) + 1);
      }
    }
    if (table.count > GATEWAYS.length * RESOURCES.length * DOMAINS.length)
      throw new Error('too many');
  }
  observe(
    hashOf(
      table
        .snapshot()
        .map(({ state }) => state)
        .join(),
    ),
  );
}

/** All entries of a gateway or of a resource. */
function remove(table: DnsNatTable, inside: Map<string, number>, id: PeerId | ResourceId): void {
  const gateway = GATEWAYS.find((name) => name === id);
  const resource = RESOURCES.find((name) => name === id);
  if (gateway) table.removeGateway(gateway);
  if (resource) table.removeResource(resource);
  for (const text of [...inside.keys()]) if (text.split(',').includes(id)) inside.delete(text);
}
