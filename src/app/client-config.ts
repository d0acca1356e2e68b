// The client's command line and environment (client 2.1): what a headless client needs, under the official names.

import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Endpoint } from '../base/address.ts';
import { parseAddress, parseApiUrl, parseDuration } from './gateway-config.ts';

export interface ClientConfig {
  readonly apiUrl: string;
  readonly token: string | undefined;
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly dnsControl: 'etc-resolv-conf' | 'disabled';
  readonly healthAddress: Endpoint | undefined;
  readonly logFormat: 'human' | 'json';
  readonly maxPartitionMs: number;
  readonly stateFolder: string;
  readonly activatesInternetResource: boolean;
}

interface Options {
  readonly apiUrl: string;
  readonly firezoneName?: string;
  readonly firezoneId?: string;
  readonly dnsControl: 'etc-resolv-conf' | 'disabled';
  readonly healthCheckAddr?: Endpoint;
  readonly logFormat: 'human' | 'json';
  readonly maxPartitionTime: number;
  readonly stateFolder: string;
  readonly activateInternetResource?: boolean;
}

/** Adds the client's options to `command` and returns a function that reads them after parsing. */
export function addClientOptions(command: Command): () => ClientConfig {
  command
    .argument('[token]', 'service account token from the portal (or FIREZONE_TOKEN)')
    .addOption(
      new Option('-u, --api-url <url>', 'base URL of the portal')
        .env('FIREZONE_API_URL')
        .default('wss://api.firezone.dev')
        .argParser(parseApiUrl),
    )
    .addOption(
      new Option('-n, --firezone-name <name>', 'name shown in the portal').env('FIREZONE_NAME'),
    )
    .addOption(
      new Option('-i, --firezone-id <id>', 'stable identity of this device').env('FIREZONE_ID'),
    )
    .addOption(
      new Option('--dns-control <mode>', 'how the system is pointed at the stub resolver')
        .env('FIREZONE_DNS_CONTROL')
        .choices(['etc-resolv-conf', 'disabled'])
        .default('etc-resolv-conf'),
    )
    .addOption(
      new Option('--health-check-addr <address>', 'address of a health listener; none by default')
        .env('HEALTH_CHECK_ADDR')
        .argParser(parseAddress),
    )
    .addOption(
      new Option('--log-format <format>', 'format of the log')
        .env('FIREZONE_LOG_FORMAT')
        .choices(['human', 'json'])
        .default('human'),
    )
    .addOption(
      new Option('-m, --max-partition-time <duration>', 'how long to try to reach the portal')
        .env('FIREZONE_MAX_PARTITION_TIME')
        .default(parseDuration('30d'), '30d')
        .argParser(parseDuration),
    )
    .addOption(
      new Option('--state-folder <path>', 'where the identity and the saved resolv.conf are kept')
        .env('FIREZONE_STATE_FOLDER')
        .default('/var/lib/firezone/client'),
    )
    .addOption(
      new Option('--activate-internet-resource [flag]', 'use the Internet resource when offered')
        .env('FIREZONE_ACTIVATE_INTERNET_RESOURCE')
        .argParser(parseFlag),
    );
  return () => {
    const options = command.opts<Options>();
    return {
      apiUrl: options.apiUrl,
      token: command.args[0] ?? process.env['FIREZONE_TOKEN'],
      name: options.firezoneName || undefined,
      id: options.firezoneId || undefined,
      dnsControl: options.dnsControl,
      healthAddress: options.healthCheckAddr,
      logFormat: options.logFormat,
      maxPartitionMs: options.maxPartitionTime,
      stateFolder: options.stateFolder,
      activatesInternetResource: options.activateInternetResource ?? false,
    };
  };
}

/** Accepts exactly `true` and `false`; the option without a value means true. */
function parseFlag(text: string): boolean {
  if (text !== 'true' && text !== 'false') {
    throw new InvalidArgumentError('It must be true or false.');
  }
  return text === 'true';
}
