// What messages of several audiences share (portal-protocol 5): relays, filters, ICE credentials, flow-log settings,
// capabilities, access pairs and candidate lists.

import { z } from 'zod';
import type { Endpoint } from '../../base/address.ts';
import type { ClientId, RelayId, ResourceId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';
import {
  CANDIDATE,
  CLIENT_ID,
  ENDPOINT,
  FALSE_IF_ABSENT,
  RELAY_ID,
  RESOURCE_ID,
  STRING,
  UNIX_TIME,
  UNSIGNED,
} from './scalars.ts';
import { lenientArray, object, type Schema, strictArray, tagged } from './schema.ts';

// Specification
/** TURN realm of every relay (portal-protocol 5.2). */
export const RELAY_REALM = 'firezone';

/** One address of one relay. `stun` entries are accepted and left out (portal-protocol 5.2). */
export interface RelayEntry {
  readonly type: 'turn';
  readonly id: RelayId;
  readonly addr: Endpoint;
  readonly username: string;
  readonly password: string;
  readonly expiresAt: UnixMillis;
}

export const RELAY_ENTRY: Schema<RelayEntry> = object<RelayEntry>({
  type: z.literal('turn'),
  id: RELAY_ID,
  addr: ENDPOINT,
  username: STRING,
  password: STRING,
  expires_at: UNIX_TIME,
});

/**
 * Deviates from portal-protocol 5.2, where one unknown or malformed entry makes the whole message malformed: here it is left
 * out, so that a new kind of relay cannot keep an old gateway from its `init`.
 */
export const RELAY_ENTRIES: Schema<readonly RelayEntry[]> = lenientArray(RELAY_ENTRY);

/** A relay with all its addresses. */
export interface RelayCredentials {
  readonly id: RelayId;
  readonly addresses: readonly Endpoint[];
  readonly username: string;
  readonly password: string;
  readonly realm: string;
}

/** Merges the entries of each relay, wherever they stand (portal-protocol 16.16); the later credentials win. */
export function mergeRelays(entries: readonly RelayEntry[]): readonly RelayCredentials[] {
  const relays = new Map<RelayId, RelayCredentials>();
  for (const { id, addr, username, password } of entries) {
    const known = relays.get(id)?.addresses ?? [];
    const isKnown = known.some((address) => address.key === addr.key);
    const addresses = isKnown ? known : [...known, addr];
    relays.set(id, { id, addresses, username, password, realm: RELAY_REALM });
  }
  return [...relays.values()];
}

export interface RelaysPresence {
  /** Removed before `connected` is added: a relay that restarted stands in both (portal-protocol 7.9). */
  readonly disconnectedIds: readonly RelayId[];
  readonly connected: readonly RelayEntry[];
}

export const RELAYS_PRESENCE: Schema<RelaysPresence> = object<RelaysPresence>({
  disconnected_ids: strictArray(RELAY_ID),
  connected: RELAY_ENTRIES,
});

/** Ports are inclusive (portal-protocol 5.4). No filter at all allows everything. */
export type Filter = PortFilter | { readonly protocol: 'icmp' };

export interface PortFilter {
  readonly protocol: 'tcp' | 'udp';
  readonly portRangeStart: number;
  readonly portRangeEnd: number;
}

const PORT = z.int().min(0).max(65535);

export const FILTER: Schema<Filter> = tagged<Filter>('protocol', [
  object<PortFilter>({
    protocol: z.enum(['tcp', 'udp']),
    port_range_start: PORT.default(0),
    port_range_end: PORT.default(65535),
  }),
  object<{ readonly protocol: 'icmp' }>({ protocol: z.literal('icmp') }),
]);

/** A malformed filter must not widen access, so none is left out. */
export const FILTERS: Schema<readonly Filter[]> = strictArray(FILTER);

export interface IceCredentials {
  readonly username: string;
  readonly password: string;
}

export const ICE_CREDENTIALS: Schema<IceCredentials> = object<IceCredentials>({
  username: STRING,
  password: STRING,
});

/** Malformed candidates are left out, the others used (portal-protocol 5.5). */
export const CANDIDATES: Schema<readonly string[]> = lenientArray(CANDIDATE);

export interface FlowLogConfig {
  readonly apiUrl: string;
  /** 0: no uploads. */
  readonly uploadIntervalSecs: number;
  /** 0: our own default. */
  readonly uploadBatchSize: number;
}

export const FLOW_LOG_CONFIG: Schema<FlowLogConfig> = object<FlowLogConfig>({
  api_url: STRING,
  upload_interval_secs: UNSIGNED,
  upload_batch_size: UNSIGNED,
});

/** One client's access to one resource, as far as it is granted. */
export interface AccessPair {
  readonly clientId: ClientId;
  readonly resourceId: ResourceId;
}

export const ACCESS_PAIR: Schema<AccessPair> = object<AccessPair>({
  client_id: CLIENT_ID,
  resource_id: RESOURCE_ID,
});

export interface ActiveAuthorization extends AccessPair {
  readonly expiresAt: UnixMillis;
}

export const ACTIVE_AUTHORIZATION: Schema<ActiveAuthorization> = object<ActiveAuthorization>({
  client_id: CLIENT_ID,
  resource_id: RESOURCE_ID,
  expires_at: UNIX_TIME,
});

/** What a component can do beyond ICE (portal-protocol 7.14); absent members mean no. */
export interface SnownetCapabilities {
  readonly iceless: boolean;
}

export const SNOWNET_CAPABILITIES: Schema<SnownetCapabilities> = object<SnownetCapabilities>({
  iceless: FALSE_IF_ABSENT,
});

export type Empty = Readonly<Record<never, never>>;

export const EMPTY: Schema<Empty> = object<Empty>({});
