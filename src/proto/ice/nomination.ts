// Which pair an agent uses and what state that makes (connectivity 5.13). Nomination may change at any time: the controlling
// side takes the first pair that works and moves to every better one; the controlled side follows. There is no timer.

import type { CandidatePair, IceRole } from './candidate-pair.ts';
import { comparePairPriority } from './priority.ts';

/**
 * `connected`: in use, and others are still tried; `completed`: nothing else is left to try; `disconnected`: nothing works and
 * nothing is left to try, until a new candidate comes.
 */
export type IceState = 'new' | 'checking' | 'connected' | 'completed' | 'disconnected';

/**
 * The pair to use from now on; `undefined`: stay. `pairs` are ordered by descending priority.
 *
 * Deviates from connectivity 5.13 on the controlled side: a nominated pair that the controlling side checks no more, while it goes on
 * checking another nominated one, does not count. Otherwise a gateway, which gives pairs up only after ten minutes, would go
 * on sending over a dead path when its client has long moved to the next one.
 */
export function chooseBetterPair(
  pairs: readonly CandidatePair[],
  role: IceRole,
  selected: CandidatePair | undefined,
): CandidatePair | undefined {
  const trusted = pairs.filter(({ isSuspect }) => !isSuspect);
  const usable =
    role === 'controlling'
      ? trusted.filter(({ checkState }) => checkState === 'succeeded')
      : inUseByPeer(trusted.filter(({ nomination }) => nomination !== 'none'));
  const [best] = usable;
  if (!best || best === selected) return undefined;
  // Between equals the one in use stays, as long as it can be used.
  const isUsable = selected !== undefined && usable.includes(selected);
  const isEqual = isUsable && comparePairPriority(best.priority, selected.priority) === 0;
  return isEqual ? undefined : best;
}

function inUseByPeer(nominated: readonly CandidatePair[]): readonly CandidatePair[] {
  return nominated.filter((pair) => !nominated.some((other) => pair.isAbandonedFor(other)));
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
