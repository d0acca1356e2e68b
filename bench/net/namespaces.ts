// Three namespaces in a row, each measurement with processes of its own:
//
//   client: iperf3, floor as the client's tunnel | outer | gateway: floor or ours, routing | inner | server: iperf3

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

const ADDRESSES = { client: '10.99.1.1', gateway: '10.99.1.2', server: '10.99.2.2' } as const;
const TUNNEL_PORT = '5000';

/** A gateway under test: the command that runs it, but for its arguments. */
export interface Subject {
  readonly name: string;
  readonly command: readonly string[];
}

export class Net {
  readonly #suffix = String(process.pid);
  readonly #children = new Set<ChildProcess>();
  readonly client = `benchc${this.#suffix}`;
  readonly gateway = `benchg${this.#suffix}`;
  readonly server = `benchs${this.#suffix}`;

  up(): void {
    for (const name of [this.client, this.gateway, this.server]) {
      ip(`netns add ${name}`);
      ip(`-n ${name} link set lo up`);
    }
    ip(`link add outer netns ${this.client} type veth peer name outer netns ${this.gateway}`);
    ip(`link add inner netns ${this.gateway} type veth peer name inner netns ${this.server}`);
    const links = [
      [this.client, 'outer', ADDRESSES.client],
      [this.gateway, 'outer', ADDRESSES.gateway],
      [this.gateway, 'inner', '10.99.2.1'],
      [this.server, 'inner', ADDRESSES.server],
    ];
    for (const [name, device, address] of links) {
      ip(`-n ${name} addr add ${address}/24 dev ${device}`);
      ip(`-n ${name} link set ${device} up`);
    }
    run(`ip netns exec ${this.gateway} sysctl -qw net.ipv4.ip_forward=1`);
    ip(`-n ${this.server} route add 100.64.0.0/10 via 10.99.2.1`);
  }

  down(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of [this.client, this.gateway, this.server]) {
      spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    }
  }

  /** Starts both ends of a tunnel and the server; returns the gateway's process. */
  async start(floor: Subject, subject: Subject): Promise<ChildProcess> {
    this.#spawn(this.client, [
      ...floor.command,
      'tunc',
      TUNNEL_PORT,
      ADDRESSES.gateway,
      TUNNEL_PORT,
    ]);
    const gateway = this.#spawn(this.gateway, [
      ...subject.command,
      'tung',
      TUNNEL_PORT,
      ADDRESSES.client,
      TUNNEL_PORT,
    ]);
    await this.#interface(this.client, 'tunc', '100.64.0.2', '10.99.2.0/24');
    await this.#interface(this.gateway, 'tung', '100.64.0.1', '100.64.0.2/32');
    this.#spawn(this.server, ['iperf3', '-s'], 'ignore');
    await this.#reachable();
    return gateway;
  }

  async stop(): Promise<void> {
    const ended = [...this.#children].map((child) => once(child, 'exit'));
    for (const child of this.#children) child.kill('SIGTERM');
    await Promise.all(ended);
  }

  /** Runs iperf3 at the client and returns its report. */
  async iperf(args: readonly string[]): Promise<IperfReport> {
    const child = spawn(
      'ip',
      ['netns', 'exec', this.client, 'iperf3', '-c', ADDRESSES.server, '-J', ...args],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(child, 'close');
    const report = JSON.parse(Buffer.concat(chunks).toString()) as IperfReport;
    if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
    return report;
  }

  #spawn(
    namespace: string,
    command: readonly string[],
    errors: 'inherit' | 'ignore' = 'inherit',
  ): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], {
      stdio: ['ignore', 'ignore', errors],
    });
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  async #interface(name: string, device: string, address: string, route: string): Promise<void> {
    for (let tries = 0; tries < 100; tries++) {
      const found = spawnSync('ip', ['-n', name, 'link', 'show', device], { stdio: 'ignore' });
      if (found.status === 0) {
        ip(`-n ${name} link set ${device} mtu 1280 up`);
        ip(`-n ${name} addr add ${address}/32 dev ${device}`);
        ip(`-n ${name} route add ${route} dev ${device}`);
        return;
      }
      await delay(50);
    }
    throw new Error(`${device} did not appear in ${name}`);
  }

  async #reachable(): Promise<void> {
    for (let tries = 0; tries < 50; tries++) {
      const ping = ['netns', 'exec', this.client, 'ping', '-c', '1', '-W', '1', ADDRESSES.server];
      if (spawnSync('ip', ping, { stdio: 'ignore' }).status === 0) return delay(200);
      await delay(50);
    }
    throw new Error('the server cannot be reached through the tunnel');
  }
}

export interface IperfReport {
  readonly error?: string;
  readonly end: {
    /** TCP. */
    readonly sum_received?: { readonly bytes: number; readonly bits_per_second: number };
    /** UDP, of the receiver. */
    readonly sum?: {
      readonly bytes: number;
      readonly bits_per_second: number;
      readonly packets: number;
      readonly lost_packets: number;
    };
  };
}

function ip(args: string): void {
  run(`ip ${args}`);
}

function run(line: string): void {
  const [program = '', ...args] = line.split(' ');
  const result = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) throw new Error(`failed: ${line}`);
}
