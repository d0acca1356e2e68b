// Candidate strings: what parses is written and parsed to the same candidate again.

import { formatCandidate, parseCandidate } from '../../../src/proto/ice/candidate.ts';

export const name = 'ice-candidate';

export function run(bytes: Uint8Array): void {
  const candidate = parseCandidate(String.fromCharCode(...bytes));
  if (!candidate) return;
  const again = parseCandidate(formatCandidate(candidate));
  if (JSON.stringify(again) !== JSON.stringify(candidate)) {
    throw new Error('a candidate changed by writing and parsing it');
  }
}
