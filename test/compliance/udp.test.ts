// UDP sockets, native and on node:dgram, on loopback only.

import { afterEach, describe, expect, it } from 'vitest';
import type { IpAddress } from '../../src/base/address.ts';
import { addressFromWords, endpoint, parseIp, writeAddressWords } from '../../src/base/address.ts';
import type { ReceiveBatch } from '../../src/base/batch.ts';
import { createReceiveBatch, PATH, RUN } from '../../src/base/batch.ts';
import { at, concat, viewOf } from '../../src/base/bytes.ts';
import { createSeededCrypto } from '../../src/io/crypto/seeded-crypto.ts';
import { TunnelSockets, UdpError, UdpSocket } from '../../src/io/packets/udp.ts';
import { PlainUdpSocket } from '../../src/io/packets/udp-plain.ts';
import { PlainAead } from '../../src/proto/batch/plain-aead.ts';
import { makePacket, tunBatch } from './packets.ts';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
};
const LOOPBACK = ip('127.0.0.1');

interface Closable {
  close(): void;
}
const open: Closable[] = [];
function keep<T extends Closable>(value: T): T {
  open.push(value);
  return value;
}
afterEach(() => {
  for (const each of open.splice(0)) each.close();
});

const newBatch = (): ReceiveBatch => createReceiveBatch(16 * 65_536, 16, 64);

function payloads(batch: ReceiveBatch): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let i = 0; i < batch.runCount; i++) {
    const row = i * RUN.stride;
    const start = at(batch.runs, row + RUN.offset);
    const end = start + at(batch.runs, row + RUN.length);
    const segment = at(batch.runs, row + RUN.segmentLength);
    for (let offset = start; offset < end; offset += segment) {
      out.push(batch.slab.slice(offset, Math.min(end, offset + segment)));
    }
  }
  return out;
}

interface AnySocket {
  readonly id: number;
  readonly port: number;
  receive(batch: ReceiveBatch): number;
  send(transmit: Parameters<UdpSocket['send']>[0]): string;
  whenReadable(): Promise<void>;
  close(): void;
}

function nativeSocket(address: IpAddress): Promise<AnySocket> {
  const socket = keep(UdpSocket.open({ family: address.includes(':') ? 6 : 4, address, port: 0 }));
  return Promise.resolve(
    Object.assign(socket, {
      whenReadable: () => new Promise<void>((resolve) => socket.onReady(() => resolve())),
    }),
  );
}

async function plainSocket(address: IpAddress): Promise<AnySocket> {
  const socket = keep(await PlainUdpSocket.open(address, 0, 77));
  return Object.assign(socket, {
    whenReadable: () => new Promise<void>((resolve) => socket.onReadable(() => resolve())),
  });
}

describe.each([
  ['native', nativeSocket],
  ['node:dgram', plainSocket],
])('UDP socket, %s', (_name, create) => {
  it.each(['127.0.0.1', '::1'])(
    'tells who sent what to which of our addresses: %s',
    async (text) => {
      const address = ip(text);
      const left = await create(address);
      const right = await create(address);
      const readable = right.whenReadable();
      const payload = Uint8Array.of(1, 2, 3);
      expect(left.send({ destination: endpoint(address, right.port), payload, ecn: 0 })).toBe(
        'sent',
      );
      await readable;
      const batch = newBatch();
      expect(right.receive(batch)).toBe(1);
      expect(payloads(batch)).toEqual([payload]);
      expect(addressFromWords(batch.runs, RUN.remote)).toBe(address);
      expect(batch.runs[RUN.remotePort]).toBe(left.port);
      expect(addressFromWords(batch.runs, RUN.local)).toBe(address);
      expect(batch.runs[RUN.localPort]).toBe(right.port);
      expect(batch.runs[RUN.socket]).toBe(right.id);
      expect(batch.runs[RUN.slot]).toBe(-1);
      expect(right.receive(batch)).toBe(0);
      expect(batch.runCount).toBe(0);
    },
  );

  it('refuses a destination of the other family', async () => {
    const socket = await create(LOOPBACK);
    const destination = endpoint(ip('::1'), 9);
    expect(socket.send({ destination, payload: Uint8Array.of(1), ecn: 0 })).toBe('no-socket');
  });
});

describe('UDP socket, native', () => {
  const native = (address: string, port = 0): UdpSocket =>
    keep(UdpSocket.open({ family: address.includes(':') ? 6 : 4, address: ip(address), port }));

  it.each([
    ['127.0.0.1', '127.0.0.5', '0.0.0.0'],
    ['::1', '::1', '::'],
  ])('leaves from the source asked for and carries ECN: %s', (to, from, any) => {
    const left = native(any);
    const right = native(to);
    const batch = newBatch();
    left.send({
      source: endpoint(ip(from), left.port),
      destination: endpoint(ip(to), right.port),
      payload: Uint8Array.of(9),
      ecn: 3,
    });
    expect(right.receive(batch)).toBe(1);
    expect(addressFromWords(batch.runs, RUN.remote)).toBe(ip(from));
    expect(batch.runs[RUN.ecn]).toBe(3);
  });

  it('says which address is in use', () => {
    const taken = native('127.0.0.1');
    expect(() => native('127.0.0.1', taken.port)).toThrow(UdpError);
    expect(() => native('127.0.0.1', taken.port)).toThrow(/127\.0\.0\.1 port \d+: EADDRINUSE/);
  });

  it('forwards runs with ChannelData headers taken off and put on', () => {
    const relay = native('127.0.0.1');
    const sender = native('127.0.0.1');
    const target = native('127.0.0.1');
    const paths = new Int32Array(2 * PATH.stride);
    writeAddressWords(LOOPBACK, paths, PATH.stride + PATH.remote);
    paths[PATH.stride + PATH.remotePort] = target.port;
    const batch = newBatch();
    const framed = (length: number): Uint8Array => {
      const header = new Uint8Array(4);
      viewOf(header).setUint16(0, 0x4001);
      viewOf(header).setUint16(2, length);
      return concat(header, new Uint8Array(length).fill(length));
    };
    // A run, as the kernel would coalesce it, laid into the slab.
    const parts = [100, 100, 100, 60].map(framed);
    batch.slab.set(concat(...parts));
    batch.runs.set([0, 3 * 104 + 64, 104]);
    batch.runCount = 1;
    const out = newBatch();

    expect(relay.forward(batch, 0, 0, 4, 4, paths, 1, 0)).toBe(4);
    target.receive(out);
    expect(payloads(out)).toEqual(parts.map((part) => part.subarray(4)));

    expect(relay.forward(batch, 0, 1, 2, 4, paths, 1, 0)).toBe(2);
    target.receive(out);
    expect(payloads(out)).toEqual(parts.slice(1, 3).map((part) => part.subarray(4)));

    paths[PATH.stride + PATH.channel] = 0x4fff;
    expect(relay.forward(batch, 0, 0, 4, 4, paths, 1, 2)).toBe(4);
    target.receive(out);
    expect(out.runs[RUN.ecn]).toBe(2);
    expect(payloads(out)).toEqual(
      parts.map((part) => {
        const changed = part.slice();
        changed.set([0x4f, 0xff]);
        return changed;
      }),
    );
    expect(relay.forward(batch, 99, 0, 4, 4, paths, 1, 0)).toBeLessThan(0);
    expect(relay.forward(batch, 0, 9, 4, 4, paths, 1, 0)).toBe(0);
    sender.close();
  });

  it('pauses and resumes its readiness', async () => {
    const left = native('127.0.0.1');
    const right = native('127.0.0.1');
    const batch = newBatch();
    const destination = endpoint(LOOPBACK, right.port);
    const ready = new Promise<void>((resolve) => right.onReady(() => resolve()));
    right.pause(true);
    left.send({ destination, payload: Uint8Array.of(1), ecn: 0 });
    right.pause(false);
    await ready;
    expect(right.receive(batch)).toBe(1);
  });
});

describe('the pair of sockets of a tunnel', () => {
  it('takes another port when the wished one is in use, and says what it got', () => {
    const taken = keep(UdpSocket.open({ family: 4, address: LOOPBACK, port: 0 }));
    const pair = keep(TunnelSockets.open({ port: taken.port, addresses: [LOOPBACK, ip('::1')] }));
    expect(pair.problems).toEqual([]);
    expect(pair.endpoints[0]?.port).not.toBe(taken.port);
    expect(pair.endpoints.map(({ address }) => address)).toEqual([LOOPBACK, '::1']);
  });

  it('works with one family and names why the other is missing', () => {
    const pair = keep(TunnelSockets.open({ port: 0, addresses: [LOOPBACK, ip('2001:db8::1')] }));
    expect(pair.problems.map(({ errno }) => errno)).toEqual(['EADDRNOTAVAIL']);
    const destination = endpoint(ip('::1'), 9);
    expect(pair.send({ destination, payload: Uint8Array.of(1), ecn: 0 })).toBe('no-socket');
    expect(() => TunnelSockets.open({ port: 0, addresses: [ip('2001:db8::1')] })).toThrow(UdpError);
  });

  it('sends control datagrams by family, unharmed by unreachable destinations', () => {
    const pair = keep(TunnelSockets.open({ port: 0, addresses: [LOOPBACK, ip('::1')] }));
    const payload = Uint8Array.of(5);
    for (const address of [LOOPBACK, ip('::1')]) {
      const receiver = keep(
        UdpSocket.open({ family: address === LOOPBACK ? 4 : 6, address, port: 0 }),
      );
      const closed = UdpSocket.open({ family: receiver.family, address, port: 0 });
      closed.close();
      const batch = newBatch();
      for (let i = 0; i < 3; i++) {
        pair.send({ destination: endpoint(address, closed.port), payload, ecn: 0 });
        pair.send({ destination: endpoint(address, receiver.port), payload, ecn: 0 });
        expect(receiver.receive(batch)).toBe(1);
      }
    }
  });

  it('seals with a cipher that native code does not know', () => {
    const pair = keep(TunnelSockets.open({ port: 0, addresses: [LOOPBACK] }));
    const receiver = keep(UdpSocket.open({ family: 4, address: LOOPBACK, port: 0 }));
    const key = new Uint8Array(32).fill(1);
    const aead = new PlainAead(createSeededCrypto(3), 1);
    aead.install(key, key, 7);
    writeAddressWords(LOOPBACK, aead.paths, PATH.remote);
    aead.paths[PATH.remotePort] = receiver.port;
    aead.paths[PATH.usable] = 1;
    const packet = makePacket({ payload: new Uint8Array(10) });
    expect(pair.sealSend(tunBatch([{ packet, slot: 0 }]), aead)).toBe(true);
    const batch = newBatch();
    expect(receiver.receive(batch)).toBe(1);
    expect(aead.openOne(0, at(payloads(batch), 0))).toEqual(packet);
  });
});
