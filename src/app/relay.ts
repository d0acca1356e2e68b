// `firezone-relay`: a TURN relay for Firezone's clients and gateways, with a portal or without one. Flags and environment are the
// official relay's. SIGINT and SIGTERM end it at once: clients notice and move to another relay.

import { Command } from 'commander';
import { parseLogFilter } from '../io/log/log-filter.ts';
import { createLog } from '../io/log/log-sink.ts';
import { programVersion, runProgram } from './program.ts';
import { addRelayOptions, type RelaySettings } from './relay-config.ts';
import { startRelay } from './relay-process.ts';

function buildProgram(): Command {
  const program = new Command('firezone-relay')
    .description('Relays sealed packets between Firezone clients and gateways (TURN, RFC 8656)')
    .version(`firezone-relay ${programVersion()}`);
  const settings = addRelayOptions(program);
  return program.action(() => run(settings()));
}

async function run(settings: RelaySettings): Promise<void> {
  const log = createLog({
    format: settings.logFormat,
    filter: parseLogFilter(process.env['RUST_LOG']),
  });
  const stopped = new Promise<undefined>((resolve) => {
    process.once('SIGINT', () => resolve(undefined));
    process.once('SIGTERM', () => resolve(undefined));
  });
  const relay = await startRelay(settings, log);
  const failure = await Promise.race([stopped, relay.failed]);
  if (failure === undefined) log.info('Stopping');
  await relay.stop();
  if (failure !== undefined) throw failure;
}

await runProgram(buildProgram());
