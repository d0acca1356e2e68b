// What goes into and comes out of a connection (`connection.ts`).

import type { Endpoint } from '../../base/address.ts';
import type { TransportAead } from '../../base/batch.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { PeerId, RelayId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import type { WallClock } from '../../base/time.ts';
import type { Ecn } from '../../base/transmit.ts';
import type { IceCredentials } from '../../proto/ice/binding-messages.ts';
import type { CheckPacer } from '../../proto/ice/check-pacer.ts';
import type { TunnelDropReason, TunnelSnapshot } from '../../proto/wireguard/tunnel.ts';
import type { Path } from '../outbound/path.ts';
import type { State } from './life-cycle.ts';
import type { FinderSnapshot } from './path-finder.ts';
import type { LinkRole } from './timing.ts';

/** What the portal says about a connection: all of it together decides whether an existing one is reused (connectivity 4.3). */
export interface ConnectionTerms {
  readonly id: PeerId;
  readonly remotePublicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly localCredentials: IceCredentials;
  readonly remoteCredentials: IceCredentials;
  /** Both ends were told to do without ICE (iceless 2); the credentials are not used then. */
  readonly useIceless?: boolean;
}

export interface ConnectionConfig extends ConnectionTerms {
  readonly role: LinkRole;
  /** 24 bits (connectivity 6.1). */
  readonly index: number;
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  /** The relay whose relayed candidates it has; none where there is none. */
  readonly relay: RelayId | undefined;
  /** Whether the peer may be on this very machine. */
  readonly allowLoopback: boolean;
}

export interface ConnectionDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly aead: TransportAead;
  readonly wallClock: WallClock;
  readonly log: Log;
  /** Of all checks of the node. */
  readonly pacer: CheckPacer;
}

export type ConnectionState = State['kind'];

/** A datagram on its way out; `local` may be one of our relayed addresses. */
export interface Outgoing {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  readonly payload: Uint8Array;
  readonly ecn: Ecn;
  /** `local` is known to be relayed: without its relay the datagram cannot be sent. */
  readonly isRelayed: boolean;
  /** Of a Binding request, whose response is to be found by it. */
  readonly transactionId?: string;
}

export type ConnectionEvent =
  /** Once: a handshake is complete and a path is nominated (connectivity 1). */
  | { readonly kind: 'established' }
  | { readonly kind: 'path-changed'; readonly path: Path }
  | { readonly kind: 'session-installed'; readonly slot: number; readonly localIndex: number }
  | { readonly kind: 'session-removed'; readonly slot: number };

/** `waiting`: it goes out when the handshake that is under way completes. */
export type PacketOutcome = 'sent' | 'waiting' | 'still-connecting' | 'failed' | TunnelDropReason;

export interface ConnectionSnapshot extends FinderSnapshot {
  readonly peer: PeerId;
  readonly state: ConnectionState;
  readonly index: number;
  readonly relay: RelayId | undefined;
  readonly path: Path | undefined;
  readonly ageMs: number;
  readonly tunnel: TunnelSnapshot;
}
