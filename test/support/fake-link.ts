// Stands in for the node in tests of the gateway and client roles: connections exist when they are upserted, packets sent are kept.

import type { ReceiveBatch } from '../../src/base/batch.ts';
import type { PeerId, RelayId } from '../../src/base/ids.ts';
import type { Transmit } from '../../src/base/transmit.ts';
import type {
  ConnectionState,
  ConnectionTerms,
} from '../../src/link/connection/connection-types.ts';
import type {
  NodeEvent,
  NodeSnapshot,
  ResetOutcome,
  SendOutcome,
  UpsertOutcome,
} from '../../src/link/node-types.ts';
import type { RelayInfo } from '../../src/link/relays/relay-info.ts';
import type { ClientLink } from '../../src/roles/client/link.ts';
import type { GatewayLink } from '../../src/roles/gateway/link.ts';

export class FakeLink implements GatewayLink, ClientLink {
  /** Slots are numbers from 0 in order of connection. */
  readonly slots: PeerId[] = [];
  readonly sent: { readonly peer: PeerId; readonly packet: Uint8Array; readonly ecn: number }[] =
    [];
  readonly calls: string[] = [];
  readonly relays: RelayInfo[] = [];
  readonly events: NodeEvent[] = [];
  readonly arrived: { peer: PeerId; bytes: Uint8Array; ecn: 0 | 1 | 2 | 3 }[] = [];
  hasRelays = true;
  /** Whether connections outlive a reset. */
  canMove = false;
  /** Whether bulk data has a key slot. */
  isReady = true;
  sendOutcome: SendOutcome = 'sent';
  /** What an upsert of a known connection does. */
  upsertOfKnown: 'reused' | 'replaced' = 'reused';
  publicKey: Uint8Array = new Uint8Array(32).fill(3);

  handleRuns(_batch: ReceiveBatch): void {}
  handleOpened(_batch: ReceiveBatch): void {}
  handleTimeout(): void {}
  handleStream(): void {}

  pollStreamCommand(): undefined {
    return undefined;
  }

  peerOfSlot(slot: number): PeerId | undefined {
    return this.slots[slot];
  }

  sendSlot(id: PeerId): number {
    return this.isReady ? this.slots.indexOf(id) : -1;
  }

  sendPacket(peer: PeerId, packet: Uint8Array, ecn: number): SendOutcome {
    if (!this.slots.includes(peer)) return 'unknown-peer';
    if (this.sendOutcome === 'sent') this.sent.push({ peer, packet, ecn });
    return this.sendOutcome;
  }

  upsertConnection(terms: ConnectionTerms): UpsertOutcome {
    if (!this.hasRelays) return 'no-relays';
    this.calls.push(`upsert ${terms.id}`);
    const isKnown = this.slots.includes(terms.id);
    if (!isKnown) this.slots.push(terms.id);
    const candidates = [`candidate:1 1 udp 1 192.0.2.1 ${this.calls.length} typ host`];
    this.events.push({ kind: 'candidates-added', peer: terms.id, candidates });
    return isKnown ? this.upsertOfKnown : 'created';
  }

  addRemoteCandidate(id: PeerId, text: string): void {
    this.calls.push(`add ${id} ${text}`);
  }

  removeRemoteCandidate(id: PeerId, text: string): void {
    this.calls.push(`remove ${id} ${text}`);
  }

  closeConnection(id: PeerId, goodbye: Uint8Array | undefined): void {
    this.calls.push(`close ${id} ${goodbye?.[40]}`);
    this.#forget(id);
  }

  removeConnection(id: PeerId): void {
    this.calls.push(`forget ${id}`);
    this.#forget(id);
  }

  closeAll(goodbye: Uint8Array | undefined): void {
    this.calls.push(`close-all ${goodbye?.[40]}`);
  }

  /** All connections are closed, as the node reports it, if they cannot move. */
  reset(): ResetOutcome {
    if (this.canMove) return 'moved';
    for (const peer of this.slots.splice(0)) {
      if (peer !== '') this.events.push({ kind: 'connection-closed', peer });
    }
    this.publicKey = this.publicKey.map((byte) => byte + 1);
    return 'replaced';
  }

  releaseRelays(): void {
    this.calls.push('release-relays');
  }

  updateRelays(removed: readonly RelayId[], added: readonly RelayInfo[]): void {
    this.calls.push(`relays -${removed.join()} +${added.map(({ id }) => id).join()}`);
  }

  setLocalAddresses(): void {}
  handleNetworkChange(): void {}

  pollTransmit(): Transmit | undefined {
    return undefined;
  }

  pollEvent(): NodeEvent | undefined {
    return this.events.shift();
  }

  pollPacket(): { peer: PeerId; bytes: Uint8Array; ecn: 0 | 1 | 2 | 3 } | undefined {
    return this.arrived.shift();
  }

  pollTimeout(): undefined {
    return undefined;
  }

  connectionState(id: PeerId): ConnectionState | undefined {
    return this.slots.includes(id) ? 'connected' : undefined;
  }

  snapshot(): NodeSnapshot {
    return {
      connections: [],
      relays: [],
      tables: {},
      drops: {},
      notSent: {} as never,
      handshakes: {},
    };
  }

  #forget(id: PeerId): void {
    const slot = this.slots.indexOf(id);
    if (slot >= 0) this.slots[slot] = '' as PeerId;
  }
}
