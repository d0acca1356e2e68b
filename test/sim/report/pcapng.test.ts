import { expect, test } from 'vitest';
import { writePcapng } from './pcapng.ts';

test('blocks follow each other by their lengths, and hold packet and time', () => {
  const packet = Uint8Array.of(0x45, 1, 2, 3, 4);
  const file = writePcapng([{ at: 5_000_000.125, packet }]);
  const view = new DataView(file.buffer);
  const types: number[] = [];
  let last = 0;
  for (let offset = 0; offset < file.length; ) {
    const length = view.getUint32(offset + 4, true);
    expect(length % 4).toBe(0);
    expect(view.getUint32(offset + length - 4, true)).toBe(length);
    types.push(view.getUint32(offset, true));
    last = offset;
    offset += length;
  }
  expect(types).toEqual([0x0a0d0d0a, 1, 6]);
  const microseconds = view.getUint32(last + 12, true) * 2 ** 32 + view.getUint32(last + 16, true);
  expect(microseconds).toBe(5_000_000_125);
  expect(file.slice(last + 28, last + 33)).toEqual(packet);
});
