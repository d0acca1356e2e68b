import { describe, expect, it } from 'vitest';
import {
  CLIENT_IDLE_TIMING,
  CLIENT_TIMING,
  GATEWAY_IDLE_TIMING,
  GATEWAY_TIMING,
  isValidTiming,
  retransmitDelayMs,
  unansweredLifetimeMs,
} from './timing.ts';

describe('the delay between checks', () => {
  it('doubles up to its maximum', () => {
    const delays = [0, 1, 2, 3, 4, 5, 12, 13, 1000].map((k) => retransmitDelayMs(CLIENT_TIMING, k));
    expect(delays).toEqual([0, 250, 500, 1000, 1500, 1500, 1500, 1500, 1500]);
  });

  it('does not wrap for large counts', () => {
    expect(retransmitDelayMs(GATEWAY_TIMING, 45)).toBe(15_000);
    expect(retransmitDelayMs(GATEWAY_TIMING, 46)).toBe(15_000);
  });
});

describe('the life of a pair that is never answered', () => {
  it('is that of connectivity 5.9 in every profile', () => {
    expect(unansweredLifetimeMs(CLIENT_TIMING)).toBe(15_250);
    expect(unansweredLifetimeMs(CLIENT_IDLE_TIMING)).toBe(100_000);
    expect(unansweredLifetimeMs(GATEWAY_TIMING)).toBe(600_750);
    expect(unansweredLifetimeMs(GATEWAY_IDLE_TIMING)).toBe(1_000_000);
  });
});

describe('a timing', () => {
  it('is refused where it would send without pause or never give up', () => {
    expect(isValidTiming(CLIENT_TIMING)).toBe(true);
    expect(isValidTiming({ ...CLIENT_TIMING, initialRtoMs: 0 })).toBe(false);
    expect(isValidTiming({ ...CLIENT_TIMING, maxRtoMs: 100 })).toBe(false);
    expect(isValidTiming({ ...CLIENT_TIMING, maxRetransmits: 0 })).toBe(false);
  });
});
