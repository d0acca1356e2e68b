// What waits on the client: packets, requests for access, and the state of the gateway's DNS NAT (data-plane 11.4, client 7.3 and 11.2).

import { describe, expect, test } from 'vitest';
import { peerId, resourceId } from '../../base/ids.ts';
import { instant } from '../../base/time.ts';
import { type DnsNatKey, DnsNatTable } from './dns-nat.ts';
import { PacketBuffer } from './packet-buffer.ts';
import { PendingAccess } from './pending-access.ts';

function tcp(options: { sequence: number; flags: number; id?: number }): Uint8Array {
  const bytes = new Uint8Array(40);
  bytes.set([0x45, 0, 0, 40, 0, options.id ?? 0, 0x40, 0, 64, 6]);
  bytes.set([10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0, 80], 12);
  new DataView(bytes.buffer).setUint32(24, options.sequence);
  bytes[32] = 0x50;
  bytes[33] = options.flags;
  return bytes;
}

describe('the packet buffer', () => {
  test('keeps a byte-identical packet once', () => {
    const buffer = new PacketBuffer(8);
    buffer.push(tcp({ sequence: 1, flags: 0x10 }));
    buffer.push(tcp({ sequence: 1, flags: 0x10 }));
    expect(buffer.count).toBe(1);
  });

  test('replaces a SYN by its retransmission, and by nothing else', () => {
    const buffer = new PacketBuffer(8);
    buffer.push(tcp({ sequence: 7, flags: 0x02, id: 1 }));
    buffer.push(tcp({ sequence: 7, flags: 0x02, id: 2 }));
    buffer.push(tcp({ sequence: 8, flags: 0x02, id: 3 }));
    buffer.push(tcp({ sequence: 7, flags: 0x12, id: 4 }));
    expect(buffer.takeAll().map((packet) => packet[5])).toEqual([2, 3, 4]);
  });

  test('drops the oldest when full, and says so', () => {
    const buffer = new PacketBuffer(2);
    for (const sequence of [1, 2, 3]) buffer.push(tcp({ sequence, flags: 0x10 }));
    expect(buffer.overflowed).toBe(1);
    expect(buffer.takeAll().map((packet) => packet[27])).toEqual([2, 3]);
    expect(buffer.count).toBe(0);
  });
});

describe('pending access', () => {
  const resource = resourceId('r1');

  test('asks at once, and again only when traffic comes two seconds later', () => {
    const pending = new PendingAccess();
    pending.resume(instant(0));
    expect(pending.want(resource, undefined, instant(0))).toBe(true);
    expect(pending.want(resource, undefined, instant(1_999))).toBe(false);
    expect(pending.want(resource, undefined, instant(2_000))).toBe(true);
  });

  test('repeats five times without traffic and then forgets', () => {
    const pending = new PendingAccess();
    pending.resume(instant(0));
    pending.want(resource, undefined, instant(0));
    let asked = 0;
    for (let at = pending.pollTimeout(); at !== undefined; at = pending.pollTimeout()) {
      asked += pending.handleTimeout(at).length;
    }
    expect(asked).toBe(5);
    expect(pending.has(resource)).toBe(false);
  });

  test('asks nothing and gives nothing up while the portal is away, and everything once it is back', () => {
    const pending = new PendingAccess();
    expect(pending.want(resource, tcp({ sequence: 1, flags: 2 }), instant(0))).toBe(false);
    expect(pending.pollTimeout()).toBeUndefined();
    expect(pending.handleTimeout(instant(600_000))).toEqual([]);
    expect(pending.resume(instant(600_000))).toEqual([resource]);
    expect(pending.want(resource, undefined, instant(600_001))).toBe(false);
    expect(pending.take(resource)).toHaveLength(1);
  });

  test('is not repeated by itself after an answer, but by traffic', () => {
    const pending = new PendingAccess();
    pending.resume(instant(0));
    pending.want(resource, undefined, instant(0));
    pending.noteAnswer(resource);
    expect(pending.handleTimeout(instant(2_000))).toEqual([]);
    expect(pending.want(resource, undefined, instant(2_001))).toBe(true);
  });

  test('after a refusal asks again only when the interval is over and there is traffic', () => {
    const pending = new PendingAccess();
    pending.resume(instant(0));
    pending.want(resource, undefined, instant(0));
    pending.coolDown(resource, instant(100));
    expect(pending.want(resource, undefined, instant(200))).toBe(false);
    expect(pending.handleTimeout(instant(2_100))).toEqual([resource]);
    pending.coolDown(resource, instant(2_200));
    expect(pending.handleTimeout(instant(4_200))).toEqual([]);
    expect(pending.has(resource)).toBe(false);
  });

  test('gives the packets to the one who takes the answer, once', () => {
    const pending = new PendingAccess();
    pending.resume(instant(0));
    pending.want(resource, tcp({ sequence: 1, flags: 2 }), instant(0));
    expect(pending.take(resource)).toHaveLength(1);
    expect(pending.take(resource)).toBeUndefined();
  });
});

describe('the DNS NAT of a gateway as the client sees it', () => {
  const key: DnsNatKey = { gateway: peerId('g'), domain: 'a.test', resource: resourceId('r') };
  const packet = tcp({ sequence: 1, flags: 2 });

  test('holds packets until the gateway says Active', () => {
    const table = new DnsNatTable();
    expect(table.announce(key, instant(0))).toBe(true);
    table.waitingBuffer(key)?.push(packet);
    expect(table.handleStatus(key, true)).toEqual([packet]);
    expect(table.waitingBuffer(key)).toBeUndefined();
  });

  test('repeats the announcement every two seconds while nothing is answered', () => {
    const table = new DnsNatTable();
    table.announce(key, instant(0));
    expect(table.announce(key, instant(1_999))).toBe(false);
    expect(table.announce(key, instant(2_000))).toBe(true);
    table.handleStatus(key, true);
    expect(table.announce(key, instant(9_000))).toBe(false);
  });

  test('a new local answer asks again without holding packets, unless the entry had failed', () => {
    const table = new DnsNatTable();
    table.announce(key, instant(0));
    table.handleStatus(key, true);
    table.refresh('a.test');
    expect(table.announce(key, instant(1))).toBe(true);
    expect(table.waitingBuffer(key)).toBeUndefined();
    table.handleStatus(key, false);
    table.refresh('a.test');
    expect(table.announce(key, instant(2))).toBe(true);
    expect(table.waitingBuffer(key)).toBeDefined();
  });

  test('drops the packets of a name that the gateway cannot resolve', () => {
    const table = new DnsNatTable();
    table.announce(key, instant(0));
    table.waitingBuffer(key)?.push(packet);
    expect(table.handleStatus(key, false)).toEqual([]);
  });

  test('forgets with the gateway and with the resource, and ignores a status for nothing', () => {
    const table = new DnsNatTable();
    table.announce(key, instant(0));
    table.removeGateway(key.gateway);
    expect(table.count).toBe(0);
    table.announce(key, instant(0));
    table.removeResource(key.resource);
    expect(table.handleStatus(key, true)).toBeUndefined();
  });
});
