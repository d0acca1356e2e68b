// What a path agent shows of its pairs (`agent.ts`).

import type { DescribedEnds, PathAgentSnapshot } from './agent-types.ts';
import type { Pair } from './pair.ts';

export function describePair({ local, remote, localKind, remoteKind }: Pair): DescribedEnds {
  return { local, remote, localKind, remoteKind };
}

export function snapshotPair(pair: Pair): PathAgentSnapshot['pairs'][number] {
  const { id, bucket, rtt, probesSent, inFlight, nextProbeAt } = pair;
  return { ...describePair(pair), id, bucket, rtt, probesSent, inFlight, nextProbeAt };
}
