// What the portal must remember over a restart: ids of named things, devices, tokens that were made at the command line, and
// authorizations. An interface of the portal role; `io/portal/portal-store.ts` keeps it in SQLite, `MemoryStore` in memory.

import type { IpAddress } from '../../base/address.ts';
import type { ClientId, GatewayId, ResourceId } from '../../base/ids.ts';
import type { UnixMillis } from '../../base/time.ts';

export type NamedKind = 'account' | 'site' | 'actor' | 'resource' | 'rule';

export interface Device {
  readonly id: string;
  readonly role: 'gateway' | 'client';
  /** The site's or actor's id: one device is one external id within it (portal 10.2.1). */
  readonly scope: string;
  readonly externalId: string;
  readonly name: string;
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
  /** 32 random bytes, made with the device (portal 10.5.2). */
  readonly pskBase: Uint8Array;
}

export interface StoredToken {
  readonly id: string;
  readonly kind: 'gateway' | 'client' | 'relay';
  /** The site's, actor's or relay's name. */
  readonly owner: string;
  readonly name: string;
  /** Hex text of the token's SHA-256. */
  readonly hash: string;
  readonly createdAt: UnixMillis;
  readonly expiresAt: UnixMillis | undefined;
}

/** portal 10.7.1: one row per gateway, client and resource; a later one replaces it. */
export interface AuthorizationRow {
  readonly id: string;
  readonly gatewayId: GatewayId;
  readonly clientId: ClientId;
  readonly resourceId: ResourceId;
  readonly ruleId: string;
  /** The actor and token the client was connected with. */
  readonly actorId: string;
  readonly tokenHash: string;
  readonly remoteIp: IpAddress | undefined;
  /** `placeOf` the resource when it was granted. */
  readonly place: string;
  readonly grantedAt: UnixMillis;
  readonly expiresAt: UnixMillis;
}

/** All calls take effect at once, or not at all; authorizations may reach the disk a moment later. */
export interface PortalStore {
  /** The id of a named thing; made by `make` and remembered when it is asked for the first time. */
  idOf(kind: NamedKind, name: string, make: () => string): string;

  findDevice(role: Device['role'], scope: string, externalId: string): Device | undefined;
  deviceById(id: string): Device | undefined;
  countDevices(role: Device['role'], scope: string): number;
  addDevice(device: Device): void;
  isAddressTaken(address: IpAddress): boolean;

  addToken(token: StoredToken): void;
  tokenByHash(hash: string): StoredToken | undefined;
  tokens(): StoredToken[];
  /** False if there is no token of that id. */
  removeToken(id: string): boolean;

  authorizations(): AuthorizationRow[];
  putAuthorization(row: AuthorizationRow): void;
  removeAuthorizations(rows: readonly AuthorizationRow[]): void;
}

export class MemoryStore implements PortalStore {
  readonly #ids = new Map<string, string>();
  readonly #devices = new Map<string, Device>();
  readonly #addresses = new Set<IpAddress>();
  readonly #tokens = new Map<string, StoredToken>();
  readonly #rows = new Map<string, AuthorizationRow>();

  idOf(kind: NamedKind, name: string, make: () => string): string {
    const key = `${kind}:${name}`;
    const id = this.#ids.get(key) ?? make();
    this.#ids.set(key, id);
    return id;
  }

  findDevice(role: Device['role'], scope: string, externalId: string): Device | undefined {
    return this.#devices.get(deviceKey(role, scope, externalId));
  }

  deviceById(id: string): Device | undefined {
    for (const device of this.#devices.values()) if (device.id === id) return device;
    return undefined;
  }

  countDevices(role: Device['role'], scope: string): number {
    let count = 0;
    for (const device of this.#devices.values()) {
      if (device.role === role && device.scope === scope) count += 1;
    }
    return count;
  }

  addDevice(device: Device): void {
    this.#devices.set(deviceKey(device.role, device.scope, device.externalId), device);
    this.#addresses.add(device.ipv4).add(device.ipv6);
  }

  isAddressTaken(address: IpAddress): boolean {
    return this.#addresses.has(address);
  }

  addToken(token: StoredToken): void {
    this.#tokens.set(token.id, token);
  }

  tokenByHash(hash: string): StoredToken | undefined {
    for (const token of this.#tokens.values()) if (token.hash === hash) return token;
    return undefined;
  }

  tokens(): StoredToken[] {
    return [...this.#tokens.values()];
  }

  removeToken(id: string): boolean {
    return this.#tokens.delete(id);
  }

  authorizations(): AuthorizationRow[] {
    return [...this.#rows.values()];
  }

  putAuthorization(row: AuthorizationRow): void {
    this.#rows.set(rowKey(row), row);
  }

  removeAuthorizations(rows: readonly AuthorizationRow[]): void {
    for (const row of rows) this.#rows.delete(rowKey(row));
  }
}

function deviceKey(role: Device['role'], scope: string, externalId: string): string {
  return `${role}:${scope}:${externalId}`;
}

/** Equal for rows of the same gateway, client and resource. */
export function rowKey(
  row: Pick<AuthorizationRow, 'gatewayId' | 'clientId' | 'resourceId'>,
): string {
  return `${row.gatewayId} ${row.clientId} ${row.resourceId}`;
}
