// A world that a judge finds fault with is cut to what it takes, and can be seen again.

import { expect, test } from 'vitest';
import { drawSteps } from '../steps/draw-steps.ts';
import { explain } from './explain.ts';

const SEED = 3;
const STEPS = 4;

test('what happened is told in lines and captures, and running it again is the same', () => {
  const replay = { seed: SEED, steps: drawSteps(SEED, STEPS) };
  const first = explain(replay);
  const second = explain(JSON.parse(JSON.stringify(replay)));
  expect(second.trace).toBe(first.trace);
  expect(second.lines).toEqual(first.lines);
  expect(first.lines.filter((line) => / STEP \d/.test(line))).toHaveLength(replay.steps.length);
  expect(first.lines.some((line) => /handshake initiation/.test(line))).toBe(true);
  const names = first.captures.map(({ name }) => name);
  expect(names).toContain('outer-network');
  expect(names.some((name) => name.startsWith('client'))).toBe(true);
}, 60_000);
