// The lab without root: where unprivileged user namespaces work, a second self runs in one, as its root, with a network, mounts, a /run and an /etc of its
// own. Nothing of it is visible outside, and it ends with the first self.

import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { FzError } from '../../base/errors.ts';
import { hasNetAdmin } from '../../io/host/privileges.ts';
import { EXIT } from '../program.ts';

export class LabPrivilegeError extends FzError {
  readonly code = 'FZ_ERR_LAB_PRIVILEGES';
}

// Implementation
/** Set for the second self. */
const INSIDE_VARIABLE = 'FIREZONE_LAB_INSIDE';
const UNSHARE = ['--user', '--map-root-user', '--net', '--mount'];
/** What the lab does first; some hosts allow the namespace and refuse everything in it. */
const PROBE = 'mount -t tmpfs tmpfs /run && ip link set lo up';
/**
 * `ip netns` keeps its things in /run and /etc, and lays files over those of /etc, which must therefore be there: resolv.conf is often
 * a link into the /run that is hidden now.
 */
const PREPARE = `
mount -t tmpfs tmpfs /run
mkdir /run/etc
cp -a /etc/. /run/etc/ 2>/dev/null
mount --bind /run/etc /etc
for file in resolv.conf hosts; do
  [ -e "/etc/$file" ] || { rm -f "/etc/$file"; : > "/etc/$file"; }
done
exec setpriv --pdeathsig TERM "$@"
`;
/** Switches that forbid user namespaces, each with the value that does. */
const SWITCHES: readonly (readonly [name: string, forbids: string, allows: string])[] = [
  ['kernel.apparmor_restrict_unprivileged_userns', '1', '0'],
  ['kernel.unprivileged_userns_clone', '0', '1'],
  ['user.max_user_namespaces', '0', '10000'],
];

/** Returns at once where this process may make network namespaces; else the second self does the work, and this one ends with its exit code. */
export async function enterUserNamespace(): Promise<void> {
  if (hasNetAdmin()) return;
  const probe = spawnSync('unshare', [...UNSHARE, 'sh', '-c', PROBE]);
  if (process.env[INSIDE_VARIABLE] !== undefined || probe.status !== 0) {
    throw new LabPrivilegeError(
      `the lab needs CAP_NET_ADMIN for its network namespaces: run it as root (sudo npm start)${alternative()}`,
    );
  }
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', [...UNSHARE, 'sh', '-c', PREPARE, 'sh', ...self], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE_VARIABLE]: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill(signal));
  }
  process.once('disconnect', () => child.kill('SIGTERM'));
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  process.exit(code ?? EXIT.failure);
}

function alternative(): string {
  const found = SWITCHES.find(([name, forbids]) => readSysctl(name) === forbids);
  if (!found) return '; unprivileged user namespaces do not work here either';
  const [name, , allows] = found;
  return `, or allow unprivileged user namespaces (sudo sysctl ${name}=${allows})`;
}

function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8').trim();
  } catch {
    return undefined; // not on this kernel
  }
}
