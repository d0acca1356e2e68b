// Three namespaces in a row, and the processes of one measurement in them:
//
//   client: iperf3, client's end of the tunnel | outer | gateway: what is measured, routing | inner | server: iperf3

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export const ADDRESSES = {
  client: '10.99.1.1',
  gateway: '10.99.1.2',
  gatewayInside: '10.99.2.1',
  server: '10.99.2.2',
} as const;
export const SERVER_NETWORK = '10.99.2.0/24';
const PATIENCE_MS = 15_000;
const STEP_MS = 50;

export class Net {
  readonly #suffix = String(process.pid);
  readonly #children = new Set<ChildProcess>();
  readonly client: string = `benchc${this.#suffix}`;
  readonly gateway: string = `benchg${this.#suffix}`;
  readonly server: string = `benchs${this.#suffix}`;

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
      [this.gateway, 'inner', ADDRESSES.gatewayInside],
      [this.server, 'inner', ADDRESSES.server],
    ];
    for (const [name, device, address] of links) {
      ip(`-n ${name} addr add ${address}/24 dev ${device}`);
      ip(`-n ${name} link set ${device} up`);
    }
    run(`ip netns exec ${this.gateway} sysctl -qw net.ipv4.ip_forward=1`);
    ip(`-n ${this.server} route add 100.64.0.0/10 via ${ADDRESSES.gatewayInside}`);
  }

  down(): void {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const name of [this.client, this.gateway, this.server]) {
      spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    }
  }

  /** Ends all processes of a measurement. */
  async stop(): Promise<void> {
    await Promise.all([...this.#children].map((child) => this.end(child)));
  }

  async end(child: ChildProcess): Promise<void> {
    if (!this.#children.has(child)) return;
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    const impatient = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
    await ended;
    clearTimeout(impatient);
  }

  /** The process it returns is the program itself: `ip netns exec` replaces itself. */
  spawn(
    namespace: string,
    command: readonly string[],
    options: { readonly env?: NodeJS.ProcessEnv; readonly log?: string } = {},
  ): ChildProcess {
    const output = options.log === undefined ? 'ignore' : openSync(options.log, 'a');
    const child = spawn('ip', ['netns', 'exec', namespace, ...command], {
      stdio: ['ignore', output, output],
      ...(options.env ? { env: options.env } : {}),
    });
    this.#children.add(child);
    child.on('exit', () => this.#children.delete(child));
    return child;
  }

  startServer(): void {
    this.spawn(this.server, ['iperf3', '-s']);
  }

  /** Waits for a TUN device, then gives it an address and a route. */
  async configure(name: string, device: string, address: string, route: string): Promise<void> {
    await eventually(`${device} appears`, () =>
      this.#succeeds(['-n', name, 'link', 'show', device]),
    );
    ip(`-n ${name} link set ${device} mtu 1280 up`);
    ip(`-n ${name} addr add ${address}/32 dev ${device}`);
    ip(`-n ${name} route add ${route} dev ${device}`);
  }

  /** Waits until the server answers through the tunnel. */
  async reachable(): Promise<void> {
    await eventually('the server answers through the tunnel', () =>
      this.#succeeds(['netns', 'exec', this.client, 'ping', '-c1', '-W1', ADDRESSES.server]),
    );
    await delay(200);
  }

  async listening(namespace: string, port: string): Promise<void> {
    await eventually(`port ${port} listens`, () => {
      const args = ['netns', 'exec', namespace, 'ss', '-Hltn', `sport = :${port}`];
      return spawnSync('ip', args, { encoding: 'utf8' }).stdout.trim() !== '';
    });
  }

  /** Waits until a role says that it is ready. */
  async ready(namespace: string, health: string): Promise<void> {
    await eventually(`${health} in ${namespace} is ready`, () =>
      this.#succeeds(['netns', 'exec', namespace, 'curl', '-sf', `http://${health}/readyz`]),
    );
  }

  /** Milliseconds from the first packet of the application to its answer. */
  firstAnswer(): number {
    const args = ['netns', 'exec', this.client, 'ping', '-c1', '-W5', ADDRESSES.server];
    const { stdout } = spawnSync('ip', args, { encoding: 'utf8' });
    return Number(/time=([0-9.]+)/.exec(stdout)?.[1] ?? Number.NaN);
  }

  /** Runs iperf3 at the client and returns its report. */
  async iperf(args: readonly string[]): Promise<IperfReport> {
    const command = ['netns', 'exec', this.client, 'iperf3', '-c', ADDRESSES.server, '-J', ...args];
    const child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(child, 'close');
    const report = JSON.parse(Buffer.concat(chunks).toString()) as IperfReport;
    if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`);
    return report;
  }

  #succeeds(args: readonly string[]): boolean {
    return spawnSync('ip', args, { stdio: 'ignore' }).status === 0;
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

async function eventually(what: string, isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`in vain: ${what}`);
    await delay(STEP_MS);
  }
}

function ip(args: string): void {
  run(`ip ${args}`);
}

function run(line: string): void {
  const [program = '', ...args] = line.split(' ');
  const result = spawnSync(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status !== 0) throw new Error(`failed: ${line}`);
}
