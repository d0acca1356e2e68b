// What the portal says, built from what it knows: `init`, resources, authorizations (portal 7.2, 7.5, 8.2 to 8.5). Pure
// functions of sessions, rows and the policy; the forms on the wire are those of `wire/portal`.

import type { CryptoProvider } from '../../base/crypto.ts';
import { type UnixMillis, unixMillis } from '../../base/time.ts';
import type {
  AuthorizationCreated,
  ClientInit,
  ClientInterface,
} from '../../wire/portal/client-messages.ts';
import type { FlowLogConfig, RelayEntry } from '../../wire/portal/common.ts';
import type {
  AuthorizationSubject,
  CreateAuthorization,
  GatewayInit,
} from '../../wire/portal/gateway-messages.ts';
import type { ClientResource, GatewayResource } from '../../wire/portal/resources.ts';
import { FAR_FUTURE_SECONDS, type PairSecrets, pairSecrets } from './credentials.ts';
import { ingestToken } from './ingest-token.ts';
import type { Policy, Resource } from './policy.ts';
import { type OnlineRelay, renderRelays } from './presence.ts';
import type { ClientSession, GatewaySession } from './sessions.ts';
import type { AuthorizationRow } from './store.ts';
import { operatingSystemOf } from './versions.ts';

/** portal 9.3, 10.7.4: whatever has no end of its own ends then. */
export const FAR_FUTURE: UnixMillis = unixMillis(FAR_FUTURE_SECONDS * 1000);

export interface ViewContext {
  readonly crypto: CryptoProvider;
  readonly policy: Policy;
  readonly ingestKey: Uint8Array;
  /** For the flow-log settings; no uploads are asked for. */
  readonly baseUrl: string;
}

/** portal 9.3: a client's relay credentials end with its session, a gateway's in the far future. */
export function relayEntries(
  context: ViewContext,
  relays: readonly OnlineRelay[],
  session: ClientSession | GatewaySession,
): RelayEntry[] {
  const end = session.role === 'client' ? (session.tokenExpiresAt ?? FAR_FUTURE) : FAR_FUTURE;
  return renderRelays(context.crypto, relays, session.publicKey, end);
}

export function gatewayInit(
  context: ViewContext,
  session: GatewaySession,
  relays: readonly OnlineRelay[],
  rows: readonly AuthorizationRow[],
): GatewayInit {
  const { ipv4, ipv6 } = session.device;
  return {
    interface: { ipv4, ipv6 },
    config: { ipv4MasqueradeEnabled: true, ipv6MasqueradeEnabled: true },
    relays: relayEntries(context, relays, session),
    accountSlug: context.policy.account,
    authorizations: rows.map(({ clientId, resourceId, expiresAt }) => {
      return { clientId, resourceId, expiresAt };
    }),
    flowLogs: flowLogs(context),
  };
}

export function clientInit(
  context: ViewContext,
  session: ClientSession,
  relays: readonly OnlineRelay[],
  resources: readonly Resource[],
): ClientInit {
  return {
    interface: clientInterface(context.policy, session),
    resources: resources.map(clientResource),
    relays: relayEntries(context, relays, session),
    authorizations: [],
    flowLogs: flowLogs(context),
  };
}

export function clientInterface(policy: Policy, session: ClientSession): ClientInterface {
  const { ipv4, ipv6 } = session.device;
  return {
    ipv4,
    ipv6,
    upstreamDns: [],
    upstreamDo53: policy.dns.upstream.map((ip) => ({ ip })),
    upstreamDoh: policy.dns.doh.map((url) => ({ url })),
    searchDomain: policy.dns.searchDomain ?? null,
  };
}

/** portal 7.2: mandatory; an interval of 0 asks for no uploads. */
function flowLogs(context: ViewContext): FlowLogConfig {
  return { apiUrl: context.baseUrl, uploadIntervalSecs: 0, uploadBatchSize: 1000 };
}

/** portal 5.3. */
export function gatewayResource(resource: Resource): GatewayResource {
  const { id, name } = resource;
  switch (resource.type) {
    case 'internet':
      return { type: 'internet', id };
    case 'cidr':
      return { type: 'cidr', id, name, address: resource.address, filters: resource.filters };
    case 'dns':
      return { type: 'dns', id, name, address: resource.address, filters: resource.filters };
  }
}

/** portal 8.4. */
export function clientResource(resource: Resource): ClientResource {
  const { id, name, site } = resource;
  const sites = [{ id: site.id, name: site.name }];
  if (resource.type === 'internet')
    return { type: 'internet', id, name, sites, canBeDisabled: true };
  const addressDescription = resource.description ?? null;
  const { filters } = resource;
  if (resource.type === 'cidr') {
    const { address } = resource;
    return { type: 'cidr', id, name, address, addressDescription, sites, filters };
  }
  const { address, ipStack = 'dual' } = resource;
  return { type: 'dns', id, name, address, addressDescription, sites, ipStack, filters };
}

/** One grant as both ends are told of it. */
export interface Grant {
  readonly row: AuthorizationRow;
  readonly resource: Resource;
  readonly client: ClientSession;
  readonly gateway: GatewaySession;
  /** Both ends are told the same, or they never meet (iceless 2). */
  readonly useIceless: boolean;
}

function secretsOf(context: ViewContext, grant: Grant): PairSecrets {
  const { client, gateway } = grant;
  return pairSecrets(
    context.crypto,
    { id: client.clientId, publicKey: client.publicKey, pskBase: client.device.pskBase },
    { id: gateway.gatewayId, publicKey: gateway.publicKey, pskBase: gateway.device.pskBase },
  );
}

/** portal 7.5. */
export function createAuthorization(
  context: ViewContext,
  grant: Grant,
  ref: string,
): CreateAuthorization {
  const secrets = secretsOf(context, grant);
  const { client, row } = grant;
  const system = operatingSystemOf(client.userAgent);
  return {
    ref,
    resource: gatewayResource(grant.resource),
    gatewayIceCredentials: secrets.gatewayIce,
    clientIceCredentials: secrets.clientIce,
    client: {
      id: client.clientId,
      publicKey: client.publicKey,
      presharedKey: secrets.presharedKey,
      ipv4: client.device.ipv4,
      ipv6: client.device.ipv6,
      version: client.version?.text ?? null,
      deviceOsName: system.name,
      deviceOsVersion: system.version,
      deviceSerial: null,
      deviceUuid: null,
      identifierForVendor: null,
      firebaseInstallationId: null,
    },
    expiresAt: row.expiresAt,
    useIceless: grant.useIceless,
    flowLogsIngestToken: tokenFor(context, grant, 'responder'),
    subject: subjectOf(client),
  };
}

/** portal 8.5. */
export function authorizationCreated(context: ViewContext, grant: Grant): AuthorizationCreated {
  const secrets = secretsOf(context, grant);
  const { gateway } = grant;
  return {
    resourceId: grant.row.resourceId,
    gatewayId: gateway.gatewayId,
    gatewayPublicKey: gateway.publicKey,
    gatewayIpv4: gateway.device.ipv4,
    gatewayIpv6: gateway.device.ipv6,
    siteId: grant.resource.site.id,
    presharedKey: secrets.presharedKey,
    clientIceCredentials: secrets.clientIce,
    gatewayIceCredentials: secrets.gatewayIce,
    useIceless: grant.useIceless,
    flowLogsIngestToken: tokenFor(context, grant, 'initiator'),
  };
}

function tokenFor(
  context: ViewContext,
  { row, resource, client }: Grant,
  role: 'initiator' | 'responder',
): CreateAuthorization['flowLogsIngestToken'] {
  return ingestToken(context.crypto, context.ingestKey, {
    role,
    accountId: context.policy.accountId,
    clientId: row.clientId,
    gatewayId: row.gatewayId,
    authorizationId: row.id,
    policyId: row.ruleId,
    resourceId: row.resourceId,
    resourceName: resource.name,
    actorId: client.actor.id,
    actorName: client.actor.name,
    authorizedAt: row.grantedAt,
    expiresAt: row.expiresAt,
  });
}

function subjectOf(client: ClientSession): AuthorizationSubject {
  return {
    actorId: client.actor.id,
    actorName: client.actor.name,
    actorEmail: client.actor.email ?? null,
    actorType: 'account_user',
    authProviderId: null,
    ip: client.remoteIp ?? null,
    ipRegion: null,
    ipCity: null,
    ipLat: client.actor.location?.latitude ?? null,
    ipLon: client.actor.location?.longitude ?? null,
    userAgent: client.userAgent,
  };
}
