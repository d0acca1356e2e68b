// The columns of native/layout.h are those of src/base/batch.ts, and the counters have as many names as numbers.

import { expect, it } from 'vitest';
import { DATAGRAM, PATH, RUN, SUPER, TUN_PACKET } from '../../src/base/batch.ts';
import { NATIVE_COUNTERS, native } from '../../src/io/packets/native.ts';

const TABLES: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  RUN,
  DATAGRAM,
  SUPER,
  TUN_PACKET,
  PATH,
};

it('native code and TypeScript agree on every column', () => {
  for (const [name, value] of Object.entries(native().layout())) {
    const [table = '', column = ''] = name.split('.');
    const expected = name === 'counters' ? NATIVE_COUNTERS.length : TABLES[table]?.[column];
    expect(value, name).toBe(expected);
  }
});
