// The relay's command line and environment (relay 5.6): names, defaults and validation of the official program, so that its units
// and containers work unchanged. Usage errors end the process with exit code 2.

import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type Endpoint,
  familyOf,
  type IpAddress,
  type IpFamily,
  type IpNetwork,
  parseEndpoint,
  parseIp,
  parseNetwork,
} from '../base/address.ts';
import { addSwitch, parseAddress, parseApiUrl, parseDuration } from './options.ts';
import { SettingsError } from './program.ts';

// Specification: relay 5.6.
const DEFAULT_LISTEN_PORT = 3478;
const DEFAULT_LOWEST_PORT = 49_152;
const DEFAULT_HIGHEST_PORT = 65_535;
const DEFAULT_HEALTH_ADDRESS = '0.0.0.0:8080';

// Implementation
/** Clients hear from the portal, allocate elsewhere and migrate their connections within some seconds. */
const DEFAULT_DRAIN_TIME = '10s';

/** Settings that are well-formed and make no sense together. */
export class RelaySettingsError extends SettingsError {
  readonly code = 'FZ_ERR_RELAY_SETTINGS';
}

export interface RelaySettings {
  readonly publicAddresses: readonly IpAddress[];
  /** One for each public address, of the same family. */
  readonly bindAddresses: readonly IpAddress[];
  readonly listenPort: number;
  /** TCP. */
  readonly streamPorts: readonly number[];
  /** Files; absent: no TLS. */
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
  /** How long a relay that is told to stop serves what it has. */
  readonly drainMs: number;
  readonly ports: { readonly lowest: number; readonly highest: number };
  /** Absent: without portal. */
  readonly portal: { readonly apiUrl: string; readonly token: string } | undefined;
  readonly name: string | undefined;
  readonly stampSecret: string | undefined;
  readonly allowsLoopbackPeers: boolean;
  readonly deniedPeers: readonly IpNetwork[];
  readonly usesNative: boolean;
  readonly healthAddress: Endpoint;
  readonly logFormat: 'human' | 'json';
}

interface Flags {
  readonly publicIp4Addr?: IpAddress;
  readonly publicIp6Addr?: IpAddress;
  readonly bindIp4Addr: IpAddress;
  readonly bindIp6Addr: IpAddress;
  readonly listenPort: number;
  readonly tcpPorts?: readonly number[];
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly drainTime: number;
  readonly lowestPort: number;
  readonly highestPort: number;
  readonly apiUrl?: string;
  readonly stampSecret?: string;
  readonly denyPeers: readonly IpNetwork[];
  readonly native: boolean;
  readonly healthCheckAddr: Endpoint;
  readonly logFormat: 'human' | 'json';
}

/** Adds the relay's options to `command` and returns a function that reads them after parsing. */
export function addRelayOptions(command: Command): () => RelaySettings {
  addPortalOptions(command);
  addAddressOptions(command);
  addPeerOptions(command);
  addStreamOptions(command);
  command
    .addOption(
      new Option('--drain-time <duration>', 'how long SIGTERM lets clients move to another relay')
        .env('FIREZONE_RELAY_DRAIN_TIME')
        .default(parseDuration(DEFAULT_DRAIN_TIME), DEFAULT_DRAIN_TIME)
        .argParser(parseDuration),
    )
    .addOption(
      new Option('--health-check-addr <address>', 'address of the health listener')
        .env('HEALTH_CHECK_ADDR')
        .default(parseEndpoint(DEFAULT_HEALTH_ADDRESS), DEFAULT_HEALTH_ADDRESS)
        .argParser(parseAddress),
    )
    .addOption(
      new Option('--log-format <format>', 'format of the log')
        .env('LOG_FORMAT')
        .choices(['human', 'json'])
        .default('human'),
    )
    .addOption(
      new Option('--no-native', 'forward with node:dgram instead of the native add-on (slow)'),
    )
    .addOption(ignored('--num-worker-threads <count>'))
    .addOption(ignored('--telemetry [flag]'));
  const allowsLoopbackPeers = addSwitch(
    command,
    '--allow-loopback-peers',
    'relay to this machine itself (on one machine only)',
    'FIREZONE_RELAY_ALLOW_LOOPBACK_PEERS',
  );
  return () => readSettings(command, allowsLoopbackPeers());
}

function addPortalOptions(command: Command): void {
  command
    .argument('[token]', 'relay token from the portal (or FIREZONE_TOKEN); none: without portal')
    .argument('[name]', 'name shown in the portal (or FIREZONE_NAME)')
    .addOption(
      new Option('-u, --api-url <url>', 'base URL of the portal; needed with a token')
        .env('FIREZONE_API_URL')
        .argParser(parseApiUrl),
    )
    .addOption(
      new Option('--stamp-secret <text>', 'secret of the TURN credentials; default: a new one')
        .env('FIREZONE_RELAY_STAMP_SECRET')
        .argParser(parseSecret),
    );
}

function addAddressOptions(command: Command): void {
  command
    .addOption(
      new Option('--public-ip4-addr <address>', 'IPv4 address that clients are told')
        .env('PUBLIC_IP4_ADDR')
        .argParser((text) => parseIpOf(4, text)),
    )
    .addOption(
      new Option('--public-ip6-addr <address>', 'IPv6 address that clients are told')
        .env('PUBLIC_IP6_ADDR')
        .argParser((text) => parseIpOf(6, text)),
    )
    .addOption(
      new Option('--bind-ip4-addr <address>', 'IPv4 address to bind to')
        .env('BIND_IP4_ADDR')
        .default(parseIp('0.0.0.0'), '0.0.0.0')
        .argParser((text) => parseIpOf(4, text)),
    )
    .addOption(
      new Option('--bind-ip6-addr <address>', 'IPv6 address to bind to')
        .env('BIND_IP6_ADDR')
        .default(parseIp('::'), '::')
        .argParser((text) => parseIpOf(6, text)),
    )
    .addOption(
      new Option('--listen-port <port>', 'port that clients talk to')
        .env('LISTEN_PORT')
        .default(DEFAULT_LISTEN_PORT)
        .argParser(parsePort),
    )
    .addOption(
      new Option('--lowest-port <port>', 'lowest port of allocations')
        .env('LOWEST_PORT')
        .default(DEFAULT_LOWEST_PORT)
        .argParser(parsePort),
    )
    .addOption(
      new Option('--highest-port <port>', 'highest port of allocations')
        .env('HIGHEST_PORT')
        .default(DEFAULT_HIGHEST_PORT)
        .argParser(parsePort),
    );
}

function addStreamOptions(command: Command): void {
  command
    .addOption(
      new Option(
        '--tcp-ports <ports>',
        "TCP ports, separated by commas, or 'none'; default: the port that clients talk to",
      )
        .env('FIREZONE_RELAY_TCP_PORTS')
        .argParser(parsePorts),
    )
    .addOption(
      new Option('--tls-cert <file>', 'certificate (PEM): the TCP ports then take TLS, too').env(
        'FIREZONE_RELAY_TLS_CERT',
      ),
    )
    .addOption(
      new Option('--tls-key <file>', 'key of the certificate (PEM)').env('FIREZONE_RELAY_TLS_KEY'),
    );
}

function addPeerOptions(command: Command): void {
  command.addOption(
    new Option('--deny-peers <networks>', 'networks never to relay to, separated by commas')
      .env('FIREZONE_RELAY_DENY_PEERS')
      .default([], 'none')
      .argParser(parseNetworks),
  );
}

function readSettings(command: Command, allowsLoopbackPeers: boolean): RelaySettings {
  const flags = command.opts<Flags>();
  const token = command.args[0] ?? process.env['FIREZONE_TOKEN'];
  const name = command.args[1] ?? process.env['FIREZONE_NAME'];
  const pairs = [
    { public: flags.publicIp4Addr, bind: flags.bindIp4Addr },
    { public: flags.publicIp6Addr, bind: flags.bindIp6Addr },
  ].flatMap(({ public: address, bind }) => (address === undefined ? [] : [{ address, bind }]));
  if (pairs.length === 0) {
    throw new RelaySettingsError(
      'must listen on at least one of IPv4 or IPv6: set PUBLIC_IP4_ADDR or PUBLIC_IP6_ADDR',
    );
  }
  if (flags.lowestPort > flags.highestPort) {
    throw new RelaySettingsError('LOWEST_PORT is above HIGHEST_PORT');
  }
  if (token && flags.apiUrl === undefined) {
    throw new RelaySettingsError('a token needs a portal: set FIREZONE_API_URL');
  }
  const { tlsCert, tlsKey } = flags;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new RelaySettingsError('TLS needs both a certificate and its key');
  }
  return {
    publicAddresses: pairs.map(({ address }) => address),
    bindAddresses: pairs.map(({ bind }) => bind),
    listenPort: flags.listenPort,
    streamPorts: flags.tcpPorts ?? [flags.listenPort],
    certificate: tlsCert && tlsKey ? { cert: tlsCert, key: tlsKey } : undefined,
    drainMs: flags.drainTime,
    ports: { lowest: flags.lowestPort, highest: flags.highestPort },
    portal: token && flags.apiUrl !== undefined ? { apiUrl: flags.apiUrl, token } : undefined,
    name: name || undefined,
    stampSecret: flags.stampSecret,
    allowsLoopbackPeers,
    deniedPeers: flags.denyPeers,
    usesNative: flags.native,
    healthAddress: flags.healthCheckAddr,
    logFormat: flags.logFormat,
  };
}

function parseIpOf(family: IpFamily, text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined || familyOf(address) !== family) {
    throw new InvalidArgumentError(`It must be an IPv${family} address.`);
  }
  return address;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port === 0 || port > 65_535) {
    throw new InvalidArgumentError('It must be a port from 1 to 65535.');
  }
  return port;
}

function parsePorts(text: string): readonly number[] {
  return text === 'none' ? [] : text.split(',').map((part) => parsePort(part.trim()));
}

/** The text itself is the secret; the portal takes at most 255 characters (portal-protocol 9.1). */
function parseSecret(text: string): string {
  if (!/^[\x21-\x7e]{16,255}$/.test(text)) {
    throw new InvalidArgumentError('It must have 16 to 255 printable characters.');
  }
  return text;
}

function parseNetworks(text: string): readonly IpNetwork[] {
  return text
    .split(',')
    .filter((part) => part.trim() !== '')
    .map((part) => {
      const network = parseNetwork(part.trim());
      if (!network) throw new InvalidArgumentError(`${part.trim()} is not a network.`);
      return network;
    });
}

function ignored(flags: string): Option {
  return new Option(flags, 'accepted for compatibility').hideHelp();
}
