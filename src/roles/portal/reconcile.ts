// After the policy or the tokens changed (portal 10.8.2): sessions whose token is no longer good end, grants that no rule
// carries any more are rejected at their gateways, gateways learn new filters, clients learn what they may see now. What
// stays granted is not touched, so flows that keep their permission do not notice.

import type { Instant } from '../../base/time.ts';
import { grantOf } from './admission.ts';
import { reannounce, revoke } from './grants.ts';
import {
  diffResources,
  evaluate,
  type Policy,
  placeOf,
  type TokenGrant,
  visibleResources,
} from './policy.ts';
import type { ClientSession, Session } from './sessions.ts';
import type { PortalState } from './state.ts';
import type { AuthorizationRow } from './store.ts';
import { clientInterface, gatewayResource } from './views.ts';

/** `before` is the policy that was in force; the state holds the new one. */
export function reconcile(state: PortalState, before: Policy, now: Instant): void {
  for (const session of state.sessions.all()) recheckSession(state, session, now);
  recheckRows(state, state.book.rows(), now);
  for (const resource of diffResources(before, state.policy).refiltered) {
    for (const gateway of state.sessions.joinedGateways()) {
      if (gateway.site.id !== resource.site.id) continue;
      const payload = gatewayResource(resource);
      state.outbox.toGateway(gateway, { event: 'resource_updated', payload });
    }
  }
  for (const client of state.sessions.joinedClients()) updateClient(state, client, now);
}

/** Ends the session, or brings what it holds of the policy up to date. */
function recheckSession(state: PortalState, session: Session, now: Instant): void {
  const { policy } = state;
  const grant = grantOf(session.tokenHash, policy, state.store, state.at(now));
  const isOwned = grant?.kind === session.role && refreshOwner(policy, session, grant.owner);
  if (!grant || !isOwned) return expireSession(state, session);
  state.sessions.setTokenExpiry(session, grant.expiresAt);
}

function refreshOwner(policy: Policy, session: Session, owner: string): boolean {
  switch (session.role) {
    case 'relay':
      return true;
    case 'gateway': {
      const site = policy.sites.get(owner);
      if (!site || site.id !== session.site.id) return false;
      session.site = site;
      return true;
    }
    case 'client': {
      const actor = policy.actors.get(owner);
      if (!actor || actor.id !== session.actor.id) return false;
      session.actor = actor;
      return true;
    }
  }
}

/** portal 10.8.4: fatal for the component, so only for a token that will not come back. */
export function expireSession(state: PortalState, session: Session): void {
  state.log.info('token is no longer valid', { session: session.id, role: session.role });
  state.outbox.expire(session);
}

/** Also when a client is back: only then can its gateways be told that an access lasts longer. */
export function recheckRows(
  state: PortalState,
  rows: readonly AuthorizationRow[],
  now: Instant,
): void {
  const ended: AuthorizationRow[] = [];
  const tokens = new Map<string, TokenGrant | undefined>();
  for (const row of rows) {
    if (!tokens.has(row.tokenHash)) {
      const grant = grantOf(row.tokenHash, state.policy, state.store, state.at(now));
      tokens.set(row.tokenHash, grant);
    }
    const current = currentRow(state, row, tokens.get(row.tokenHash), now);
    if (!current) ended.push(row);
    else if (current.expiresAt > row.expiresAt) prolong(state, current, now);
    else if (current.expiresAt < row.expiresAt || current.ruleId !== row.ruleId)
      state.book.put(current);
  }
  revoke(state, ended);
}

/** What a connected gateway cannot be told does not count: it would end the access at the time it knows. */
function prolong(state: PortalState, row: AuthorizationRow, now: Instant): void {
  const isGatewayAway = !state.sessions.joinedGateway(row.gatewayId);
  if (!isGatewayAway && !state.sessions.client(row.clientId)) return;
  state.book.put(row);
  reannounce(state, row, now);
}

/** The row as it would be granted now; `undefined` if it would not. */
function currentRow(
  state: PortalState,
  row: AuthorizationRow,
  token: TokenGrant | undefined,
  now: Instant,
): AuthorizationRow | undefined {
  const { policy } = state;
  const at = state.at(now);
  const actor = token?.kind === 'client' ? policy.actors.get(token.owner) : undefined;
  if (!token || actor?.id !== row.actorId) return undefined;
  const evaluation = evaluate(policy, actor, row.resourceId, { remoteIp: row.remoteIp }, at);
  if (evaluation.kind !== 'granted' || placeOf(evaluation.resource) !== row.place) return undefined;
  const { rule } = evaluation;
  return { ...row, ruleId: rule.id, expiresAt: state.expiryOf(rule, token, row.grantedAt) };
}

/** Tells a client what changed of what it may see; a first call tells nothing, it takes note. */
export function updateClient(state: PortalState, client: ClientSession, now: Instant): void {
  const visible = visibleResources(state.policy, client.actor, state.at(now));
  const ids = new Set(visible.map(({ id }) => id));
  for (const id of client.shown.keys()) {
    if (ids.has(id)) continue;
    client.shown.delete(id);
    state.book.dropPending(client.id, id);
    state.outbox.toClient(client, { event: 'resource_deleted', payload: id });
  }
  for (const resource of visible) {
    const { view, text } = state.clientView(resource);
    if (client.shown.get(resource.id) === text) continue;
    client.shown.set(resource.id, text);
    state.outbox.toClient(client, { event: 'resource_created_or_updated', payload: view });
  }
  const view = clientInterface(state.policy, client);
  const text = JSON.stringify(view);
  if (client.shownInterface === text) return;
  client.shownInterface = text;
  state.outbox.toClient(client, { event: 'config_changed', payload: { interface: view } });
}

/** Notes what `init` is about to say. */
export function noteShown(state: PortalState, client: ClientSession, now: Instant): void {
  client.shown.clear();
  for (const resource of visibleResources(state.policy, client.actor, state.at(now))) {
    client.shown.set(resource.id, state.clientView(resource).text);
  }
  client.shownInterface = JSON.stringify(clientInterface(state.policy, client));
}
