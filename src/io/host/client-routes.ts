// Policy routing of the client (client 12): what belongs to resources enters the TUN device, our own sockets never do.
//
//   priority  90   to the portal and to the host's own DNS servers      -> main      (one rule per endpoint)
//   priority 100   not marked by us                                     -> resources (CIDR networks, proxy range, tunnel range)
//   priority 200   everything                                           -> main without its default route
//   priority 300   not marked by us                                     -> default route of the Internet resource
//
// Deviates from the reference in row 200: instead of copying link-scope routes into a table of its own, the kernel is told to look at the
// main table but for its default route, so that nothing has to be kept in step.

import { spawnSync } from 'node:child_process';
import {
  type Endpoint,
  familyOf,
  formatNetwork,
  type IpFamily,
  type IpNetwork,
} from '../../base/address.ts';
import { FzError } from '../../base/errors.ts';

// Specification: client 12.
/** SO_MARK of our own sockets. */
export const FIREZONE_MARK = 0xfd002021;
const RESOURCE_TABLE = 0x2021fd00;
const DEFAULT_TABLE = 0x2021fd02;

// Implementation
const FAMILIES: readonly IpFamily[] = [4, 6];
/** By number: a bare Debian has no `/etc/protocols`. */
const PROTOCOL_NUMBER = { tcp: 6, udp: 17 } as const;
const PRIORITY = { bypass: 90, resources: 100, main: 200, internet: 300 } as const;

export class RouteError extends FzError {
  readonly code = 'FZ_ERR_ROUTES';
}

export interface RoutePlan {
  /** Families that the interface has an address of. */
  readonly families: readonly IpFamily[];
  /** Networks that enter the TUN device. */
  readonly networks: readonly IpNetwork[];
  /** True while the Internet resource is active. */
  readonly isInternetActive: boolean;
  /** Endpoints that must be reached outside of the tunnel: the portal, the host's DNS servers. */
  readonly bypass: readonly (Endpoint & { readonly protocol: 'tcp' | 'udp' })[];
}

export class ClientRoutes {
  readonly #device: string;
  /** Commands that are in force, by the text that adds them; each with the text that takes it back. */
  readonly #inForce = new Map<string, string>();

  constructor(device: string) {
    this.#device = device;
  }

  /** Brings the kernel to `plan` by difference: what stays is not touched. Throws `RouteError`. */
  apply(plan: RoutePlan): void {
    const wanted = new Map<string, string>();
    for (const family of plan.families) {
      for (const [add, remove] of rules(family, plan)) wanted.set(add, remove);
    }
    for (const [add, remove] of routes(this.#device, plan)) wanted.set(add, remove);
    const stale = [...this.#inForce].filter(([add]) => !wanted.has(add));
    const fresh = [...wanted].filter(([add]) => !this.#inForce.has(add));
    ip(
      stale.map(([, remove]) => remove),
      { force: true },
    );
    for (const [add] of stale) this.#inForce.delete(add);
    ip(
      fresh.map(([, remove]) => remove),
      { force: true },
    ); // Left by a run that crashed.
    ip(
      fresh.map(([add]) => add),
      { force: false },
    );
    for (const [add, remove] of fresh) this.#inForce.set(add, remove);
  }

  remove(): void {
    ip([...this.#inForce.values()], { force: true });
    this.#inForce.clear();
  }
}

function rules(family: IpFamily, plan: RoutePlan): [string, string][] {
  const unmarked = `not fwmark ${FIREZONE_MARK}`;
  const selectors = [
    ...plan.bypass
      .filter(({ address }) => familyOf(address) === family)
      .map(
        ({ address, port, protocol }) =>
          `priority ${PRIORITY.bypass} to ${address} ipproto ${PROTOCOL_NUMBER[protocol]} dport ${port} lookup main`,
      ),
    `priority ${PRIORITY.resources} ${unmarked} lookup ${RESOURCE_TABLE}`,
    `priority ${PRIORITY.main} lookup main suppress_prefixlength 0`,
    `priority ${PRIORITY.internet} ${unmarked} lookup ${DEFAULT_TABLE}`,
  ];
  return selectors.map((text) => [`${family} rule add ${text}`, `${family} rule del ${text}`]);
}

function routes(device: string, plan: RoutePlan): [string, string][] {
  const internet = plan.isInternetActive ? ['0.0.0.0/0', '::/0'] : [];
  const lines = [
    ...plan.networks.map((network) => [formatNetwork(network), RESOURCE_TABLE] as const),
    ...internet.map((network) => [network, DEFAULT_TABLE] as const),
  ];
  return lines
    .filter(([network]) => plan.families.includes(network.includes(':') ? 6 : 4))
    .map(([network, table]) => {
      const family = network.includes(':') ? 6 : 4;
      const text = `${network} dev ${device} table ${table} proto static`;
      return [`${family} route replace ${text}`, `${family} route del ${text}`];
    });
}

/**
 * Runs commands of `ip`, each behind its family, in one process for each family; with `force` it goes on after one that fails (something
 * is already gone).
 */
function ip(commands: readonly string[], { force }: { readonly force: boolean }): void {
  for (const family of FAMILIES) {
    const ours = commands.filter((command) => command.startsWith(`${family} `));
    if (ours.length === 0) continue;
    const input = ours.map((command) => `${command.slice(2)}\n`).join('');
    const args = [`-${family}`, ...(force ? ['-force'] : []), '-batch', '-'];
    const result = spawnSync('ip', args, { input, encoding: 'utf8' });
    if (result.error) {
      throw new RouteError('cannot run ip: install the package iproute2', { cause: result.error });
    }
    if (!force && result.status !== 0) {
      const complaint = result.stderr.trim().split('\n')[0];
      throw new RouteError(`the kernel refused a route or rule: ${complaint}`);
    }
  }
}
