// What is a WireGuard message and what is not (connectivity 7.2), and round trips of what we write.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { viewOf } from '../../base/bytes.ts';
import { innerPacketLength } from './inner-packet.ts';
import {
  isDataMessage,
  parseWireGuard,
  readCounterHigh,
  readCounterLow,
  readReceiverIndex,
  writeCookieReply,
  writeDataHeader,
  writeInitiation,
  writeResponse,
} from './messages.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });
const index = fc.integer({ min: 0, max: 0xffff_ffff });

describe('parseWireGuard', () => {
  it('reads what the writers write', () => {
    const initiation = fc.record({
      senderIndex: index,
      ephemeral: bytes(32),
      encryptedStatic: bytes(48),
      encryptedTimestamp: bytes(28),
    });
    const response = fc.record({
      senderIndex: index,
      receiverIndex: index,
      ephemeral: bytes(32),
      encryptedNothing: bytes(16),
    });
    const cookieReply = fc.record({
      receiverIndex: index,
      nonce: bytes(24),
      encryptedCookie: bytes(32),
    });
    fc.assert(
      fc.property(initiation, response, cookieReply, (first, second, third) => {
        expect(parseWireGuard(writeInitiation(first))).toEqual({ kind: 'initiation', ...first });
        expect(parseWireGuard(writeResponse(second))).toEqual({ kind: 'response', ...second });
        expect(parseWireGuard(writeCookieReply(third))).toEqual({ kind: 'cookie-reply', ...third });
      }),
    );
  });

  it('refuses each type with any other length', () => {
    const lengths = { 1: 148, 2: 92, 3: 64 } as const;
    for (const [type, length] of Object.entries(lengths)) {
      for (const other of [0, 4, 31, length - 1, length + 1, 200]) {
        const message = new Uint8Array(other);
        if (other > 0) message[0] = Number(type);
        expect(parseWireGuard(message)).toBeUndefined();
      }
    }
  });

  it('refuses reserved bytes, unknown types, and data shorter than a tag', () => {
    const data = new Uint8Array(32);
    data[0] = 4;
    expect(parseWireGuard(data)?.kind).toBe('data');
    expect(isDataMessage(viewOf(data), 0, 32)).toBe(true);
    expect(isDataMessage(viewOf(data), 0, 31)).toBe(false);
    for (const position of [1, 2, 3]) {
      const odd = data.slice();
      odd[position] = 1;
      expect(parseWireGuard(odd)).toBeUndefined();
      expect(isDataMessage(viewOf(odd), 0, 32)).toBe(false);
    }
    for (const type of [0, 5, 64, 255]) {
      data[0] = type;
      expect(parseWireGuard(data)).toBeUndefined();
    }
    data[0] = 4;
    expect(parseWireGuard(data.subarray(0, 31))).toBeUndefined();
  });
});

describe('the accessors of data messages', () => {
  it('read what the header says, anywhere in a slab', () => {
    fc.assert(
      fc.property(
        index,
        fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
        (receiver, counter) => {
          const slab = new Uint8Array(100);
          writeDataHeader(viewOf(slab.subarray(13)), receiver, counter);
          const view = viewOf(slab);
          expect(isDataMessage(view, 13, 60)).toBe(true);
          expect(readReceiverIndex(view, 13)).toBe(receiver);
          const read = readCounterHigh(view, 13) * 0x1_0000_0000 + readCounterLow(view, 13);
          expect(read).toBe(counter);
        },
      ),
    );
  });
});

describe('innerPacketLength', () => {
  it('is the total length of IPv4 and the payload length plus 40 of IPv6', () => {
    const v4 = Uint8Array.from([0x45, 0, 0, 24, ...new Array<number>(28).fill(0)]);
    expect(innerPacketLength(v4)).toBe(24);
    const v6 = Uint8Array.from([0x60, 0, 0, 0, 0, 2, ...new Array<number>(42).fill(0)]);
    expect(innerPacketLength(v6)).toBe(42);
  });

  it('is never more than there are bytes, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (content) => {
        const length = innerPacketLength(content);
        expect(length === undefined || (length >= 20 && length <= content.length)).toBe(true);
      }),
    );
  });
});
