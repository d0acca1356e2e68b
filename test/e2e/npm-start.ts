// `npm start` as a person runs it, for the tests: started in a process group of its own, watched by what it prints.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Shell: the device file as open to all as udev makes it (containers and virtual machines may have it closed), then the rest of the command. */
export const OPEN_TUN =
  'mount -t tmpfs tun /dev/net; mknod -m 666 /dev/net/tun c 10 200; chmod 666 /dev/net/tun; exec "$@"';
/** Before a command: as an ordinary user. */
export const AS_NOBODY: readonly string[] = [
  ...['unshare', '--mount', 'sh', '-ec', OPEN_TUN, 'sh'],
  ...['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
  ...['env', 'HOME=/tmp', `PATH=${dirname(process.execPath)}:/usr/local/bin:/usr/bin:/bin`],
];
/** Before a command: without the tables of names that a bare Debian lacks (they are the package netbase). */
export const WITHOUT_NETBASE: readonly string[] = [
  ...['unshare', '--mount', 'sh', '-ec'],
  'for f in protocols services; do if [ -e /etc/$f ]; then mount --bind /dev/null /etc/$f; fi; done; exec "$@"',
  'sh',
];
const OWNERS = '/run/firezone-lab';
const POLL_MS = 50;
const TIMEOUT_MS = 60_000;

export class NpmStart {
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #output = '';
  #labId = '';

  constructor(wrapper: readonly string[] = [], args: readonly string[] = []) {
    const [command = '', ...rest] = [...wrapper, 'npm', 'start', '--', ...args];
    // The token of whoever runs the tests would make it a gateway.
    const { FIREZONE_TOKEN: _token, ...env } = process.env;
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    this.#child = spawn(command, rest, { cwd: ROOT, detached: true, stdio: [...stdio], env });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk) => {
        this.#output += chunk;
      });
    }
    this.#ended = new Promise((resolve) => this.#child.once('exit', resolve));
  }

  /** What it printed, without colours: CI services ask for them where there is no terminal, too. */
  get output(): string {
    return stripVTControlCharacters(this.#output);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get ended(): Promise<number | null> {
    return this.#ended;
  }

  async ready(): Promise<void> {
    await until('the lab is ready', () => {
      if (this.#child.exitCode !== null) throw new Error(this.#output);
      return this.output.includes('Ctrl-C removes everything');
    });
  }

  /** What this lab is called in the names of its namespaces; empty as long as it has none. */
  get labId(): string {
    this.#labId ||= this.#findLabId();
    return this.#labId;
  }

  get folder(): string {
    return /Logs: (\S+)\. /.exec(this.output)?.[1] ?? '';
  }

  /** The process that runs the lab. */
  get labPid(): number {
    const found = processes().filter(
      ({ pid, args }) => args.includes('firezone-gateway lab') && this.#isAncestor(pid),
    );
    return found.at(-1)?.pid ?? 0;
  }

  /** As Ctrl-C does. */
  signalGroup(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal);
  }

  /** Ends whatever is still there. */
  async end(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.signalGroup('SIGTERM');
    }
    await this.#ended;
  }

  #findLabId(): string {
    const printed = /fz-([0-9a-f]+)-client/.exec(this.output)?.[1];
    if (printed !== undefined || !existsSync(OWNERS)) return printed ?? '';
    const isOurs = (id: string): boolean => {
      try {
        return readFileSync(`${OWNERS}/${id}`, 'utf8').startsWith(`${this.labPid} `);
      } catch {
        return false; // of a lab that ended meanwhile
      }
    };
    return readdirSync(OWNERS).find(isOurs) ?? '';
  }

  #isAncestor(pid: number): boolean {
    for (let at = pid; at > 1; at = statusOf(at)?.parent ?? 0) if (at === this.pid) return true;
    return false;
  }
}

/** All that run, without those that are dead and not yet collected. */
export function processes(): readonly { readonly pid: number; readonly args: string }[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || (statusOf(Number(name))?.state ?? 'Z') === 'Z') return [];
    try {
      const args = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ');
      return [{ pid: Number(name), args }];
    } catch {
      return []; // ended meanwhile
    }
  });
}

/** `evidence`: what to show when it does not happen. */
export async function until(
  what: string,
  condition: () => boolean,
  evidence: () => string = () => '',
): Promise<void> {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}\n${evidence()}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function statusOf(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', parent = '0'] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}
