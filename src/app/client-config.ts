// The client's command line and environment (client 2.1): what a headless client needs, under the official names.

import { type Command, Option } from 'commander';
import type { Endpoint } from '../base/address.ts';
import {
  addSwitch,
  type ComponentFlags,
  componentOptions,
  type LogFormat,
  parseAddress,
  type RelayStreamConfig,
  type RelayStreamFlags,
  relayStreamConfig,
  relayStreamOptions,
  tunMtuOption,
} from './options.ts';

// Specification: client 2.1.
const DEFAULT_MAX_PARTITION_TIME = '30d';

// Implementation
const DEFAULT_STATE_FOLDER = '/var/lib/firezone/client';

export type DnsControl = 'etc-resolv-conf' | 'disabled';

export interface ClientConfig {
  readonly apiUrl: string;
  readonly token: string | undefined;
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly dnsControl: DnsControl;
  readonly healthAddress: Endpoint | undefined;
  readonly logFormat: LogFormat;
  readonly maxPartitionMs: number;
  readonly stateFolder: string;
  readonly tunMtu: number;
  readonly activatesInternetResource: boolean;
  /** Offer connections without ICE. */
  readonly iceless: boolean;
  readonly relayStreams: RelayStreamConfig;
}

interface Flags extends ComponentFlags, RelayStreamFlags {
  readonly dnsControl: DnsControl;
  readonly healthCheckAddr?: Endpoint;
  readonly stateFolder: string;
  readonly tunMtu: number;
}

/** Adds the client's options to `command` and returns a function that reads them after parsing. */
export function addClientOptions(command: Command): () => ClientConfig {
  command.argument('[token]', 'service account token from the portal (or FIREZONE_TOKEN)');
  const options = [
    ...componentOptions('device', DEFAULT_MAX_PARTITION_TIME),
    new Option('--dns-control <mode>', 'how the system is pointed at the stub resolver')
      .env('FIREZONE_DNS_CONTROL')
      .choices(['etc-resolv-conf', 'disabled'] satisfies DnsControl[])
      .default('etc-resolv-conf'),
    new Option('--health-check-addr <address>', 'address of a health listener; none by default')
      .env('HEALTH_CHECK_ADDR')
      .argParser(parseAddress),
    new Option('--state-folder <path>', 'where the saved resolv.conf is kept')
      .env('FIREZONE_STATE_FOLDER')
      .default(DEFAULT_STATE_FOLDER),
    tunMtuOption(),
    ...relayStreamOptions(),
  ];
  for (const option of options) command.addOption(option);
  const activatesInternet = addSwitch(
    command,
    '--activate-internet-resource',
    'use the Internet resource when offered',
    'FIREZONE_ACTIVATE_INTERNET_RESOURCE',
  );
  const isIceOnly = addSwitch(
    command,
    '--no-iceless',
    'connect by ICE only, whatever portal and gateways can do',
    'FIREZONE_NO_ICELESS',
  );
  return () => ({
    ...readConfig(command),
    activatesInternetResource: activatesInternet(),
    iceless: !isIceOnly(),
  });
}

function readConfig(command: Command): Omit<ClientConfig, 'activatesInternetResource' | 'iceless'> {
  const flags = command.opts<Flags>();
  return {
    apiUrl: flags.apiUrl,
    token: command.args[0] ?? process.env['FIREZONE_TOKEN'],
    name: flags.firezoneName || undefined,
    id: flags.firezoneId || undefined,
    dnsControl: flags.dnsControl,
    healthAddress: flags.healthCheckAddr,
    logFormat: flags.logFormat,
    maxPartitionMs: flags.maxPartitionTime,
    stateFolder: flags.stateFolder,
    tunMtu: flags.tunMtu,
    relayStreams: relayStreamConfig(flags),
  };
}
