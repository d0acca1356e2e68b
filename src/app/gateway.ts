// `firezone-gateway`: the product. Without a command it is the gateway; `lab` and `status` are commands of it.

import { Command, Option } from 'commander';
import type { Endpoint } from '../base/address.ts';
import { FzError } from '../base/errors.ts';
import { componentName, firezoneId, GATEWAY_IDENTITY } from '../io/host/identity.ts';
import { requireNetAdmin, requireTunDeviceFile } from '../io/host/privileges.ts';
import { gatewayToken } from '../io/host/token.ts';
import { parseLogFilter } from '../io/log/log-filter.ts';
import { createLog } from '../io/log/log-sink.ts';
import { addGatewayOptions, type GatewayConfig } from './gateway-config.ts';
import { parseAddress } from './options.ts';
import { isBundled, programVersion, refuseExit, runProgram, runUntilEnd } from './program.ts';
import { fetchState, formatState } from './status.ts';

const NAME = 'firezone-gateway';
const DEFAULT_STATUS_ADDRESS = '127.0.0.1:8080';

export class NoCheckoutError extends FzError {
  readonly code = 'FZ_ERR_NO_CHECKOUT';
}

async function run(config: GatewayConfig): Promise<void> {
  if (!config.skipPrivilegeCheck) requireNetAdmin(NAME);
  requireTunDeviceFile();
  const filter = parseLogFilter(process.env['RUST_LOG']);
  const log = createLog({ format: config.logFormat, filter }).child('firezone_gateway');
  log.info('Starting', { version: programVersion(), arch: process.arch, os: process.platform });
  const identity = {
    id: firezoneId(config.id, GATEWAY_IDENTITY),
    name: componentName(config.name),
    token: gatewayToken(config.token, process.env),
  };
  // Loaded late: `status`, `lab` and `--help` need none of it.
  const { GatewayProcess } = await import('./gateway-process.ts');
  await runUntilEnd(log, (onFatal) => new GatewayProcess(config, identity, log, onFatal));
}

function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('what a running gateway on this machine says about itself')
    .option('--json', 'as JSON')
    .addOption(
      new Option('--address <address>', 'its health listener')
        .env('HEALTH_CHECK_ADDR')
        .default(parseAddress(DEFAULT_STATUS_ADDRESS), DEFAULT_STATUS_ADDRESS)
        .argParser(parseAddress),
    )
    .action(async ({ json, address }: { json?: boolean; address: Endpoint }) => {
      const state = await fetchState(address);
      process.stdout.write(json ? `${JSON.stringify(state, undefined, 2)}\n` : formatState(state));
    });
}

function addLabCommand(program: Command): void {
  program
    .command('lab')
    .description('run a complete access network on this machine, in network namespaces')
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options: unknown, command: Command) => {
      if (isBundled()) throw new NoCheckoutError('the lab runs from a checkout: npm start');
      const { labCommand } = await import('./lab/command.ts');
      const lab = labCommand();
      refuseExit(lab);
      await lab.parseAsync(command.args, { from: 'user' });
    });
}

const program = new Command(NAME)
  .description('A Firezone gateway: joins the portal, makes tunnels to clients, enforces policies')
  .version(`${NAME} ${programVersion()}`)
  .enablePositionalOptions();
const readConfig = addGatewayOptions(program);
program.action(() => run(readConfig()));
addStatusCommand(program);
addLabCommand(program);
void runProgram(program);
