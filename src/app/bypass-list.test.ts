import { expect, test } from 'vitest';
import { type Endpoint, parseEndpoint } from '../base/address.ts';
import { BypassList } from './bypass-list.ts';

const at = (index: number): Endpoint =>
  parseEndpoint(`198.51.${index >> 8}.${index & 255}:443`) ?? expect.unreachable();

test('what is dialled again changes nothing', () => {
  const list = new BypassList();
  expect(list.add(at(1))).toBe(true);
  expect(list.add(at(1))).toBe(false);
  expect(list.all()).toEqual([at(1)]);
});

test('however many addresses there are, the newest 64 are kept; one in use does not grow old', () => {
  const list = new BypassList();
  for (let index = 0; index < 1_000; index++) {
    list.add(at(index));
    list.add(at(0));
  }
  expect(list.all()).toHaveLength(64);
  expect(list.all().at(-1)).toEqual(at(0));
  expect(list.all().at(-2)).toEqual(at(999));
});
