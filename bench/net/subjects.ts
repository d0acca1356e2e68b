// What is measured: the floor, our native path alone, our complete gateway. Each starts both ends of a tunnel between the
// namespaces and names the process whose time counts.

import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ADDRESSES, type Net, SERVER_NETWORK } from './namespaces.ts';

/** Bundles live in build/bench/NAME. */
export const ROOT: string = fileURLToPath(new URL('../../..', import.meta.url));

const TUNNEL_PORT = '5000';
const PORTAL_PORT = '8081';

export interface Subject {
  readonly name: string;
  /** Starts a gateway and a client; returns the gateway's process. The tunnel may not be up yet. */
  start(net: Net): Promise<ChildProcess>;
}

/** A program of the floor's kind on the gateway's side, the floor on the client's. */
export class FixedKeySubject implements Subject {
  readonly name: string;
  readonly #floor: string;
  readonly #command: readonly string[];

  constructor(name: string, floor: string, command: readonly string[]) {
    this.name = name;
    this.#floor = floor;
    this.#command = command;
  }

  async start(net: Net): Promise<ChildProcess> {
    const { client, gateway } = ADDRESSES;
    net.spawn(net.client, [this.#floor, 'tunc', TUNNEL_PORT, gateway, TUNNEL_PORT]);
    const command = [...this.#command, 'tung', TUNNEL_PORT, client, TUNNEL_PORT];
    const process = net.spawn(net.gateway, command);
    await net.configure(net.client, 'tunc', '100.64.0.2', SERVER_NETWORK);
    await net.configure(net.gateway, 'tung', '100.64.0.1', '100.64.0.2/32');
    return process;
  }
}

/** Portal, gateway and client as an operator runs them; portal and gateway share a namespace. No firewall, as with the floor. */
export class CompleteSubject implements Subject {
  readonly name = 'gateway';
  readonly #folder = mkdtempSync(join(tmpdir(), 'firezone-bench-'));
  #client: ChildProcess | undefined;

  async start(net: Net): Promise<ChildProcess> {
    const policy = join(this.#folder, 'policy.yaml');
    writeFileSync(policy, POLICY);
    rmSync(join(this.#folder, 'portal.db'), { force: true });
    this.#program(net, net.gateway, 'portal', {
      FIREZONE_PORTAL_LISTEN: `0.0.0.0:${PORTAL_PORT}`,
      FIREZONE_PORTAL_POLICY: policy,
      FIREZONE_PORTAL_DATABASE: join(this.#folder, 'portal.db'),
      HEALTH_CHECK_ADDR: '127.0.0.1:8090',
    });
    await net.listening(net.gateway, PORTAL_PORT);
    const gateway = this.#program(net, net.gateway, 'gateway', {
      FIREZONE_TOKEN: 'bench-gateway-token',
      FIREZONE_ID: 'bench-gateway',
      FIREZONE_NAME: 'gateway',
      FIREZONE_API_URL: `ws://127.0.0.1:${PORTAL_PORT}`,
      FIREZONE_NO_INC_BUF: 'true',
      FIREZONE_NO_FIREWALL: 'true',
      HEALTH_CHECK_ADDR: '127.0.0.1:8080',
    });
    await net.ready(net.gateway, '127.0.0.1:8080');
    await this.#startClient(net);
    return gateway;
  }

  async restartClient(net: Net): Promise<void> {
    if (this.#client !== undefined) await net.end(this.#client);
    await this.#startClient(net);
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Resolves when the client could be used; it has no connection yet. */
  async #startClient(net: Net): Promise<void> {
    this.#client = this.#program(net, net.client, 'client', {
      FIREZONE_TOKEN: 'bench-client-token',
      FIREZONE_ID: 'bench-client',
      FIREZONE_NAME: 'client',
      FIREZONE_API_URL: `ws://${ADDRESSES.gateway}:${PORTAL_PORT}`,
      FIREZONE_STATE_FOLDER: this.#folder,
      FIREZONE_DNS_CONTROL: 'disabled',
      HEALTH_CHECK_ADDR: '127.0.0.1:8080',
    });
    await net.ready(net.client, '127.0.0.1:8080');
  }

  #program(net: Net, namespace: string, role: string, env: NodeJS.ProcessEnv): ChildProcess {
    const log = join(this.#folder, `${role}.log`);
    const { PATH } = process.env;
    return net.spawn(namespace, [process.execPath, join(ROOT, 'bin', `firezone-${role}`)], {
      env: { PATH, RUST_LOG: 'warn', ...env },
      log,
    });
  }
}

const POLICY = `account: bench
sites:
  - name: bench
    gateway_tokens: [bench-gateway-token]
groups: [everyone]
actors:
  - name: bench
    groups: [everyone]
    tokens: [bench-client-token]
resources:
  - name: servers
    type: cidr
    site: bench
    address: ${SERVER_NETWORK}
policies:
  - group: everyone
    resource: servers
`;
