// Candidate strings: what parses is written and parsed to the same candidate again.

import { formatCandidate, parseCandidate } from '../../../src/proto/ice/candidate.ts';

export const name = 'ice-candidate';
export const kind = 'bytes';

export function run(bytes: Uint8Array): void {
  parseCandidate(latin1(bytes));
}

export function compare(bytes: Uint8Array): void {
  const candidate = parseCandidate(latin1(bytes));
  if (!candidate) return;
  const again = parseCandidate(formatCandidate(candidate));
  if (JSON.stringify(again) !== JSON.stringify(candidate)) {
    throw new Error('a candidate changed by writing and parsing it');
  }
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
