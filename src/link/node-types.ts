// What goes into and comes out of a node (`node.ts`).

import type { IpNetwork } from '../base/address.ts';
import type { TransportAead } from '../base/batch.ts';
import type { CryptoProvider } from '../base/crypto.ts';
import type { PeerId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { WallClock } from '../base/time.ts';
import type { Ecn } from '../base/transmit.ts';
import type { TunnelDropReason } from '../proto/wireguard/tunnel.ts';
import type { ConnectionSnapshot, PacketOutcome } from './connection/connection-types.ts';
import type { FailureReason } from './connection/life-cycle.ts';
import type { LinkRole } from './connection/timing.ts';
import type { ArrivalDropReason } from './inbound/dispatch.ts';
import type { Path } from './outbound/path.ts';
import type { CandidateEvent } from './outbound/signalling.ts';
import type { StreamWay } from './relays/relay-info.ts';
import type { RelaySnapshot } from './relays/relays.ts';

export interface NodeConfig {
  readonly role: LinkRole;
  /** Connect without any relay where our own addresses are known (connectivity 14.19). */
  readonly allowNoRelays?: boolean;
  /** Networks where peers say they are but are never looked for: hosting companies take checks for a scan. */
  readonly neverProbed?: readonly IpNetwork[];
  /** Accept candidates of peers on this very machine. */
  readonly allowLoopback?: boolean;
  /** What to try towards relays where UDP is blocked; nothing if absent. */
  readonly streamWays?: readonly StreamWay[];
}

export interface NodeDeps {
  readonly crypto: CryptoProvider;
  readonly random: Random;
  readonly aead: TransportAead;
  readonly wallClock: WallClock;
  readonly log: Log;
}

/** `no-relays`: nothing was changed; an existing connection stays (connectivity 4.3). */
export type UpsertOutcome = 'created' | 'reused' | 'replaced' | 'no-relays';

/** `moved`: with key, connections and all that was granted over them. */
export type ResetOutcome = 'moved' | 'replaced';

export type NodeEvent =
  | CandidateEvent
  /** Once: a handshake is complete and a path is nominated. */
  | { readonly kind: 'connection-established'; readonly peer: PeerId }
  | {
      readonly kind: 'connection-failed';
      readonly peer: PeerId;
      readonly reason: FailureReason | 'no-answer';
    }
  /** By us: a goodbye was sent, or the node was reset. */
  | { readonly kind: 'connection-closed'; readonly peer: PeerId }
  | { readonly kind: 'path-changed'; readonly peer: PeerId; readonly path: Path }
  /** The last relay is gone by itself: the portal should be asked for others. */
  | { readonly kind: 'no-relays' };

/** An inner packet that came by the cold path. */
export interface InnerPacket {
  readonly peer: PeerId;
  readonly bytes: Uint8Array;
  /** Of the outer datagram. */
  readonly ecn: Ecn;
}

/** `waiting`: it goes out when the handshake that is under way completes. */
export type SendOutcome = PacketOutcome | 'unknown-peer';

export type NodeDropReason =
  | ArrivalDropReason
  | TunnelDropReason
  /** A STUN message that its connection's agent refused; the agent counts why. */
  | 'refused-by-agent'
  | 'truncated'
  | 'session-gone'
  | 'malformed-candidate'
  | 'candidate-for-unknown-peer';

export interface NodeSnapshot {
  readonly connections: readonly ConnectionSnapshot[];
  readonly relays: readonly RelaySnapshot[];
  /** How full the tables are that remote input could make grow. */
  readonly tables: Readonly<Record<string, number>>;
  readonly drops: Readonly<Record<string, number>>;
  /** Datagrams that found no way out, by reason. */
  readonly notSent: Readonly<Record<string, number>>;
  readonly handshakes: Readonly<Record<string, number>>;
}
