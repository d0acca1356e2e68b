// What the gateway needs of the node that keeps its sealed paths: the shape of `link/node.ts`, so that tests can stand in for it.

import type { Endpoint } from '../../base/address.ts';
import type { ReceiveBatch } from '../../base/batch.ts';
import type { PeerId, RelayId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import type { Ecn, Transmit } from '../../base/transmit.ts';
import type { IceCredentials } from '../../proto/ice/binding-messages.ts';

export interface GatewayLink {
  handleRuns(batch: ReceiveBatch, now: Instant): void;
  handleOpened(batch: ReceiveBatch, now: Instant): void;
  handleTimeout(now: Instant): void;
  /** Hot: whose key slot that is. */
  peerOfSlot(slot: number): PeerId | undefined;
  /** Hot: the slot to seal for a peer, or -1. */
  sendSlot(id: PeerId, now: Instant): number;
  /** One inner packet: `sent`, `waiting` for a handshake, or why it was dropped. */
  sendPacket(id: PeerId, packet: Uint8Array, ecn: Ecn, now: Instant): string;
  upsertConnection(
    connection: ConnectionTerms,
    now: Instant,
  ): 'created' | 'reused' | 'replaced' | 'no-relays';
  addRemoteCandidate(id: PeerId, text: string, now: Instant): void;
  removeRemoteCandidate(id: PeerId, text: string, now: Instant): void;
  /** Says `goodbye` (an inner packet) where it can, and forgets the connection. */
  closeConnection(id: PeerId, goodbye: Uint8Array | undefined, now: Instant): void;
  /** Forgets the connection without a word. */
  removeConnection(id: PeerId, now: Instant): void;
  closeAll(goodbye: Uint8Array | undefined, now: Instant): void;
  updateRelays(removed: readonly RelayId[], added: readonly RelayTerms[], now: Instant): void;
  setLocalAddresses(addresses: readonly Endpoint[], now: Instant): void;
  pollTransmit(): Transmit | undefined;
  pollEvent(): LinkEvent | undefined;
  /** Inner packets that arrived one by one. */
  pollPacket():
    | { readonly peer: PeerId; readonly bytes: Uint8Array; readonly ecn: Ecn }
    | undefined;
  pollTimeout(): Instant | undefined;
  connectionState(id: PeerId): string | undefined;
  snapshot(): unknown;
}

export interface ConnectionTerms {
  readonly id: PeerId;
  readonly remotePublicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly localCredentials: IceCredentials;
  readonly remoteCredentials: IceCredentials;
}

export interface RelayTerms {
  readonly id: RelayId;
  readonly addresses: readonly Endpoint[];
  readonly username: string;
  readonly password: string;
  readonly realm: string;
}

export interface LinkPath {
  readonly kind: 'direct' | 'relayed';
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

export type LinkEvent =
  | {
      readonly kind: 'candidates-added' | 'candidates-removed';
      readonly peer: PeerId;
      readonly candidates: readonly string[];
    }
  | { readonly kind: 'connection-established'; readonly peer: PeerId }
  | { readonly kind: 'connection-failed'; readonly peer: PeerId; readonly reason: string }
  | { readonly kind: 'connection-closed'; readonly peer: PeerId }
  | { readonly kind: 'path-changed'; readonly peer: PeerId; readonly path: LinkPath }
  | { readonly kind: 'no-relays' };

/** Whether `sendPacket` took the packet. */
export function wasTaken(outcome: string): boolean {
  return outcome === 'sent' || outcome === 'waiting';
}
