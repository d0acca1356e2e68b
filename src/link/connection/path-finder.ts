// How a connection finds a way to its peer, which is what differs between ICE (`ice-finder.ts`) and ICE-less mode. Chosen when the
// connection is made and never changed: a peer that is to be reached the other way gets a new connection (iceless 6.1). A finder knows
// candidates and checks and says which path to use; it has no keys, and sends nothing itself.

import type { Endpoint } from '../../base/address.ts';
import type { Instant } from '../../base/time.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import type { IceState } from '../../proto/ice/nomination.ts';
import type { CandidateKind } from '../../proto/ice/priority.ts';
import type { IceAgentSnapshot } from '../../proto/ice/snapshot.ts';
import type { StunMessage } from '../../wire/stun/message.ts';
import type { Path } from '../outbound/path.ts';

/** The two ends a datagram travelled between. */
export interface Arrival {
  readonly from: Endpoint;
  /** Our address, or our relayed address. */
  readonly local: Endpoint;
}

/** One of our candidates, as the peer is told of it. */
export interface OwnCandidate {
  /** Kind and address: an invalidation may have another text and still means the same candidate (connectivity 14.8). */
  readonly key: string;
  readonly priority: number;
  readonly text: string;
}

/** What the peer's candidate is about. */
export interface RemoteCandidate {
  readonly kind: CandidateKind;
  readonly address: Endpoint;
}

export interface FinderTransmit {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly payload: Uint8Array;
  /** `transactionKey` of a Binding request, to know whose its response is. */
  readonly transactionId?: string;
}

export type FinderEvent =
  /** Data takes this path from now on. */
  | { readonly kind: 'path'; readonly path: Path }
  /** The same path, described better. */
  | { readonly kind: 'path-identified'; readonly path: Path }
  | { readonly kind: 'ice-state'; readonly state: IceState };

export interface FinderSnapshot {
  readonly ice?: IceAgentSnapshot;
}

export interface PathFinder {
  /** A Binding request, or a response to one of our requests; false: refused, and counted. */
  handleStun(message: StunMessage, arrival: Arrival, now: Instant): boolean;
  /** Something that only the peer can have sealed came this way: it may have moved (connectivity 14.15). */
  handleAuthentic(arrival: Arrival, now: Instant): void;
  handleTimeout(now: Instant): void;
  /** The candidate to signal if it is new. */
  addLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined;
  /** The candidate to signal as invalid if it was known. */
  removeLocal(info: LocalCandidateInfo, now: Instant): OwnCandidate | undefined;
  /** A signalled string; `undefined` if it is malformed. */
  addRemote(text: string, now: Instant): RemoteCandidate | undefined;
  removeRemote(text: string, now: Instant): boolean;
  /** The network changed: what was found is checked at once. */
  recheck(now: Instant): void;
  /** Whether user data flows. */
  setIdle(isIdle: boolean, now: Instant): void;
  pollTransmit(): FinderTransmit | undefined;
  pollEvent(): FinderEvent | undefined;
  pollTimeout(): Instant | undefined;
  /** All that the peer may know of us, best first. */
  ownCandidates(): readonly OwnCandidate[];
  snapshot(): FinderSnapshot;
}
