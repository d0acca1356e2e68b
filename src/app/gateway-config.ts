// The gateway's command line and environment (operations 1): the names, defaults and validation of the official program, so that its
// units, containers and scripts work unchanged. Usage errors end the process with exit code 2.

import { type Command, Option } from 'commander';
import { type Endpoint, type IpNetwork, parseEndpoint } from '../base/address.ts';
import {
  addSwitch,
  type ComponentFlags,
  componentOptions,
  type LogFormat,
  parseAddress,
  parseNetworks,
  type RelayStreamConfig,
  type RelayStreamFlags,
  relayStreamConfig,
  relayStreamOptions,
  tunMtuOption,
} from './options.ts';

// Specification: operations 1.1.
const DEFAULT_HEALTH_ADDRESS = '0.0.0.0:8080';
const DEFAULT_MAX_PARTITION_TIME = '24h';

export interface GatewayConfig {
  readonly apiUrl: string;
  readonly token: string | undefined;
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly healthAddress: Endpoint;
  readonly logFormat: LogFormat;
  readonly maxPartitionMs: number;
  readonly skipPrivilegeCheck: boolean;
  /** Special networks that names and Internet resources may lead to. */
  readonly specialNetworks: readonly IpNetwork[];
  /** Networks that no peer is looked for in. */
  readonly neverProbed: readonly IpNetwork[];
  readonly increaseBuffers: boolean;
  readonly manageFirewall: boolean;
  readonly tunMtu: number;
  readonly clampMss: boolean;
  readonly mayResourcesInitiate: boolean;
  /** Offer connections without ICE. */
  readonly iceless: boolean;
  readonly relayStreams: RelayStreamConfig;
}

/** What `addSwitch` reads. */
type Switches =
  | 'increaseBuffers'
  | 'manageFirewall'
  | 'clampMss'
  | 'mayResourcesInitiate'
  | 'iceless';

interface Flags extends ComponentFlags, RelayStreamFlags {
  readonly healthCheckAddr: Endpoint;
  readonly specialNetworks: readonly IpNetwork[];
  readonly neverProbe: readonly IpNetwork[];
  readonly check: boolean;
  readonly tunMtu: number;
}

/** Adds the gateway's options to `command` and returns a function that reads them after parsing. */
export function addGatewayOptions(command: Command): () => GatewayConfig {
  command.argument('[token]', 'site token from the portal (or FIREZONE_TOKEN)');
  const options = [
    ...componentOptions('gateway', DEFAULT_MAX_PARTITION_TIME),
    new Option('--health-check-addr <address>', 'address of the health listener')
      .env('HEALTH_CHECK_ADDR')
      .default(parseEndpoint(DEFAULT_HEALTH_ADDRESS), DEFAULT_HEALTH_ADDRESS)
      .argParser(parseAddress),
    new Option(
      '--special-networks <networks>',
      'special networks (private, link-local, documentation) that names and Internet resources may lead to here',
    )
      .env('FIREZONE_SPECIAL_NETWORKS')
      .default([], 'none')
      .argParser(parseNetworks),
    new Option(
      '--never-probe <networks>',
      'networks that clients are never looked for in directly, whatever addresses they announce',
    )
      .env('FIREZONE_NEVER_PROBE')
      .default([], 'none')
      .argParser(parseNetworks),
    tunMtuOption(),
    ...relayStreamOptions(),
    new Option('--no-check', 'skip the check for CAP_NET_ADMIN'),
  ];
  for (const option of options) command.addOption(option);
  const isOff = {
    buffers: addSwitch(
      command,
      '--no-inc-buf',
      'leave rmem_max and wmem_max alone',
      'FIREZONE_NO_INC_BUF',
    ),
    firewall: addSwitch(
      command,
      '--no-firewall',
      'manage forwarding and masquerade yourself',
      'FIREZONE_NO_FIREWALL',
    ),
    clamping: addSwitch(
      command,
      '--no-clamp-mss',
      'leave the segment size alone that TCP connections announce',
      'FIREZONE_NO_CLAMP_MSS',
    ),
    iceless: addSwitch(
      command,
      '--no-iceless',
      'connect by ICE only, whatever portal and clients can do',
      'FIREZONE_NO_ICELESS',
    ),
    telemetry: addSwitch(
      command,
      '--no-telemetry',
      'accepted for compatibility; nothing is ever sent',
      'FIREZONE_NO_TELEMETRY',
    ),
  };
  const mayResourcesInitiate = addSwitch(
    command,
    '--resources-may-initiate',
    'let resources begin connections to clients that may reach them',
    'FIREZONE_RESOURCES_MAY_INITIATE',
  );
  return () => {
    isOff.telemetry(); // Only whether it is well-formed.
    return {
      ...readConfig(command),
      increaseBuffers: !isOff.buffers(),
      manageFirewall: !isOff.firewall(),
      clampMss: !isOff.clamping(),
      iceless: !isOff.iceless(),
      mayResourcesInitiate: mayResourcesInitiate(),
    };
  };
}

function readConfig(command: Command): Omit<GatewayConfig, Switches> {
  const flags = command.opts<Flags>();
  return {
    apiUrl: flags.apiUrl,
    token: command.args[0] ?? process.env['FIREZONE_TOKEN'],
    name: flags.firezoneName || undefined,
    id: flags.firezoneId || undefined,
    healthAddress: flags.healthCheckAddr,
    logFormat: flags.logFormat,
    maxPartitionMs: flags.maxPartitionTime,
    skipPrivilegeCheck: !flags.check,
    specialNetworks: flags.specialNetworks,
    neverProbed: flags.neverProbe,
    tunMtu: flags.tunMtu,
    relayStreams: relayStreamConfig(flags),
  };
}
