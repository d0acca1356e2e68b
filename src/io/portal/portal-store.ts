// The portal's memory in SQLite (WebAssembly build, one file or `:memory:`): ids of named things, devices, tokens made at the
// command line, authorizations. Every call is one statement; authorizations, which come by the dozen, are written together a
// moment later (a crash may lose the last ones: clients ask again). The command line and a running portal may share the file:
// locks are held for the length of a statement, and `wasChanged` tells of the other's writes.

import { rmdirSync, statSync } from 'node:fs';
import sqlite from 'node-sqlite3-wasm';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';
import { clientId, gatewayId, resourceId } from '../../base/ids.ts';
import { unixMillis } from '../../base/time.ts';
import {
  type AuthorizationRow,
  type Device,
  type NamedKind,
  type PortalStore,
  rowKey,
  type StoredToken,
} from '../../roles/portal/store.ts';

// Implementation

/** How long to wait for another process's statement. */
const BUSY_TIMEOUT_MS = 3000;
/** A lock of this age belongs to a process that was killed: statements take milliseconds. */
const STALE_LOCK_MS = 10_000;

/** Authorizations of this long are written in one transaction. Upstream takes 1 s (portal 10.8.1). */
const FLUSH_DELAY_MS = 100;
const FLUSH_RETRY_MS = 2000;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS names (
    kind TEXT NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL UNIQUE, PRIMARY KEY (kind, name)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, scope TEXT NOT NULL, external_id TEXT NOT NULL, name TEXT NOT NULL,
    ipv4 TEXT NOT NULL UNIQUE, ipv6 TEXT NOT NULL UNIQUE, psk_base BLOB NOT NULL, UNIQUE (role, scope, external_id)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL, expires_at INTEGER
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS authorizations (
    gateway_id TEXT NOT NULL, client_id TEXT NOT NULL, resource_id TEXT NOT NULL, id TEXT NOT NULL, rule_id TEXT NOT NULL,
    actor_id TEXT NOT NULL, token_hash TEXT NOT NULL, remote_ip TEXT, place TEXT NOT NULL, granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (gateway_id, client_id, resource_id)
  ) WITHOUT ROWID;
`;
const SCHEMA_VERSION = 1;

/** The database file cannot be opened, read or written. */
export class PortalStoreError extends FzError {
  readonly code = 'FZ_ERR_PORTAL_STORE';
}

interface UnsavedRow {
  readonly row: AuthorizationRow;
  readonly isRemoved: boolean;
}

type Row = Readonly<Record<string, unknown>>;
type Value = string | number | Uint8Array | null;

export class SqlitePortalStore implements PortalStore {
  readonly #database: InstanceType<typeof sqlite.Database>;
  readonly #path: string;
  readonly #onWriteError: (error: PortalStoreError) => void;
  /** What is to be written or, `undefined`, removed, by row key. */
  #unsaved = new Map<string, UnsavedRow>();
  #flushTimer: NodeJS.Timeout | undefined;
  #dataVersion = 0;

  /** Throws `PortalStoreError` if the file is not a database or cannot be made. */
  constructor(path: string, onWriteError: (error: PortalStoreError) => void = () => {}) {
    this.#path = path;
    this.#onWriteError = onWriteError;
    try {
      if (path !== ':memory:') removeStaleLock(path);
      this.#database = new sqlite.Database(path);
      this.#database.exec(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      this.#createTables();
      this.#dataVersion = this.#readDataVersion();
    } catch (cause) {
      throw new PortalStoreError(`cannot open the portal's database ${path}`, { cause });
    }
  }

  /** Whether another process wrote since the last call. */
  wasChanged(): boolean {
    const version = this.#readDataVersion();
    const changed = version !== this.#dataVersion;
    this.#dataVersion = version;
    return changed;
  }

  close(): void {
    clearTimeout(this.#flushTimer);
    try {
      this.flush();
    } finally {
      this.#database.close();
    }
  }

  /** Writes what waits; all of it or, when it throws, nothing. */
  flush(): void {
    if (this.#unsaved.size === 0) return;
    this.#atomically(() => {
      for (const { row, isRemoved } of this.#unsaved.values()) {
        if (isRemoved) this.#deleteRow(row);
        else this.#insertRow(row);
      }
    });
    this.#unsaved.clear();
  }

  idOf(kind: NamedKind, name: string, make: () => string): string {
    const known = this.#one('SELECT id FROM names WHERE kind = ? AND name = ?', [kind, name]);
    if (known) return text(known, 'id');
    const id = make();
    this.#run('INSERT INTO names (kind, name, id) VALUES (?, ?, ?)', [kind, name, id]);
    return id;
  }

  findDevice(role: Device['role'], scope: string, externalId: string): Device | undefined {
    const sql = 'SELECT * FROM devices WHERE role = ? AND scope = ? AND external_id = ?';
    const row = this.#one(sql, [role, scope, externalId]);
    return row && deviceOf(row);
  }

  deviceById(id: string): Device | undefined {
    const row = this.#one('SELECT * FROM devices WHERE id = ?', [id]);
    return row && deviceOf(row);
  }

  countDevices(role: Device['role'], scope: string): number {
    const sql = 'SELECT count(*) AS n FROM devices WHERE role = ? AND scope = ?';
    const row = this.#one(sql, [role, scope]);
    return row ? number(row, 'n') : 0;
  }

  addDevice(device: Device): void {
    this.#run(
      'INSERT INTO devices (id, role, scope, external_id, name, ipv4, ipv6, psk_base) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      [
        device.id,
        device.role,
        device.scope,
        device.externalId,
        device.name,
        device.ipv4,
        device.ipv6,
        device.pskBase,
      ],
    );
  }

  isAddressTaken(address: IpAddress): boolean {
    const sql = 'SELECT 1 AS n FROM devices WHERE ipv4 = ? OR ipv6 = ? LIMIT 1';
    return this.#one(sql, [address, address]) !== undefined;
  }

  addToken(token: StoredToken): void {
    this.#run(
      'INSERT INTO tokens (id, kind, owner, name, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      [
        token.id,
        token.kind,
        token.owner,
        token.name,
        token.hash,
        token.createdAt,
        token.expiresAt ?? null,
      ],
    );
  }

  tokenByHash(hash: string): StoredToken | undefined {
    const row = this.#one('SELECT * FROM tokens WHERE hash = ?', [hash]);
    return row && tokenOf(row);
  }

  tokens(): StoredToken[] {
    return this.#all('SELECT * FROM tokens ORDER BY created_at, id', []).map(tokenOf);
  }

  removeToken(id: string): boolean {
    return this.#run('DELETE FROM tokens WHERE id = ?', [id]) > 0;
  }

  authorizations(): AuthorizationRow[] {
    this.flush();
    return this.#all('SELECT * FROM authorizations', []).map(authorizationOf);
  }

  putAuthorization(row: AuthorizationRow): void {
    this.#unsaved.set(rowKey(row), { row, isRemoved: false });
    this.#armFlush(FLUSH_DELAY_MS);
  }

  removeAuthorizations(rows: readonly AuthorizationRow[]): void {
    for (const row of rows) this.#unsaved.set(rowKey(row), { row, isRemoved: true });
    if (rows.length > 0) this.#armFlush(FLUSH_DELAY_MS);
  }

  #armFlush(delay: number): void {
    this.#flushTimer ??= setTimeout(() => {
      this.#flushTimer = undefined;
      try {
        this.flush();
      } catch (error) {
        if (!(error instanceof PortalStoreError)) throw error;
        this.#onWriteError(error);
        this.#armFlush(FLUSH_RETRY_MS);
      }
    }, delay);
  }

  #insertRow(row: AuthorizationRow): void {
    this.#run(
      `INSERT OR REPLACE INTO authorizations
        (gateway_id, client_id, resource_id, id, rule_id, actor_id, token_hash, remote_ip, place, granted_at, expires_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        row.gatewayId,
        row.clientId,
        row.resourceId,
        row.id,
        row.ruleId,
        row.actorId,
        row.tokenHash,
        row.remoteIp ?? null,
        row.place,
        row.grantedAt,
        row.expiresAt,
      ],
    );
  }

  #deleteRow(row: AuthorizationRow): void {
    const sql =
      'DELETE FROM authorizations WHERE gateway_id = ? AND client_id = ? AND resource_id = ?';
    this.#run(sql, [row.gatewayId, row.clientId, row.resourceId]);
  }

  /** Writes only if it must: others watch the file for changes. */
  #createTables(): void {
    const row = this.#one('PRAGMA user_version', []);
    const version = row ? number(row, 'user_version') : 0;
    if (version > SCHEMA_VERSION)
      throw new PortalStoreError('it was written by a newer version of this program');
    if (version === SCHEMA_VERSION) return;
    this.#database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  }

  #atomically(work: () => void): void {
    this.#attempt(() => this.#database.exec('BEGIN IMMEDIATE'));
    try {
      work();
      this.#attempt(() => this.#database.exec('COMMIT'));
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #readDataVersion(): number {
    const row = this.#one('PRAGMA data_version', []);
    return row ? number(row, 'data_version') : 0;
  }

  #one(sql: string, values: Value[]): Row | undefined {
    return this.#attempt(() => this.#database.get(sql, values)) ?? undefined;
  }

  #all(sql: string, values: Value[]): Row[] {
    return this.#attempt(() => this.#database.all(sql, values));
  }

  #run(sql: string, values: Value[]): number {
    return this.#attempt(() => this.#database.run(sql, values)).changes;
  }

  #attempt<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      throw new PortalStoreError(`the portal's database ${this.#path} failed`, { cause });
    }
  }
}

function removeStaleLock(path: string): void {
  const lock = `${path}.lock`;
  const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (age > STALE_LOCK_MS) rmdirSync(lock);
}

function deviceOf(row: Row): Device {
  return {
    id: text(row, 'id'),
    role: text(row, 'role') === 'gateway' ? 'gateway' : 'client',
    scope: text(row, 'scope'),
    externalId: text(row, 'external_id'),
    name: text(row, 'name'),
    ipv4: address(row, 'ipv4'),
    ipv6: address(row, 'ipv6'),
    pskBase: blob(row, 'psk_base'),
  };
}

function tokenOf(row: Row): StoredToken {
  const kind = text(row, 'kind');
  return {
    id: text(row, 'id'),
    kind: kind === 'gateway' || kind === 'relay' ? kind : 'client',
    owner: text(row, 'owner'),
    name: text(row, 'name'),
    hash: text(row, 'hash'),
    createdAt: unixMillis(number(row, 'created_at')),
    expiresAt: row['expires_at'] === null ? undefined : unixMillis(number(row, 'expires_at')),
  };
}

function authorizationOf(row: Row): AuthorizationRow {
  return {
    id: text(row, 'id'),
    gatewayId: gatewayId(text(row, 'gateway_id')),
    clientId: clientId(text(row, 'client_id')),
    resourceId: resourceId(text(row, 'resource_id')),
    ruleId: text(row, 'rule_id'),
    actorId: text(row, 'actor_id'),
    tokenHash: text(row, 'token_hash'),
    remoteIp: row['remote_ip'] === null ? undefined : address(row, 'remote_ip'),
    place: text(row, 'place'),
    grantedAt: unixMillis(number(row, 'granted_at')),
    expiresAt: unixMillis(number(row, 'expires_at')),
  };
}

function text(row: Row, column: string): string {
  const value = row[column];
  if (typeof value !== 'string') throw new PortalStoreError(`column ${column} is not text`);
  return value;
}

function number(row: Row, column: string): number {
  const value = row[column];
  if (typeof value !== 'number' && typeof value !== 'bigint')
    throw new PortalStoreError(`column ${column} is not a number`);
  return Number(value);
}

function blob(row: Row, column: string): Uint8Array {
  const value = row[column];
  if (!(value instanceof Uint8Array)) throw new PortalStoreError(`column ${column} is not bytes`);
  return Uint8Array.from(value);
}

function address(row: Row, column: string): IpAddress {
  const value = parseIp(text(row, column));
  if (value === undefined) throw new PortalStoreError(`column ${column} is not an address`);
  return value;
}
