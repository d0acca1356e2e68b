// `firezone-relay`: a TURN relay for Firezone's clients and gateways, with a portal or without one. Flags and environment are the
// official relay's. SIGTERM lets clients move to another relay first, for a while; a second one, or SIGINT, ends it at once.

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
  const interrupted = signal('SIGINT');
  const terminated = signal('SIGTERM');
  const relay = await startRelay(settings, log);
  const failure = await Promise.race([interrupted, terminated, relay.failed]);
  if (failure === undefined) {
    log.info('Stopping', { allocations: relay.relay.allocationCount });
    const isUrgent = await Promise.race([interrupted.then(() => true), Promise.resolve(false)]);
    if (!isUrgent) await Promise.race([relay.drain(), interrupted, signal('SIGTERM')]);
  }
  await relay.stop();
  if (failure !== undefined) throw failure;
}

function signal(name: 'SIGINT' | 'SIGTERM'): Promise<undefined> {
  return new Promise((resolve) => process.once(name, () => resolve(undefined)));
}

await runProgram(buildProgram());
