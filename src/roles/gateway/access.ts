// Who may reach what, over time (data-plane 2.3, 7.6): clients appear with their first authorization and go with their last one,
// whatever their connection does in between. Time is the monotonic clock; wall-clock times of the portal are mapped to it once, when
// they arrive: a step of the wall clock neither ends nor prolongs what was granted before.

import type { ClientId, ResourceId } from '../../base/ids.ts';
import type { Log } from '../../base/log.ts';
import { earliest, type Instant, later, type UnixMillis, WallClock } from '../../base/time.ts';
import { writeControlPacket } from '../../wire/control/p2p-control.ts';
import type { ActiveAuthorization } from '../../wire/portal/common.ts';
import type { CreateAuthorization } from '../../wire/portal/gateway-messages.ts';
import type { GatewayResource } from '../../wire/portal/resources.ts';
import { ClientPeer } from './client-peer.ts';
import { Clients } from './clients.ts';
import type { DomainSetups } from './domain-setups.ts';
import type { GatewayEvent, RevocationReason } from './events.ts';
import type { FlowTracker } from './flows/flow-tracker.ts';
import type { GatewayWide } from './gateway-wide.ts';
import type { GatewayLink } from './link.ts';

// Implementation
/** NAT sessions are swept this often while there are any; their look-ups are exact without it. */
const SWEEP_INTERVAL_MS = 1_000;
/** Sessions looked at without a pause, of which a removal counts for many: packets must not wait for a large sweep. */
const SWEEP_SLICE = 4_096;
/** Packets have this long between two slices. */
const SLICE_PAUSE_MS = 2;
/** Clocks that are corrected gently differ by less; more is a step. */
const CLOCK_STEP_MS = 1_000;

export interface AccessDeps {
  readonly wide: GatewayWide;
  readonly link: GatewayLink;
  readonly setups: DomainSetups;
  readonly tracker: FlowTracker;
  readonly wallClock: WallClock;
  readonly log: Log;
  /** Where events go. */
  readonly events: GatewayEvent[];
}

export class Access {
  readonly clients: Clients;
  readonly #deps: AccessDeps;
  #wallClock: WallClock;
  #lastSweep: Instant;
  /** The clients whose NAT is still to be swept, while a sweep is under way. */
  #sweep: Iterator<ClientPeer> | undefined;
  #sweeping: ClientPeer | undefined;
  #nextSlice: Instant;
  /** Cached; `dirty` after any change of authorizations. */
  #nextExpiry: Instant | undefined | 'dirty' = 'dirty';

  constructor(deps: AccessDeps, now: Instant) {
    this.#deps = deps;
    this.clients = new Clients(deps.wide.nextSeed());
    this.#wallClock = deps.wallClock;
    this.#lastSweep = now;
    this.#nextSlice = now;
  }

  handleTimeout(now: Instant): void {
    this.#expire(now);
    this.#sweepSlice(now);
  }

  /** After a step, times of the portal are mapped by the clock as it is now (data-plane 7.7). */
  handleWallClock(unixNow: UnixMillis, now: Instant): void {
    const stepMs = unixNow - this.#wallClock.at(now);
    if (Math.abs(stepMs) < CLOCK_STEP_MS) return;
    this.#wallClock = new WallClock(now, unixNow);
    this.#deps.log.info('the wall clock was stepped', { stepMs: Math.round(stepMs) });
  }

  pollTimeout(): Instant | undefined {
    if (this.#nextExpiry === 'dirty') {
      this.#nextExpiry = undefined;
      for (const { authorizations } of this.clients)
        this.#nextExpiry = earliest(this.#nextExpiry, authorizations.nextExpiry);
    }
    return earliest(this.#nextExpiry, this.#nextSweep());
  }

  /** The connection to the client has been made already. */
  allow(message: CreateAuthorization, now: Instant): void {
    const { resource } = message;
    const expiresAt = this.#instantOf(message.expiresAt);
    const client = this.#clientOf(message.client, now);
    const outcome = client.authorizations.allow(resource, expiresAt, message.flowLogsIngestToken);
    this.#notePolicyChanged(client);
    const { events, log } = this.#deps;
    if (outcome === 'type-changed') {
      log.error('a resource changed its type', { client: client.id, resource: resource.id });
      return;
    }
    const kind = outcome === 'created' ? 'authorization-created' : 'authorization-updated';
    events.push({ kind, client: client.id, resource, expiresAt });
  }

  /** One authorization; the client goes with its last one. */
  revoke(id: ClientId, resource: ResourceId, reason: RevocationReason, now: Instant): void {
    const client = this.clients.get(id);
    if (!client?.authorizations.revoke(resource)) return;
    this.#deps.events.push({ kind: 'authorization-revoked', client: id, resource, reason });
    this.#notePolicyChanged(client);
    if (client.authorizations.isEmpty) this.#dismiss(client, now);
  }

  /** New filters, wherever the resource is authorized. */
  updateResource(resource: GatewayResource): void {
    for (const client of this.clients) {
      const outcome = client.authorizations.update(resource);
      if (outcome === 'unknown') continue;
      this.#notePolicyChanged(client);
      if (outcome === 'type-changed') {
        const fields = { client: client.id, resource: resource.id };
        this.#deps.log.error('a resource changed its type', fields);
      }
    }
  }

  updateExpiry({ clientId, resourceId, expiresAt }: ActiveAuthorization): void {
    const client = this.clients.get(clientId);
    const isKnown = client?.authorizations.setExpiry(resourceId, this.#instantOf(expiresAt));
    if (isKnown !== true) {
      const fields = { client: clientId, resource: resourceId };
      this.#deps.log.debug('an expiry for an unknown authorization', fields);
    }
    this.#nextExpiry = 'dirty';
  }

  /** Revokes everything that is not listed, also of clients that are not listed at all (data-plane 7.6). */
  retain(listed: readonly ActiveAuthorization[], now: Instant): void {
    const wanted = new Map<ClientId, Set<ResourceId>>();
    for (const { clientId, resourceId } of listed) {
      const resources = wanted.get(clientId) ?? new Set();
      wanted.set(clientId, resources.add(resourceId));
    }
    for (const client of [...this.clients]) {
      for (const [resource] of [...client.authorizations.entries()]) {
        if (wanted.get(client.id)?.has(resource) !== true)
          this.revoke(client.id, resource, 'not-retained', now);
      }
    }
    for (const authorization of listed) this.updateExpiry(authorization);
    this.#expire(now);
  }

  /** The client said goodbye: nothing is sent back. */
  handleGoodbye(client: ClientPeer, now: Instant): void {
    this.#forget(client, 'client-left', now);
    this.#deps.link.removeConnection(client.peer, now);
  }

  /** An invariant broke while the client was served. It may ask the portal again. */
  handleFault(client: ClientPeer, now: Instant): void {
    this.#forget(client, 'fault', now);
    this.#deps.link.closeConnection(client.peer, writeControlPacket({ kind: 'goodbye' }), now);
  }

  /** All answers of the policy are asked for again. */
  renewPolicies(): void {
    for (const client of this.clients) client.notePolicyChanged();
  }

  /** For everybody, also who is here already. */
  openFlows(): void {
    for (const client of this.clients) client.flows = this.#deps.tracker.open(client);
  }

  shutDown(now: Instant): void {
    for (const client of [...this.clients]) this.#forget(client, 'shut-down', now);
  }

  #expire(now: Instant): void {
    if (this.#nextExpiry === undefined) return;
    if (this.#nextExpiry !== 'dirty' && now < this.#nextExpiry) return;
    this.#nextExpiry = 'dirty';
    for (const client of [...this.clients]) {
      const expired = client.authorizations.takeExpired(now);
      if (expired.length === 0) continue;
      this.#notePolicyChanged(client);
      for (const resource of expired) {
        const fields = { client: client.id, resource, reason: 'expired' } as const;
        this.#deps.events.push({ kind: 'authorization-revoked', ...fields });
      }
      if (client.authorizations.isEmpty) this.#dismiss(client, now);
    }
  }

  /** Its last authorization is gone. */
  #dismiss(client: ClientPeer, now: Instant): void {
    this.#forget(client, 'rejected', now);
    this.#deps.link.closeConnection(client.peer, writeControlPacket({ kind: 'goodbye' }), now);
  }

  #forget(client: ClientPeer, reason: RevocationReason, now: Instant): void {
    for (const [resource] of client.authorizations.entries()) {
      this.#deps.events.push({
        kind: 'authorization-revoked',
        client: client.id,
        resource,
        reason,
      });
    }
    this.clients.remove(client);
    this.#deps.tracker.close(client.id, now);
    this.#deps.setups.forget(client.id);
    this.#nextExpiry = 'dirty';
  }

  /** A client whose tunnel addresses are others now starts anew (data-plane 2.1). */
  #clientOf(terms: CreateAuthorization['client'], now: Instant): ClientPeer {
    const { id, ipv4, ipv6 } = terms;
    const known = this.clients.get(id);
    if (known?.addresses.ipv4 === ipv4 && known.addresses.ipv6 === ipv6) return known;
    if (known) this.#forget(known, 'client-replaced', now);
    const client = new ClientPeer(id, { ipv4, ipv6 }, this.#deps.wide, now);
    this.clients.add(client);
    client.flows = this.#deps.tracker.open(client);
    return client;
  }

  #notePolicyChanged(client: ClientPeer): void {
    client.notePolicyChanged();
    this.#nextExpiry = 'dirty';
  }

  /** `null`: never (data-plane 7.7). */
  #instantOf(expiresAt: UnixMillis | null): Instant | undefined {
    return expiresAt === null ? undefined : this.#wallClock.instantOf(expiresAt);
  }

  /** A part of the sweep over all NAT tables, if one is due. */
  #sweepSlice(now: Instant): void {
    if (!this.#sweep) {
      if (now < later(this.#lastSweep, SWEEP_INTERVAL_MS)) return;
      this.#lastSweep = now;
      this.#sweep = this.clients[Symbol.iterator]();
    } else if (now < this.#nextSlice) return;
    for (let left = SWEEP_SLICE; left > 0; ) {
      this.#sweeping ??= this.#sweep.next().value;
      if (!this.#sweeping) {
        this.#sweep = undefined;
        return;
      }
      left = this.#sweeping.nat.sweep(now, left);
      if (left > 0) this.#sweeping = undefined;
    }
    this.#nextSlice = later(now, SLICE_PAUSE_MS);
  }

  #nextSweep(): Instant | undefined {
    if (this.#sweep) return this.#nextSlice;
    for (const { nat } of this.clients) {
      if (nat.pollTimeout() !== undefined) return later(this.#lastSweep, SWEEP_INTERVAL_MS);
    }
    return undefined;
  }
}
