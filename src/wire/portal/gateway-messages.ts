// Messages between the portal and gateways of the `create_authorization` generation (portal-protocol 7, API path v2).
// Inbound and outbound are seen from the gateway. A generation with other messages gets a file of its own.

import type { IpAddress } from '../../base/address.ts';
import type { ClientId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';
import {
  ACCESS_PAIR,
  ACTIVE_AUTHORIZATION,
  type AccessPair,
  type ActiveAuthorization,
  CANDIDATES,
  EMPTY,
  type Empty,
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
import { INGEST_TOKEN, type IngestToken } from './ingest-token.ts';
import { GATEWAY_RESOURCE, type GatewayResource } from './resources.ts';
import {
  BOOLEAN,
  CLIENT_ID,
  FALSE_IF_ABSENT,
  IPV4,
  IPV6,
  KEY,
  NUMBER,
  STRING,
  UNIX_TIME,
} from './scalars.ts';
import {
  informative,
  lenientArray,
  MessageSet,
  nullable,
  object,
  type ParsedMessage,
  type Schema,
  strictArray,
} from './schema.ts';

/** Portal to gateway. */
export type GatewayInbound =
  | { readonly event: 'init'; readonly payload: GatewayInit }
  | { readonly event: 'create_authorization'; readonly payload: CreateAuthorization }
  | { readonly event: 'reject_access'; readonly payload: AccessPair }
  | { readonly event: 'access_authorization_expiry_updated'; readonly payload: ActiveAuthorization }
  | { readonly event: 'resource_updated'; readonly payload: GatewayResource }
  | { readonly event: 'relays_presence'; readonly payload: RelaysPresence }
  | { readonly event: 'ice_candidates'; readonly payload: ClientCandidates }
  | { readonly event: 'invalidate_ice_candidates'; readonly payload: ClientCandidates };

/** Gateway to portal. */
export type GatewayOutbound =
  | { readonly event: 'authorization_created'; readonly payload: AuthorizationAccepted }
  | { readonly event: 'broadcast_ice_candidates'; readonly payload: ClientsCandidates }
  | { readonly event: 'broadcast_invalidated_ice_candidates'; readonly payload: ClientsCandidates }
  | { readonly event: 'no_relays'; readonly payload: Empty }
  | { readonly event: 'set_snownet_capabilities'; readonly payload: SnownetCapabilities };

/** portal-protocol 7.2 */
export interface GatewayInit {
  readonly interface: GatewayInterface;
  readonly config: GatewayConfig;
  readonly relays: readonly RelayEntry[];
  readonly accountSlug: string | null;
  /** All that is granted on this gateway; what is not listed is revoked. */
  readonly authorizations: readonly ActiveAuthorization[];
  readonly flowLogs: FlowLogConfig;
}

export interface GatewayInterface {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

/** Sent by every portal, used by no gateway (portal-protocol 7.2). */
export interface GatewayConfig {
  readonly ipv4MasqueradeEnabled: boolean;
  readonly ipv6MasqueradeEnabled: boolean;
}

/** portal-protocol 7.5 */
export interface CreateAuthorization {
  /** To be repeated in `authorization_created`. */
  readonly ref: string;
  readonly resource: GatewayResource;
  readonly gatewayIceCredentials: IceCredentials;
  readonly clientIceCredentials: IceCredentials;
  readonly client: AuthorizedClient;
  /** `null`: never. */
  readonly expiresAt: UnixMillis | null;
  readonly useIceless: boolean;
  readonly flowLogsIngestToken: IngestToken;
  /** Who the user is; not used by a gateway. */
  readonly subject: AuthorizationSubject | null;
}

export interface AuthorizedClient {
  readonly id: ClientId;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array;
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
  readonly version: string | null;
  readonly deviceOsName: string | null;
  readonly deviceOsVersion: string | null;
  readonly deviceSerial: string | null;
  readonly deviceUuid: string | null;
  readonly identifierForVendor: string | null;
  readonly firebaseInstallationId: string | null;
}

export interface AuthorizationSubject {
  readonly actorId: string | null;
  readonly actorName: string | null;
  readonly actorEmail: string | null;
  readonly actorType: string | null;
  readonly authProviderId: string | null;
  readonly ip: string | null;
  readonly ipRegion: string | null;
  readonly ipCity: string | null;
  readonly ipLat: number | null;
  readonly ipLon: number | null;
  readonly userAgent: string | null;
}

export interface ClientCandidates {
  readonly clientId: ClientId;
  readonly candidates: readonly string[];
}

export interface ClientsCandidates {
  readonly clientIds: readonly ClientId[];
  readonly candidates: readonly string[];
}

export interface AuthorizationAccepted {
  readonly ref: string;
}

export const AUTHORIZATION_SUBJECT: Schema<AuthorizationSubject> = object<AuthorizationSubject>({
  actor_id: nullable(STRING),
  actor_name: nullable(STRING),
  actor_email: nullable(STRING),
  actor_type: nullable(STRING),
  auth_provider_id: nullable(STRING),
  ip: nullable(STRING),
  ip_region: nullable(STRING),
  ip_city: nullable(STRING),
  ip_lat: nullable(NUMBER),
  ip_lon: nullable(NUMBER),
  user_agent: nullable(STRING),
});

const INIT = object<GatewayInit>({
  interface: object<GatewayInterface>({ ipv4: IPV4, ipv6: IPV6 }),
  config: object<GatewayConfig>({
    ipv4_masquerade_enabled: BOOLEAN,
    ipv6_masquerade_enabled: BOOLEAN,
  }),
  relays: RELAY_ENTRIES,
  account_slug: nullable(STRING),
  authorizations: strictArray(ACTIVE_AUTHORIZATION).default([]),
  flow_logs: FLOW_LOG_CONFIG,
});

const CLIENT = object<AuthorizedClient>({
  id: CLIENT_ID,
  public_key: KEY,
  preshared_key: KEY,
  ipv4: IPV4,
  ipv6: IPV6,
  version: informative(STRING),
  device_os_name: informative(STRING),
  device_os_version: informative(STRING),
  device_serial: informative(STRING),
  device_uuid: informative(STRING),
  identifier_for_vendor: informative(STRING),
  firebase_installation_id: informative(STRING),
});

const CREATE_AUTHORIZATION = object<CreateAuthorization>({
  ref: STRING,
  resource: GATEWAY_RESOURCE,
  gateway_ice_credentials: ICE_CREDENTIALS,
  client_ice_credentials: ICE_CREDENTIALS,
  client: CLIENT,
  expires_at: nullable(UNIX_TIME),
  use_iceless: FALSE_IF_ABSENT,
  flow_logs_ingest_token: INGEST_TOKEN,
  subject: informative(AUTHORIZATION_SUBJECT),
});

const CLIENT_CANDIDATES = object<ClientCandidates>({
  client_id: CLIENT_ID,
  candidates: CANDIDATES,
});

const CLIENTS_CANDIDATES = object<ClientsCandidates>({
  client_ids: lenientArray(CLIENT_ID),
  candidates: CANDIDATES,
});

export const GATEWAY_INBOUND: MessageSet<GatewayInbound> = new MessageSet<GatewayInbound>({
  init: INIT,
  create_authorization: CREATE_AUTHORIZATION,
  reject_access: ACCESS_PAIR,
  access_authorization_expiry_updated: ACTIVE_AUTHORIZATION,
  resource_updated: GATEWAY_RESOURCE,
  relays_presence: RELAYS_PRESENCE,
  ice_candidates: CLIENT_CANDIDATES,
  invalidate_ice_candidates: CLIENT_CANDIDATES,
});

export const GATEWAY_OUTBOUND: MessageSet<GatewayOutbound> = new MessageSet<GatewayOutbound>({
  authorization_created: object<AuthorizationAccepted>({ ref: STRING }),
  broadcast_ice_candidates: CLIENTS_CANDIDATES,
  broadcast_invalidated_ice_candidates: CLIENTS_CANDIDATES,
  no_relays: EMPTY,
  set_snownet_capabilities: SNOWNET_CAPABILITIES,
});

export function parseGatewayInbound(
  event: string,
  payload: unknown,
): ParsedMessage<GatewayInbound> {
  return GATEWAY_INBOUND.parse(event, payload);
}

export function parseGatewayOutbound(
  event: string,
  payload: unknown,
): ParsedMessage<GatewayOutbound> {
  return GATEWAY_OUTBOUND.parse(event, payload);
}
