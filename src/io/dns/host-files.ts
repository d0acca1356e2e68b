// The hosts file (hosts(5)) and resolv.conf (resolv.conf(5)), read again when they change. A file that cannot be read is empty.

import { readFile, stat } from 'node:fs/promises';
import { type IpAddress, parseIp } from '../../base/address.ts';
import { dnsKey } from '../../wire/dns/name.ts';

// Implementation
/** How often the files are looked at, at most. */
const CHECK_INTERVAL_MS = 1_000;
/** A hosts file of this size is somebody's block list; larger ones are a mistake. */
const MAX_FILE_BYTES = 16 * 1_048_576;

export interface HostSettings {
  /** By folded name. */
  readonly hosts: ReadonlyMap<string, readonly IpAddress[]>;
  /** Addresses; a link-local one with its zone (`fe80::53%eth0`). */
  readonly servers: readonly string[];
  readonly search: readonly string[];
}

export class HostFiles {
  readonly #hosts: WatchedFile<HostSettings['hosts']>;
  readonly #resolvConf: WatchedFile<Omit<HostSettings, 'hosts'>>;

  constructor(hostsPath: string, resolvConfPath: string) {
    this.#hosts = new WatchedFile(hostsPath, parseHosts);
    this.#resolvConf = new WatchedFile(resolvConfPath, parseResolvConf);
  }

  async read(): Promise<HostSettings> {
    const [hosts, resolvConf] = await Promise.all([this.#hosts.read(), this.#resolvConf.read()]);
    return { hosts, ...resolvConf };
  }
}

/** A file and what it means, as of the last look. */
class WatchedFile<Meaning> {
  readonly #path: string;
  readonly #parse: (text: string) => Meaning;
  #meaning: Meaning;
  #version = '';
  #lookedAt = -Infinity;

  constructor(path: string, parse: (text: string) => Meaning) {
    this.#path = path;
    this.#parse = parse;
    this.#meaning = parse('');
  }

  async read(): Promise<Meaning> {
    const now = performance.now();
    if (now - this.#lookedAt < CHECK_INTERVAL_MS) return this.#meaning;
    const { version, size } = await versionOf(this.#path);
    if (version !== this.#version) {
      const isReadable = version !== '' && size <= MAX_FILE_BYTES;
      const text = isReadable ? await readFile(this.#path, 'utf8').catch(() => '') : '';
      this.#meaning = this.#parse(text);
      this.#version = version;
    }
    this.#lookedAt = now;
    return this.#meaning;
  }
}

async function versionOf(path: string): Promise<{ version: string; size: number }> {
  try {
    const { mtimeMs, ino, size } = await stat(path);
    return { version: `${mtimeMs} ${ino} ${size}`, size };
  } catch {
    return { version: '', size: 0 };
  }
}

export function parseHosts(text: string): ReadonlyMap<string, readonly IpAddress[]> {
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

/** Lines that mean nothing here are passed over; of `search` and `domain` the last one counts. */
export function parseResolvConf(text: string): Omit<HostSettings, 'hosts'> {
  const servers: string[] = [];
  let search: string[] = [];
  for (const line of text.replace(/^\uFEFF/, '').split('\n')) {
    const [keyword = '', ...values] = (line.split(/[#;]/)[0] ?? '').trim().split(/\s+/);
    if (keyword === 'nameserver') {
      const server = nameServer(values[0] ?? '');
      if (server !== undefined && !servers.includes(server)) servers.push(server);
    } else if (keyword === 'search' || keyword === 'domain') {
      search = values.map(dnsKey).filter((suffix) => suffix !== '');
    }
  }
  return { servers, search };
}

/** An IPv4-mapped address is the IPv4 it contains. A zone is kept for whoever can use it; the resolver library of Node 20 cannot. */
function nameServer(text: string): string | undefined {
  const [addressText = '', zone] = text.split('%');
  const mapped = /^::ffff:([0-9.]+)$/i.exec(addressText)?.[1];
  const address = parseIp(mapped ?? addressText);
  if (address === undefined || (zone !== undefined && !/^[\w.-]+$/.test(zone))) return undefined;
  return zone === undefined ? address : `${address}%${zone}`;
}
