import { expect, test } from 'vitest';
import { SessionSlots } from './session-slots.ts';

test('a receiver index with the top bit set is found as the signed number that was read', () => {
  const slots = new SessionSlots<string>(4);
  slots.add(2, 0xfedcba01, 'a');
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, 0xfedcba01, true);
  expect(slots.find(view.getInt32(0, true))).toBe(2);
  expect(slots.ownerOf(2)).toBe('a');
  expect(slots.find(5)).toBe(-1);
  expect(slots.ownerOf(-1)).toBeUndefined();
});

test('a slot that was given to another owner is not taken from it', () => {
  const slots = new SessionSlots<string>(4);
  slots.add(1, 10, 'a');
  slots.add(1, 20, 'b');
  slots.remove(1, 'a');
  expect(slots.ownerOf(1)).toBe('b');
  expect(slots.find(20)).toBe(1);
  slots.remove(1, 'b');
  expect(slots.find(20)).toBe(-1);
});
