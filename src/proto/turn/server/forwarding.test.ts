// The hot path of the relay: which datagrams of a run go where (relay 5.5), and the hash table under it against a Map.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PEER, PEER_V6, parsed, RELAY_V4 } from '../../../../test/support/turn-world.ts';
import { type Endpoint, writeAddressWords } from '../../../base/address.ts';
import { createReceiveBatch, PATH, type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { concat } from '../../../base/bytes.ts';
import { Counters } from '../../../base/counters.ts';
import { instant } from '../../../base/time.ts';
import { writeChannelData } from '../../../wire/turn/channel-data.ts';
import { AddressTable } from './address-table.ts';
import { ChannelBindings, relaySocket } from './channel-bindings.ts';
import { createForwardBatch, FORWARD, type ForwardDrop, Forwarding } from './forwarding.ts';

const CLIENT = parsed('203.0.113.9:40000');

class Bench {
  readonly bindings = new ChannelBindings(99);
  readonly drops = new Counters<ForwardDrop>();
  readonly forwarding = new Forwarding(this.bindings, this.drops);
  readonly batch: ReceiveBatch = createReceiveBatch(65_536, 4, 1);
  readonly out = createForwardBatch(16);

  constructor() {
    const owner = { index: 5, client: CLIENT, local: RELAY_V4 };
    this.bindings.bind(owner, 0x4000, PEER, instant(0));
    this.bindings.bind(owner, 0x4001, PEER_V6, instant(0));
  }

  /** One run of datagrams of equal length, the last may be shorter. */
  receive(from: Endpoint, datagrams: readonly Uint8Array[]): void {
    const { runs, slab } = this.batch;
    const bytes = concat(...datagrams);
    slab.set(bytes);
    runs.fill(0);
    runs[RUN.length] = bytes.length;
    runs[RUN.segmentLength] = datagrams[0]?.length ?? 0;
    writeAddressWords(from.address, runs, RUN.remote);
    runs[RUN.remotePort] = from.port;
    this.batch.runCount = 1;
    this.out.count = 0;
  }

  fromClient(datagrams: readonly Uint8Array[], from = CLIENT): number {
    this.receive(from, datagrams);
    return this.forwarding.forwardToPeers(this.batch, 0, 0, this.out);
  }

  /** `first+count -headerLength to socket, remote port, channel, exact length`. */
  rows(): number[][] {
    const { rows, count } = this.out;
    return Array.from({ length: count }, (_, i) => {
      const row = (field: number): number => rows[i * FORWARD.stride + field] ?? -1;
      const path = (field: number): number =>
        this.bindings.paths[row(FORWARD.path) * PATH.stride + field] ?? -1;
      return [
        row(FORWARD.firstDatagram),
        row(FORWARD.datagramCount),
        row(FORWARD.headerLength),
        row(FORWARD.socket),
        path(PATH.remotePort),
        path(PATH.channel),
        row(FORWARD.exactLength),
      ];
    });
  }
}

function data(channel: number, length: number): Uint8Array {
  return writeChannelData(channel, new Uint8Array(length).fill(channel & 0xff));
}

describe('from a client', () => {
  it('a run on one channel is one row, the shorter last datagram included', () => {
    const bench = new Bench();
    const datagrams = [data(0x4000, 100), data(0x4000, 100), data(0x4000, 40)];
    expect(bench.fromClient(datagrams)).toBe(-1);
    expect(bench.rows()).toEqual([[0, 3, 4, relaySocket(5, 4), PEER.port, 0, 0]]);
    expect(bench.forwarding.totals).toMatchObject({ toPeerPackets: 3, toPeerBytes: 240 });
  });

  it('a run on several channels is cut where the channel changes', () => {
    const bench = new Bench();
    const [a, b] = [data(0x4000, 100), data(0x4001, 100)];
    expect(bench.fromClient([a, b, b, a])).toBe(-1);
    expect(bench.rows()).toEqual([
      [0, 1, 4, relaySocket(5, 4), PEER.port, 0, 0],
      [1, 2, 4, relaySocket(5, 6), PEER_V6.port, 0, 0],
      [3, 1, 4, relaySocket(5, 4), PEER.port, 0, 0],
    ]);
  });

  it('a number that is not bound is dropped, and another client may not use one that is', () => {
    const bench = new Bench();
    bench.fromClient([data(0x4002, 100), data(0x4002, 100)]);
    bench.fromClient([data(0x4000, 100)], parsed('203.0.113.9:40001'));
    bench.fromClient([data(0x4000, 100)], parsed('203.0.113.8:40000'));
    expect(bench.rows()).toEqual([]);
    expect(bench.drops.get('no-channel')).toBe(4);
  });

  it('bytes behind the announced payload are not relayed, a payload cut short is dropped', () => {
    const bench = new Bench();
    const long = concat(data(0x4000, 96), new Uint8Array(4));
    const short = data(0x4000, 100);
    short[3] = 101;
    expect(bench.fromClient([long, short, data(0x4000, 100)])).toBe(-1);
    expect(bench.rows()).toEqual([
      [0, 1, 4, relaySocket(5, 4), PEER.port, 0, 96],
      [2, 1, 4, relaySocket(5, 4), PEER.port, 0, 0],
    ]);
    expect(bench.drops.get('malformed-channel-data')).toBe(1);
  });

  it('finds what is not ChannelData, and goes on behind it', () => {
    const bench = new Bench();
    const stun = new Uint8Array(104);
    expect(bench.fromClient([data(0x4000, 100), stun, data(0x4000, 100)])).toBe(1);
    expect(bench.forwarding.forwardToPeers(bench.batch, 0, 2, bench.out)).toBe(-1);
    expect(bench.rows().map(([first]) => first)).toEqual([0, 2]);
  });

  it('an empty payload and fragments of a header are dropped', () => {
    const bench = new Bench();
    bench.fromClient([data(0x4000, 0)]);
    bench.fromClient([Uint8Array.of(0x40)]);
    expect(bench.rows()).toEqual([]);
    expect(bench.drops.snapshot()).toEqual({
      'empty-channel-data': 1,
      'malformed-channel-data': 1,
    });
  });

  it('counts what the batch has no room for', () => {
    const bench = new Bench();
    const datagrams = Array.from({ length: 20 }, (_, i) => data(0x4000 + (i % 2), 100));
    bench.fromClient(datagrams);
    expect(bench.out.count).toBe(16);
    expect(bench.drops.get('too-many-datagrams')).toBe(4);
  });
});

describe('from a peer', () => {
  it('a run goes to the client, with its channel number', () => {
    const bench = new Bench();
    bench.receive(PEER, [new Uint8Array(100), new Uint8Array(30)]);
    bench.forwarding.forwardToClient(bench.batch, 0, relaySocket(5, 4), bench.out);
    expect(bench.rows()).toEqual([[0, 2, 0, 0, CLIENT.port, 0x4000, 0]]);
    expect(bench.forwarding.totals).toMatchObject({ toClientPackets: 2, toClientBytes: 130 });
  });

  it('only from the very port that has a channel, and only on its allocation', () => {
    const bench = new Bench();
    const { forwarding, batch, out } = bench;
    bench.receive(parsed('192.0.2.33:52626'), [new Uint8Array(100)]);
    expect(forwarding.forwardToClient(batch, 0, relaySocket(5, 4), out)).toBe(false);
    bench.receive(PEER, [new Uint8Array(100)]);
    expect(forwarding.forwardToClient(batch, 0, relaySocket(6, 4), out)).toBe(false);
    expect(bench.rows()).toEqual([]);
  });

  it('nothing after the channel has expired or the allocation is gone', () => {
    for (const end of [
      (bindings: ChannelBindings) => bindings.handleTimeout(instant(600_000)),
      (bindings: ChannelBindings) => bindings.removeAllocation(5),
    ]) {
      const bench = new Bench();
      end(bench.bindings);
      bench.receive(PEER, [new Uint8Array(100)]);
      bench.forwarding.forwardToClient(bench.batch, 0, relaySocket(5, 4), bench.out);
      bench.fromClient([data(0x4000, 100)]);
      expect(bench.rows()).toEqual([]);
    }
  });
});

it('no bytes of a client make forwarding throw or name a datagram twice', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 8, maxLength: 8 }), { minLength: 1, maxLength: 12 }),
      fc.uint8Array({ maxLength: 8 }),
      (datagrams, tail) => {
        const bench = new Bench();
        for (const bytes of datagrams) bytes[0] = (bytes[0] ?? 0) & 0x41;
        bench.receive(CLIENT, [...datagrams, tail]);
        const seen = new Set<number>();
        let index = 0;
        while (index >= 0) {
          index = bench.forwarding.forwardToPeers(bench.batch, 0, index, bench.out);
          if (index < 0) break;
          seen.add(index);
          index += 1;
        }
        for (const [first = 0, count = 0] of bench.rows()) {
          for (let i = first; i < first + count; i++) {
            expect(seen.has(i)).toBe(false);
            seen.add(i);
          }
        }
      },
    ),
  );
});

it('the address table does what a Map does', () => {
  const key = fc.tuple(
    fc.constantFrom('192.0.2.1', '192.0.2.2', '2001:db8::1', '2001:db8::2', '::ffff:0:1'),
    fc.integer({ min: 0, max: 20 }),
    fc.constantFrom(0, 0x4000, 0xffff),
  );
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('set' as const), key, value: fc.nat(1_000_000) }),
    fc.record({ kind: fc.constant('delete' as const), key, value: fc.constant(0) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 300 }), fc.integer(), (operations, seed) => {
      const table = new AddressTable(seed);
      const model = new Map<string, number>();
      const words = new Int32Array(4);
      for (const {
        kind,
        key: [address, port, tag],
        value,
      } of operations) {
        writeAddressWords(
          parsed(address.includes(':') ? `[${address}]:1` : `${address}:1`).address,
          words,
          0,
        );
        const text = `${words.join()} ${port} ${tag}`;
        expect(table.find(words, 0, port, tag)).toBe(model.get(text) ?? -1);
        if (kind === 'set') {
          table.set(words, 0, port, tag, value);
          model.set(text, value);
        } else {
          table.delete(words, 0, port, tag);
          model.delete(text);
        }
        expect(table.count).toBe(model.size);
      }
    }),
  );
});
