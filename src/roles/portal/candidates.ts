// ICE candidates on their way between a client and a gateway (portal 7.13, 8.1). Only a pair with an authorization may
// exchange them: upstream forwards to anybody (portal 16.1).

import type { ClientId, GatewayId } from '../../base/ids.ts';
import { MAX_HELD_CANDIDATES } from './authorizations.ts';
import type { ClientSession, GatewaySession } from './sessions.ts';
import type { PortalState } from './state.ts';

// Implementation

/** An ICE agent has about ten; more is not an agent. */
const MAX_CANDIDATES = 64;
/** Components name one peer a message (portal 7.13). */
const MAX_PEERS = 16;

type Change = 'added' | 'removed';

export function forwardFromClient(
  state: PortalState,
  client: ClientSession,
  gatewayIds: readonly GatewayId[],
  candidates: readonly string[],
  change: Change,
): void {
  const { clientId } = client;
  for (const gatewayId of gatewayIds.slice(0, MAX_PEERS)) {
    if (!state.book.hasAny(gatewayId, clientId)) {
      state.counters.add('not-paired');
      continue;
    }
    const gateway = state.sessions.joinedGateway(gatewayId);
    if (!gateway) {
      state.counters.add('peer-offline');
      continue;
    }
    state.outbox.toGateway(gateway, {
      event: change === 'added' ? 'ice_candidates' : 'invalidate_ice_candidates',
      payload: { clientId, candidates: limited(state, candidates) },
    });
  }
}

export function forwardFromGateway(
  state: PortalState,
  gateway: GatewaySession,
  clientIds: readonly ClientId[],
  candidates: readonly string[],
  change: Change,
): void {
  const { gatewayId } = gateway;
  for (const clientId of clientIds.slice(0, MAX_PEERS)) {
    if (!state.book.hasAny(gatewayId, clientId)) {
      state.counters.add('not-paired');
      continue;
    }
    const client = state.sessions.client(clientId);
    if (!client) {
      state.counters.add('peer-offline');
      continue;
    }
    if (hold(state, gatewayId, client, candidates, change)) continue;
    state.outbox.toClient(client, {
      event: change === 'added' ? 'ice_candidates' : 'invalidate_ice_candidates',
      payload: { gatewayId, candidates: limited(state, candidates) },
    });
  }
}

/** A client that does not know the gateway yet would drop its candidates: they wait for the acknowledgement. */
function hold(
  state: PortalState,
  gatewayId: GatewayId,
  client: ClientSession,
  candidates: readonly string[],
  change: Change,
): boolean {
  if (client.introduced.has(gatewayId)) return false;
  const pending = state.book.pendingBetween(gatewayId, client.clientId);
  if (!pending) return false;
  const held = pending.heldCandidates;
  for (const candidate of candidates) {
    const at = held.indexOf(candidate);
    if (change === 'removed' && at >= 0) held.splice(at, 1);
    else if (change === 'added' && at < 0 && held.length < MAX_HELD_CANDIDATES)
      held.push(candidate);
  }
  return true;
}

function limited(state: PortalState, candidates: readonly string[]): readonly string[] {
  if (candidates.length <= MAX_CANDIDATES) return candidates;
  state.counters.add('too-many-candidates');
  return candidates.slice(0, MAX_CANDIDATES);
}
