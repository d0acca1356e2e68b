// What is granted and what is asked (portal 10.7.1, 10.8): the rows, one per gateway, client and resource, kept in the store
// too; and the requests that a gateway has not acknowledged yet. Rows end by revocation or by time, requests by an
// acknowledgement or after 15 s. Who may have what is decided elsewhere.

import type { CryptoProvider } from '../../base/crypto.ts';
import type { ClientId, GatewayId, ResourceId } from '../../base/ids.ts';
import { earliest, type Instant, later, type UnixMillis } from '../../base/time.ts';
import { base64Url } from './credentials.ts';
import type { SessionId } from './sessions.ts';
import { type AuthorizationRow, type PortalStore, rowKey } from './store.ts';

// Specification

/** portal 12: answer of a gateway, after which the client is told `offline`. */
export const AUTHORIZATION_TIMEOUT_MS = 15_000;

// Implementation

/** How long a `ref` is known: an answer that comes too late is then no mistake of the gateway. */
const REF_LIFETIME_MS = 60_000;
/** Refs of one client; it asks at most every 2 s and resource (client 7.3). */
const MAX_REFS_PER_CLIENT = 1024;
/** Candidates that wait for their authorization; an agent has about ten. */
export const MAX_HELD_CANDIDATES = 64;
/** Bytes of a `ref`: not to be guessed. */
const REF_LENGTH = 24;

export interface PendingAuthorization {
  readonly row: AuthorizationRow;
  readonly client: SessionId;
  readonly deadline: Instant;
  /** As the gateway was told (iceless 2.3). */
  readonly useIceless: boolean;
  /** The gateway's candidates that came before its acknowledgement (portal 14.26). */
  readonly heldCandidates: string[];
}

export type Acknowledgement =
  | { readonly kind: 'first'; readonly pending: PendingAuthorization }
  /** The client has its answer already, by another `ref` or because the time was over. */
  | { readonly kind: 'repeated' }
  | { readonly kind: 'invalid-ref' };

interface Ref {
  readonly key: string;
  readonly gatewayId: GatewayId;
  readonly client: SessionId;
  readonly expiresAt: Instant;
}

export class AuthorizationBook {
  readonly #crypto: CryptoProvider;
  readonly #store: PortalStore;
  readonly #rows = new Map<GatewayId, Map<ClientId, Map<ResourceId, AuthorizationRow>>>();
  /** The expiry each gateway was told last, by row key. */
  readonly #announced = new Map<string, UnixMillis>();
  /**
   * By client session and resource: the newest request wins (portal 10.8.1 step 4). All wait equally long, so that the order
   * of the map is the order of the deadlines; likewise below.
   */
  readonly #pending = new Map<string, PendingAuthorization>();
  readonly #refs = new Map<string, Ref>();
  readonly #refsOfClient = new Map<SessionId, number>();
  /** How the two ends of a row were told to connect, by gateway and client. */
  readonly #modes = new Map<string, boolean>();
  #nextExpiry: UnixMillis | undefined | 'unknown' = 'unknown';

  constructor(crypto: CryptoProvider, store: PortalStore) {
    this.#crypto = crypto;
    this.#store = store;
    for (const row of store.authorizations()) this.#set(row);
  }

  /** Forgets pending requests whose time is over; returns them. */
  handleTimeout(now: Instant): PendingAuthorization[] {
    const late: PendingAuthorization[] = [];
    for (const [key, pending] of this.#pending) {
      if (pending.deadline > now) break;
      this.#pending.delete(key);
      late.push(pending);
    }
    for (const [ref, { expiresAt }] of this.#refs) {
      if (expiresAt > now) break;
      this.#forgetRef(ref);
    }
    return late;
  }

  /** A new request, or one to replace the last for the same resource. `undefined`: the client has too many. */
  open(
    { row, client, useIceless }: Pick<PendingAuthorization, 'row' | 'client' | 'useIceless'>,
    now: Instant,
  ): string | undefined {
    const count = this.#refsOfClient.get(client) ?? 0;
    if (count >= MAX_REFS_PER_CLIENT) return undefined;
    const key = pendingKey(client, row.resourceId);
    const deadline = later(now, AUTHORIZATION_TIMEOUT_MS);
    const heldCandidates = this.#pending.get(key)?.heldCandidates ?? [];
    this.#pending.delete(key);
    this.#pending.set(key, { row, client, deadline, useIceless, heldCandidates });
    return this.#newRef(key, row.gatewayId, client, now);
  }

  /** A further `ref` for a row that the client does not wait for, or whose message is sent again. */
  refFor(row: AuthorizationRow, client: SessionId, now: Instant): string | undefined {
    const count = this.#refsOfClient.get(client) ?? 0;
    if (count >= MAX_REFS_PER_CLIENT) return undefined;
    return this.#newRef(pendingKey(client, row.resourceId), row.gatewayId, client, now);
  }

  /** A `ref` counts only from the gateway it was given to, and once (portal 16.2). */
  acknowledge(ref: string, gatewayId: GatewayId): Acknowledgement {
    const known = this.#refs.get(ref);
    if (known?.gatewayId !== gatewayId) return { kind: 'invalid-ref' };
    this.#forgetRef(ref);
    const pending = this.#pending.get(known.key);
    if (pending?.row.gatewayId !== gatewayId) return { kind: 'repeated' };
    this.#pending.delete(known.key);
    return { kind: 'first', pending };
  }

  pendingOf(gatewayId: GatewayId): PendingAuthorization[] {
    return [...this.#pending.values()].filter((pending) => pending.row.gatewayId === gatewayId);
  }

  /** The request that a gateway's candidates for a client wait for, if there is one. */
  pendingBetween(gatewayId: GatewayId, clientId: ClientId): PendingAuthorization | undefined {
    for (const pending of this.#pending.values()) {
      if (pending.row.gatewayId === gatewayId && pending.row.clientId === clientId) return pending;
    }
    return undefined;
  }

  /** The client is gone or got its answer in another way: nobody waits any more. Its refs stay known until they end. */
  dropPending(client: SessionId, resourceId?: ResourceId): void {
    for (const [key, pending] of this.#pending) {
      const isMeant = resourceId === undefined || pending.row.resourceId === resourceId;
      if (pending.client === client && isMeant) this.#pending.delete(key);
    }
  }

  /** Replaces the row of the same gateway, client and resource. */
  put(row: AuthorizationRow): void {
    this.#store.putAuthorization(row);
    this.#set(row);
  }

  /** Both ends know it. */
  noteMode({ gatewayId, clientId }: AuthorizationRow, useIceless: boolean): void {
    this.#modes.set(`${gatewayId} ${clientId}`, useIceless);
  }

  modeOf({ gatewayId, clientId }: AuthorizationRow): boolean | undefined {
    return this.#modes.get(`${gatewayId} ${clientId}`);
  }

  /** The gateway was told of the row as it is. */
  noteAnnounced(row: AuthorizationRow): void {
    this.#announced.set(rowKey(row), row.expiresAt);
  }

  /** Whether the gateway would keep the access beyond the row's end. */
  outlives(row: AuthorizationRow): boolean {
    return (this.#announced.get(rowKey(row)) ?? 0) > row.expiresAt;
  }

  remove(rows: readonly AuthorizationRow[]): void {
    this.#nextExpiry = 'unknown';
    this.#store.removeAuthorizations(rows);
    for (const row of rows) {
      this.#rows.get(row.gatewayId)?.get(row.clientId)?.delete(row.resourceId);
      this.#announced.delete(rowKey(row));
      if (!this.hasAny(row.gatewayId, row.clientId)) {
        this.#modes.delete(`${row.gatewayId} ${row.clientId}`);
      }
    }
  }

  hasAny(gatewayId: GatewayId, clientId: ClientId): boolean {
    return (this.#rows.get(gatewayId)?.get(clientId)?.size ?? 0) > 0;
  }

  get(
    gatewayId: GatewayId,
    clientId: ClientId,
    resourceId: ResourceId,
  ): AuthorizationRow | undefined {
    return this.#rows.get(gatewayId)?.get(clientId)?.get(resourceId);
  }

  rowsOf(gatewayId: GatewayId): AuthorizationRow[] {
    const rows: AuthorizationRow[] = [];
    for (const ofClient of this.#rows.get(gatewayId)?.values() ?? [])
      rows.push(...ofClient.values());
    return rows;
  }

  rowsOfClient(clientId: ClientId): AuthorizationRow[] {
    const rows: AuthorizationRow[] = [];
    for (const ofGateway of this.#rows.values())
      rows.push(...(ofGateway.get(clientId)?.values() ?? []));
    return rows;
  }

  rows(): AuthorizationRow[] {
    return [...this.#rows.keys()].flatMap((gatewayId) => this.rowsOf(gatewayId));
  }

  expiredRows(at: UnixMillis): AuthorizationRow[] {
    return this.rows().filter((row) => row.expiresAt <= at);
  }

  nextExpiry(): UnixMillis | undefined {
    if (this.#nextExpiry === 'unknown') {
      this.#nextExpiry = undefined;
      for (const { expiresAt } of this.rows()) {
        if (this.#nextExpiry === undefined || expiresAt < this.#nextExpiry)
          this.#nextExpiry = expiresAt;
      }
    }
    return this.#nextExpiry;
  }

  pollTimeout(): Instant | undefined {
    const [pending] = this.#pending.values();
    const [ref] = this.#refs.values();
    return earliest(pending?.deadline, ref?.expiresAt);
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  #set(row: AuthorizationRow): void {
    this.#nextExpiry = 'unknown';
    const ofGateway = this.#rows.get(row.gatewayId) ?? new Map();
    const ofClient = ofGateway.get(row.clientId) ?? new Map();
    ofClient.set(row.resourceId, row);
    ofGateway.set(row.clientId, ofClient);
    this.#rows.set(row.gatewayId, ofGateway);
  }

  #newRef(key: string, gatewayId: GatewayId, client: SessionId, now: Instant): string {
    const ref = base64Url(this.#crypto.randomBytes(REF_LENGTH));
    this.#refs.set(ref, {
      key,
      gatewayId,
      client,
      expiresAt: later(now, REF_LIFETIME_MS),
    });
    this.#refsOfClient.set(client, (this.#refsOfClient.get(client) ?? 0) + 1);
    return ref;
  }

  #forgetRef(ref: string): void {
    const owner = this.#refs.get(ref)?.client;
    if (owner === undefined || !this.#refs.delete(ref)) return;
    const count = (this.#refsOfClient.get(owner) ?? 0) - 1;
    if (count > 0) this.#refsOfClient.set(owner, count);
    else this.#refsOfClient.delete(owner);
  }
}

function pendingKey(client: SessionId, resourceId: ResourceId): string {
  return `${client} ${resourceId}`;
}
