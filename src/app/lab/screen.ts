// What the lab shows in a terminal: what runs where, lines to try as they stand, and then events and traffic as they happen.

import pc from 'picocolors';
import { LAB_ADDRESSES, LAB_ROUTERS } from './addresses.ts';
import type { Lab, LabRole } from './lab.ts';
import { LogTail } from './log-tail.ts';
import type { LabHost } from './topology.ts';

// Implementation
const POLL_MS = 500;
const TRAFFIC_EVERY_MS = 1_000;
const ROLES: readonly LabRole[] = ['portal', 'relay', 'gateway', 'client'];

export function introduction(lab: Lab, secondsToReady: number): string {
  const inside = (host: LabHost): string => lab.network.namespaceOf(host);
  const client = `ip netns exec ${inside('client')}`;
  const { portal, relay1, gateway, client: device } = LAB_ADDRESSES;
  const gatewayRouter = LAB_ROUTERS['gateway-router'].outside;
  const clientRouter = LAB_ROUTERS['client-router'].outside;
  const row = (what: string, where: string, note: string): string =>
    `  ${what.padEnd(10)}${where.padEnd(24)}${pc.dim(note)}`;
  return [
    '',
    pc.bold(`The lab is ready after ${secondsToReady.toFixed(1)} s.`),
    '',
    row('portal', inside('portal'), `${portal.ipv4}, policy ${lab.policy.path}`),
    row('relay', inside('relay-1'), relay1.ipv4),
    row(
      'gateway',
      inside('gateway'),
      `${gateway.ipv4} behind a NAT router at ${gatewayRouter.ipv4}`,
    ),
    row('client', inside('client'), `${device.ipv4} behind a NAT router at ${clientRouter.ipv4}`),
    row(
      'resources',
      inside('resource'),
      '10.20.0.0/24 and 10.21.0.1, only reachable from the gateway',
    ),
    '',
    'Try, in another terminal:',
    '',
    ...[
      `${client} curl ${lab.urls.httpIpv4}`,
      `${client} dig web.lab.test`,
      `${client} curl http://web.lab.test/`,
      `${client} curl http://one.team.lab.test/`,
      `${client} curl -o /dev/null '${lab.urls.bytes(500_000_000)}'`,
      `${client} curl ${lab.urls.httpFiltered.replace(/\/$/, ':8002/')}    ${pc.dim('# refused by a filter, at once')}`,
      `${client} ping -c 3 10.20.0.100`,
    ].map((line) => `  ${line}`),
    '',
    `Edit the policy file above and watch what happens. Logs: ${lab.folder}. Ctrl-C removes everything.`,
    '',
  ].join('\n');
}

/** Prints events of the roles and the traffic of the tunnel until `stop` is called. */
export class Screen {
  readonly #lab: Lab;
  readonly #print: (line: string) => void;
  readonly #tails: ReadonlyMap<LabRole, LogTail>;
  readonly #timers: readonly NodeJS.Timeout[];
  /** The device is as old as the lab: what has passed before the first look is shown, too. */
  #lastBytes = { up: 0, down: 0 };
  #wasQuiet = true;

  constructor(lab: Lab, print: (line: string) => void) {
    this.#lab = lab;
    this.#print = print;
    this.#tails = new Map(ROLES.map((role) => [role, new LogTail(lab[role].logFile)]));
    for (const tail of this.#tails.values()) tail.readNew();
    this.#timers = [
      setInterval(() => this.#showEvents(), POLL_MS),
      setInterval(() => void this.#showTraffic(), TRAFFIC_EVERY_MS),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  #showEvents(): void {
    for (const [role, tail] of this.#tails) {
      for (const line of tail.readNew()) this.#print(decorate(role, line));
    }
  }

  /** Bytes through the client's TUN device; silent while nothing moves. */
  async #showTraffic(): Promise<void> {
    const folder = '/sys/class/net/tun-firezone/statistics';
    const { code, stdout } = await this.#lab.exec('client', [
      'cat',
      `${folder}/tx_bytes`,
      `${folder}/rx_bytes`,
    ]);
    if (code !== 0) return;
    const [up = 0, down = 0] = stdout.trim().split('\n').map(Number);
    const last = this.#lastBytes;
    this.#lastBytes = { up, down };
    const [upRate, downRate] = [rate(up - last.up), rate(down - last.down)];
    const isQuiet = up - last.up < 2_000 && down - last.down < 2_000;
    if (isQuiet && this.#wasQuiet) return;
    this.#wasQuiet = isQuiet;
    const path = (await this.#lab.paths())[0] ?? 'no connection';
    this.#print(
      `${pc.dim(now())} ${pc.magenta('traffic'.padEnd(8))} up ${upRate}, down ${downRate} ${pc.dim(`(${path})`)}`,
    );
  }
}

function rate(bytes: number): string {
  const bits = bytes * 8;
  if (bits >= 1e9) return `${(bits / 1e9).toFixed(2)} Gbit/s`;
  if (bits >= 1e6) return `${(bits / 1e6).toFixed(1)} Mbit/s`;
  return `${(bits / 1e3).toFixed(1)} kbit/s`;
}

const COLOUR: Readonly<Record<LabRole, (text: string) => string>> = {
  portal: pc.yellow,
  relay: pc.blue,
  gateway: pc.green,
  client: pc.cyan,
};

function decorate(role: LabRole, line: string): string {
  const text = line.replace(/^\S+\s+\S*\s*(?=(ERROR|WARN|INFO|DEBUG|TRACE))/, '');
  const marked = /^(ERROR|WARN)/.test(text) ? pc.red(text) : text.replace(/^INFO\s+/, '');
  return `${pc.dim(now())} ${COLOUR[role](role.padEnd(8))} ${marked}`;
}

function now(): string {
  return new Date().toISOString().slice(11, 19);
}
