// How often ICE checks are sent and when a silent pair is given up: the profiles of both sides and the delay function.
// Implements connectivity 3 (constants) and 5.9 (schedule). The schedule itself is kept by each pair (candidate-pair.ts).

/** When to send checks on one pair. Every (re)transmission is a transaction of its own. */
export interface IceTiming {
  /** A pair goes when this many checks in a row are unanswered; also how many of them are remembered. */
  readonly maxRetransmits: number;
  readonly maxRtoMs: number;
  readonly initialRtoMs: number;
}

// Specification

/** Client with traffic (connectivity 3): silence is noticed after 16.5 s. */
export const CLIENT_TIMING: IceTiming = { maxRetransmits: 12, maxRtoMs: 1500, initialRtoMs: 250 };
/** Client without traffic. */
export const CLIENT_IDLE_TIMING: IceTiming = {
  maxRetransmits: 4,
  maxRtoMs: 25_000,
  initialRtoMs: 25_000,
};
/** Gateway with traffic: slow to declare a client dead, because only the client can re-establish (connectivity 12). */
export const GATEWAY_TIMING: IceTiming = {
  maxRetransmits: 45,
  maxRtoMs: 15_000,
  initialRtoMs: 250,
};
/** Gateway without traffic. */
export const GATEWAY_IDLE_TIMING: IceTiming = {
  maxRetransmits: 40,
  maxRtoMs: 25_000,
  initialRtoMs: 25_000,
};

/** Time between the check that makes `count` and the next one (connectivity 5.9, `delay(k)`). */
export function retransmitDelayMs(timing: IceTiming, count: number): number {
  if (count === 0) return 0;
  const doublings = Math.min(count - 1, timing.maxRetransmits);
  return Math.min(timing.initialRtoMs * 2 ** doublings, timing.maxRtoMs);
}

/** How long a pair that is never answered lives: the sum of all delays. */
export function unansweredLifetimeMs(timing: IceTiming): number {
  let total = 0;
  for (let count = 1; count <= timing.maxRetransmits; count++) {
    total += retransmitDelayMs(timing, count);
  }
  return total;
}

export function isValidTiming(timing: IceTiming): boolean {
  return (
    Number.isInteger(timing.maxRetransmits) &&
    timing.maxRetransmits >= 1 &&
    timing.initialRtoMs > 0 &&
    timing.maxRtoMs >= timing.initialRtoMs
  );
}
