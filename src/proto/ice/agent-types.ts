// What goes into and comes out of an ICE agent (agent.ts): configuration, paths, datagrams, events and reasons of drops.

import type { Endpoint } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Log } from '../../base/log.ts';
import type { IceCredentials } from './binding-messages.ts';
import type { IceRole } from './candidate-pair.ts';
import type { CheckPacer } from './check-pacer.ts';
import type { IceState } from './nomination.ts';
import type { CandidateKind } from './priority.ts';
import type { IceTiming } from './timing.ts';

export interface IceAgentConfig {
  readonly role: IceRole;
  readonly localCredentials: IceCredentials;
  /** May come later, by `setRemoteCredentials`. */
  readonly remoteCredentials?: IceCredentials;
  readonly timing: IceTiming;
  /** Accept the peer's loopback candidates: for peers on one machine. */
  readonly allowLoopback?: boolean;
}

export interface IceAgentDeps {
  readonly crypto: CryptoProvider;
  readonly log: Log;
  /** Shared with all agents of this host; without one, all due checks go at once, as the peers do it. */
  readonly pacer?: CheckPacer;
}

/** Where a message came from and what it was sent to: our host address, or our relayed address. */
export interface IcePath {
  readonly source: Endpoint;
  readonly local: Endpoint;
}

export interface IceTransmit {
  /** Base of one of our candidates: a host address or a relayed address. */
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly payload: Uint8Array;
  /** `transactionKey` of a request, to know whose its response is. */
  readonly transactionId?: string;
  /** The first check on its path, or one because the peer was heard there: more than the check may get through. */
  readonly isOpening?: boolean;
}

export type IceEvent =
  | {
      /** This pair carries data from now on; for the controlling side before the peer knows it. */
      readonly kind: 'nominated';
      readonly local: Endpoint;
      readonly remote: Endpoint;
      readonly localKind: CandidateKind;
      readonly remoteKind: CandidateKind;
      /** Of its last check, if one was answered. */
      readonly roundTripMs: number | undefined;
    }
  | { readonly kind: 'state'; readonly state: IceState };

export type IceDropReason =
  | 'not-binding'
  | 'no-fingerprint'
  | 'malformed'
  | 'wrong-username'
  | 'not-authenticated'
  | 'no-local-candidate'
  | 'role-conflict'
  | 'nominated-by-controlled'
  | 'remote-refused'
  | 'no-pair'
  | 'held-too-long'
  | 'unknown-transaction'
  | 'asymmetric-response'
  | 'error-response';
