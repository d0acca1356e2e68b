// Which pair an agent uses and what state that makes (connectivity 5.13). Nomination may change at any time: the controlling
// side takes the first pair that works and moves to every better one; the controlled side follows. There is no timer.

import type { CandidatePair, IceRole } from './candidate-pair.ts';
import { comparePairPriority } from './priority.ts';

/**
 * `connected`: in use, and others are still tried; `completed`: nothing else is left to try; `disconnected`: nothing works and
 * nothing is left to try, until a new candidate comes.
 */
export type IceState = 'new' | 'checking' | 'connected' | 'completed' | 'disconnected';

/** The pair to use from now on; `undefined`: stay. `pairs` are ordered by descending priority. */
export function chooseBetterPair(
  pairs: readonly CandidatePair[],
  role: IceRole,
  selected: CandidatePair | undefined,
): CandidatePair | undefined {
  const best = pairs.find((pair) =>
    role === 'controlling' ? pair.checkState === 'succeeded' : pair.nomination !== 'none',
  );
  if (!best || best === selected) return undefined;
  const isEqual = selected && comparePairPriority(best.priority, selected.priority) === 0;
  return isEqual ? undefined : best;
}

/**
 * The whole transition table of connectivity 5.13: but for `new`, the next state does not depend on the last one. Every pair in
 * the list is still possible, because others have been pruned. `isGathering`: one side has no candidate yet.
 */
export function iceState(pairs: readonly CandidatePair[], isGathering: boolean): IceState {
  const isNominated = pairs.some((pair) => pair.nomination !== 'none');
  const isPossible = isGathering || pairs.some((pair) => pair.nomination === 'none');
  if (isNominated) return isPossible ? 'connected' : 'completed';
  return isPossible ? 'checking' : 'disconnected';
}
