// What goes into and comes out of a path agent (`agent.ts`).

import type { Endpoint } from '../../base/address.ts';
import type { Instant } from '../../base/time.ts';
import type { PathCandidate, PathCandidateKind } from '../../wire/iceless/candidate.ts';
import type { Probe } from '../../wire/iceless/probe.ts';
import type { RemoteOrigin } from './remotes.ts';

/** The two ends of a packet: our socket or relayed address, and the peer's. */
export interface Ends {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

export interface PathTransmit extends Ends {
  /** A handshake message as it is, or a probe that the tunnel has to seal first. */
  readonly form: 'datagram' | Probe['kind'];
  readonly payload: Uint8Array;
}

export interface DescribedEnds extends Ends {
  readonly localKind: PathCandidateKind;
  readonly remoteKind: PathCandidateKind;
}

export type PathEvent =
  /** Data takes this pair from now on. */
  | ({ readonly kind: 'primary-changed' } & DescribedEnds)
  /** The same pair, known better. */
  | ({ readonly kind: 'primary-described' } & DescribedEnds);

/** What the tunnel has seen, to know of trouble before its timers do. */
export interface TrafficSeen {
  /** Rises with whatever is received and authentic, on any path, probes too. */
  readonly received: number;
  /** Rises with data that is sent, without probes. */
  readonly sent: number;
}

export interface PathAgentSnapshot {
  readonly hasSession: boolean;
  readonly primary: DescribedEnds | undefined;
  readonly unansweredRekeys: number;
  readonly peerRekeys: number;
  readonly localCandidates: readonly PathCandidate[];
  readonly remoteCandidates: readonly {
    readonly candidate: PathCandidate;
    readonly origin: RemoteOrigin;
  }[];
  readonly pairs: readonly (DescribedEnds & {
    readonly id: number;
    readonly bucket: number;
    readonly rtt: number | undefined;
    readonly probesSent: number;
    readonly inFlight: number;
    readonly nextProbeAt: Instant | undefined;
  })[];
  readonly drops: Readonly<Record<string, number>>;
}

export type PathDropReason =
  /** A handshake message that was accepted before. */
  'repeated-handshake' | 'too-many-candidates' | 'too-many-probes' | 'unexpected-reply';
