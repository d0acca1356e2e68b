// Options that the programs share (operations 1.1, client 2.1): one place for their names, environment variables, defaults and what counts as valid.
// Boolean variables take exactly `true` or `false` (operations 1.2).

import { InvalidArgumentError, Option } from 'commander';
import { type Endpoint, parseEndpoint } from '../base/address.ts';

// Specification: operations 1.1.
const DEFAULT_API_URL = 'wss://api.firezone.dev';
const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

export type LogFormat = 'human' | 'json';

/** Options of every component that logs in to a portal as itself. */
export function componentOptions(component: 'gateway' | 'device', maxPartition: string): Option[] {
  return [
    new Option('-u, --api-url <url>', 'base URL of the portal')
      .env('FIREZONE_API_URL')
      .default(DEFAULT_API_URL)
      .argParser(parseApiUrl),
    new Option('-n, --firezone-name <name>', 'name shown in the portal').env('FIREZONE_NAME'),
    new Option('-i, --firezone-id <id>', `stable identity of this ${component}`).env('FIREZONE_ID'),
    new Option('--log-format <format>', 'format of the log')
      .env('FIREZONE_LOG_FORMAT')
      .choices(['human', 'json'] satisfies LogFormat[])
      .default('human'),
    new Option('-m, --max-partition-time <duration>', 'how long to try to reach the portal')
      .env('FIREZONE_MAX_PARTITION_TIME')
      .default(parseDuration(maxPartition), maxPartition)
      .argParser(parseDuration),
  ];
}

/** What `componentOptions` yield. */
export interface ComponentFlags {
  readonly apiUrl: string;
  readonly firezoneName?: string;
  readonly firezoneId?: string;
  readonly logFormat: LogFormat;
  readonly maxPartitionTime: number;
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

export function parseFlag(text: string): boolean {
  if (text !== 'true' && text !== 'false') {
    throw new InvalidArgumentError('It must be true or false.');
  }
  return text === 'true';
}

/** For an option whose name is a negation (`--no-...`): `true` means that the thing is off. */
export function parseNegatedFlag(text: string): boolean {
  return !parseFlag(text);
}

/** Milliseconds of `30s`, `5m`, `1h 30m`, `30d`. */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+)\s*([a-z]+)\s*/g)];
  const isWhole = parts.map(([part]) => part).join('') === text.trim();
  const total = parts.reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (MILLISECONDS[unit] ?? Number.NaN),
    0,
  );
  if (parts.length === 0 || !isWhole || Number.isNaN(total)) {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m, "1h 30m" or 24h.');
  }
  return total;
}
