import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat } from '../../base/bytes.ts';
import { writeChannelData } from '../../wire/turn/channel-data.ts';
import { paddingOf, StreamFramer } from './stream-framer.ts';

const MAX = 2048;
const BINDING = stun(0);

function stun(bodyLength: number): Uint8Array {
  const bytes = new Uint8Array(20 + bodyLength);
  bytes.set([0, 1, bodyLength >> 8, bodyLength & 0xff, 0x21, 0x12, 0xa4, 0x42]);
  return bytes.fill(bodyLength & 0xff, 20);
}

function onStream(message: Uint8Array): Uint8Array {
  return concat(message, new Uint8Array(paddingOf(message.length)));
}

/** Everything a framer finds in the chunks, copied. */
function frames(framer: StreamFramer, chunks: readonly Uint8Array[]): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const chunk of chunks) {
    framer.push(chunk);
    while (framer.next()) {
      found.push(framer.bytes.slice(framer.offset, framer.offset + framer.length));
    }
  }
  return found;
}

/** Cuts at places between 0 and the length. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length];
  sorted.sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => bytes.slice(sorted[i], end));
}

const message = fc.oneof(
  fc.integer({ min: 0, max: 100 }).map((words) => stun(words * 4)),
  fc.uint8Array({ maxLength: 600 }).map((payload) => writeChannelData(0x4001, payload)),
);

describe('a framer of TURN over a stream', () => {
  it('finds messages in one chunk, and gives out ChannelData without its padding', () => {
    const data = writeChannelData(0x4000, Uint8Array.of(1, 2, 3, 4, 5));
    expect(data.length + paddingOf(data.length)).toBe(12);
    const found = frames(new StreamFramer(MAX), [concat(onStream(data), BINDING)]);
    expect(found).toEqual([data, BINDING]);
  });

  it('puts messages together that arrive byte by byte', () => {
    const data = writeChannelData(0x4fff, Uint8Array.of(9));
    const stream = concat(BINDING, onStream(data), BINDING);
    const framer = new StreamFramer(MAX);
    expect(frames(framer, cut(stream, [...stream.keys()]))).toEqual([BINDING, data, BINDING]);
    expect(framer.heldLength).toBe(0);
  });

  it('finds the same messages however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (messages, places) => {
          const stream = concat(...messages.map(onStream));
          const framer = new StreamFramer(MAX);
          expect(frames(framer, cut(stream, places))).toEqual(messages);
          expect(framer.fault).toBeUndefined();
        },
      ),
    );
  });

  it('holds no more than one message, whatever comes, and never throws', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 20 }), (chunks) => {
        const framer = new StreamFramer(MAX);
        for (const found of frames(framer, chunks)) expect(found.length).toBeLessThanOrEqual(MAX);
        expect(framer.heldLength).toBeLessThanOrEqual(MAX);
      }),
    );
  });

  it.each([
    [
      'an HTTP request, which looks like long ChannelData',
      new TextEncoder().encode('GET / HTTP/1.1'),
      'too-long',
    ],
    ['a TLS hello', Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1), 'not-turn'],
    ['a STUN message without cookie', stun(0).fill(0, 4, 8), 'not-turn'],
    ['a STUN length that is no multiple of four', Uint8Array.of(0, 1, 0, 3), 'not-turn'],
    ['a channel beyond the range', Uint8Array.of(0x50, 0, 0, 4), 'not-turn'],
    ['a message that is too long', Uint8Array.of(0x40, 0, 0xff, 0xff), 'too-long'],
  ] as const)('stops for good at %s', (_, bytes, fault) => {
    const framer = new StreamFramer(MAX);
    expect(frames(framer, [bytes, BINDING])).toEqual([]);
    expect(framer.fault).toBe(fault);
  });

  it('gives out what came before the fault', () => {
    const framer = new StreamFramer(MAX);
    expect(frames(framer, [concat(BINDING, Uint8Array.of(0xff, 0, 0, 0))])).toEqual([BINDING]);
    expect(framer.fault).toBe('not-turn');
  });

  it('takes empty ChannelData', () => {
    const empty = writeChannelData(0x4000, new Uint8Array());
    expect(frames(new StreamFramer(MAX), [concat(empty, empty)])).toEqual([empty, empty]);
  });
});
