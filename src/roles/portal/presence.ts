// Which relays are online, which two a component is told of, and when it is told again (portal 10.6). Changes are debounced,
// so that a relay that only reconnects (same stamp secret, same id) causes no push.

import { endpoint, type IpAddress } from '../../base/address.ts';
import type { CryptoProvider } from '../../base/crypto.ts';
import type { RelayId } from '../../base/ids.ts';
import type { Random } from '../../base/random.ts';
import { type Instant, later, type UnixMillis } from '../../base/time.ts';
import type { RelayEntry } from '../../wire/portal/common.ts';
import { turnCredentials } from './credentials.ts';
import { nearestFirst } from './distance.ts';
import type { Location } from './policy.ts';

// Specification

/** portal 10.6.2. */
export const PRESENCE_DEBOUNCE_MS = 1000;
/** portal 12, relays per component. */
export const RELAYS_PER_COMPONENT = 2;

export interface OnlineRelay {
  readonly id: RelayId;
  readonly ipv4: IpAddress | undefined;
  readonly ipv6: IpAddress | undefined;
  readonly port: number;
  readonly stampSecret: string;
  readonly location: Location | undefined;
}

/** What a component was last told: relay ids and where they were. */
export type KnownRelays = ReadonlyMap<RelayId, string>;

export interface PresenceChange {
  readonly disconnectedIds: readonly RelayId[];
  readonly connected: readonly OnlineRelay[];
}

export class RelayPresence {
  readonly #online = new Map<RelayId, OnlineRelay>();
  readonly #random: Random;
  #announceAt: Instant | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  relayOnline(relay: OnlineRelay, now: Instant): void {
    this.#online.set(relay.id, relay);
    this.#announceAt = later(now, PRESENCE_DEBOUNCE_MS);
  }

  relayOffline(id: RelayId, now: Instant): void {
    if (this.#online.delete(id)) this.#announceAt = later(now, PRESENCE_DEBOUNCE_MS);
  }

  /** True when the changes have settled and every component should be looked at. */
  handleTimeout(now: Instant): boolean {
    if (this.#announceAt === undefined || now < this.#announceAt) return false;
    this.#announceAt = undefined;
    return true;
  }

  pollTimeout(): Instant | undefined {
    return this.#announceAt;
  }

  get size(): number {
    return this.#online.size;
  }

  select(own: Location | undefined): OnlineRelay[] {
    return nearestFirst([...this.#online.values()], own, this.#random).slice(
      0,
      RELAYS_PER_COMPONENT,
    );
  }

  /**
   * portal 10.6.2: a known relay is gone, or there are fewer than two and another one is to be had. Upstream also repeats
   * what is known already; that tells nobody anything.
   */
  changeFor(known: KnownRelays, own: Location | undefined): PresenceChange | undefined {
    const disconnectedIds = [...known.keys()].filter((id) => !this.#online.has(id));
    const moved = [...known].some(([id, place]) => {
      const relay = this.#online.get(id);
      return relay !== undefined && placeOfRelay(relay) !== place;
    });
    if (disconnectedIds.length === 0 && !moved && known.size >= RELAYS_PER_COMPONENT)
      return undefined;
    const connected = this.select(own);
    const isNews = connected.some((relay) => known.get(relay.id) !== placeOfRelay(relay));
    return disconnectedIds.length > 0 || isNews ? { disconnectedIds, connected } : undefined;
  }
}

export function knownRelays(relays: readonly OnlineRelay[]): KnownRelays {
  return new Map(relays.map((relay) => [relay.id, placeOfRelay(relay)]));
}

function placeOfRelay(relay: OnlineRelay): string {
  return `${relay.ipv4 ?? ''} ${relay.ipv6 ?? ''} ${relay.port}`;
}

/** One entry per address family, IPv4 first; the credentials are the receiver's own (portal 5.2, 10.6.3). */
export function renderRelays(
  crypto: CryptoProvider,
  relays: readonly OnlineRelay[],
  receiverPublicKey: Uint8Array,
  expiresAt: UnixMillis,
): RelayEntry[] {
  const seconds = Math.floor(expiresAt / 1000);
  return relays.flatMap((relay) => {
    const { id, stampSecret, port } = relay;
    const credentials = turnCredentials(crypto, stampSecret, receiverPublicKey, seconds);
    const addresses = [relay.ipv4, relay.ipv6].filter((address) => address !== undefined);
    return addresses.map((address) => {
      return {
        type: 'turn',
        id,
        addr: endpoint(address, port),
        ...credentials,
        expiresAt,
      } as const;
    });
  });
}
