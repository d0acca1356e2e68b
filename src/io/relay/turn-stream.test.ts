// One TURN connection that does not take what it is given: what waits, what is dropped, and what never is.

import { Duplex } from 'node:stream';
import { afterEach, expect, it, vi } from 'vitest';
import { parseEndpoint } from '../../base/address.ts';
import { streamEndpoint } from '../../base/stream-endpoint.ts';
import { writeChannelData } from '../../wire/turn/channel-data.ts';
import { TurnStream } from './turn-stream.ts';

afterEach(() => void vi.useRealTimers());

const local = parseEndpoint('192.0.2.1:5000') ?? expect.unreachable();

/** A socket that takes nothing until it is told to. */
class Stuck extends Duplex {
  readonly written: Buffer[] = [];
  #resume: (() => void) | undefined;
  #isStuck = true;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk);
    if (this.#isStuck) this.#resume = done;
    else done();
  }

  free(): void {
    this.#isStuck = false;
    this.#resume?.();
  }
}

function open(): { socket: Stuck; stream: TurnStream } {
  const socket = new Stuck();
  const options = { name: streamEndpoint(1, 3478), local, socketId: -1 };
  const stream = new TurnStream(socket, { ...options, onReadable: () => {}, onClosed: () => {} });
  return { socket, stream };
}

/** 1,004 bytes that begin with a number. */
function datagram(number: number): Uint8Array {
  const payload = new Uint8Array(1000);
  new DataView(payload.buffer).setUint32(0, number);
  return writeChannelData(0x4000, payload);
}

function numbersOf(chunks: readonly Buffer[]): number[] {
  return chunks.filter((chunk) => chunk[0] === 0x40).map((chunk) => chunk.readUInt32BE(4));
}

async function settled(socket: Stuck): Promise<void> {
  socket.free();
  while (socket.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
}

it('drops the oldest datagrams that wait, counts them, and delivers the newest', async () => {
  const { socket, stream } = open();
  for (let number = 0; number < 1000; number++) stream.send({ payload: datagram(number) });
  const dropped = stream.drops.snapshot()['queue-full'] ?? 0;
  await settled(socket);
  const arrived = numbersOf(socket.written);
  expect(dropped).toBeGreaterThan(500);
  expect(arrived.length + dropped).toBe(1000);
  expect(arrived.at(-1)).toBe(999);
  // What the connection had been given already comes first, in order, and then what was not dropped.
  expect(arrived).toEqual([...arrived].sort((a, b) => a - b));
});

it('holds no more than it says, however much it is given', () => {
  const { socket, stream } = open();
  for (let number = 0; number < 10_000; number++) stream.send({ payload: datagram(number) });
  expect(socket.writableLength).toBeLessThan(200_000);
});

it('never loses a request, and sends it before data that waits', async () => {
  const { socket, stream } = open();
  for (let number = 0; number < 1000; number++) stream.send({ payload: datagram(number) });
  const binding = Uint8Array.of(
    0,
    1,
    0,
    0,
    0x21,
    0x12,
    0xa4,
    0x42,
    ...new Array<number>(12).fill(7),
  );
  expect(stream.send({ payload: binding })).toBe('sent');
  await settled(socket);
  const place = socket.written.findIndex((chunk) => chunk[0] === 0);
  expect(place).toBeGreaterThan(0);
  expect(place).toBeLessThan(socket.written.length - 100);
});

it('pads to a multiple of four, and says all that waits before it closes', async () => {
  const { socket, stream } = open();
  stream.send({ payload: writeChannelData(0x4001, new Uint8Array(5).fill(9)) });
  for (let number = 0; number < 200; number++) stream.send({ payload: datagram(number) });
  stream.close();
  await settled(socket);
  expect([...(socket.written[0] ?? [])]).toEqual([0x40, 1, 0, 5, 9, 9, 9, 9, 9, 0, 0, 0]);
  expect(numbersOf(socket.written.slice(1))).toHaveLength(200);
  expect(stream.send({ payload: datagram(0) })).toBe('full');
});

it('cuts off a peer that neither takes what was sent nor closes its own end', () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const { socket, stream } = open();
  stream.send({ payload: datagram(1) });
  stream.close();
  vi.advanceTimersByTime(4_000);
  expect(socket.destroyed).toBe(false);
  vi.advanceTimersByTime(2_000);
  expect(socket.destroyed).toBe(true);
});
