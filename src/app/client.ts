// `firezone-client`: the headless client as a program.

import { Command } from 'commander';
import { CLIENT_IDENTITY, componentName, firezoneId } from '../io/host/identity.ts';
import { requireNetAdmin, requireTunDeviceFile } from '../io/host/privileges.ts';
import { CLIENT_TOKEN_FILE, clientToken } from '../io/host/token.ts';
import { parseLogFilter } from '../io/log/log-filter.ts';
import { createLog } from '../io/log/log-sink.ts';
import { addClientOptions, type ClientConfig } from './client-config.ts';
import { ClientProcess } from './client-process.ts';
import { programVersion, runProgram, runUntilEnd } from './program.ts';

async function run(config: ClientConfig): Promise<void> {
  requireNetAdmin('firezone-client');
  requireTunDeviceFile();
  const identity = {
    id: firezoneId(config.id, CLIENT_IDENTITY),
    name: componentName(config.name),
    token: clientToken(config.token, CLIENT_TOKEN_FILE),
  };
  const filter = parseLogFilter(process.env['RUST_LOG']);
  const log = createLog({ format: config.logFormat, filter }).child('firezone_client');
  log.info('Starting', { version: programVersion() });
  await runUntilEnd(log, (onFatal) => {
    const client = new ClientProcess(config, identity, log, onFatal);
    process.on('SIGHUP', () => client.reset('SIGHUP'));
    return client;
  });
}

const command = new Command('firezone-client')
  .description('A headless Firezone client')
  .version(`firezone-client ${programVersion()}`);
const readConfig = addClientOptions(command);
command.action(() => run(readConfig()));
void runProgram(command);
