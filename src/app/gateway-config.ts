// The gateway's command line and environment (operations 1): the names, defaults and validation of the official program, so that its
// units, containers and scripts work unchanged. Usage errors end the process with exit code 2.

import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Endpoint, parseEndpoint } from '../base/address.ts';

// Specification: operations 1.1.
const DEFAULT_API_URL = 'wss://api.firezone.dev';
const DEFAULT_HEALTH_ADDRESS = '0.0.0.0:8080';
const DEFAULT_MAX_PARTITION_TIME = '24h';

export interface GatewayConfig {
  readonly apiUrl: string;
  readonly token: string | undefined;
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly healthAddress: Endpoint;
  readonly logFormat: 'human' | 'json';
  readonly maxPartitionMs: number;
  readonly skipPrivilegeCheck: boolean;
  readonly increaseBuffers: boolean;
  readonly manageFirewall: boolean;
}

/** Adds the gateway's options to `command` and returns a function that reads them after parsing. */
export function addGatewayOptions(command: Command): () => GatewayConfig {
  command
    .argument('[token]', 'site token from the portal (or FIREZONE_TOKEN)')
    .addOption(
      new Option('-u, --api-url <url>', 'base URL of the portal')
        .env('FIREZONE_API_URL')
        .default(DEFAULT_API_URL)
        .argParser(parseApiUrl),
    )
    .addOption(
      new Option('-n, --firezone-name <name>', 'name shown in the portal').env('FIREZONE_NAME'),
    )
    .addOption(
      new Option('-i, --firezone-id <id>', 'stable identity of this gateway').env('FIREZONE_ID'),
    )
    .addOption(
      new Option('--health-check-addr <address>', 'address of the health listener')
        .env('HEALTH_CHECK_ADDR')
        .default(parseEndpoint(DEFAULT_HEALTH_ADDRESS), DEFAULT_HEALTH_ADDRESS)
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
        .default(parseDuration(DEFAULT_MAX_PARTITION_TIME), DEFAULT_MAX_PARTITION_TIME)
        .argParser(parseDuration),
    )
    .addOption(new Option('--no-check', 'skip the check for CAP_NET_ADMIN'))
    .addOption(
      new Option('--no-inc-buf [flag]', 'leave rmem_max and wmem_max alone')
        .env('FIREZONE_NO_INC_BUF')
        .argParser(parseBoolean),
    )
    .addOption(
      new Option('--no-firewall [flag]', 'manage forwarding and masquerade yourself')
        .env('FIREZONE_NO_FIREWALL')
        .argParser(parseBoolean),
    )
    .addOption(
      new Option('--no-telemetry [flag]', 'accepted for compatibility; nothing is ever sent')
        .env('FIREZONE_NO_TELEMETRY')
        .argParser(parseBoolean),
    );
  return () => readConfig(command);
}

function readConfig(command: Command): GatewayConfig {
  const options = command.opts<{
    apiUrl: string;
    firezoneName?: string;
    firezoneId?: string;
    healthCheckAddr: Endpoint;
    logFormat: 'human' | 'json';
    maxPartitionTime: number;
    check: boolean;
    incBuf: boolean;
    firewall: boolean;
  }>();
  return {
    apiUrl: options.apiUrl,
    token: command.args[0] ?? process.env['FIREZONE_TOKEN'],
    name: options.firezoneName || undefined,
    id: options.firezoneId || undefined,
    healthAddress: options.healthCheckAddr,
    logFormat: options.logFormat,
    maxPartitionMs: options.maxPartitionTime,
    skipPrivilegeCheck: !options.check,
    increaseBuffers: options.incBuf,
    manageFirewall: options.firewall,
  };
}

export function parseApiUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^(wss?|https?):$/.test(url.protocol)) {
    throw new InvalidArgumentError('It must be a URL with scheme wss, ws, https or http.');
  }
  return text;
}

export function parseAddress(text: string): Endpoint {
  const address = parseEndpoint(text);
  if (!address) throw new InvalidArgumentError('It must be ip:port, or [ip]:port for IPv6.');
  return address;
}

/** Accepts exactly `true` and `false` (operations 1.2); the option's name is a negation. */
function parseBoolean(text: string): boolean {
  if (text !== 'true' && text !== 'false') {
    throw new InvalidArgumentError('It must be true or false.');
  }
  return text === 'false';
}

/** Milliseconds of `30s`, `5m`, `1h 30m`, `30d`. */
export function parseDuration(text: string): number {
  const units: Readonly<Record<string, number>> = {
    ms: 1,
    s: 1_000,
    m: 60_000,
    min: 60_000,
    h: 3_600_000,
    d: 86_400_000,
    w: 604_800_000,
  };
  const parts = [...text.trim().matchAll(/(\d+)\s*([a-z]+)\s*/g)];
  const isWhole = parts.map(([part]) => part).join('') === text.trim();
  const total = parts.reduce(
    (sum, [, n, unit = '']) => sum + Number(n) * (units[unit] ?? Number.NaN),
    0,
  );
  if (parts.length === 0 || !isWhole || Number.isNaN(total)) {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m, "1h 30m" or 24h.');
  }
  return total;
}
