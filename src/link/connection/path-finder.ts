// How a connection finds a way to its peer, which is what differs between ICE (`ice-finder.ts`) and ICE-less mode. Chosen when the
// connection is made and never changed: a peer that is to be reached the other way gets a new connection (iceless 6.1). A finder knows
// candidates and checks and says which path to use; it has no keys, and sends nothing itself. Handshakes pass it, because without ICE they are the first checks.

import type { Endpoint } from '../../base/address.ts';
import type { Instant } from '../../base/time.ts';
import type { LocalCandidateInfo } from '../../proto/ice/local-candidates.ts';
import type { IceState } from '../../proto/ice/nomination.ts';
import type { CandidateKind } from '../../proto/ice/priority.ts';
import type { IceAgentSnapshot } from '../../proto/ice/snapshot.ts';
import type { PathAgentSnapshot, TrafficSeen } from '../../proto/iceless/agent-types.ts';
import type { StunMessage } from '../../wire/stun/message.ts';
import type { Path } from '../outbound/path.ts';

/** The two ends a datagram travelled between. */
export interface Arrival {
  readonly from: Endpoint;
  /** Our address, or our relayed address. */
  readonly local: Endpoint;
}

/** A datagram without its ChannelData header. */
export interface Datagram extends Arrival {
  readonly bytes: Uint8Array;
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
  /** It was known, or is one too many: nothing follows from it. */
  readonly isIgnored?: boolean;
}

export interface FinderTransmit {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly payload: Uint8Array;
  /** An inner packet, to be sealed on the current session, or dropped if there is none; an answer to it is waited for, or not. */
  readonly inner?: 'request' | 'reply';
  /** `transactionKey` of a Binding request, to know whose its response is. */
  readonly transactionId?: string;
}

export type FinderEvent =
  /** Data takes this path from now on. */
  | { readonly kind: 'path'; readonly path: Path }
  /** Checks go out, and a handshake could go with them. */
  | { readonly kind: 'opening' }
  /** The same path, described better. */
  | { readonly kind: 'path-identified'; readonly path: Path }
  | { readonly kind: 'ice-state'; readonly state: IceState };

export interface FinderSnapshot {
  readonly ice?: IceAgentSnapshot;
  readonly iceless?: PathAgentSnapshot;
}

export interface PathFinder {
  /** The first handshake finds the path (iceless 6.1), instead of being sent when it is found (connectivity 4.5). */
  readonly startsWithHandshake: boolean;
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
  /** True: this handshake message was dealt with before and is no affair of the tunnel's any more. */
  recallHandshake(datagram: Datagram, now: Instant): boolean;
  /** The tunnel accepted it and answers `response`. */
  noteInitiation(datagram: Datagram, response: Uint8Array, now: Instant): void;
  noteResponse(datagram: Datagram, now: Instant): void;
  /** Something that the tunnel wants sent; true if it is an initiation and the finder knows where to. */
  takeInitiation(bytes: Uint8Array, now: Instant): boolean;
  /** An inner packet of the peer; true if it was one for the finder. */
  handleInner(packet: Uint8Array, arrival: Arrival, now: Instant): boolean;
  /** The tunnel has a session to send with. */
  noteSession(now: Instant): void;
  noteTraffic(seen: TrafficSeen, now: Instant): void;
  /** All our addresses are gone, the peer is the same. False: a new connection is needed. */
  moveAway(now: Instant): boolean;
  pollTransmit(): FinderTransmit | undefined;
  pollEvent(): FinderEvent | undefined;
  pollTimeout(): Instant | undefined;
  /** All that the peer may know of us, best first. */
  ownCandidates(): readonly OwnCandidate[];
  snapshot(): FinderSnapshot;
}
