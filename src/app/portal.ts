// `firezone-portal`: the control plane as a program. `serve` (the default) runs it, `check` looks at a policy file, `token`
// makes, lists and revokes tokens. Settings come from flags or the environment; a wrong command line ends with exit code 2.

import { Command, Option } from 'commander';
import type { Endpoint } from '../base/address.ts';
import { createNodeCrypto } from '../io/crypto/node-crypto.ts';
import { parseLogFilter } from '../io/log/log-filter.ts';
import { createLog } from '../io/log/log-sink.ts';
import { formatFaults, PolicyFile } from '../io/portal/policy-file.ts';
import { MemoryStore } from '../roles/portal/store.ts';
import { addSwitch, parseAddress, parseApiUrl } from './options.ts';
import { type ServeOptions, serve } from './portal-serve.ts';
import { addTokenCommands } from './portal-tokens.ts';
import { programVersion, runProgram } from './program.ts';

const DEFAULT_LISTEN = '127.0.0.1:8081';
const DEFAULT_POLICY = 'policy.yaml';
const DEFAULT_DATABASE = 'portal.db';

interface Flags {
  readonly listen: Endpoint;
  readonly policy: string;
  readonly database: string;
  readonly baseUrl?: string;
  readonly healthCheckAddr?: Endpoint;
  readonly logFormat: 'human' | 'json';
}

function buildProgram(): Command {
  const program = new Command('firezone-portal')
    .description('A small Firezone portal: one policy file, no account needed')
    .version(`firezone-portal ${programVersion()}`);
  addServe(program);
  program
    .command('check')
    .description('check a policy file; exit code 1 and one line per fault if it has any')
    .argument('<file>', 'the policy file')
    .action(check);
  addTokenCommands(program, { policy: policyOption, database: databaseOption });
  return program;
}

const policyOption = (): Option =>
  new Option('-p, --policy <file>', 'the policy file')
    .env('FIREZONE_PORTAL_POLICY')
    .default(DEFAULT_POLICY);

const databaseOption = (): Option =>
  new Option('-d, --database <file>', 'what the portal remembers; ":memory:" forgets at exit')
    .env('FIREZONE_PORTAL_DATABASE')
    .default(DEFAULT_DATABASE);

function addServe(program: Command): void {
  const command = program.command('serve', { isDefault: true }).description('run the portal');
  const trustsProxy = addSwitch(
    command,
    '--trust-proxy',
    'take addresses of components from X-Forwarded-For',
    'FIREZONE_PORTAL_TRUST_PROXY',
  );
  command
    .addOption(
      new Option('-l, --listen <address>', 'address for gateways, clients and relays')
        .env('FIREZONE_PORTAL_LISTEN')
        .default(parseAddress(DEFAULT_LISTEN), DEFAULT_LISTEN)
        .argParser(parseAddress),
    )
    .addOption(policyOption())
    .addOption(databaseOption())
    .addOption(
      new Option(
        '-u, --base-url <url>',
        'the URL at which components reach the portal, behind a proxy for example',
      )
        .env('FIREZONE_PORTAL_BASE_URL')
        .argParser(parseApiUrl),
    )
    .addOption(
      new Option(
        '--health-check-addr <address>',
        'address of the health listener; none: no listener',
      )
        .env('HEALTH_CHECK_ADDR')
        .argParser(parseAddress),
    )
    .addOption(
      new Option('--log-format <format>', 'format of the log')
        .env('FIREZONE_LOG_FORMAT')
        .choices(['human', 'json'])
        .default('human'),
    )
    .action(async (flags: Flags) => {
      const log = createLog({
        format: flags.logFormat,
        filter: parseLogFilter(process.env['RUST_LOG']),
      });
      await serve(serveOptions(flags, trustsProxy()), log);
    });
}

function serveOptions(flags: Flags, trustProxy: boolean): ServeOptions {
  const { listen, policy, database, healthCheckAddr } = flags;
  const baseUrl = flags.baseUrl ?? `http://${listen.key}/`;
  return { listen, policy, database, baseUrl, trustProxy, healthAddress: healthCheckAddr };
}

function check(path: string): void {
  const deps = { crypto: createNodeCrypto(), ids: new MemoryStore() };
  const loaded = new PolicyFile(
    path,
    deps,
    () => {},
    () => {},
  ).load();
  if (loaded.kind === 'faults') {
    process.stderr.write(`${formatFaults(path, loaded.faults)}\n`);
    process.exitCode = 1;
    return;
  }
  const { sites, actors, resources, rules } = loaded.policy;
  const counts = `${sites.size} sites, ${actors.size} actors, ${resources.size} resources, ${rules.length} policies`;
  process.stdout.write(`${path}: ok (${counts})\n`);
}

await runProgram(buildProgram());
