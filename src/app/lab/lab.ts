// The lab: a complete access network on this machine. It owns the namespaces and the programs in them and answers questions about them; what is tried
// with it is the scenarios' or the user's.
//
//   portal  relay     gateway behind a router ── resource network (HTTP, DNS, sink)
//      \      |      /
//       the internet ── client behind a router

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommandResult } from '../../io/host/netns.ts';
import {
  type DualAddress,
  LAB_ADDRESSES,
  LAB_ELSEWHERE,
  LAB_NETWORKS,
  LAB_ROUTERS,
} from './addresses.ts';
import { eventually } from './expectations.ts';
import { LabProgramError, ManagedProcess } from './managed-process.ts';
import { defaultLabPolicy, LAB_TOKENS, LabPolicyFile } from './policy.ts';
import type { ResourceServerPlan } from './resource-server.ts';
import type { ScenarioNetwork } from './router-rules.ts';
import { type LabHost, LabNetwork } from './topology.ts';
import { LAB_URLS, type LabUrls } from './urls.ts';
import { type Flow, watchFlow } from './watch-flow.ts';

export interface LabOptions extends ScenarioNetwork {
  /** Also after a failed start. */
  readonly keepLogs: boolean;
  /** Called with one line for each step of the set-up. */
  readonly onProgress: (line: string) => void;
  /** Further settings of gateway and client. */
  readonly settings?: Readonly<Record<string, string>>;
}

export type LabRole = 'portal' | 'relay' | 'gateway' | 'client';

// Implementation
const FOLDER_PREFIX = 'firezone-lab-';
const HEALTH = '127.0.0.1:8080';
const PORTAL_PORT = 8081;
/** How long a client that moves is without any network. */
const ROAMING_MS = 500;
const SINK_PORT = 5_201;
const READY_TIMEOUT_MS = 20_000;
/** A change of the policy file is in force after the portal's watch and the pushes to both ends. */
const POLICY_SETTLES_MS = 1_200;
/** The host that a second gateway of a scenario runs on. */
const SPARE: LabHost = 'relay-2';

/** Of the checkout, from the source as well as from what is compiled. */
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const programs = join(root, 'bin');
const serverScript = join(root, 'dist', 'app', 'lab', 'resource-server.js');

export class Lab {
  readonly network: LabNetwork;
  readonly folder: string;
  readonly policy: LabPolicyFile;
  readonly gatewayId = 'lab-gateway-1';
  readonly urls: LabUrls = LAB_URLS;
  readonly portal: ManagedProcess;
  readonly relay: ManagedProcess;
  readonly gateway: ManagedProcess;
  readonly client: ManagedProcess;
  readonly #resources: readonly ManagedProcess[];
  readonly #options: LabOptions;
  #isElsewhere = false;

  private constructor(network: LabNetwork, options: LabOptions, folder: string) {
    this.network = network;
    this.folder = folder;
    this.#options = options;
    this.policy = new LabPolicyFile(
      join(folder, 'policy.yaml'),
      defaultLabPolicy({
        networkIpv4: LAB_NETWORKS.resource.ipv4,
        networkIpv6: options.ipv6 ? LAB_NETWORKS.resource.ipv6 : undefined,
        filteredIpv4: LAB_ADDRESSES.filtered.ipv4,
        iceless: options.iceless ?? false,
      }),
    );
    this.portal = this.#program('portal', 'portal', this.#portalEnv());
    this.relay = this.#program('relay', 'relay-1', this.#relayEnv());
    this.gateway = this.#program('gateway', 'gateway', this.#gatewayEnv());
    this.client = this.#program('client', 'client', this.#clientEnv());
    this.#resources = [
      this.#server('resource', 'resource', resourcePlan(options.ipv6)),
      this.#server('internet', 'internet', internetPlan(options.ipv6)),
    ];
  }

  /** Builds the network and starts everything; resolves when the client can be used. On failure nothing is left behind. */
  static async create(options: LabOptions): Promise<Lab> {
    options.onProgress('building the network, starting portal and servers');
    const network = LabNetwork.prepare(options);
    const folder = mkdtempSync(join(tmpdir(), FOLDER_PREFIX));
    if (!options.keepLogs) network.removeAtTheLatest(folder);
    const lab = new Lab(network, options, folder);
    try {
      await lab.#startAll();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** Stops everything and removes every trace, logs included unless they are to be kept. */
  async close(): Promise<void> {
    const all = [this.client, this.gateway, this.relay, this.portal, ...this.#resources];
    await Promise.all(all.map((program) => program.stop()));
    this.network.destroy();
    if (!this.#options.keepLogs) rmSync(this.folder, { recursive: true, force: true });
  }

  get addresses(): { readonly filteredIpv4: string } {
    return { filteredIpv4: LAB_ADDRESSES.filtered.ipv4 };
  }

  /** As a program on any host of the lab reaches it. */
  get portalUrl(): string {
    return `ws://portal:${PORTAL_PORT}`;
  }

  get gatewayPublicIpv4(): string {
    return LAB_ROUTERS['gateway-router'].outside.ipv4;
  }

  /** Runs a command to its end on a host of the lab. */
  exec(
    host: LabHost | 'spare',
    command: readonly string[],
    timeoutMs = 90_000,
  ): Promise<CommandResult> {
    return this.network.exec(host === 'spare' ? SPARE : host, command, { timeoutMs });
  }

  /** What /debug/state of a role says. */
  async state(role: 'gateway' | 'client' | 'relay'): Promise<Record<string, unknown> | undefined> {
    const host = role === 'relay' ? 'relay-1' : role;
    const { code, stdout } = await this.exec(host, [
      'curl',
      '--silent',
      '--fail',
      '--max-time',
      '2',
      `http://${HEALTH}/debug/state`,
    ]);
    return code === 0 ? (JSON.parse(stdout) as Record<string, unknown>) : undefined;
  }

  /** `direct` or `relayed` for each connection of the client. */
  async paths(): Promise<string[]> {
    const state = await this.state('client');
    const node = (state?.['client'] as { node?: { connections?: { path?: { kind?: string } }[] } })
      ?.node;
    return (node?.connections ?? []).flatMap(({ path }) => (path?.kind ? [path.kind] : []));
  }

  async clientPublicKey(): Promise<string> {
    const state = await this.state('client');
    return String(state?.['publicKey'] ?? '');
  }

  /** The client's machine gets another address behind another public one, and tells nobody. */
  async roamClient(): Promise<void> {
    this.#isElsewhere = !this.#isElsewhere;
    await this.network.setClientLink(false);
    await new Promise((resolve) => setTimeout(resolve, ROAMING_MS));
    const home = { client: LAB_ADDRESSES.client, outside: LAB_ROUTERS['client-router'].outside };
    const place = this.#isElsewhere ? LAB_ELSEWHERE : home;
    await this.network.setClientAddress(place.client, place.outside);
    await this.network.setClientLink(true);
  }

  watchFlow(url: string): Flow {
    return watchFlow(this.network, url);
  }

  /** Lines at WARN or above of all roles. */
  warnings(): string[] {
    return [this.portal, this.relay, this.gateway, this.client].flatMap((p) => p.warnings());
  }

  settlePolicy(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, POLICY_SETTLES_MS));
  }

  async restart(role: LabRole): Promise<void> {
    await this[role].stop();
    this[role].start();
  }

  async startPortal(): Promise<void> {
    this.portal.start();
    await this.portal.waitForLine(/portal is ready/, READY_TIMEOUT_MS);
  }

  /** All roles are connected and the client's interface is there. */
  async waitUntilReady(): Promise<void> {
    await Promise.all(
      (['gateway', 'client'] as const).map((role) =>
        eventually(`${role} is ready`, READY_TIMEOUT_MS, async () => {
          if (!this[role].isRunning) {
            throw new LabProgramError(
              `${role} ended: ${this[role].log().trim().split('\n').at(-1)}`,
            );
          }
          const { code } = await this.exec(role, [
            'curl',
            '--silent',
            '--fail',
            `http://${HEALTH}/readyz`,
          ]);
          return code === 0 ? true : undefined;
        }),
      ),
    );
  }

  /** Not started yet; where a scenario's second gateway would be. */
  createSecondRelay(): ManagedProcess {
    const { ipv4 } = LAB_ADDRESSES.relay2;
    const { PUBLIC_IP6_ADDR: _, ...env } = this.#relayEnv();
    return this.#program(
      'relay',
      SPARE,
      { ...env, FIREZONE_NAME: 'relay-2', PUBLIC_IP4_ADDR: ipv4 },
      'relay-2',
    );
  }

  /** Runs a second gateway until it gives up by itself; for operators' mistakes. */
  async runSpareGateway(
    env: Readonly<Record<string, string>>,
    wrapper: readonly string[],
  ): Promise<{ readonly exitCode: number | null; readonly output: string }> {
    const [command = '', ...args] = [
      ...wrapper,
      process.execPath,
      join(programs, 'firezone-gateway'),
    ];
    const spare = new ManagedProcess({
      name: 'spare',
      logFile: join(this.folder, 'spare.log'),
      spawn: () =>
        this.network.spawn(
          SPARE,
          command,
          args,
          { ...this.#gatewayEnv(), FIREZONE_ID: 'lab-gateway-2', ...env },
          join(this.folder, 'spare.log'),
        ),
    });
    spare.start();
    const exitCode = await spare.waitForExit(120_000);
    return { exitCode, output: spare.log() };
  }

  async #startAll(): Promise<void> {
    const { onProgress } = this.#options;
    // Both take about as long; the servers need no network to get ready.
    for (const server of this.#resources) server.start();
    await Promise.all([this.network.build(), this.startPortal()]);
    onProgress('starting relay, gateway and client');
    this.relay.start();
    this.gateway.start();
    this.client.start();
    await Promise.all(
      this.#resources.map((server) => server.waitForLine(/ready/, READY_TIMEOUT_MS)),
    );
    await this.waitUntilReady();
  }

  #program(
    role: LabRole,
    host: LabHost,
    env: NodeJS.ProcessEnv,
    name: string = role,
  ): ManagedProcess {
    const logFile = join(this.folder, `${name}.log`);
    const args = [join(programs, `firezone-${role}`)];
    return new ManagedProcess({
      name,
      logFile,
      spawn: () => this.network.spawn(host, process.execPath, args, env, logFile),
    });
  }

  #server(name: string, host: LabHost, plan: ResourceServerPlan): ManagedProcess {
    const logFile = join(this.folder, `${name}-server.log`);
    const args = [serverScript, JSON.stringify(plan)];
    return new ManagedProcess({
      name: `${name} server`,
      logFile,
      spawn: () => this.network.spawn(host, process.execPath, args, baseEnv(), logFile),
    });
  }

  #portalEnv(): NodeJS.ProcessEnv {
    return {
      ...baseEnv(),
      FIREZONE_PORTAL_LISTEN: `${this.#options.ipv6 ? '[::]' : '0.0.0.0'}:${PORTAL_PORT}`,
      FIREZONE_PORTAL_POLICY: this.policy.path,
      FIREZONE_PORTAL_DATABASE: join(this.folder, 'portal.db'),
    };
  }

  #relayEnv(): NodeJS.ProcessEnv {
    const { ipv4, ipv6 } = LAB_ADDRESSES.relay1;
    return {
      ...baseEnv(),
      FIREZONE_TOKEN: LAB_TOKENS.relay,
      FIREZONE_API_URL: this.portalUrl,
      FIREZONE_NAME: 'relay-1',
      FIREZONE_RELAY_TCP_PORTS: '3478,443',
      PUBLIC_IP4_ADDR: ipv4,
      ...(this.#options.ipv6 ? { PUBLIC_IP6_ADDR: ipv6 } : {}),
      HEALTH_CHECK_ADDR: HEALTH,
    };
  }

  #gatewayEnv(): NodeJS.ProcessEnv {
    return {
      ...baseEnv(),
      FIREZONE_TOKEN: LAB_TOKENS.gateway,
      FIREZONE_ID: this.gatewayId,
      FIREZONE_NAME: 'gateway-1',
      FIREZONE_API_URL: this.portalUrl,
      FIREZONE_NO_INC_BUF: 'true',
      ...this.#options.settings,
      HEALTH_CHECK_ADDR: HEALTH,
    };
  }

  #clientEnv(): NodeJS.ProcessEnv {
    const state = join(this.folder, 'client');
    mkdirSync(state, { recursive: true });
    return {
      ...baseEnv(),
      FIREZONE_TOKEN: LAB_TOKENS.client,
      FIREZONE_ID: 'lab-client-1',
      FIREZONE_NAME: 'client-1',
      FIREZONE_API_URL: this.portalUrl,
      FIREZONE_STATE_FOLDER: state,
      FIREZONE_ACTIVATE_INTERNET_RESOURCE: 'true',
      ...this.#options.settings,
      HEALTH_CHECK_ADDR: HEALTH,
    };
  }
}

/** Programs of the lab inherit nothing of the user's settings but the log filter. */
function baseEnv(): NodeJS.ProcessEnv {
  const { PATH, RUST_LOG } = process.env;
  return { PATH, RUST_LOG: RUST_LOG ?? 'info' };
}

function resourcePlan(hasIpv6: boolean): ResourceServerPlan {
  const [host, other] = LAB_ADDRESSES.resourceHosts;
  const both = (address: DualAddress): string[] => usable(address, hasIpv6);
  return {
    httpPorts: [80, 8_000, 8_001, 8_002],
    sinkPort: SINK_PORT,
    dnsAddresses: both(LAB_ADDRESSES.resourceDns),
    names: {
      'web.lab.test': both(host),
      'alias.lab.test': both(host),
      'one.team.lab.test': both(other),
      'six.team.lab.test': hasIpv6 ? [other.ipv6] : [],
      'a.b.deep.lab.test': both(other),
    },
  };
}

/** A web server that is nobody's resource, and a resolver that knows no names. */
function internetPlan(hasIpv6: boolean): ResourceServerPlan {
  return {
    httpPorts: [80],
    sinkPort: SINK_PORT,
    dnsAddresses: usable(LAB_ADDRESSES.internetDns, hasIpv6),
    names: {},
  };
}

function usable({ ipv4, ipv6 }: DualAddress, hasIpv6: boolean): string[] {
  return hasIpv6 ? [ipv4, ipv6] : [ipv4];
}
