// The hosts file (hosts(5)) and resolv.conf (resolv.conf(5)), read again when they change. A file that cannot be read is empty.
//
// resolv.conf is small and is read at each look, because what it is may change in many ways that only its text shows: written in place,
// renamed over, a link that points elsewhere. One that is mounted as a single file and replaced on the host cannot be seen from inside;
// mount its folder instead.

import { readFile, stat } from 'node:fs/promises';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { dnsKey } from '../../wire/dns/name.ts';

// Implementation
/** How often the files are looked at, at most. */
const CHECK_INTERVAL_MS = 1_000;
/** A hosts file of this size is somebody's block list; larger ones are a mistake. */
const MAX_HOSTS_BYTES = 16 * 1_048_576;
const MAX_RESOLV_CONF_BYTES = 65_536;
/** glibc stops at three; a limit all the same, because each may be asked in vain. */
const MAX_SERVERS = 16;
/** resolv.conf(5): silently capped to 30 s and 5 attempts; more than 5 s has no place in the 10 s of a look-up. */
const MAX_TIMEOUT_S = 5;
const MAX_ATTEMPTS = 5;

/** By folded name. */
export type HostsTable = ReadonlyMap<string, readonly IpAddress[]>;

export interface ResolvConfSettings {
  /** Addresses; a link-local one with its zone (`fe80::53%eth0`). */
  readonly servers: readonly string[];
  readonly search: readonly string[];
  /** Of one try. */
  readonly timeoutMs?: number;
  readonly attempts?: number;
  /** Lines that were passed over although they seem to say something. */
  readonly unusable: readonly string[];
}

export class HostFiles {
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  #hosts: HostsTable = new Map();
  #hostsVersion = '';
  #hostsLookedAt = -Infinity;
  #resolvConf: ResolvConfSettings = parseResolvConf('');
  #resolvConfText = '';
  #resolvConfLookedAt = -Infinity;

  constructor(hostsPath: string, resolvConfPath: string) {
    this.hostsPath = hostsPath;
    this.resolvConfPath = resolvConfPath;
  }

  async readHosts(): Promise<HostsTable> {
    if (performance.now() - this.#hostsLookedAt < CHECK_INTERVAL_MS) return this.#hosts;
    const { version, size } = await versionOf(this.hostsPath);
    if (version !== this.#hostsVersion) {
      const isReadable = version !== '' && size <= MAX_HOSTS_BYTES;
      const text = isReadable ? await readFile(this.hostsPath, 'utf8').catch(() => '') : '';
      this.#hosts = parseHosts(text);
      this.#hostsVersion = version;
    }
    this.#hostsLookedAt = performance.now();
    return this.#hosts;
  }

  /** The same object as long as nothing changed. */
  async readResolvConf(): Promise<ResolvConfSettings> {
    if (performance.now() - this.#resolvConfLookedAt < CHECK_INTERVAL_MS) return this.#resolvConf;
    const text = await readFile(this.resolvConfPath, 'utf8').catch(() => '');
    if (text !== this.#resolvConfText) {
      this.#resolvConf = parseResolvConf(text.slice(0, MAX_RESOLV_CONF_BYTES));
      this.#resolvConfText = text;
    }
    this.#resolvConfLookedAt = performance.now();
    return this.#resolvConf;
  }
}

async function versionOf(path: string): Promise<{ version: string; size: number }> {
  try {
    const { mtimeMs, ctimeMs, ino, size } = await stat(path);
    return { version: `${mtimeMs} ${ctimeMs} ${ino} ${size}`, size };
  } catch {
    return { version: '', size: 0 };
  }
}

export function parseHosts(text: string): HostsTable {
  const hosts = new Map<string, IpAddress[]>();
  for (const line of text.split('\n')) {
    const [addressText = '', ...names] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const address = parseIp(addressText);
    if (address === undefined) continue;
    for (const name of names) {
      const addresses = hosts.get(dnsKey(name)) ?? [];
      if (!addresses.includes(address)) addresses.push(address);
      hosts.set(dnsKey(name), addresses);
    }
  }
  return hosts;
}

/** Keywords and options that mean nothing here are passed over; of `search` and `domain` the last one counts. */
export function parseResolvConf(text: string): ResolvConfSettings {
  const servers: string[] = [];
  const unusable: string[] = [];
  let search: string[] = [];
  let options: Pick<ResolvConfSettings, 'timeoutMs' | 'attempts'> = {};
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n/)) {
    const [keyword = '', ...values] = (line.split(/[#;]/)[0] ?? '').trim().split(/\s+/);
    if (keyword === 'nameserver') {
      const server = nameServer(values[0] ?? '');
      if (server === undefined || servers.length >= MAX_SERVERS) unusable.push(line.trim());
      else if (!servers.includes(server)) servers.push(server);
    } else if (keyword === 'search' || keyword === 'domain') {
      search = values.map(dnsKey).filter((suffix) => suffix !== '');
    } else if (keyword === 'options') options = { ...options, ...optionsOf(values) };
  }
  return { servers, search, unusable, ...options };
}

function optionsOf(words: readonly string[]): Pick<ResolvConfSettings, 'timeoutMs' | 'attempts'> {
  const numberOf = (name: string, max: number): number | undefined => {
    const texts = words.flatMap((word) => new RegExp(`^${name}:(\\d+)$`).exec(word)?.[1] ?? []);
    const value = Number(texts.at(-1) ?? 0);
    return value > 0 ? Math.min(value, max) : undefined;
  };
  const seconds = numberOf('timeout', MAX_TIMEOUT_S);
  const attempts = numberOf('attempts', MAX_ATTEMPTS);
  return {
    ...(seconds === undefined ? {} : { timeoutMs: seconds * 1_000 }),
    ...(attempts === undefined ? {} : { attempts }),
  };
}

/** An IPv4-mapped address is the IPv4 it contains. */
function nameServer(text: string): string | undefined {
  const [addressText = '', zone] = text.split('%');
  const mapped = /^::ffff:([0-9.]+)$/i.exec(addressText)?.[1];
  const address = parseIp(mapped ?? addressText);
  if (address === undefined || (zone !== undefined && !/^[\w.-]+$/.test(zone))) return undefined;
  return zone === undefined ? address : `${address}%${zone}`;
}
