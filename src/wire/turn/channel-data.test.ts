// ChannelData framing.

import fc from 'fast-check';
import { expect, it } from 'vitest';
import { concat, fromHex, toHex, viewOf } from '../../base/bytes.ts';
import {
  channelAt,
  channelPayloadLength,
  isChannelDataByte,
  parseChannelData,
  writeChannelData,
} from './channel-data.ts';

const FOOBAR = new TextEncoder().encode('foobar');

it('writes the vector of relay 9.3', () => {
  expect(toHex(writeChannelData(0x4000, FOOBAR))).toBe('40000006666f6f626172');
});

it('any number and payload read back', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0x4000, max: 0x4fff }),
      fc.uint8Array({ maxLength: 100 }),
      (channel, payload) => {
        expect(parseChannelData(writeChannelData(channel, payload))).toEqual({ channel, payload });
      },
    ),
  );
});

it('no bytes make it throw, and only the channel range passes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const data = parseChannelData(bytes);
      if (data) expect(isChannelDataByte(bytes[0] ?? 0)).toBe(true);
      const length = channelPayloadLength(viewOf(bytes), 0, bytes.length);
      expect(length).toBeLessThanOrEqual(bytes.length - 4 < 0 ? -1 : bytes.length - 4);
    }),
  );
});

it('a datagram with bytes to spare has its announced payload, and is not exact', () => {
  const bytes = concat(writeChannelData(0x4001, FOOBAR), Uint8Array.of(0));
  expect(channelPayloadLength(viewOf(bytes), 0, bytes.length)).toBe(6);
  expect(channelAt(viewOf(bytes), 0)).toBe(0x4001);
  expect(parseChannelData(bytes)).toBeUndefined();
});

it('refuses what is shorter than it announces, and numbers outside the range', () => {
  const bytes = writeChannelData(0x4000, FOOBAR);
  expect(channelPayloadLength(viewOf(bytes), 0, bytes.length - 1)).toBe(-1);
  expect(parseChannelData(fromHex('50000000') ?? FOOBAR)).toBeUndefined();
  expect(parseChannelData(fromHex('3fff0000') ?? FOOBAR)).toBeUndefined();
  expect(parseChannelData(fromHex('40000000') ?? FOOBAR)).toEqual({
    channel: 0x4000,
    payload: new Uint8Array(),
  });
});
