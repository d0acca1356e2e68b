// The self-test at start: real nodes, real cryptography, no network.

import { expect, test } from 'vitest';
import { SILENT_LOG } from '../base/log.ts';
import { warmUp } from './warm-up.ts';

test('a program connects to itself, in both directions, without a word in the log', async () => {
  const said: string[] = [];
  const log = { ...SILENT_LOG, warn: (message: string) => void said.push(message) };
  expect(await warmUp(log)).toBe(true);
  expect(said).toEqual([]);
});
