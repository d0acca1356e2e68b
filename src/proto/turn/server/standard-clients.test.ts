// What the relay does beyond the reference: for standard clients, for clients on streams, against those who take too much, and when it
// is told to stop (relay 10; RFC 8656 §9 to §11).

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Asker,
  CLIENT,
  code,
  crypto,
  DUAL,
  OTHER,
  request,
  TRANSPORT,
  transactionId,
} from '../../../../test/support/turn-asker.ts';
import { PEER, PEER_V6, parsed, RELAY_V4 } from '../../../../test/support/turn-world.ts';
import * as vectors from '../../../../test/vectors/stun.ts';
import { type Endpoint, writeAddressWords } from '../../../base/address.ts';
import { createReceiveBatch, type ReceiveBatch, RUN } from '../../../base/batch.ts';
import { streamEndpoint } from '../../../base/stream-endpoint.ts';
import { instant } from '../../../base/time.ts';
import type { StunAttribute } from '../../../wire/stun/attributes.ts';
import { findAttribute, parseStun, STUN_METHOD, writeStun } from '../../../wire/stun/message.ts';
import { writeChannelData } from '../../../wire/turn/channel-data.ts';
import { relaySocket, STREAM_SOCKET } from './channel-bindings.ts';
import { createForwardBatch, FORWARD } from './forwarding.ts';
import { Nonces } from './nonces.ts';
import { Permissions } from './permissions.ts';
import { RequestLimiter } from './request-limiter.ts';

const HELLO = Uint8Array.of(1, 2, 3);
const STREAM = streamEndpoint(1, CLIENT.port);

function permit(asker: Asker, ...peers: readonly Endpoint[]): number | undefined {
  const attributes = peers.map((value): StunAttribute => ({ kind: 'xor-peer-address', value }));
  return code(asker.ask(STUN_METHOD.createPermission, attributes));
}

function send(asker: Asker, peer: Endpoint, data = HELLO, extra: StunAttribute[] = []): void {
  const bytes = writeStun(
    {
      method: STUN_METHOD.send,
      class: 'indication',
      transactionId: transactionId(5),
      attributes: [
        { kind: 'xor-peer-address', value: peer },
        { kind: 'data', value: data },
        ...extra,
      ],
    },
    crypto,
  );
  asker.server.handleDatagram(bytes, CLIENT, RELAY_V4, asker.now);
}

/** One run of equal datagrams. */
function runOf(from: Endpoint, datagrams: readonly Uint8Array[]): ReceiveBatch {
  const batch = createReceiveBatch(65_536, 1, 1);
  let length = 0;
  for (const datagram of datagrams) {
    batch.slab.set(datagram, length);
    length += datagram.length;
  }
  batch.runs[RUN.length] = length;
  batch.runs[RUN.segmentLength] = datagrams[0]?.length ?? 0;
  writeAddressWords(from.address, batch.runs, RUN.remote);
  batch.runs[RUN.remotePort] = from.port;
  batch.runCount = 1;
  return batch;
}

describe('a standard client without channels', () => {
  it('sends to a peer of which it has a permission, from the relay socket', () => {
    const asker = new Asker();
    asker.allocate();
    expect(permit(asker, PEER)).toBeUndefined();
    send(asker, parsed(`${PEER.address}:1234`));
    expect(asker.takeTransmits()).toEqual([
      { destination: parsed(`${PEER.address}:1234`), payload: HELLO, ecn: 0, socket: 2 },
    ]);
  });

  it('sends nowhere else, and nothing that cannot be sent as asked', () => {
    const asker = new Asker();
    send(asker, PEER);
    asker.allocate();
    send(asker, PEER);
    permit(asker, PEER);
    send(asker, parsed('192.0.2.34:1'));
    send(asker, PEER, new Uint8Array());
    send(asker, PEER, HELLO, [{ kind: 'dont-fragment', value: true }]);
    send(asker, parsed(`${PEER.address}:0`));
    expect(asker.takeTransmits()).toEqual([]);
    expect(asker.server.counters.snapshot()).toEqual({
      'no-permission': 4,
      'malformed-indication': 2,
    });
  });

  it('receives Data indications from any port of that address, until the permission ends', () => {
    const asker = new Asker();
    asker.allocate();
    permit(asker, PEER);
    const out = createForwardBatch(4);
    const stranger = parsed(`${PEER.address}:999`);
    const deliver = (): Uint8Array[] => {
      asker.server.handleRuns(runOf(stranger, [HELLO, HELLO]), relaySocket(0, 4), out, asker.now);
      return asker.takeTransmits().map(({ payload }) => payload);
    };
    const [first, ...others] = deliver().map((payload) => parseStun(payload));
    expect(others).toHaveLength(1);
    expect(first).toMatchObject({ method: STUN_METHOD.data, class: 'indication' });
    expect(first && findAttribute(first, 'xor-peer-address')).toEqual(stranger);
    expect(first && findAttribute(first, 'data')).toEqual(HELLO);
    asker.pass(299_999);
    expect(deliver()).toHaveLength(2);
    asker.pass(1);
    expect(deliver()).toEqual([]);
    expect(asker.server.counters.get('no-peer')).toBe(2);
  });

  it('a channel gives no permission: without one the port of the peer must match', () => {
    const asker = new Asker();
    asker.allocate();
    asker.bind(0x4000, PEER);
    const stranger = parsed(`${PEER.address}:999`);
    const out = createForwardBatch(4);
    asker.server.handleRuns(runOf(stranger, [HELLO]), relaySocket(0, 4), out, asker.now);
    expect(asker.takeTransmits()).toEqual([]);
  });

  it('gets no permission for what no channel may lead to, and none of another family', () => {
    const asker = new Asker();
    asker.allocate([TRANSPORT]);
    expect(permit(asker, parsed('127.0.0.1:9'))).toBe(403);
    expect(permit(asker, parsed('[::ffff:127.0.0.1]:9'))).toBe(443);
    expect(permit(asker, PEER_V6)).toBe(443);
    expect(asker.server.snapshot().permissionCount).toBe(0);
  });

  it('loses its permissions with its allocation', () => {
    const asker = new Asker();
    asker.allocate();
    permit(asker, PEER);
    asker.refresh(0);
    asker.allocate();
    send(asker, PEER);
    expect(asker.takeTransmits()).toEqual([]);
    expect(asker.server.snapshot().permissionCount).toBe(0);
  });

  it('has at most 256 of them; those that ended make room', () => {
    const permissions = new Permissions(1);
    const peer = (i: number): Endpoint['address'] => parsed(`10.0.${i >> 8}.${i & 255}:1`).address;
    for (let i = 0; i < 256; i++) expect(permissions.add(7, peer(i), instant(0))).toBe(true);
    expect(permissions.add(7, peer(256), instant(299_999))).toBe(false);
    expect(permissions.add(7, peer(3), instant(299_999))).toBe(true);
    expect(permissions.add(8, peer(256), instant(299_999))).toBe(true);
    expect(permissions.add(7, peer(256), instant(300_000))).toBe(true);
    expect(permissions.count).toBe(3);
  });
});

describe('a client on a stream', () => {
  function connect(): Asker {
    const asker = new Asker();
    expect(asker.server.handleStreamOpened(STREAM, CLIENT, asker.now)).toBe(true);
    return asker;
  }

  it('is told how it is seen, not how we name it', () => {
    const asker = connect();
    const binding = asker.raw(vectors.bindingRequest, STREAM);
    expect(binding && findAttribute(binding, 'xor-mapped-address')).toEqual(CLIENT);
    const answer = asker.allocate(undefined, { from: STREAM });
    expect(answer && findAttribute(answer, 'xor-mapped-address')).toEqual(CLIENT);
  });

  it('is another client than the one with the same address by UDP', () => {
    const asker = connect();
    expect(asker.allocate(undefined, { username: '1999999999:a' })?.class).toBe('success');
    const own = { from: STREAM, username: '1999999999:b' };
    expect(asker.allocate(undefined, own)?.class).toBe('success');
    expect(asker.server.allocationCount).toBe(2);
  });

  it('has its channels forwarded both ways', () => {
    const asker = connect();
    asker.allocate(undefined, { from: STREAM });
    asker.bind(0x4000, PEER, STREAM);
    const out = createForwardBatch(4);
    const data = writeChannelData(0x4000, HELLO);
    asker.server.handleRuns(runOf(STREAM, [data]), STREAM_SOCKET, out, asker.now);
    expect(out.rows[FORWARD.socket]).toBe(relaySocket(0, 4));
    asker.server.handleRuns(runOf(PEER, [HELLO]), relaySocket(0, 4), out, asker.now);
    expect(out.rows[FORWARD.socket]).toBe(STREAM_SOCKET);
    asker.server.handleRuns(runOf(CLIENT, [data]), 0, out, asker.now);
    expect(asker.server.counters.get('no-channel')).toBe(1);
  });

  it('loses its allocation when it disconnects', () => {
    const asker = connect();
    asker.allocate(undefined, { from: STREAM });
    asker.server.handleStreamClosed(STREAM);
    expect(asker.server.snapshot()).toMatchObject({ allocationCount: 0, streamCount: 0 });
    expect(asker.raw(vectors.bindingRequest, STREAM)).toBeUndefined();
    expect(asker.server.counters.get('unknown-stream')).toBe(1);
  });

  it('without an allocation is disconnected 30 s after its last message, however slowly it goes on', () => {
    const asker = connect();
    asker.pass(20_000);
    asker.raw(vectors.bindingRequest, STREAM);
    asker.pass(29_999);
    expect(asker.server.snapshot().streamCount).toBe(1);
    asker.pass(1);
    expect(asker.commands).toEqual([{ kind: 'close-stream', stream: STREAM }]);
    expect(asker.server.snapshot().streamCount).toBe(0);
  });

  it('stays as long as its allocation, and 30 s longer at most', () => {
    const asker = connect();
    asker.allocate(undefined, { from: STREAM });
    for (let i = 0; i < 20; i++) asker.pass(29_000);
    expect(asker.server.snapshot().streamCount).toBe(1);
    for (let i = 0; i < 3; i++) asker.pass(29_000);
    expect(asker.server.snapshot()).toMatchObject({ streamCount: 0, allocationCount: 0 });
    expect(asker.server.pollTimeout()).toBeUndefined();
  });

  it('is one of 256 of its address and of 4,096 in all', () => {
    const { server } = new Asker();
    const open = (id: number, seen: string): boolean =>
      server.handleStreamOpened(streamEndpoint(id, 9), parsed(seen), instant(0));
    for (let i = 1; i <= 256; i++) expect(open(i, '192.0.2.1:9')).toBe(true);
    expect(open(257, '192.0.2.1:9')).toBe(false);
    for (let i = 257; i <= 4096; i++) expect(open(i, `192.0.${i >> 8}.2:9`)).toBe(true);
    expect(open(4097, '192.0.2.99:9')).toBe(false);
    server.handleStreamClosed(streamEndpoint(1, 9));
    expect(open(4097, '192.0.2.1:9')).toBe(true);
  });
});

describe('limits', () => {
  it('a client with an allocation asks 5,000 times at once, then 1,000 times a second', () => {
    const asker = new Asker();
    asker.allocate();
    let answers = 0;
    for (let i = 0; i < 6000; i++) if (asker.raw(vectors.bindingRequest)) answers += 1;
    expect(answers).toBe(5000);
    asker.pass(1000);
    expect(asker.raw(vectors.bindingRequest)).toBeDefined();
  });

  it('1,024 allocations behind one address, then 486; others are served', () => {
    const asker = new Asker();
    const allocate = (i: number, address: string): number | undefined => {
      const from = parsed(`${address}:${1000 + i}`);
      return code(asker.allocate([TRANSPORT], { from, username: `1999999999:${address}-${i}` }));
    };
    // The nonces are fetched slowly enough for the limit on those without an allocation.
    for (let i = 0; i < 1024; i++) {
      expect(allocate(i, '203.0.113.80')).toBeUndefined();
      asker.pass(50);
    }
    expect(allocate(1024, '203.0.113.80')).toBe(486);
    expect(allocate(0, '203.0.113.81')).toBeUndefined();
  });

  it('ALLOCATE from forty thousand invented sources fills no table beyond its limit', () => {
    const asker = new Asker();
    asker.allocate();
    const bytes = request(STUN_METHOD.allocate, [TRANSPORT]);
    for (let i = 0; i < 40_000; i++) {
      const source = parsed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:${1 + (i % 60_000)}`);
      asker.server.handleDatagram(bytes, source, RELAY_V4, asker.now);
      asker.server.pollTransmit();
    }
    expect(asker.server.tableSizes()).toEqual({ sources: 8192, clients: 0, nonces: 32_768 });
    expect(code(asker.refresh())).toBe(438);
    asker.fetchNonce(CLIENT);
    expect(asker.refresh()?.class).toBe('success');
  });

  it('a key that is forgotten has lost nothing but its debt', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(500)), { maxLength: 300 }), (steps) => {
        const limiter = new RequestLimiter({ perSecond: 10, burst: 5, maxKeys: 4 });
        let now = 0;
        for (const [key, wait] of steps) {
          now += wait;
          limiter.take(String(key), instant(now));
          expect(limiter.count).toBeLessThanOrEqual(4);
        }
      }),
    );
  });

  it('the nonce of whoever uses it outlives a flood', () => {
    const nonces = new Nonces(crypto);
    const nonce = nonces.issue('honest');
    for (let i = 0; i < 100_000; i++) {
      nonces.issue(`flood ${i}`);
      if (i % 10_000 === 0) nonces.use('honest');
    }
    expect(nonces.isValid('honest', nonce)).toBe(true);
  });
});

describe('a relay that drains', () => {
  it('makes no allocation any more, answers 508, and serves what it has', () => {
    const asker = new Asker();
    asker.allocate();
    asker.server.drain();
    expect(code(asker.allocate([TRANSPORT, DUAL], { from: OTHER, username: '1999999999:b' }))).toBe(
      508,
    );
    expect(asker.bind(0x4000, PEER)?.class).toBe('success');
    expect(asker.refresh()?.class).toBe('success');
    expect(asker.server.snapshot()).toMatchObject({ isDraining: true, allocationCount: 1 });
  });
});
