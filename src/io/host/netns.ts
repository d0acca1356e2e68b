// A group of network namespaces that belong together: created at once, configured by scripts, entered by programs, and removed
// without a trace, also when their owner was killed. Works through `ip` (iproute2), as root. What the namespaces are for is said
// by who creates the group (the lab's topology).
//
//   /run/netns/fz-<id>-<host>      the namespaces, as `ip netns` makes them
//   /etc/netns/fz-<id>-<host>/     files that `ip netns exec` puts over those of /etc
//   /run/firezone-lab/<id>         the owner: process id and start time
//
// Beside the owner runs a guard, a shell that does nothing but wait for the owner's end, to remove what the owner could not.

import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { FzError } from '../../base/errors.ts';

export class NetworkNamespaceError extends FzError {
  readonly code = 'FZ_ERR_NETWORK_NAMESPACE';
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

// Implementation
const PREFIX = 'fz-';
const OWNERS = '/run/firezone-lab';
const NAMESPACES = '/run/netns';
const CONFIGURATION = '/etc/netns';
/** Longest time for a command run to its end, unless said otherwise. */
const EXEC_TIMEOUT_MS = 30_000;
const MAX_ATTEMPTS = 5;
/** Reads paths to remove, until the owner closes the pipe or is gone. $1 is the group's id. */
const GUARD = `
id=$1; shift
while IFS= read -r path; do set -- "$@" "$path"; done
for file in ${NAMESPACES}/${PREFIX}$id-*; do
  [ -e "$file" ] || continue
  for pid in $(ip netns pids "\${file##*/}"); do kill -KILL "$pid"; done
  ip netns del "\${file##*/}"
done
rm -rf ${CONFIGURATION}/${PREFIX}$id-* ${OWNERS}/$id "$@"
rmdir ${CONFIGURATION} ${OWNERS}
`;
const MAX_OUTPUT_LENGTH = 64 * 1024 * 1024;

export class NamespaceGroup {
  readonly id: string;
  readonly #hosts: readonly string[];
  readonly #children = new Set<ChildProcess>();
  readonly #onExit = (): void => this.destroy();
  readonly #guard: ChildProcess;
  #isDestroyed = false;

  /** Also removes what groups of dead owners left behind. */
  static create(hosts: readonly string[]): NamespaceGroup {
    removeStaleGroups();
    const group = new NamespaceGroup(hosts);
    try {
      runIpBatch(hosts.map((host) => `netns add ${group.nameOf(host)}`));
    } catch (error) {
      group.destroy();
      throw error;
    }
    return group;
  }

  constructor(hosts: readonly string[]) {
    this.id = randomBytes(3).toString('hex');
    this.#hosts = hosts;
    writeOwner(this.id);
    // Its own process group: Ctrl-C is not for it.
    this.#guard = spawn('sh', ['-c', GUARD, 'firezone-lab-guard', this.id], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      cwd: '/',
    });
    this.#guard.unref();
    process.once('exit', this.#onExit);
  }

  nameOf(host: string): string {
    return `${PREFIX}${this.id}-${host}`;
  }

  /** A file or folder of the owner's that goes at the latest when the owner is gone, however it ended. */
  removeAtTheLatest(path: string): void {
    this.#guard.stdin?.write(`${path}\n`);
  }

  /** Runs a shell script in a namespace; rejects with what it printed if it fails. */
  async configure(host: string, script: string): Promise<void> {
    const { code, stderr, stdout } = await this.exec(host, ['sh', '-ec', script]);
    if (code !== 0) {
      throw new NetworkNamespaceError(
        `cannot configure ${host}: ${stderr.trim() || stdout.trim()}`,
      );
    }
  }

  /** A file that programs in that namespace see under /etc in place of the system's; for those started from now on. */
  writeEtcFile(host: string, name: string, text: string): void {
    const folder = `${CONFIGURATION}/${this.nameOf(host)}`;
    insisting(() => {
      mkdirSync(folder, { recursive: true });
      writeFileSync(`${folder}/${name}`, text);
    });
  }

  readEtcFile(host: string, name: string): string {
    return readFileSync(`${CONFIGURATION}/${this.nameOf(host)}/${name}`, 'utf8');
  }

  /** Starts a program; it leads a process group of its own, which ends with this group at the latest. */
  spawn(
    host: string,
    command: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    logFile: string,
  ): ChildProcess {
    const log = openSync(logFile, 'a');
    const child = spawn('ip', ['netns', 'exec', this.nameOf(host), command, ...args], {
      detached: true,
      stdio: ['ignore', log, log],
      env,
    });
    closeSync(log);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.once('error', () => this.#children.delete(child));
    return child;
  }

  /** Runs a command to its end. Never rejects because of the command: see `code`, which is -1 where it was killed. */
  exec(
    host: string,
    command: readonly string[],
    options: { readonly timeoutMs?: number } = {},
  ): Promise<CommandResult> {
    const args = ['netns', 'exec', this.nameOf(host), ...command];
    const limits = {
      timeout: options.timeoutMs ?? EXEC_TIMEOUT_MS,
      killSignal: 'SIGKILL' as const,
      maxBuffer: MAX_OUTPUT_LENGTH,
    };
    return new Promise((resolve) => {
      const child = execFile('ip', args, limits, (error, stdout, stderr) => {
        this.#children.delete(child);
        const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
        resolve({ code, stdout, stderr });
      });
      this.#children.add(child);
    });
  }

  /** Ends every program and removes every namespace and file. Synchronous, so that it also works while the process exits. */
  destroy(): void {
    if (this.#isDestroyed) return;
    this.#isDestroyed = true;
    process.off('exit', this.#onExit);
    for (const child of this.#children) endProcessGroup(child.pid);
    removeGroup(this.id);
    this.#guard.stdin?.end();
  }

  get hosts(): readonly string[] {
    return this.#hosts;
  }
}

/** Removes the groups whose owner is gone, with all that still runs in them. Returns their ids. */
export function removeStaleGroups(): readonly string[] {
  if (!existsSync(OWNERS)) return [];
  const stale = readdirSync(OWNERS).filter((id) => !id.startsWith('.') && !isOwnerAlive(id));
  for (const id of stale) removeGroup(id);
  return stale;
}

/** Runs `ip -batch`: one process for many changes. */
export function runIpBatch(lines: readonly string[]): void {
  const { status, stderr, error } = spawnSync('ip', ['-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
  });
  if (error) throw new NetworkNamespaceError('cannot run ip: install iproute2', { cause: error });
  if (status !== 0) throw new NetworkNamespaceError(`ip failed: ${stderr.trim()}`);
}

function removeGroup(id: string): void {
  const prefix = `${PREFIX}${id}-`;
  const belongs = (name: string): boolean => name.startsWith(prefix);
  const names = existsSync(NAMESPACES) ? readdirSync(NAMESPACES).filter(belongs) : [];
  for (const name of names) {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
    for (const pid of (stdout ?? '').split('\n')) if (pid !== '') endProcess(Number(pid));
  }
  if (names.length > 0) {
    const input = names.map((name) => `netns del ${name}\n`).join('');
    spawnSync('ip', ['-force', '-batch', '-'], { input });
  }
  const folders = existsSync(CONFIGURATION) ? readdirSync(CONFIGURATION).filter(belongs) : [];
  for (const name of folders) rmSync(`${CONFIGURATION}/${name}`, { recursive: true, force: true });
  rmSync(`${OWNERS}/${id}`, { force: true });
  for (const folder of [CONFIGURATION, OWNERS]) removeIfEmpty(folder);
}

function writeOwner(id: string): void {
  // In one step, because to another group an empty file has a dead owner.
  const draft = `${OWNERS}/.${id}`;
  insisting(() => {
    mkdirSync(OWNERS, { recursive: true });
    writeFileSync(draft, `${process.pid} ${startTimeOf(process.pid)}\n`);
    renameSync(draft, `${OWNERS}/${id}`);
  });
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Others use it, or it is gone already.
  }
}

/** Another group may remove a shared folder, empty at that moment, between two steps of `write`. */
function insisting(write: () => void): void {
  for (let attempt = 1; ; attempt++) {
    try {
      return write();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === MAX_ATTEMPTS)
        throw error;
    }
  }
}

function isOwnerAlive(id: string): boolean {
  try {
    const [pid = '', start = ''] = readFileSync(`${OWNERS}/${id}`, 'utf8').trim().split(' ');
    return start !== '' && startTimeOf(Number(pid)) === start;
  } catch {
    return false; // removed by its owner meanwhile
  }
}

/** Field 22 of /proc/<pid>/stat (proc(5)): with the id it names a process for good. Empty if there is none. */
function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return '';
  }
}

function endProcessGroup(pid: number | undefined): void {
  if (pid !== undefined) endProcess(-pid) || endProcess(pid);
}

function endProcess(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false; // it ended by itself
  }
}
