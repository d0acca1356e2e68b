// `firezone-gateway lab`: the lab for people, or with --check for machines.

import { Command, Option } from 'commander';
import { requireTunDeviceFile } from '../../io/host/privileges.ts';
import { EXIT, SettingsError } from '../program.ts';
import { checkScenarios, scenarioNames, selectScenarios } from './check.ts';
import { Lab } from './lab.ts';
import type { RouterKind } from './router-rules.ts';
import type { Scenario } from './scenario.ts';
import { introduction, Screen } from './screen.ts';
import { enterUserNamespace } from './user-namespace.ts';

export class UnknownScenarioError extends SettingsError {
  readonly code = 'FZ_ERR_UNKNOWN_SCENARIO';
}

interface LabFlags {
  readonly check?: readonly string[] | true;
  readonly ipv6: boolean;
  readonly clientNat: RouterKind;
  readonly gatewayNat: RouterKind;
  readonly keepLogs?: boolean;
}

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
  const scenarios = flags.check && selectScenarios(flags.check === true ? [] : flags.check);
  if (scenarios?.length === 0) {
    throw new UnknownScenarioError(`no such scenario; there are: ${scenarioNames().join(', ')}`);
  }
  requireTunDeviceFile();
  // An ordinary user has no administrators' programs (ip, nft) on the PATH.
  process.env['PATH'] = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  await enterUserNamespace();
  return scenarios ? check(flags, scenarios) : show(flags);
}

/** Asked to end: by a signal, because `npm start` is gone, or because nobody reads any more. What comes after the first is ignored. */
function untilAskedToEnd(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => resolve());
    if (process.connected) process.once('disconnect', () => resolve());
    process.stdout.on('error', () => resolve());
  });
}

async function check(flags: LabFlags, scenarios: readonly Scenario[]): Promise<void> {
  // The lab of the moment is removed while the process exits.
  void untilAskedToEnd().then(() => process.exit(EXIT.failure));
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
  const asked = untilAskedToEnd();
  const { ipv6, clientNat, gatewayNat } = flags;
  const onProgress = (line: string): void => print(`lab: ${line} ...`);
  const keepLogs = flags.keepLogs === true;
  const creating = Lab.create({ ipv6, clientNat, gatewayNat, keepLogs, onProgress });
  const lab = await Promise.race([creating, asked]);
  if (lab) {
    print(introduction(lab, (performance.now() - startedAt) / 1_000));
    const screen = new Screen(lab, print);
    await asked;
    screen.stop();
  }
  print('lab: removing everything ...');
  await lab?.close();
  process.exit(EXIT.ok);
}
