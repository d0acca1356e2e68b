// The client's view of a gateway's DNS NAT, one entry for each (gateway, domain, resource) (client 11.2, data-plane 11.4). The gateway has to
// learn by an `AssignedIps` packet which proxy addresses stand for a name before it can translate packets for them.
//
//             created              Active
//   (none) ───────────▶ Pending ────────────▶ Confirmed
//                        │  ▲                     │ new local answer
//          other status  ▼  │ AssignedIps         ▼
//                      Failed ──────────────▶ Recreating ──▶ Pending
//                            new local answer
//
// While an entry is Pending for the first time, packets wait; afterwards they flow and the gateway keeps its old mapping meanwhile.

import type { PeerId, ResourceId } from '../../base/ids.ts';
import type { Instant } from '../../base/time.ts';
import { PacketBuffer } from './packet-buffer.ts';

// Specification
const RESEND_INTERVAL_MS = 2_000;
/** Packets that wait for one entry (client 9). */
const MAX_WAITING_PACKETS = 32;

// Implementation
/** Entries of all gateways together; the oldest goes. Names come from local applications, gateways from the portal. */
const MAX_ENTRIES = 8_192;

export interface DnsNatKey {
  readonly gateway: PeerId;
  readonly domain: string;
  readonly resource: ResourceId;
}

interface Entry {
  readonly key: DnsNatKey;
  state: 'pending' | 'confirmed' | 'failed' | 'recreating';
  /** Packets wait here while the gateway has no mapping at all; absent: they are sent. */
  waiting: PacketBuffer | undefined;
  lastSentAt: Instant | undefined;
}

export class DnsNatTable {
  readonly #entries = new Map<string, Entry>();

  /**
   * Makes sure the entry exists; true if an `AssignedIps` has to be sent for it now: it is new, is being recreated, or was
   * last announced at least two seconds ago without an answer.
   */
  announce(key: DnsNatKey, now: Instant): boolean {
    const entry = this.#getOrCreate(key);
    if (entry.state === 'recreating') entry.state = 'pending';
    else if (entry.state !== 'pending') return false;
    else if (entry.lastSentAt !== undefined && now - entry.lastSentAt < RESEND_INTERVAL_MS)
      return false;
    entry.lastSentAt = now;
    return true;
  }

  /** A name was answered locally: the gateway is asked to resolve it again. */
  refresh(domain: string): void {
    for (const entry of this.#entries.values()) {
      if (entry.key.domain !== domain) continue;
      if (entry.state === 'failed') entry.waiting = new PacketBuffer(MAX_WAITING_PACKETS);
      if (entry.state === 'confirmed' || entry.state === 'failed') entry.state = 'recreating';
    }
  }

  /** The gateway seems to have forgotten what it was told about a resource. */
  refreshResource(resource: ResourceId): void {
    for (const entry of this.#entries.values())
      if (entry.key.resource === resource && entry.state === 'confirmed')
        entry.state = 'recreating';
  }

  /** Handles a `DomainStatus`; returns the packets that may go now, `undefined` for an entry that does not exist. */
  handleStatus(key: DnsNatKey, isActive: boolean): Uint8Array[] | undefined {
    const entry = this.#entries.get(textOf(key));
    if (!entry) return undefined;
    const packets = entry.waiting?.takeAll() ?? [];
    entry.waiting = undefined;
    entry.state = isActive ? 'confirmed' : 'failed';
    return isActive ? packets : [];
  }

  /** The buffer that a packet for this entry has to wait in; `undefined`: send it. */
  waitingBuffer(key: DnsNatKey): PacketBuffer | undefined {
    const entry = this.#entries.get(textOf(key));
    return entry?.state === 'pending' ? entry.waiting : undefined;
  }

  removeGateway(gateway: PeerId): void {
    for (const [text, entry] of this.#entries)
      if (entry.key.gateway === gateway) this.#entries.delete(text);
  }

  removeResource(resource: ResourceId): void {
    for (const [text, entry] of this.#entries)
      if (entry.key.resource === resource) this.#entries.delete(text);
  }

  get count(): number {
    return this.#entries.size;
  }

  snapshot(): readonly {
    readonly domain: string;
    readonly resource: string;
    readonly state: string;
  }[] {
    return [...this.#entries.values()].map(({ key, state }) => ({ ...key, state }));
  }

  #getOrCreate(key: DnsNatKey): Entry {
    const text = textOf(key);
    const known = this.#entries.get(text);
    if (known) return known;
    if (this.#entries.size >= MAX_ENTRIES) {
      const [oldest] = this.#entries.keys();
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    const entry: Entry = {
      key,
      state: 'pending',
      waiting: new PacketBuffer(MAX_WAITING_PACKETS),
      lastSentAt: undefined,
    };
    this.#entries.set(text, entry);
    return entry;
  }
}

function textOf({ gateway, domain, resource }: DnsNatKey): string {
  return `${gateway} ${resource} ${domain}`;
}
