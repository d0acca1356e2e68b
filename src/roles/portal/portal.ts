// The portal: who may connect, what each is told, what is granted and what ends. It owns the tables and routes; the parts
// compute. Sessions are named by number: sockets, frames, joins and heartbeats belong to `proto/phoenix` and `io`
// (portal 4.7, 10). Not here: accounts beyond one, sign-in, device pools, API generations before v2.

import { earliest, type Instant } from '../../base/time.ts';
import { type ClientOutbound, parseClientOutbound } from '../../wire/portal/client-messages.ts';
import { type GatewayOutbound, parseGatewayOutbound } from '../../wire/portal/gateway-messages.ts';
import { parseRelayJoin } from '../../wire/portal/relay-messages.ts';
import { Admissions, type ConnectRequest } from './admission.ts';
import { forwardFromClient, forwardFromGateway } from './candidates.ts';
import { relayIdOf } from './credentials.ts';
import {
  acknowledge,
  expireRows,
  failLate,
  requestAuthorization,
  resendPending,
} from './grants.ts';
import type { PortalEvent } from './outbox.ts';
import { nextRuleEnd, type Policy, visibleResources } from './policy.ts';
import { knownRelays } from './presence.ts';
import type { Refusal } from './problem.ts';
import { expireSession, noteShown, recheckRows, reconcile, updateClient } from './reconcile.ts';
import type {
  ClientSession,
  GatewaySession,
  RelaySession,
  Session,
  SessionId,
} from './sessions.ts';
import { type PortalConfig, type PortalDeps, PortalState } from './state.ts';
import { clientInit, gatewayInit, relayEntries } from './views.ts';

export type ConnectOutcome =
  | { readonly kind: 'admitted'; readonly session: SessionId; readonly role: Session['role'] }
  | Refusal;

export type JoinOutcome =
  | { readonly kind: 'ok' }
  | { readonly kind: 'error'; readonly reason: string };

/** What the sender's `ref` is answered with. */
export type MessageOutcome =
  | { readonly kind: 'none' }
  | { readonly kind: 'ok' }
  | { readonly kind: 'error'; readonly reason: string };

const NO_REPLY: MessageOutcome = { kind: 'none' };

export interface PortalSnapshot {
  readonly sessions: readonly Readonly<Record<string, unknown>>[];
  readonly authorizations: readonly Readonly<Record<string, unknown>>[];
  readonly pendingAuthorizations: number;
  readonly relaysOnline: number;
  readonly drops: Readonly<Record<string, number>>;
}

export class Portal {
  readonly #state: PortalState;
  readonly #admissions: Admissions;
  #nextRuleEnd: Instant | undefined;

  constructor(config: PortalConfig, deps: PortalDeps, policy: Policy, now: Instant) {
    this.#state = new PortalState(config, deps);
    const { crypto, store, sessions } = this.#state;
    this.#admissions = new Admissions({ crypto, store, sessions }, config.connectBurst);
    this.setPolicy(policy, now);
  }

  handleConnect(request: ConnectRequest, now: Instant): ConnectOutcome {
    const state = this.#state;
    const admission = this.#admissions.admit(request, state.policy, state.at(now), now);
    if (admission.kind === 'refused') {
      state.counters.add('connect-refused');
      return admission;
    }
    const { session } = admission;
    const before = state.sessions.add(session);
    if (before) state.outbox.close(before);
    return { kind: 'admitted', session: session.id, role: session.role };
  }

  /** The component joins its topic; its `init` follows as a push. */
  handleJoin(id: SessionId, payload: unknown, now: Instant): JoinOutcome {
    const session = this.#state.sessions.get(id);
    if (!session) return { kind: 'error', reason: 'unknown session' };
    switch (session.role) {
      case 'gateway':
        return this.#joinGateway(session, now);
      case 'client':
        return this.#joinClient(session, now);
      case 'relay':
        return this.#joinRelay(session, payload, now);
    }
  }

  handleMessage(id: SessionId, event: string, payload: unknown, now: Instant): MessageOutcome {
    const session = this.#state.sessions.get(id);
    if (!session?.joined || session.ended) {
      this.#state.counters.add('not-joined');
      return NO_REPLY;
    }
    switch (session.role) {
      case 'gateway': {
        const parsed = parseGatewayOutbound(event, payload);
        if (parsed.kind !== 'message') return this.#refused(session, event, parsed);
        return this.#gatewayMessage(session, parsed.message);
      }
      case 'client': {
        const parsed = parseClientOutbound(event, payload);
        if (parsed.kind !== 'message') return this.#refused(session, event, parsed);
        return this.#clientMessage(session, parsed.message, now);
      }
      case 'relay':
        return this.#unknownMessage();
    }
  }

  /** The socket is gone, for whatever reason. */
  handleClosed(id: SessionId, now: Instant): void {
    const { sessions, presence, book, log } = this.#state;
    const session = sessions.get(id);
    if (!session) return;
    const spokeForDevice = sessions.remove(session);
    if (session.role === 'client') book.dropPending(session.id);
    if (session.role === 'relay' && session.relayId !== undefined && spokeForDevice)
      presence.relayOffline(session.relayId, now);
    if (session.joined) log.info('disconnected', describe(session));
  }

  handleTimeout(now: Instant): void {
    const state = this.#state;
    failLate(state, state.book.handleTimeout(now));
    expireRows(state, now);
    if (state.presence.handleTimeout(now)) this.#announceRelays();
    for (const session of state.sessions.takeExpired(state.at(now))) expireSession(state, session);
    if (this.#nextRuleEnd !== undefined && this.#nextRuleEnd <= now) {
      this.#armRuleEnd(now);
      for (const client of state.sessions.joinedClients()) updateClient(state, client, now);
    }
  }

  /** Puts a policy in force; connected parties learn at once what changed for them. */
  setPolicy(policy: Policy, now: Instant): void {
    const before = this.#state.policy;
    this.#state.policy = policy;
    this.#armRuleEnd(now);
    reconcile(this.#state, before, now);
    if (before.account === policy.account) return;
    // portal 10.8.4: only `init` carries the account's name.
    for (const gateway of this.#state.sessions.joinedGateways()) this.#pushGatewayInit(gateway);
  }

  /** Tokens in the store were made or revoked. */
  recheckTokens(now: Instant): void {
    reconcile(this.#state, this.#state.policy, now);
  }

  pollEvent(): PortalEvent | undefined {
    return this.#state.outbox.poll();
  }

  pollTimeout(): Instant | undefined {
    const { book, presence, sessions } = this.#state;
    let next = earliest(book.pollTimeout(), presence.pollTimeout(), this.#nextRuleEnd);
    const expiry = book.nextExpiry();
    if (expiry !== undefined) next = earliest(next, this.#state.instantOf(expiry));
    const sessionEnd = sessions.nextTokenExpiry();
    if (sessionEnd !== undefined) next = earliest(next, this.#state.instantOf(sessionEnd));
    return next;
  }

  snapshot(): PortalSnapshot {
    const { sessions, book, presence, counters } = this.#state;
    return {
      sessions: sessions.all().map(describe),
      authorizations: book.rows().map((row) => ({
        gatewayId: row.gatewayId,
        clientId: row.clientId,
        resourceId: row.resourceId,
        expiresAt: row.expiresAt,
      })),
      pendingAuthorizations: book.pendingCount,
      relaysOnline: presence.size,
      drops: counters.snapshot(),
    };
  }

  #joinGateway(session: GatewaySession, now: Instant): JoinOutcome {
    expireRows(this.#state, now);
    session.joined = true;
    this.#pushGatewayInit(session);
    resendPending(this.#state, session, now);
    this.#state.log.info('connected', describe(session));
    return { kind: 'ok' };
  }

  #pushGatewayInit(session: GatewaySession): void {
    const { book, outbox, presence, views } = this.#state;
    const rows = book.rowsOf(session.gatewayId);
    const relays = presence.select(session.site.location);
    session.knownRelays = knownRelays(relays);
    outbox.toGateway(session, {
      event: 'init',
      payload: gatewayInit(views, session, relays, rows),
    });
    for (const row of rows) book.noteAnnounced(row);
  }

  #joinClient(session: ClientSession, now: Instant): JoinOutcome {
    const { sessions, outbox, presence, book, policy, views, log } = this.#state;
    // portal 10.4: the last wins, the other one learns that it is no longer wanted.
    const before = sessions.takeClient(session);
    if (before) outbox.expire(before);
    const relays = presence.select(session.actor.location);
    session.joined = true;
    session.knownRelays = knownRelays(relays);
    session.introduced.clear();
    noteShown(this.#state, session, now);
    const resources = visibleResources(policy, session.actor, this.#state.at(now));
    outbox.toClient(session, {
      event: 'init',
      payload: clientInit(views, session, relays, resources),
    });
    recheckRows(this.#state, book.rowsOfClient(session.clientId), now);
    log.info('connected', describe(session));
    return { kind: 'ok' };
  }

  #joinRelay(session: RelaySession, payload: unknown, now: Instant): JoinOutcome {
    const { crypto, sessions, outbox, presence, log } = this.#state;
    const join = parseRelayJoin(payload);
    if (!join) {
      this.#state.counters.add('malformed');
      return { kind: 'error', reason: 'stamp_secret is missing' };
    }
    const { stampSecret } = join;
    const id = relayIdOf(crypto, stampSecret);
    if (session.relayId !== undefined && session.relayId !== id)
      return { kind: 'error', reason: 'stamp_secret changed' };
    session.relayId = id;
    session.joined = true;
    const before = sessions.takeRelay(id, session);
    if (before) outbox.close(before);
    const { ipv4, ipv6, port, location } = session;
    presence.relayOnline({ id, ipv4, ipv6, port, stampSecret, location }, now);
    outbox.toRelay(session, { event: 'init', payload: {} });
    log.info('connected', describe(session));
    return { kind: 'ok' };
  }

  #gatewayMessage(session: GatewaySession, message: GatewayOutbound): MessageOutcome {
    const state = this.#state;
    const { event, payload } = message;
    switch (event) {
      case 'authorization_created': {
        const outcome = acknowledge(state, session, payload.ref);
        return outcome === 'ok' ? { kind: 'ok' } : { kind: 'error', reason: 'invalid_ref' };
      }
      case 'broadcast_ice_candidates':
        forwardFromGateway(state, session, payload.clientIds, payload.candidates, 'added');
        return NO_REPLY;
      case 'broadcast_invalidated_ice_candidates':
        forwardFromGateway(state, session, payload.clientIds, payload.candidates, 'removed');
        return NO_REPLY;
      case 'no_relays':
        this.#sendRelays(session);
        return NO_REPLY;
      case 'set_snownet_capabilities':
        session.iceless = payload.iceless;
        return NO_REPLY;
    }
  }

  #clientMessage(session: ClientSession, message: ClientOutbound, now: Instant): MessageOutcome {
    const state = this.#state;
    const { event, payload } = message;
    switch (event) {
      case 'request_authorization':
        requestAuthorization(state, session, payload, now);
        return NO_REPLY;
      case 'new_gateway_ice_candidates':
        forwardFromClient(state, session, [payload.gatewayId], payload.candidates, 'added');
        return NO_REPLY;
      case 'invalidate_gateway_ice_candidates':
        forwardFromClient(state, session, [payload.gatewayId], payload.candidates, 'removed');
        return NO_REPLY;
      case 'broadcast_ice_candidates':
        forwardFromClient(state, session, payload.gatewayIds, payload.candidates, 'added');
        return NO_REPLY;
      case 'broadcast_invalidated_ice_candidates':
        forwardFromClient(state, session, payload.gatewayIds, payload.candidates, 'removed');
        return NO_REPLY;
      case 'no_relays':
        this.#sendRelays(session);
        return NO_REPLY;
      case 'set_snownet_capabilities':
        session.iceless = payload.iceless;
        return NO_REPLY;
      case 'new_client_ice_candidates': // client to client: no device pools here
      case 'invalidate_client_ice_candidates':
      case 'resolve_device_pool_domain':
        return this.#unknownMessage();
    }
  }

  /** portal 7.14: what there is, even if it is nothing. */
  #sendRelays(session: GatewaySession | ClientSession): void {
    const { presence } = this.#state;
    this.#pushRelays(session, [], presence.select(locationOf(session)));
  }

  #announceRelays(): void {
    const { sessions, presence } = this.#state;
    for (const session of [...sessions.joinedGateways(), ...sessions.joinedClients()]) {
      const change = presence.changeFor(session.knownRelays, locationOf(session));
      if (change) this.#pushRelays(session, change.disconnectedIds, change.connected);
    }
  }

  #pushRelays(
    session: GatewaySession | ClientSession,
    disconnectedIds: readonly Parameters<typeof relayEntries>[1][number]['id'][],
    relays: Parameters<typeof relayEntries>[1],
  ): void {
    const { outbox, views } = this.#state;
    session.knownRelays = knownRelays(relays);
    const payload = { disconnectedIds, connected: relayEntries(views, relays, session) };
    if (session.role === 'gateway')
      outbox.toGateway(session, { event: 'relays_presence', payload });
    else outbox.toClient(session, { event: 'relays_presence', payload });
  }

  #armRuleEnd(now: Instant): void {
    const end = nextRuleEnd(this.#state.policy, this.#state.at(now));
    this.#nextRuleEnd = end === undefined ? undefined : this.#state.instantOf(end);
  }

  #unknownMessage(): MessageOutcome {
    this.#state.counters.add('unknown-message');
    return { kind: 'error', reason: 'unknown_message' };
  }

  #refused(
    session: Session,
    event: string,
    fault:
      | { readonly kind: 'unknown-event' }
      | { readonly kind: 'malformed'; readonly path: string; readonly problem: string },
  ): MessageOutcome {
    if (fault.kind === 'unknown-event') return this.#unknownMessage();
    const { path, problem } = fault;
    const { counters, log } = this.#state;
    counters.add('malformed');
    const fields = { ...describe(session), event: event.slice(0, 64), path, problem };
    if (session.reportedMalformed) log.debug('malformed message', fields);
    else log.warn('malformed message', fields);
    session.reportedMalformed = true;
    return { kind: 'error', reason: 'malformed_message' };
  }
}

function locationOf(session: GatewaySession | ClientSession): GatewaySession['site']['location'] {
  return session.role === 'gateway' ? session.site.location : session.actor.location;
}

function describe(session: Session): Readonly<Record<string, unknown>> {
  const { id, role, joined } = session;
  const version = session.version?.text;
  switch (session.role) {
    case 'gateway':
      return {
        session: id,
        role,
        joined,
        version,
        gatewayId: session.gatewayId,
        name: session.device.name,
        site: session.site.name,
      };
    case 'client':
      return {
        session: id,
        role,
        joined,
        version,
        clientId: session.clientId,
        name: session.device.name,
        actor: session.actor.name,
      };
    case 'relay':
      return { session: id, role, joined, version, relayId: session.relayId };
  }
}
