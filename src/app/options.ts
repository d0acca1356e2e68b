// Options that the programs share (operations 1.1, client 2.1): one place for their names, environment variables, defaults and what counts as valid.
// Boolean variables take exactly `true` or `false` (operations 1.2).

import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Endpoint, type IpNetwork, parseEndpoint, parseNetwork } from '../base/address.ts';
import type { StreamWay } from '../link/relays/relay-info.ts';
import { LARGEST_TUNNEL_MTU, MAX_PACKET_LENGTH } from '../wire/ip/protocol.ts';

// Implementation
/** Our relay's port and coturn's; what firewalls let through; RFC 8656 §2.1. */
const DEFAULT_RELAY_STREAMS = 'tcp,tls:443,tcp:443,tls:5349';
const MAX_STREAM_WAYS = 8;

// Specification: operations 1.1.
const DEFAULT_API_URL = 'wss://api.firezone.dev';
/** Units of durations, with the spellings that the official program takes. */
const UNITS: readonly (readonly [milliseconds: number, names: string])[] = [
  [1, 'ms msec millis'],
  [1_000, 's sec secs second seconds'],
  [60_000, 'm min mins minute minutes'],
  [3_600_000, 'h hr hrs hour hours'],
  [86_400_000, 'd day days'],
  [604_800_000, 'w week weeks'],
];
const MILLISECONDS: ReadonlyMap<string, number> = new Map(
  UNITS.flatMap(([milliseconds, names]) => names.split(' ').map((name) => [name, milliseconds])),
);

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

/** Options of the programs that use relays. */
export function relayStreamOptions(): Option[] {
  return [
    new Option(
      '--relay-streams <kinds>',
      'what to try towards relays where UDP is blocked: tcp or tls, with :port where it is not that of the relay',
    )
      .env('FIREZONE_RELAY_STREAMS')
      .default(parseStreamWays(DEFAULT_RELAY_STREAMS), DEFAULT_RELAY_STREAMS)
      .argParser(parseStreamWays),
    new Option(
      '--relay-tls-ca <file>',
      'PEM file of further certificate authorities for relays',
    ).env('FIREZONE_RELAY_TLS_CA'),
    new Option(
      '--relay-tls-name <name>',
      "name in the relays' certificates, if not their address",
    ).env('FIREZONE_RELAY_TLS_NAME'),
  ];
}

/** What `relayStreamOptions` yield. */
export interface RelayStreamFlags {
  readonly relayStreams: readonly StreamWay[];
  readonly relayTlsCa?: string;
  readonly relayTlsName?: string;
}

/** How relays are reached where UDP is blocked. */
export interface RelayStreamConfig {
  /** None: not at all. */
  readonly ways: readonly StreamWay[];
  readonly caFile: string | undefined;
  readonly tlsName: string | undefined;
}

export function relayStreamConfig(flags: RelayStreamFlags): RelayStreamConfig {
  return {
    ways: flags.relayStreams,
    caFile: flags.relayTlsCa || undefined,
    tlsName: flags.relayTlsName || undefined,
  };
}

/** `tcp,tls:443`; `none`. */
export function parseStreamWays(text: string): readonly StreamWay[] {
  if (text.trim() === 'none') return [];
  const words = text.split(',').map((word) => word.trim());
  if (words.length > MAX_STREAM_WAYS) {
    throw new InvalidArgumentError(`There can be ${MAX_STREAM_WAYS} at most.`);
  }
  return words.map((word) => {
    const [, kind, digits] = /^(tcp|tls)(?::(\d{1,5}))?$/.exec(word) ?? [];
    const port = digits === undefined ? undefined : Number(digits);
    const isPort = port === undefined || (port > 0 && port < 65_536);
    if (kind === undefined || !isPort) {
      throw new InvalidArgumentError(`'${word}' is not tcp, tls, tcp:PORT or tls:PORT.`);
    }
    return { ...(port === undefined ? {} : { port }), isSecure: kind === 'tls' };
  });
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

/** MTU of the TUN device, for gateway and client. */
export function tunMtuOption(): Option {
  return new Option(
    '--tun-mtu <bytes>',
    'MTU of the TUN device; more than 1280 is used only where the path to the peer carries it',
  )
    .env('FIREZONE_TUN_MTU')
    .default(MAX_PACKET_LENGTH)
    .argParser(parseTunMtu);
}

function parseTunMtu(text: string): number {
  const mtu = /^\d{4}$/.test(text) ? Number(text) : 0;
  if (mtu < MAX_PACKET_LENGTH || mtu > LARGEST_TUNNEL_MTU)
    throw new InvalidArgumentError('It must be a number from 1280 to 9000.');
  return mtu;
}

/** Networks with commas between them; none is allowed. */
export function parseNetworks(text: string): readonly IpNetwork[] {
  const words = text.split(',').map((word) => word.trim());
  return words
    .filter((word) => word !== '')
    .map((word) => {
      const network = parseNetwork(word);
      if (!network) throw new InvalidArgumentError(`'${word}' is no network such as 10.0.0.0/8.`);
      return network;
    });
}

/**
 * Adds a switch: without a value on the command line, where a token may follow it, and exactly `true` or `false` in its variable. Returns a function that
 * says after parsing whether it was given; for an option whose name is a negation (`--no-...`), whether the thing is off.
 */
export function addSwitch(
  command: Command,
  flags: string,
  description: string,
  variable: string,
): () => boolean {
  const option = new Option(flags, `${description} (env: ${variable})`);
  command.addOption(option);
  return () => {
    if (command.getOptionValueSource(option.attributeName()) === 'cli') return true;
    const text = process.env[variable] ?? 'false';
    if (text !== 'true' && text !== 'false') {
      command.error(`error: ${variable} is '${text}'. It must be true or false.`);
    }
    return text === 'true';
  };
}

/** Milliseconds of `30s`, `5m`, `1h 30m`, `30d`. */
export function parseDuration(text: string): number {
  const parts = [...text.trim().matchAll(/(\d+)\s*([a-z]+)\s*/g)];
  const isWhole = parts.map(([part]) => part).join('') === text.trim();
  const total = parts.reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (MILLISECONDS.get(unit) ?? Number.NaN),
    0,
  );
  if (parts.length === 0 || !isWhole || Number.isNaN(total)) {
    throw new InvalidArgumentError('It must be a duration such as 30s, 5m, "1h 30m" or 24h.');
  }
  return total;
}
