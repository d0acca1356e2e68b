// Who a component is: its stable identity (operations 3.1, client 2.1), its name, and what its User-Agent says about the host
// (portal-protocol 2.3). Read once, before anything else starts.

import { createHash, createHmac, randomUUID } from 'node:crypto';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, machine, release } from 'node:os';
import { dirname, join } from 'node:path';
import { FzError } from '../../base/errors.ts';
import { type Component, writeUserAgent } from '../../proto/phoenix/user-agent.ts';
import { isRecord } from '../../wire/phoenix/frame.ts';

/** There is no identity, and none can be stored. */
export class IdentityError extends FzError {
  readonly code = 'FZ_ERR_IDENTITY';
}

/** Where the identity of a kind of component is kept, and what makes it differ from others on the same machine. */
export interface IdentitySource {
  readonly file: string;
  /** Key of the HMAC over the machine id, as ASCII. */
  readonly applicationId: string;
  readonly machineIdFile: string;
}

// Specification
const MACHINE_ID_FILE = '/etc/machine-id';
/** operations 3.1 */
export const GATEWAY_IDENTITY: IdentitySource = {
  file: '/var/lib/firezone/gateway_id',
  applicationId: '753b38f9f96947ef8083802d5909a372',
  machineIdFile: MACHINE_ID_FILE,
};
/** client 2.1 */
export const CLIENT_IDENTITY: IdentitySource = {
  file: '/var/lib/dev.firezone.client/config/firezone-id.json',
  applicationId: 'e1e465ce763e4759945c650ac334501f',
  machineIdFile: MACHINE_ID_FILE,
};
const FOLDER_MODE = 0o770;
const FILE_MODE = 0o640;

// Implementation
/** Names by `ID` of os-release, as the portal knows them from official components; others are `Linux`. */
const OS_TYPES: Readonly<Record<string, string>> = {
  alpine: 'Alpine Linux',
  amzn: 'Amazon Linux AMI',
  arch: 'Arch Linux',
  centos: 'CentOS',
  debian: 'Debian',
  fedora: 'Fedora',
  linuxmint: 'Linux Mint',
  nixos: 'NixOS',
  ol: 'Oracle Linux',
  opensuse: 'openSUSE',
  'opensuse-leap': 'openSUSE',
  raspbian: 'Raspberry Pi OS',
  rhel: 'Red Hat Enterprise Linux',
  rocky: 'Rocky Linux',
  almalinux: 'AlmaLinux',
  ubuntu: 'Ubuntu',
};

/**
 * The first of: what is configured; the stored identity; one derived from the machine id; a new one, which is stored.
 *
 * Deviates from operations 3.1: a plain text as older releases stored it is an identity too (portal-protocol 16.11), and
 * a folder that cannot be made does not matter while nothing must be stored.
 */
export function firezoneId(configured: string | undefined, source: IdentitySource): string {
  if (configured !== undefined && configured !== '') return configured;
  const stored = readStored(source.file);
  if (stored !== undefined) return stored;
  const machineId = tryRead(source.machineIdFile);
  if (machineId !== undefined && machineId.length > 0) {
    return createHmac('sha256', source.applicationId).update(machineId).digest('hex');
  }
  return storeNew(source.file);
}

/** Configured, else the host's name, else a random one. */
export function componentName(configured: string | undefined): string {
  return configured || hostname() || randomUUID();
}

export function userAgent(component: Component, version: string): string {
  const fields = parseOsRelease(tryRead('/etc/os-release')?.toString('utf8') ?? '');
  const id = fields.get('ID') ?? '';
  const rolling = id === 'arch' ? 'Rolling Release' : 'Unknown';
  return writeUserAgent({
    osType: OS_TYPES[id] ?? 'Linux',
    osVersion: fields.get('VERSION_ID') ?? rolling,
    component,
    version,
    arch: machine(),
    kernel: release(),
  });
}

/** os-release(5): lines of `NAME=value`, the value in quotes or not. */
export function parseOsRelease(text: string): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = /^([A-Z0-9_]+)=(?:"([^"]*)"|'([^']*)'|(\S*))\s*$/.exec(line);
    if (match !== null) fields.set(match[1] ?? '', match[2] ?? match[3] ?? match[4] ?? '');
  }
  return fields;
}

function readStored(file: string): string | undefined {
  const text = tryRead(file)?.toString('utf8');
  if (text === undefined) return undefined;
  try {
    const json: unknown = JSON.parse(text);
    const id = isRecord(json) ? json['id'] : undefined;
    if (typeof id === 'string' && id !== '') return id;
  } catch {
    // Not JSON: older releases stored the bare text.
  }
  const plain = text.trim();
  return /^[A-Za-z0-9._:-]{1,255}$/.test(plain) ? plain : undefined;
}

/** Written beside its place and linked into it, which fails instead of replacing what somebody else just stored. */
function storeNew(file: string): string {
  const id = createHash('sha256').update(randomUUID()).digest('hex');
  const folder = dirname(file);
  try {
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, FOLDER_MODE);
    const draft = mkdtempSync(join(folder, '.new-'));
    try {
      const path = join(draft, 'id');
      writeFileSync(path, JSON.stringify({ id }), { mode: FILE_MODE, flush: true });
      linkSync(path, file);
    } finally {
      rmSync(draft, { recursive: true });
    }
  } catch (cause) {
    const stored = readStored(file);
    if (stored !== undefined) return stored;
    throw new IdentityError(`cannot store an identity in ${file}; set FIREZONE_ID`, { cause });
  }
  return id;
}

function tryRead(file: string): Buffer | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}
