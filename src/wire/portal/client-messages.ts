// Messages between the portal and clients of the `request_authorization` generation (portal-protocol 8, client 5 and 7.3, API
// path v2). Inbound and outbound are seen from the client. A generation with other messages gets a file of its own.

import { z } from 'zod';
import type { Endpoint, IpAddress } from '../../base/address.ts';
import type { ClientId, GatewayId, ResourceId, SiteId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';
import {
  ACCESS_PAIR,
  ACTIVE_AUTHORIZATION,
  type AccessPair,
  type ActiveAuthorization,
  CANDIDATES,
  EMPTY,
  type Empty,
  FILTERS,
  type Filter,
  FLOW_LOG_CONFIG,
  type FlowLogConfig,
  ICE_CREDENTIALS,
  type IceCredentials,
  RELAY_ENTRIES,
  RELAYS_PRESENCE,
  type RelayEntry,
  type RelaysPresence,
  SNOWNET_CAPABILITIES,
  type SnownetCapabilities,
} from './common.ts';
import { AUTHORIZATION_SUBJECT, type AuthorizationSubject } from './gateway-messages.ts';
import { INGEST_TOKEN, type IngestToken } from './ingest-token.ts';
import {
  CLIENT_RESOURCE,
  CLIENT_RESOURCES,
  type ClientResource,
  GATEWAY_RESOURCE,
  type GatewayResource,
} from './resources.ts';
import {
  CLIENT_ID,
  ENDPOINT,
  FALSE_IF_ABSENT,
  GATEWAY_ID,
  HOST_ADDRESS,
  IP,
  IPV4,
  IPV6,
  KEY,
  RESOURCE_ID,
  SITE_ID,
  STRING,
  UNIX_TIME,
} from './scalars.ts';
import {
  informative,
  lenientArray,
  MessageSet,
  nullable,
  object,
  optional,
  type ParsedMessage,
  type Schema,
  strictArray,
} from './schema.ts';

/** Portal to client. */
export type ClientInbound =
  | { readonly event: 'init'; readonly payload: ClientInit }
  | { readonly event: 'config_changed'; readonly payload: ConfigChanged }
  | { readonly event: 'resource_created_or_updated'; readonly payload: ClientResource }
  | { readonly event: 'resource_deleted'; readonly payload: ResourceId }
  | { readonly event: 'resource_filters_updated'; readonly payload: ResourceFilters }
  | { readonly event: 'relays_presence'; readonly payload: RelaysPresence }
  | { readonly event: 'ice_candidates'; readonly payload: GatewayCandidates }
  | { readonly event: 'invalidate_ice_candidates'; readonly payload: GatewayCandidates }
  | { readonly event: 'authorization_created'; readonly payload: AuthorizationCreated }
  | { readonly event: 'authorization_creation_failed'; readonly payload: AuthorizationFailed }
  | { readonly event: 'client_ice_candidates'; readonly payload: PeerCandidates }
  | { readonly event: 'invalidate_client_ice_candidates'; readonly payload: PeerCandidates }
  | { readonly event: 'client_ice_candidate_error'; readonly payload: PeerCandidateError }
  | { readonly event: 'client_device_access_authorized'; readonly payload: DeviceAccess }
  | { readonly event: 'client_device_access_denied'; readonly payload: DeviceAccessDenied }
  | { readonly event: 'device_pool_domain_resolved'; readonly payload: PoolDomainResolved }
  | { readonly event: 'device_pool_domain_resolution_failed'; readonly payload: PoolDomainFailed }
  | { readonly event: 'reject_access'; readonly payload: AccessPair }
  | {
      readonly event: 'access_authorization_expiry_updated';
      readonly payload: ActiveAuthorization;
    };

/** Client to portal. */
export type ClientOutbound =
  | { readonly event: 'request_authorization'; readonly payload: RequestAuthorization }
  | { readonly event: 'broadcast_ice_candidates'; readonly payload: GatewaysCandidates }
  | { readonly event: 'broadcast_invalidated_ice_candidates'; readonly payload: GatewaysCandidates }
  | { readonly event: 'new_gateway_ice_candidates'; readonly payload: GatewayCandidates }
  | { readonly event: 'invalidate_gateway_ice_candidates'; readonly payload: GatewayCandidates }
  | { readonly event: 'new_client_ice_candidates'; readonly payload: PeerCandidates }
  | { readonly event: 'invalidate_client_ice_candidates'; readonly payload: PeerCandidates }
  | { readonly event: 'resolve_device_pool_domain'; readonly payload: PoolDomain }
  | { readonly event: 'no_relays'; readonly payload: Empty }
  | { readonly event: 'set_snownet_capabilities'; readonly payload: SnownetCapabilities };

/** client 5.1 */
export interface ClientInit {
  readonly interface: ClientInterface;
  readonly resources: readonly ClientResource[];
  readonly relays: readonly RelayEntry[];
  /** Other clients' access to this one. */
  readonly authorizations: readonly ActiveAuthorization[];
  readonly flowLogs: FlowLogConfig;
}

/** portal-protocol 5.1; `upstreamDo53` wins over `upstreamDns` unless it is empty. */
export interface ClientInterface {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
  readonly upstreamDns: readonly LegacyDnsServer[];
  readonly upstreamDo53: readonly { readonly ip: IpAddress }[];
  readonly upstreamDoh: readonly { readonly url: string }[];
  readonly searchDomain: string | null;
}

export interface LegacyDnsServer {
  readonly protocol: 'ip_port';
  readonly address: Endpoint;
}

export interface ConfigChanged {
  readonly interface: ClientInterface;
}

export interface ResourceFilters {
  readonly id: ResourceId;
  readonly filters: readonly Filter[];
}

export interface GatewayCandidates {
  readonly gatewayId: GatewayId;
  readonly candidates: readonly string[];
}

export interface GatewaysCandidates {
  readonly gatewayIds: readonly GatewayId[];
  readonly candidates: readonly string[];
}

/** Candidates of another client. */
export interface PeerCandidates {
  readonly clientId: ClientId;
  readonly candidates: readonly string[];
}

export interface PeerCandidateError {
  readonly clientId: ClientId;
  readonly reason: FailureReason;
}

/** portal-protocol 8.5 */
export interface AuthorizationCreated {
  readonly resourceId: ResourceId;
  readonly gatewayId: GatewayId;
  readonly gatewayPublicKey: Uint8Array;
  readonly gatewayIpv4: IpAddress;
  readonly gatewayIpv6: IpAddress;
  readonly siteId: SiteId;
  readonly presharedKey: Uint8Array;
  readonly clientIceCredentials: IceCredentials;
  readonly gatewayIceCredentials: IceCredentials;
  readonly useIceless: boolean;
  readonly flowLogsIngestToken: IngestToken;
}

/** Whatever we do not know is `unknown` (portal-protocol 8.2). */
export type FailureReason = (typeof FAILURE_REASONS)[number];

// Specification
/** portal-protocol 8.2 */
const FAILURE_REASONS = [
  'not_found',
  'offline',
  'version_mismatch',
  'forbidden',
  'disabled',
  'ambiguous_address',
  'missing_address',
  'invalid_address',
  'unknown',
] as const;

export interface AuthorizationFailed {
  readonly resourceId: ResourceId;
  readonly reason: FailureReason;
  readonly violatedProperties: readonly string[];
}

export interface RequestAuthorization {
  readonly resourceId: ResourceId;
  readonly connectedGatewayIds: readonly GatewayId[];
  /** The device wanted from a device pool: exactly one of the two; `null` for all other resources. */
  readonly ipv4: IpAddress | null;
  readonly ipv6: IpAddress | null;
}

export interface PoolDomain {
  readonly resourceId: ResourceId;
  readonly domain: string;
}

export interface PoolDomainResolved extends PoolDomain {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

export interface PoolDomainFailed extends PoolDomain {
  readonly reason: FailureReason;
}

export interface DeviceAccess {
  readonly clientId: ClientId;
  readonly clientName: string | null;
  readonly clientPublicKey: Uint8Array;
  readonly clientIpv4: IpAddress;
  readonly clientIpv6: IpAddress;
  readonly presharedKey: Uint8Array;
  readonly localIceCredentials: IceCredentials;
  readonly remoteIceCredentials: IceCredentials;
  readonly iceRole: 'controlling' | 'controlled';
  readonly useIceless: boolean;
  readonly flowLogsIngestToken: IngestToken;
  /** Only the target is told what it grants, and until when. */
  readonly resource: GatewayResource | null;
  readonly subject: AuthorizationSubject | null;
  readonly expiresAt: UnixMillis | null;
}

export interface DeviceAccessDenied {
  readonly clientId: ClientId | null;
  readonly resourceId: ResourceId | null;
  readonly ipv4: IpAddress | null;
  readonly ipv6: IpAddress | null;
  readonly reason: FailureReason;
}

const REASON: Schema<FailureReason> = z.enum(FAILURE_REASONS).catch('unknown');

const CLIENT_INTERFACE = object<ClientInterface>({
  ipv4: IPV4,
  ipv6: IPV6,
  upstream_dns: lenientArray(
    object<LegacyDnsServer>({ protocol: z.literal('ip_port'), address: ENDPOINT }),
  ),
  upstream_do53: lenientArray(object<{ readonly ip: IpAddress }>({ ip: IP })),
  upstream_doh: lenientArray(object<{ readonly url: string }>({ url: STRING })),
  search_domain: nullable(STRING),
});

const GATEWAY_CANDIDATES = object<GatewayCandidates>({
  gateway_id: GATEWAY_ID,
  candidates: CANDIDATES,
});

const GATEWAYS_CANDIDATES = object<GatewaysCandidates>({
  gateway_ids: lenientArray(GATEWAY_ID),
  candidates: CANDIDATES,
});

const PEER_CANDIDATES = object<PeerCandidates>({ client_id: CLIENT_ID, candidates: CANDIDATES });

const AUTHORIZATION_CREATED = object<AuthorizationCreated>(
  {
    resource_id: RESOURCE_ID,
    gateway_id: GATEWAY_ID,
    gateway_public_key: KEY,
    gateway_ipv4: IPV4,
    gateway_ipv6: IPV6,
    site_id: SITE_ID,
    preshared_key: KEY,
    client_ice_credentials: ICE_CREDENTIALS,
    gateway_ice_credentials: ICE_CREDENTIALS,
    use_iceless: FALSE_IF_ABSENT,
    flow_logs_ingest_token: INGEST_TOKEN,
  },
  { gateway_group_id: 'site_id' },
);

const DEVICE_ACCESS = object<DeviceAccess>({
  client_id: CLIENT_ID,
  client_name: nullable(STRING),
  client_public_key: KEY,
  client_ipv4: IPV4,
  client_ipv6: IPV6,
  preshared_key: KEY,
  local_ice_credentials: ICE_CREDENTIALS,
  remote_ice_credentials: ICE_CREDENTIALS,
  ice_role: z.enum(['controlling', 'controlled']),
  use_iceless: FALSE_IF_ABSENT,
  flow_logs_ingest_token: INGEST_TOKEN,
  resource: optional(GATEWAY_RESOURCE),
  subject: informative(AUTHORIZATION_SUBJECT),
  expires_at: optional(UNIX_TIME),
});

export const CLIENT_INBOUND: MessageSet<ClientInbound> = new MessageSet<ClientInbound>(
  {
    init: object<ClientInit>({
      interface: CLIENT_INTERFACE,
      resources: CLIENT_RESOURCES,
      relays: RELAY_ENTRIES,
      authorizations: strictArray(ACTIVE_AUTHORIZATION).default([]),
      flow_logs: FLOW_LOG_CONFIG,
    }),
    config_changed: object<ConfigChanged>({ interface: CLIENT_INTERFACE }),
    resource_created_or_updated: CLIENT_RESOURCE,
    resource_deleted: RESOURCE_ID,
    resource_filters_updated: object<ResourceFilters>({ id: RESOURCE_ID, filters: FILTERS }),
    relays_presence: RELAYS_PRESENCE,
    ice_candidates: GATEWAY_CANDIDATES,
    invalidate_ice_candidates: GATEWAY_CANDIDATES,
    authorization_created: AUTHORIZATION_CREATED,
    authorization_creation_failed: object<AuthorizationFailed>({
      resource_id: RESOURCE_ID,
      reason: REASON,
      violated_properties: lenientArray(STRING),
    }),
    client_ice_candidates: PEER_CANDIDATES,
    invalidate_client_ice_candidates: PEER_CANDIDATES,
    client_ice_candidate_error: object<PeerCandidateError>({
      client_id: CLIENT_ID,
      reason: REASON,
    }),
    client_device_access_authorized: DEVICE_ACCESS,
    client_device_access_denied: object<DeviceAccessDenied>({
      client_id: optional(CLIENT_ID),
      resource_id: optional(RESOURCE_ID),
      ipv4: optional(HOST_ADDRESS),
      ipv6: optional(HOST_ADDRESS),
      reason: REASON,
    }),
    device_pool_domain_resolved: object<PoolDomainResolved>({
      resource_id: RESOURCE_ID,
      domain: STRING,
      ipv4: HOST_ADDRESS,
      ipv6: HOST_ADDRESS,
    }),
    device_pool_domain_resolution_failed: object<PoolDomainFailed>({
      resource_id: RESOURCE_ID,
      domain: STRING,
      reason: REASON,
    }),
    reject_access: ACCESS_PAIR,
    access_authorization_expiry_updated: ACTIVE_AUTHORIZATION,
  },
  {
    gateway_ice_candidates: 'ice_candidates',
    invalidate_gateway_ice_candidates: 'invalidate_ice_candidates',
  },
);

export const CLIENT_OUTBOUND: MessageSet<ClientOutbound> = new MessageSet<ClientOutbound>({
  request_authorization: object<RequestAuthorization>({
    resource_id: RESOURCE_ID,
    connected_gateway_ids: strictArray(GATEWAY_ID),
    ipv4: optional(IPV4),
    ipv6: optional(IPV6),
  }),
  broadcast_ice_candidates: GATEWAYS_CANDIDATES,
  broadcast_invalidated_ice_candidates: GATEWAYS_CANDIDATES,
  new_gateway_ice_candidates: GATEWAY_CANDIDATES,
  invalidate_gateway_ice_candidates: GATEWAY_CANDIDATES,
  new_client_ice_candidates: PEER_CANDIDATES,
  invalidate_client_ice_candidates: PEER_CANDIDATES,
  resolve_device_pool_domain: object<PoolDomain>({ resource_id: RESOURCE_ID, domain: STRING }),
  no_relays: EMPTY,
  set_snownet_capabilities: SNOWNET_CAPABILITIES,
});

export function parseClientInbound(event: string, payload: unknown): ParsedMessage<ClientInbound> {
  return CLIENT_INBOUND.parse(event, payload);
}

export function parseClientOutbound(
  event: string,
  payload: unknown,
): ParsedMessage<ClientOutbound> {
  return CLIENT_OUTBOUND.parse(event, payload);
}
