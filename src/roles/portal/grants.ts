// One client asks for one resource (portal 10.8.1): the policy decides, a gateway is chosen and told first, the client after
// its acknowledgement. Also what becomes of grants by time alone.

import type { Instant } from '../../base/time.ts';
import type { FailureReason, RequestAuthorization } from '../../wire/portal/client-messages.ts';
import { grantOf } from './admission.ts';
import type { PendingAuthorization } from './authorizations.ts';
import { randomUuid } from './credentials.ts';
import { chooseGateway } from './gateway-choice.ts';
import { evaluate, placeOf, type Resource, type Rule } from './policy.ts';
import type { ClientSession, GatewaySession } from './sessions.ts';
import type { PortalState } from './state.ts';
import type { AuthorizationRow } from './store.ts';
import { authorizationCreated, createAuthorization, type Grant } from './views.ts';

export function requestAuthorization(
  state: PortalState,
  client: ClientSession,
  request: RequestAuthorization,
  now: Instant,
): void {
  const { resourceId } = request;
  const at = state.at(now);
  const context = { remoteIp: client.remoteIp };
  const evaluation = evaluate(state.policy, client.actor, resourceId, context, at);
  if (evaluation.kind === 'not-found') return refuse(state, client, resourceId, 'not_found');
  if (evaluation.kind === 'forbidden')
    return refuse(state, client, resourceId, 'forbidden', evaluation.violatedProperties);
  const { resource, rule } = evaluation;
  const online = state.sessions.joinedGateways().map((session) => {
    const { gatewayId, version, site } = session;
    return { session, gatewayId, version, siteId: site.id, location: site.location };
  });
  const wish = {
    siteId: resource.site.id,
    clientVersion: client.version,
    connected: new Set<string>(request.connectedGatewayIds),
    location: client.actor.location,
  };
  const choice = chooseGateway(online, wish, state.random);
  if (choice.kind === 'offline') return refuse(state, client, resourceId, 'offline');
  if (choice.kind === 'version-mismatch')
    return refuse(state, client, resourceId, 'version_mismatch');
  grant(state, client, choice.gateway.session, resource, rule, now);
}

function grant(
  state: PortalState,
  client: ClientSession,
  gateway: GatewaySession,
  resource: Resource,
  rule: Rule,
  now: Instant,
): void {
  const at = state.at(now);
  const token = grantOf(client.tokenHash, state.policy, state.store, at);
  if (!token) return refuse(state, client, resource.id, 'forbidden');
  const row: AuthorizationRow = {
    id: randomUuid(state.crypto),
    gatewayId: gateway.gatewayId,
    clientId: client.clientId,
    resourceId: resource.id,
    ruleId: rule.id,
    actorId: client.actor.id,
    tokenHash: client.tokenHash,
    remoteIp: client.remoteIp,
    place: placeOf(resource),
    grantedAt: at,
    expiresAt: state.expiryOf(rule, token, at),
  };
  const useIceless = negotiate(state, row, client, gateway);
  const ref = state.book.open({ row, client: client.id, useIceless }, now);
  if (ref === undefined) return state.counters.add('too-many-requests');
  state.book.put(row);
  announce(state, { row, resource, client, gateway, useIceless }, ref);
  state.log.info('access granted', {
    clientId: client.clientId,
    gatewayId: gateway.gatewayId,
    resourceId: resource.id,
  });
}

/**
 * iceless 2.3: both ends and the account. One that has just come back and did not say anything yet goes on as before, so that its
 * connections are not replaced for nothing.
 */
function negotiate(
  state: PortalState,
  row: AuthorizationRow,
  client: ClientSession,
  gateway: GatewaySession,
): boolean {
  if (!state.policy.iceless || client.iceless === false || gateway.iceless === false) return false;
  if (client.iceless === true && gateway.iceless === true) return true;
  return state.book.modeOf(row) === true;
}

function announce(state: PortalState, it: Grant, ref: string): void {
  const payload = createAuthorization(state.views, it, ref);
  state.outbox.toGateway(it.gateway, { event: 'create_authorization', payload });
  state.book.noteAnnounced(it.row);
}

/** The gateway says that it has done as it was told; the client may come. */
export function acknowledge(
  state: PortalState,
  gateway: GatewaySession,
  ref: string,
): 'ok' | 'invalid-ref' {
  const outcome = state.book.acknowledge(ref, gateway.gatewayId);
  if (outcome.kind === 'invalid-ref') {
    state.counters.add('invalid-ref');
    return 'invalid-ref';
  }
  if (outcome.kind === 'repeated') {
    state.counters.add('late-acknowledgement');
    return 'ok';
  }
  const it = grantFor(state, outcome.pending);
  if (!it) return 'ok';
  const payload = authorizationCreated(state.views, it);
  state.outbox.toClient(it.client, { event: 'authorization_created', payload });
  state.book.noteMode(it.row, it.useIceless);
  it.client.introduced.add(gateway.gatewayId);
  const candidates = outcome.pending.heldCandidates;
  if (candidates.length > 0) {
    const { gatewayId } = gateway;
    state.outbox.toClient(it.client, {
      event: 'ice_candidates',
      payload: { gatewayId, candidates },
    });
  }
  return 'ok';
}

/** Both ends and the resource of a pending request, if all are still there and nothing revoked it. */
function grantFor(
  state: PortalState,
  { row, client: id, useIceless }: PendingAuthorization,
): Grant | undefined {
  const client = state.sessions.get(id);
  const gateway = state.sessions.joinedGateway(row.gatewayId);
  const resource = state.policy.resources.get(row.resourceId);
  const current = state.book.get(row.gatewayId, row.clientId, row.resourceId);
  if (client?.role !== 'client' || !gateway || !resource || !current) return undefined;
  return { row: current, resource, client, gateway, useIceless };
}

/** What a gateway had not acknowledged when its link broke is asked again once it is back (portal 16.3). */
export function resendPending(state: PortalState, gateway: GatewaySession, now: Instant): void {
  for (const pending of state.book.pendingOf(gateway.gatewayId)) {
    const it = grantFor(state, pending);
    if (!it) continue;
    const ref = state.book.refFor(it.row, it.client.id, now);
    if (ref !== undefined) announce(state, it, ref);
  }
}

/** The row was changed (it ends later, for example) and its gateway should know; the client need not, so that the mode stays. */
export function reannounce(state: PortalState, row: AuthorizationRow, now: Instant): void {
  const client = state.sessions.client(row.clientId);
  const gateway = state.sessions.joinedGateway(row.gatewayId);
  const resource = state.policy.resources.get(row.resourceId);
  if (!client || !gateway || !resource) return;
  const ref = state.book.refFor(row, client.id, now);
  const useIceless = state.book.modeOf(row) ?? negotiate(state, row, client, gateway);
  if (ref !== undefined) announce(state, { row, resource, client, gateway, useIceless }, ref);
}

/** No acknowledgement in time (portal 10.8.1 step 5). */
export function failLate(state: PortalState, late: readonly PendingAuthorization[]): void {
  for (const { client: id, row } of late) {
    const client = state.sessions.get(id);
    if (client?.role !== 'client') continue;
    state.log.info('gateway did not answer', { gatewayId: row.gatewayId });
    refuse(state, client, row.resourceId, 'offline');
  }
}

export function refuse(
  state: PortalState,
  client: ClientSession,
  resourceId: RequestAuthorization['resourceId'],
  reason: FailureReason,
  violatedProperties: readonly string[] = [],
): void {
  state.book.dropPending(client.id, resourceId);
  state.outbox.toClient(client, {
    event: 'authorization_creation_failed',
    payload: { resourceId, reason, violatedProperties },
  });
  state.log.info('access refused', { clientId: client.clientId, resourceId, reason });
}

/** Rows whose time is over: the gateway ends them by itself, unless it was told a later end (portal 10.8.2). */
export function expireRows(state: PortalState, now: Instant): void {
  const expired = state.book.expiredRows(state.at(now));
  if (expired.length === 0) return;
  for (const row of expired) if (state.book.outlives(row)) reject(state, row);
  state.book.remove(expired);
}

/** Ends rows before their time. */
export function revoke(state: PortalState, rows: readonly AuthorizationRow[]): void {
  if (rows.length === 0) return;
  for (const row of rows) {
    reject(state, row);
    const client = state.sessions.client(row.clientId);
    if (client) state.book.dropPending(client.id, row.resourceId);
    state.log.info('access revoked', {
      clientId: row.clientId,
      gatewayId: row.gatewayId,
      resourceId: row.resourceId,
    });
  }
  state.book.remove(rows);
}

function reject(state: PortalState, { gatewayId, clientId, resourceId }: AuthorizationRow): void {
  const gateway = state.sessions.joinedGateway(gatewayId);
  if (!gateway) return;
  state.outbox.toGateway(gateway, { event: 'reject_access', payload: { clientId, resourceId } });
}
