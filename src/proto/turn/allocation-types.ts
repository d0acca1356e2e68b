// What goes into an allocation and what comes out of it: settings, events, reasons.

import type { Endpoint, IpFamily } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { Log } from '../../base/log.ts';
import type { TurnCredentials } from './auth.ts';
import type { TurnCandidate } from './candidates.ts';
import type { TransactionDrop } from './transactions.ts';

export interface AllocationConfig {
  /** Server sockets, at most one of each address family; or the name of one stream. */
  readonly addresses: readonly Endpoint[];
  /** Of the path to the relay, where the addresses do not say it (streams). */
  readonly viaFamily?: IpFamily;
  readonly credentials: TurnCredentials;
  readonly software: string;
}

export interface AllocationDeps {
  readonly crypto: CryptoProvider;
  readonly log: Log;
}

export type AllocationFailure =
  | 'no-response'
  | 'authentication'
  /** The relay refuses what we cannot do without. */
  | 'protocol'
  /** Another allocation of our 5-tuple did not go away within its lifetime. */
  | 'allocation-mismatch';

export type AllocationEvent =
  | { readonly kind: 'candidate-added'; readonly candidate: TurnCandidate }
  | { readonly kind: 'candidate-removed'; readonly candidate: TurnCandidate }
  /** From now on `channelTo(peer)` has an answer that the relay confirmed. */
  | { readonly kind: 'channel-bound'; readonly peer: Endpoint; readonly channel: number }
  | { readonly kind: 'channel-lost'; readonly peer: Endpoint; readonly channel: number }
  /** The last event: the object does nothing any more. */
  | { readonly kind: 'failed'; readonly reason: AllocationFailure };

export type AllocationDrop = TransactionDrop | 'not-active' | 'unknown-channel' | 'no-channel';

export interface AllocationSnapshot {
  readonly addresses: readonly string[];
  readonly active: string | undefined;
  readonly state: 'working' | 'failed' | 'released';
  readonly hasAllocation: boolean;
  readonly isSuspended: boolean;
  readonly candidates: readonly string[];
  readonly channelCount: number;
  readonly inFlightCount: number;
  readonly rttMs: number | undefined;
  readonly drops: Readonly<Record<string, number>>;
}
