// Forwarding and masquerade for the gateway: one nftables table of our own, applied in one transaction, removed at exit. It names
// no physical interface (operations 18): what leaves by any interface but the TUN device is masqueraded. Where another chain of the
// forward hook drops by default (Docker, firewalld), two accept rules are added there and taken out again, because a verdict of
// ours cannot overrule theirs.

import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { FzError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';

// Specification: address plan, data-plane 1.1.
const TUNNEL_IPV4 = '100.64.0.0/11';
const TUNNEL_IPV6 = 'fd00:2021:1111::/107';

// Implementation
/**
 * Where programs are looked for. Not on the PATH of an ordinary user, who may start this with a file capability: what we share with `nft`
 * is not for whatever is called so there.
 */
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const TABLE = 'inet firezone_gateway';
const COMMENT = 'firezone-gateway';
/** Sysctls that make the host forward (operations 8.2). IPv6 may be absent. */
const FORWARDING: readonly { readonly path: string; readonly required: boolean }[] = [
  { path: '/proc/sys/net/ipv4/ip_forward', required: true },
  { path: '/proc/sys/net/ipv6/conf/all/forwarding', required: false },
];

export class FirewallError extends FzError {
  readonly code = 'FZ_ERR_FIREWALL';
}

interface ForeignChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
}

export class Firewall {
  readonly #device: string;
  readonly #log: Log;
  readonly #foreign: ForeignChain[] = [];
  #isApplied = false;

  constructor(device: string, log: Log) {
    this.#device = device;
    this.#log = log;
  }

  /** Turns forwarding on and installs the rules; replaces what an earlier, crashed run left behind. */
  apply(): void {
    for (const { path, required } of FORWARDING) this.#enableForwarding(path, required);
    nft(ruleset(this.#device));
    this.#isApplied = true;
    for (const chain of droppingForwardChains()) this.#openForeignChain(chain);
  }

  /** Takes out everything that `apply` put in. Forwarding stays on: others may rely on it by now. */
  remove(): void {
    if (!this.#isApplied) return;
    this.#isApplied = false;
    for (const chain of this.#foreign.splice(0)) removeOwnRules(chain);
    nft(`table ${TABLE}\ndelete table ${TABLE}\n`);
  }

  #enableForwarding(path: string, required: boolean): void {
    try {
      if (readFileSync(path, 'utf8').trim() !== '1') writeFileSync(path, '1');
    } catch (cause) {
      if (!required) return this.#log.info('IPv6 forwarding is not available', { path });
      throw new FirewallError(
        `cannot turn on forwarding (${path}): set net.ipv4.ip_forward=1 on the host`,
        { cause },
      );
    }
  }

  #openForeignChain(chain: ForeignChain): void {
    removeOwnRules(chain);
    const place = `${chain.family} ${chain.table} ${chain.name}`;
    nft(
      `insert rule ${place} iifname "${this.#device}" counter accept comment "${COMMENT}"\n` +
        `insert rule ${place} oifname "${this.#device}" counter accept comment "${COMMENT}"\n`,
    );
    this.#foreign.push(chain);
    this.#log.info('Opened a firewall chain that drops forwarded packets by default', {
      chain: place,
    });
  }
}

function ruleset(device: string): string {
  return `
table ${TABLE}
delete table ${TABLE}
table ${TABLE} {
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "${device}" accept
    oifname "${device}" accept
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != "${device}" ip saddr ${TUNNEL_IPV4} masquerade
    oifname != "${device}" ip6 saddr ${TUNNEL_IPV6} masquerade
  }
}
`;
}

function droppingForwardChains(): ForeignChain[] {
  const result = runNft(['-j', 'list', 'chains']);
  if (result.status !== 0) return [];
  const parsed = JSON.parse(result.stdout) as { nftables?: { chain?: Record<string, unknown> }[] };
  return (parsed.nftables ?? [])
    .flatMap(({ chain }) => (chain ? [chain] : []))
    .filter((chain) => chain['hook'] === 'forward' && chain['policy'] === 'drop')
    .map((chain) => ({
      family: String(chain['family']),
      table: String(chain['table']),
      name: String(chain['name']),
    }));
}

function removeOwnRules({ family, table, name }: ForeignChain): void {
  const listed = runNft(['-a', 'list', 'chain', family, table, name]);
  const handles = [...(listed.stdout ?? '').matchAll(/comment "firezone-gateway" # handle (\d+)/g)];
  if (handles.length === 0) return;
  nft(
    handles
      .map(([, handle]) => `delete rule ${family} ${table} ${name} handle ${handle}`)
      .join('\n'),
  );
}

function runNft(args: readonly string[], input = ''): SpawnSyncReturns<string> {
  const own = process.getuid?.() === 0 ? `:${process.env['PATH'] ?? ''}` : '';
  return spawnSync('nft', args, { input, encoding: 'utf8', env: { PATH: SYSTEM_PATH + own } });
}

function nft(script: string): void {
  const result = runNft(['-f', '-'], script);
  if (result.error) {
    throw new FirewallError(
      'cannot run nft: install the package nftables, or see docs/operating.md for a host firewall of your own',
      { cause: result.error },
    );
  }
  if (result.status !== 0) {
    throw new FirewallError(`nft refused the rules: ${result.stderr.trim().split('\n')[0]}`);
  }
}
