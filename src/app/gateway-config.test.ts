// Options and variables of the gateway (operations 1.1-1.3), without a process around them.

import { Command, CommanderError } from 'commander';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addGatewayOptions, type GatewayConfig } from './gateway-config.ts';

afterEach(() => vi.unstubAllEnvs());

function read(args: readonly string[], env: Readonly<Record<string, string>> = {}): GatewayConfig {
  for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
  const command = new Command('gateway').exitOverride().configureOutput({ writeErr: () => {} });
  const config = addGatewayOptions(command);
  command.action(() => {}).parse(args, { from: 'user' });
  return config();
}

describe('settings of the gateway', () => {
  it('has the defaults of the official program', () => {
    expect(read([])).toMatchObject({
      apiUrl: 'wss://api.firezone.dev',
      token: undefined,
      healthAddress: { key: '0.0.0.0:8080' },
      logFormat: 'human',
      maxPartitionMs: 86_400_000,
      skipPrivilegeCheck: false,
      increaseBuffers: true,
      manageFirewall: true,
      iceless: true,
      specialNetworks: [],
      neverProbed: [],
      tunMtu: 1_280,
      relayStreams: {
        ways: [
          { isSecure: false },
          { port: 443, isSecure: true },
          { port: 443, isSecure: false },
          { port: 5349, isSecure: true },
        ],
        caFile: undefined,
        tlsName: undefined,
      },
    });
  });

  it('takes the ways to relays without UDP, and refuses what is none', () => {
    expect(read(['--relay-streams', 'none']).relayStreams.ways).toEqual([]);
    expect(read([], { FIREZONE_RELAY_STREAMS: 'tls, tcp:80' }).relayStreams.ways).toEqual([
      { isSecure: true },
      { port: 80, isSecure: false },
    ]);
    for (const wrong of [
      '',
      'udp',
      'tcp:0',
      'tcp:65536',
      'tls:x',
      'tcp,,tls',
      `${'tcp,'.repeat(8)}tcp`,
    ]) {
      expect(() => read(['--relay-streams', wrong])).toThrow(CommanderError);
    }
  });

  it('takes every setting from its variable', () => {
    const config = read([], {
      FIREZONE_API_URL: 'ws://portal:8081',
      FIREZONE_TOKEN: '.token',
      FIREZONE_NAME: 'gw',
      FIREZONE_ID: 'id-1',
      HEALTH_CHECK_ADDR: '[::1]:9090',
      FIREZONE_LOG_FORMAT: 'json',
      FIREZONE_MAX_PARTITION_TIME: '1h 30m',
      FIREZONE_NO_INC_BUF: 'true',
      FIREZONE_NO_FIREWALL: 'true',
      FIREZONE_NO_TELEMETRY: 'true',
      FIREZONE_NO_ICELESS: 'true',
      FIREZONE_SPECIAL_NETWORKS: '169.254.0.0/16, fe80::/10',
      FIREZONE_TUN_MTU: '1420',
    });
    expect(config).toMatchObject({
      tunMtu: 1_420,
      specialNetworks: [{ address: '169.254.0.0' }, { address: 'fe80::', prefixLength: 10 }],
      apiUrl: 'ws://portal:8081',
      token: '.token',
      name: 'gw',
      id: 'id-1',
      healthAddress: { key: '[::1]:9090' },
      logFormat: 'json',
      maxPartitionMs: 5_400_000,
      increaseBuffers: false,
      manageFirewall: false,
      iceless: false,
    });
  });

  it('lets a flag win over the variable', () => {
    expect(read(['-i', 'flag'], { FIREZONE_ID: 'variable' }).id).toBe('flag');
    expect(read(['argument'], { FIREZONE_TOKEN: 'variable' }).token).toBe('argument');
    expect(read(['--no-inc-buf'], { FIREZONE_NO_INC_BUF: 'false' }).increaseBuffers).toBe(false);
  });

  it('takes a token after a switch, which has no value', () => {
    for (const name of ['--no-inc-buf', '--no-firewall', '--no-telemetry', '--no-check']) {
      expect(read([name, '.token']).token).toBe('.token');
    }
  });

  it('takes an empty id and name for absent, and an empty token for one', () => {
    const env = { FIREZONE_ID: '', FIREZONE_NAME: '', FIREZONE_TOKEN: '' };
    expect(read([], env)).toMatchObject({ id: undefined, name: undefined, token: '' });
  });

  it.each(['FIREZONE_NO_INC_BUF', 'FIREZONE_NO_FIREWALL', 'FIREZONE_NO_TELEMETRY'])(
    'takes exactly true and false in %s',
    (name) => {
      expect(() => read([], { [name]: 'false' })).not.toThrow();
      for (const wrong of ['1', '0', 'yes', 'TRUE', ' true', '']) {
        expect(() => read([], { [name]: wrong })).toThrow(/true or false/);
      }
    },
  );

  it.each([
    [['--api-url', 'ftp://portal']],
    [['--api-url', 'portal']],
    [['--health-check-addr', '8080']],
    [['--health-check-addr', 'localhost:8080']],
    [['--health-check-addr', '::1:8080']],
    [['--health-check-addr', '127.0.0.1:70000']],
    [['--log-format', 'xml']],
    [['--max-partition-time', '24']],
    [['--max-partition-time', '-5m']],
    [['--max-partition-time', '5 parsecs']],
    [['--max-partition-time', '']],
    [['one-token', 'another']],
    [['--unknown']],
  ])('refuses %j', (args) => {
    expect(() => read(args)).toThrow(CommanderError);
  });

  it.each([
    ['30s', 30_000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['2 days', 172_800_000],
    ['90sec', 90_000],
    ['1week', 604_800_000],
  ])('reads the duration %s', (text, milliseconds) => {
    expect(read(['-m', text]).maxPartitionMs).toBe(milliseconds);
  });
});
