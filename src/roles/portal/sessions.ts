// Who is connected: one session per accepted WebSocket, from the upgrade to its end. A device has at most one session that
// counts; the table finds sessions by their own id and by the device's.

import type { IpAddress } from '../../base/address.ts';
import { assert } from '../../base/errors.ts';
import type { ClientId, GatewayId, RelayId, ResourceId } from '../../base/ids.ts';
import type { Brand, UnixMillis } from '../../base/time.ts';
import type { Actor, Location, Site } from './policy.ts';
import type { KnownRelays } from './presence.ts';
import type { Device } from './store.ts';
import type { ComponentVersion } from './versions.ts';

/** Counts up from 1, never used again. */
export type SessionId = Brand<number, 'PortalSessionId'>;

interface SessionCommon {
  readonly id: SessionId;
  readonly tokenHash: string;
  /** When the token ends; the session ends with it. Changed through `SessionTable.setTokenExpiry` only. */
  tokenExpiresAt: UnixMillis | undefined;
  readonly remoteIp: IpAddress | undefined;
  readonly userAgent: string;
  readonly version: ComponentVersion | undefined;
  /** The join was confirmed and `init` pushed. */
  joined: boolean;
  /** It was told to go; what it still sends does not count. */
  ended: boolean;
  /** A malformed message was already reported for this session. */
  reportedMalformed: boolean;
}

interface DeviceSession extends SessionCommon {
  readonly device: Device;
  readonly publicKey: Uint8Array;
  knownRelays: KnownRelays;
  /** Whether it can do without ICE (iceless 2); `undefined` until it has said so after its join. */
  iceless: boolean | undefined;
}

export interface GatewaySession extends DeviceSession {
  readonly role: 'gateway';
  readonly gatewayId: GatewayId;
  site: Site;
}

export interface ClientSession extends DeviceSession {
  readonly role: 'client';
  readonly clientId: ClientId;
  actor: Actor;
  /** The resources it was told of, as the text that was sent. */
  readonly shown: Map<ResourceId, string>;
  /** Its interface as it was told. */
  shownInterface: string;
  /** Gateways it has got an authorization for since it connected. */
  readonly introduced: Set<GatewayId>;
}

export interface RelaySession extends SessionCommon {
  readonly role: 'relay';
  readonly ipv4: IpAddress | undefined;
  readonly ipv6: IpAddress | undefined;
  readonly port: number;
  readonly location: Location | undefined;
  /** Known from the join on. */
  relayId: RelayId | undefined;
}

export type Session = GatewaySession | ClientSession | RelaySession;

export class SessionTable {
  readonly #sessions = new Map<SessionId, Session>();
  readonly #gateways = new Map<GatewayId, GatewaySession>();
  readonly #clients = new Map<ClientId, ClientSession>();
  readonly #relays = new Map<RelayId, RelaySession>();
  #nextTokenExpiry: UnixMillis | undefined | 'unknown';

  /**
   * A gateway holds its id from the upgrade on, a client from its join on. Returns the gateway session that gives way to this
   * one.
   */
  add(session: Session): GatewaySession | undefined {
    assert(!this.#sessions.has(session.id), 'a session id is used once');
    this.#sessions.set(session.id, session);
    this.#nextTokenExpiry = 'unknown';
    if (session.role !== 'gateway') return undefined;
    const before = this.#gateways.get(session.gatewayId);
    this.#gateways.set(session.gatewayId, session);
    return before;
  }

  /** The session now speaks for its client; returns the one that did before. */
  takeClient(session: ClientSession): ClientSession | undefined {
    const before = this.#clients.get(session.clientId);
    this.#clients.set(session.clientId, session);
    return before === session ? undefined : before;
  }

  /** The session now speaks for its relay; returns the one that did before. */
  takeRelay(relayId: RelayId, session: RelaySession): RelaySession | undefined {
    const before = this.#relays.get(relayId);
    this.#relays.set(relayId, session);
    return before === session ? undefined : before;
  }

  /** Returns whether the session still spoke for its device. */
  remove(session: Session): boolean {
    this.#sessions.delete(session.id);
    this.#nextTokenExpiry = 'unknown';
    switch (session.role) {
      case 'gateway':
        return this.#gateways.get(session.gatewayId) === session
          ? this.#gateways.delete(session.gatewayId)
          : false;
      case 'client':
        return this.#clients.get(session.clientId) === session
          ? this.#clients.delete(session.clientId)
          : false;
      case 'relay':
        return session.relayId !== undefined && this.#relays.get(session.relayId) === session
          ? this.#relays.delete(session.relayId)
          : false;
    }
  }

  setTokenExpiry(session: Session, expiresAt: UnixMillis | undefined): void {
    session.tokenExpiresAt = expiresAt;
    this.#nextTokenExpiry = 'unknown';
  }

  nextTokenExpiry(): UnixMillis | undefined {
    if (this.#nextTokenExpiry === 'unknown') {
      this.#nextTokenExpiry = undefined;
      for (const { tokenExpiresAt: end } of this.#sessions.values()) {
        if (
          end !== undefined &&
          (this.#nextTokenExpiry === undefined || end < this.#nextTokenExpiry)
        )
          this.#nextTokenExpiry = end;
      }
    }
    return this.#nextTokenExpiry;
  }

  /** Sessions whose token is over, each once. */
  takeExpired(at: UnixMillis): Session[] {
    const next = this.nextTokenExpiry();
    if (next === undefined || next > at) return [];
    const expired = this.all().filter(({ tokenExpiresAt: end }) => end !== undefined && end <= at);
    for (const session of expired) this.setTokenExpiry(session, undefined);
    return expired;
  }

  get(id: SessionId): Session | undefined {
    return this.#sessions.get(id);
  }

  /** Also one that has not joined yet. */
  gateway(id: GatewayId): GatewaySession | undefined {
    return this.#gateways.get(id);
  }

  joinedGateway(id: GatewayId): GatewaySession | undefined {
    const session = this.#gateways.get(id);
    return session?.joined ? session : undefined;
  }

  client(id: ClientId): ClientSession | undefined {
    return this.#clients.get(id);
  }

  joinedGateways(): GatewaySession[] {
    return [...this.#gateways.values()].filter((session) => session.joined);
  }

  joinedClients(): ClientSession[] {
    return [...this.#clients.values()];
  }

  all(): Session[] {
    return [...this.#sessions.values()];
  }

  get size(): number {
    return this.#sessions.size;
  }
}
