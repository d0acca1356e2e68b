// `firezone-gateway lab`: the lab for people, or with --check for machines.

import { spawnSync } from 'node:child_process';
import { Command, Option } from 'commander';
import { FzError } from '../../base/errors.ts';
import { hasNetAdmin, requireTunDeviceFile } from '../../io/privileges.ts';
import { EXIT } from '../program.ts';
import { checkScenarios, scenarioNames, selectScenarios } from './check.ts';
import { Lab } from './lab.ts';
import type { RouterKind } from './router-rules.ts';
import { introduction, Screen } from './screen.ts';

export class LabPrivilegeError extends FzError {
  readonly code = 'FZ_ERR_LAB_PRIVILEGES';
}

export class UnknownScenarioError extends FzError {
  readonly code = 'FZ_ERR_UNKNOWN_SCENARIO';
}

interface LabFlags {
  readonly check?: readonly string[] | true;
  readonly ipv6: boolean;
  readonly clientNat: RouterKind;
  readonly gatewayNat: RouterKind;
  readonly keepLogs?: boolean;
}

// Implementation
/** Set for the second self that runs inside a user namespace. */
const INSIDE_VARIABLE = 'FIREZONE_LAB_INSIDE';

/** A command of its own, so that the gateway's options and settings are not the lab's. */
export function labCommand(): Command {
  const nat = (who: string): Option =>
    new Option(`--${who}-nat <kind>`, `NAT of the ${who}'s router`)
      .choices(['port-keeping', 'symmetric', 'none'])
      .default('port-keeping');
  return new Command('firezone-gateway lab')
    .description('run a complete access network on this machine, in network namespaces')
    .option('--check [scenarios...]', 'run scenarios without a terminal and report')
    .option('--no-ipv6', 'IPv4 only')
    .option('--keep-logs', 'keep the folder with logs and policy')
    .addOption(nat('client'))
    .addOption(nat('gateway'))
    .action((flags: LabFlags) => runLab(flags));
}

async function runLab(flags: LabFlags): Promise<void> {
  enterNamespace();
  requireTunDeviceFile();
  if (flags.check) return check(flags, flags.check === true ? [] : flags.check);
  return show(flags);
}

async function check(flags: LabFlags, names: readonly string[]): Promise<void> {
  const scenarios = selectScenarios(names);
  if (scenarios.length === 0) {
    throw new UnknownScenarioError(`no such scenario; there are: ${scenarioNames().join(', ')}`);
  }
  const failed = await checkScenarios(scenarios, {
    ipv6: flags.ipv6,
    keepLogs: flags.keepLogs === true,
    print: (line) => process.stdout.write(`${line}\n`),
  });
  process.exit(failed === 0 ? EXIT.ok : EXIT.failure);
}

async function show(flags: LabFlags): Promise<void> {
  const startedAt = performance.now();
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  const asked = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, resolve);
  });
  const { ipv6, clientNat, gatewayNat } = flags;
  const onProgress = (line: string): void => print(`lab: ${line} ...`);
  const keepLogs = flags.keepLogs === true;
  const creating = Lab.create({ ipv6, clientNat, gatewayNat, keepLogs, onProgress });
  const first = await Promise.race([creating, asked]);
  if (first) {
    print(introduction(first, (performance.now() - startedAt) / 1_000));
    const screen = new Screen(first, print);
    await asked;
    screen.stop();
  }
  print('lab: removing everything ...');
  const lab = await creating;
  await lab.close();
  process.exit(EXIT.ok);
}

/**
 * Without CAP_NET_ADMIN: where unprivileged user namespaces work, the lab runs in one, as a second self with a network, mounts and an /etc of its own;
 * where they do not, one line says what is missing.
 */
function enterNamespace(): void {
  if (hasNetAdmin()) return;
  const probe = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true']);
  if (process.env[INSIDE_VARIABLE] !== undefined || probe.status !== 0) {
    throw new LabPrivilegeError(
      'the lab needs CAP_NET_ADMIN for its network namespaces: run it as root (sudo npm start), ' +
        'or allow unprivileged user namespaces (sudo sysctl kernel.unprivileged_userns_clone=1)',
    );
  }
  const prepare = [
    'mount -t tmpfs tmpfs /run',
    'mkdir /run/etc && cp -a /etc/. /run/etc/ 2>/dev/null',
    'mount --bind /run/etc /etc',
    'exec "$@"',
  ].join('; ');
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const result = spawnSync(
    'unshare',
    ['--user', '--map-root-user', '--net', '--mount', 'sh', '-c', prepare, 'sh', ...self],
    { stdio: 'inherit', env: { ...process.env, [INSIDE_VARIABLE]: '1' } },
  );
  process.exit(result.status ?? EXIT.failure);
}
