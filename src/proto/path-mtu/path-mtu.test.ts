// Discovery of a path's MTU over a path that carries so much and no more.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Instant, instant, later } from '../../base/time.ts';
import { PathMtu } from './path-mtu.ts';

const BASE = 1280;

/** Lives until `end`; probes of at most `carries` bytes are answered 50 ms later. Returns how many were sent. */
function live(mtu: PathMtu, from: Instant, end: Instant, carries: number, isUsed = false): number {
  let now = from;
  let sent = 0;
  const answers: { readonly at: Instant; readonly token: number; readonly size: number }[] = [];
  while (now < end) {
    if (isUsed) mtu.noteUse();
    mtu.handleTimeout(now);
    for (let probe = mtu.pollProbe(); probe; probe = mtu.pollProbe()) {
      sent++;
      if (probe.size <= carries) answers.push({ ...probe, at: later(now, 50) });
    }
    const traffic = isUsed ? later(now, 500) : end;
    const next = Math.min(mtu.pollTimeout() ?? end, answers[0]?.at ?? end, traffic, end);
    now = instant(Math.max(next, now + 1));
    for (let [first] = answers; first && first.at <= now; [first] = answers) {
      mtu.handleAnswer(first);
      answers.shift();
    }
  }
  return sent;
}

const START = instant(5_000);
const past = (ms: number): Instant => later(START, ms);

describe('PathMtu', () => {
  it('finds the largest usual size that the path carries, within a round trip', () => {
    for (const [carries, found] of [
      [9_000, 9_000],
      [8_999, 8_916],
      [1_440, 1_416],
      [1_412, 1_408],
      [1_300, 1_280],
    ] as const) {
      const mtu = new PathMtu(BASE, 9_000, START);
      live(mtu, START, past(60), carries);
      expect(mtu.size).toBe(found);
    }
  });

  it('asks again for what was not answered: a probe may be lost by chance', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    live(mtu, START, past(900), 1_420);
    expect(mtu.size).toBe(1_416);
    live(mtu, past(900), past(60_000), 9_000);
    expect(mtu.size).toBe(9_000);
    expect(mtu.pollTimeout()).toBeUndefined();
  });

  it('asks three times and no more for what is not answered', () => {
    const mtu = new PathMtu(BASE, 1_500, START);
    // All four sizes, then what was found and the larger one twice more.
    expect(live(mtu, START, past(60_000), 1_420)).toBe(4 + 2 + 2);
    expect(mtu.size).toBe(1_416);
  });

  it('stays at the base with a peer that does not answer, and stops asking', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    expect(live(mtu, START, past(10_000), 0)).toBe(15);
    expect(mtu.size).toBe(BASE);
    expect(mtu.pollTimeout()).toBeUndefined();
    expect(live(mtu, past(10_000), past(3_600_000), 0)).toBe(0);
  });

  it('asks nothing where nothing more is wanted', () => {
    const mtu = new PathMtu(BASE, BASE, START);
    expect(live(mtu, START, past(60_000), 9_000, true)).toBe(0);
    expect(mtu.size).toBe(BASE);
  });

  it('is silent while it is not used, and confirms while it is', () => {
    const mtu = new PathMtu(BASE, 1_500, START);
    live(mtu, START, past(5_000), 1_500);
    expect(live(mtu, past(5_000), past(600_000), 1_500)).toBe(0);
    expect(live(mtu, past(600_000), past(660_000), 1_500, true)).toBeGreaterThan(2);
    expect(mtu.size).toBe(1_500);
  });

  it('finds out within 20 s of use that a path got narrower', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    live(mtu, START, past(5_000), 9_000);
    live(mtu, past(5_000), past(25_000), 1_420, true);
    expect(mtu.size).toBe(1_416);
  });

  it('finds out in time that a path got wider', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    live(mtu, START, past(5_000), 1_420);
    live(mtu, past(5_000), past(700_000), 9_000, true);
    expect(mtu.size).toBe(9_000);
  });

  it('begins at the base after a change of the path', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    live(mtu, START, past(5_000), 9_000);
    mtu.handlePathChange(past(5_000));
    expect(mtu.size).toBe(BASE);
    live(mtu, past(5_000), past(5_100), 1_420);
    expect(mtu.size).toBe(1_416);
  });

  it('believes no answer to a question of another path, nor one that was not asked', () => {
    const mtu = new PathMtu(BASE, 9_000, START);
    mtu.handleTimeout(START);
    const old = mtu.pollProbe();
    mtu.handlePathChange(past(10));
    if (old) mtu.handleAnswer({ ...old, size: 9_000 });
    mtu.handleTimeout(past(10));
    const probe = mtu.pollProbe();
    if (probe) mtu.handleAnswer({ ...probe, size: 65_000 });
    expect(old && probe).toBeDefined();
    expect(mtu.size).toBe(BASE);
  });

  it('never says more than the largest proven size, whatever the path does', () => {
    const phase = fc.record({
      carries: fc.constantFrom(0, 1_300, 1_420, 9_000),
      ms: fc.integer({ min: 1, max: 700_000 }),
      isUsed: fc.boolean(),
      isOtherPath: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(phase, { maxLength: 6 }), (phases) => {
        const mtu = new PathMtu(BASE, 9_000, START);
        let now = START;
        let most = BASE;
        for (const { carries, ms, isUsed, isOtherPath } of phases) {
          if (isOtherPath) {
            mtu.handlePathChange(now);
            most = BASE;
          }
          most = Math.max(most, carries);
          const end = later(now, ms);
          live(mtu, now, end, carries, isUsed);
          now = end;
          expect(mtu.size).toBeGreaterThanOrEqual(BASE);
          expect(mtu.size).toBeLessThanOrEqual(most);
        }
      }),
      { numRuns: 50 },
    );
  });
});
