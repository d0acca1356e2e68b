// The channels of a relay (RFC 8656 §12, relay 5.3 and 5.5): which number of which client stands for which peer. A binding
// carries data for ten minutes; for five more, its number and its peer are taken, but data is not forwarded. What the hot path
// needs of a bound channel stands in typed arrays (`paths` and the two tables); the rest is cold.

import {
  type Endpoint,
  familyOf,
  type IpFamily,
  writeAddressWords,
} from '../../../base/address.ts';
import { PATH } from '../../../base/batch.ts';
import { at } from '../../../base/bytes.ts';
import { isStreamAddress } from '../../../base/stream-endpoint.ts';
import { earliest, type Instant, later } from '../../../base/time.ts';
import { AddressTable } from './address-table.ts';

// Specification
export const CHANNEL_LIFETIME_MS: number = 600_000; // RFC 8656 §12
/** RFC 8656 §12: until the number may be bound to another peer. */
export const CHANNEL_COOL_DOWN_MS: number = 300_000;

// Implementation
/** Channels of all clients together: some 20 MB. */
const MAX_CHANNELS = 65_536;
const FIRST_SLOTS = 256;
/** Rows of `links`. */
export const LINK = { stride: 2, relaySocket: 0, clientSocket: 1 } as const;

export interface ChannelOwner {
  /** Small and unique among living allocations. */
  readonly index: number;
  readonly client: Endpoint;
  /** The address of ours that the client talks to. */
  readonly local: Endpoint;
}

export type BindOutcome = 'bound' | 'number-taken' | 'peer-taken' | 'too-many';

interface ChannelBinding {
  readonly slot: number;
  readonly owner: ChannelOwner;
  readonly number: number;
  readonly peer: Endpoint;
  isBound: boolean;
  /** Of the lifetime while bound, else of the cool-down. */
  expiresAt: Instant;
}

/** Instead of a socket: the stream that the endpoint names (`base/stream-endpoint.ts`). */
export const STREAM_SOCKET = -1;

/** Numbers of the relay's sockets: 0 and 1 listen, then each allocation has two. */
export function listenSocket(family: IpFamily): number {
  return family === 4 ? 0 : 1;
}

/** Where what is for a client leaves. */
export function clientSocket({ address }: Endpoint): number {
  return isStreamAddress(address) ? STREAM_SOCKET : listenSocket(familyOf(address));
}

export function relaySocket(allocation: number, family: IpFamily): number {
  return 2 + allocation * 2 + (family === 4 ? 0 : 1);
}

/** The allocation that a relay socket belongs to, negative for whatever clients talk to. */
export function allocationOfSocket(socket: number): number {
  return (socket >> 1) - 1;
}

export class ChannelBindings {
  /** `PATH` rows: 2 × slot leads to the peer, 2 × slot + 1 to the client. */
  paths: Int32Array = new Int32Array(2 * FIRST_SLOTS * PATH.stride);
  /** `LINK` rows by slot: sockets that the two paths leave from. */
  links: Int32Array = new Int32Array(FIRST_SLOTS * LINK.stride);
  readonly #byClient: AddressTable;
  readonly #byPeer: AddressTable;
  /** By allocation, then by number and by peer; both also during the cool-down. */
  readonly #byNumber = new Map<number, Map<number, ChannelBinding>>();
  readonly #byPeerKey = new Map<number, Map<string, ChannelBinding>>();
  /** Both in the order of expiry, because every member of a set has the same time to live. */
  readonly #bound = new Set<ChannelBinding>();
  readonly #cooling = new Set<ChannelBinding>();
  readonly #freeSlots: number[] = [];
  #slotCount = 0;

  constructor(seed: number) {
    this.#byClient = new AddressTable(seed);
    this.#byPeer = new AddressTable(seed ^ 0x5bd1e995);
  }

  bind(owner: ChannelOwner, number: number, peer: Endpoint, now: Instant): BindOutcome {
    const known = this.#byNumber.get(owner.index)?.get(number);
    if (known && known.peer.key !== peer.key) return 'number-taken';
    const other = this.#byPeerKey.get(owner.index)?.get(peer.key);
    if (other && other.number !== number) return 'peer-taken';
    const binding = known ?? this.#create(owner, number, peer, now);
    if (!binding) return 'too-many';
    this.#cooling.delete(binding);
    this.#bound.delete(binding);
    this.#bound.add(binding);
    binding.expiresAt = later(now, CHANNEL_LIFETIME_MS);
    if (!binding.isBound) this.#connect(binding);
    return 'bound';
  }

  removeAllocation(index: number): void {
    for (const binding of this.#byNumber.get(index)?.values() ?? []) this.#remove(binding);
  }

  handleTimeout(now: Instant): void {
    for (const binding of this.#bound) {
      if (binding.expiresAt > now) break;
      this.#disconnect(binding);
      this.#bound.delete(binding);
      this.#cooling.add(binding);
      binding.expiresAt = later(binding.expiresAt, CHANNEL_COOL_DOWN_MS);
    }
    for (const binding of this.#cooling) {
      if (binding.expiresAt > now) break;
      this.#remove(binding);
    }
  }

  pollTimeout(): Instant | undefined {
    return earliest(firstOf(this.#bound)?.expiresAt, firstOf(this.#cooling)?.expiresAt);
  }

  /** Slot of a client's channel, -1 if it is not bound. The client's address stands at `words[index]`. */
  findByClient(words: Int32Array, index: number, port: number, channel: number): number {
    return this.#byClient.find(words, index, port, channel);
  }

  /** Slot of the channel for what a peer sent to an allocation, -1 if there is none. */
  findByPeer(words: Int32Array, index: number, port: number, allocation: number): number {
    return this.#byPeer.find(words, index, port, allocation);
  }

  get boundCount(): number {
    return this.#bound.size;
  }

  #create(
    owner: ChannelOwner,
    number: number,
    peer: Endpoint,
    now: Instant,
  ): ChannelBinding | undefined {
    const slot = this.#takeSlot();
    if (slot === undefined) return undefined;
    const binding = { slot, owner, number, peer, isBound: false, expiresAt: now };
    mapIn(this.#byNumber, owner.index).set(number, binding);
    mapIn(this.#byPeerKey, owner.index).set(peer.key, binding);
    return binding;
  }

  #remove(binding: ChannelBinding): void {
    const { owner, number, peer, slot } = binding;
    this.#disconnect(binding);
    this.#bound.delete(binding);
    this.#cooling.delete(binding);
    deleteIn(this.#byNumber, owner.index, number);
    deleteIn(this.#byPeerKey, owner.index, peer.key);
    this.#freeSlots.push(slot);
  }

  /** Both directions become findable. */
  #connect(binding: ChannelBinding): void {
    const { slot, owner, number, peer } = binding;
    binding.isBound = true;
    const toPeer = 2 * slot * PATH.stride;
    const toClient = toPeer + PATH.stride;
    this.paths.fill(0, toPeer, toClient + PATH.stride);
    writeAddressWords(peer.address, this.paths, toPeer + PATH.remote);
    this.paths[toPeer + PATH.remotePort] = peer.port;
    this.paths[toPeer + PATH.usable] = 1;
    writeAddressWords(owner.client.address, this.paths, toClient + PATH.remote);
    writeAddressWords(owner.local.address, this.paths, toClient + PATH.local);
    this.paths[toClient + PATH.remotePort] = owner.client.port;
    this.paths[toClient + PATH.channel] = number;
    this.paths[toClient + PATH.usable] = 1;
    const link = slot * LINK.stride;
    this.links[link + LINK.relaySocket] = relaySocket(owner.index, familyOf(peer.address));
    this.links[link + LINK.clientSocket] = clientSocket(owner.client);
    this.#byClient.set(this.paths, toClient + PATH.remote, owner.client.port, number, slot);
    this.#byPeer.set(this.paths, toPeer + PATH.remote, peer.port, owner.index, slot);
  }

  #disconnect(binding: ChannelBinding): void {
    if (!binding.isBound) return;
    const { slot, owner, number, peer } = binding;
    binding.isBound = false;
    const toPeer = 2 * slot * PATH.stride;
    const toClient = toPeer + PATH.stride;
    this.#byClient.delete(this.paths, toClient + PATH.remote, owner.client.port, number);
    this.#byPeer.delete(this.paths, toPeer + PATH.remote, peer.port, owner.index);
    this.paths.fill(0, toPeer, toClient + PATH.stride);
  }

  #takeSlot(): number | undefined {
    const free = this.#freeSlots.pop();
    if (free !== undefined) return free;
    if (this.#slotCount >= MAX_CHANNELS) return undefined;
    if (this.#slotCount * LINK.stride === this.links.length) {
      this.links = doubled(this.links);
      this.paths = doubled(this.paths);
    }
    this.#slotCount += 1;
    return this.#slotCount - 1;
  }
}

function doubled(array: Int32Array): Int32Array {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}

function firstOf<T>(set: ReadonlySet<T>): T | undefined {
  for (const member of set) return member;
  return undefined;
}

function mapIn<K, L, V>(maps: Map<K, Map<L, V>>, key: K): Map<L, V> {
  const known = maps.get(key);
  if (known) return known;
  const created = new Map<L, V>();
  maps.set(key, created);
  return created;
}

function deleteIn<K, L, V>(maps: Map<K, Map<L, V>>, key: K, inner: L): void {
  const map = maps.get(key);
  map?.delete(inner);
  if (map?.size === 0) maps.delete(key);
}

/** Fields of a `LINK` row. */
export function linkOf(links: Int32Array, slot: number, field: 0 | 1): number {
  return at(links, slot * LINK.stride + field);
}
