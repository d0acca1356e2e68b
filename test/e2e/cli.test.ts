// The four programs as commands: help, version, and what a wrong setting brings (operations 1.4): exit code 2, the mistake first and the usage after
// it, all on stderr. Needs what `npm run build:ts` makes.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from './npm-start.ts';

const folder = mkdtempSync(join(tmpdir(), 'cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

type Environment = Readonly<Record<string, string>>;
interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], env: Environment = {}): Run {
  const [command = '', ...rest] = [process.execPath, join(ROOT, 'bin', program), ...args];
  return spawnSync(command, rest, {
    encoding: 'utf8',
    cwd: folder,
    env: { PATH: process.env['PATH'], ...env },
    timeout: 30_000,
  });
}

const PROGRAMS = ['firezone-gateway', 'firezone-portal', 'firezone-relay', 'firezone-client'];

/** Program, arguments, environment, and what the first line must name. */
const MISTAKES: readonly (readonly [string, readonly string[], Environment, RegExp])[] = [
  ['firezone-gateway', ['--health-check-addr', '8080'], {}, /--health-check-addr.*ip:port/],
  ['firezone-gateway', [], { HEALTH_CHECK_ADDR: 'here' }, /HEALTH_CHECK_ADDR.*ip:port/],
  ['firezone-gateway', [], { FIREZONE_NO_TELEMETRY: '1' }, /FIREZONE_NO_TELEMETRY.*true or false/],
  ['firezone-gateway', [], { FIREZONE_MAX_PARTITION_TIME: 'long' }, /PARTITION_TIME.*duration/],
  ['firezone-gateway', [], { FIREZONE_API_URL: 'portal' }, /FIREZONE_API_URL.*URL/],
  ['firezone-gateway', [], { FIREZONE_LOG_FORMAT: 'xml' }, /FIREZONE_LOG_FORMAT.*human, json/],
  ['firezone-gateway', ['status', '--address', 'x'], {}, /--address.*ip:port/],
  ['firezone-gateway', ['lab', '--nope'], {}, /unknown option '--nope'/],
  ['firezone-gateway', ['lab', '--client-nat', 'odd'], {}, /--client-nat.*symmetric/],
  ['firezone-portal', ['--listen', 'x'], {}, /--listen.*ip:port/],
  ['firezone-portal', [], { FIREZONE_PORTAL_TRUST_PROXY: 'yes' }, /TRUST_PROXY.*true or false/],
  ['firezone-relay', ['--lowest-port', '0'], {}, /--lowest-port.*1 to 65535/],
  ['firezone-relay', [], { PUBLIC_IP4_ADDR: '::1' }, /PUBLIC_IP4_ADDR.*IPv4/],
  ['firezone-client', ['--dns-control', 'x'], {}, /--dns-control.*etc-resolv-conf/],
  ['firezone-client', [], { FIREZONE_ACTIVATE_INTERNET_RESOURCE: '' }, /RESOURCE.*true or false/],
];

describe.each(PROGRAMS)('%s', (program) => {
  it('says its version as "name number"', () => {
    const { status, stdout } = run(program, ['--version']);
    expect(stdout).toMatch(new RegExp(`^${program} \\d+\\.\\d+\\.\\d+\\n$`));
    expect(status).toBe(0);
  });

  it('helps on stdout', () => {
    const { status, stdout, stderr } = run(program, ['--help']);
    expect(stdout).toContain(`Usage: ${program}`);
    expect([status, stderr]).toEqual([0, '']);
  });

  it('refuses an unknown option with the usage', () => {
    const { status, stdout, stderr } = run(program, ['--nope']);
    expect(stderr).toMatch(/^error: unknown option '--nope'\n/);
    expect(stderr).toContain('Usage: ');
    expect([status, stdout]).toEqual([2, '']);
  });
});

describe('a bad setting', () => {
  it.each(MISTAKES)(
    'of %s %j %j ends with exit code 2 and the usage',
    (program, args, env, says) => {
      const { status, stdout, stderr } = run(program, args, env);
      expect(stderr.split('\n')[0]).toMatch(says);
      expect(stderr).toContain('Usage: ');
      expect([status, stdout]).toEqual([2, '']);
    },
  );

  it('is also settings that contradict each other', () => {
    const { status, stderr } = run('firezone-relay', []);
    expect(stderr).toMatch(/^firezone-relay: .*PUBLIC_IP4_ADDR.*\n$/);
    expect(status).toBe(2);
  });

  it('is also a scenario that there is not; those that there are, are named', () => {
    const { status, stderr } = run('firezone-gateway', ['lab', '--check', 'nope']);
    expect(stderr).toMatch(/no such scenario.*cidr-direct/);
    expect(status).toBe(2);
  });
});

describe('what is missing', () => {
  it('is a token: one line, exit code 1', () => {
    const args = ['--no-check', '--health-check-addr', '127.0.0.1:0'];
    const { status, stderr } = run('firezone-gateway', args, { FIREZONE_ID: 'x' });
    expect(stderr).toMatch(/^firezone-gateway: .*(FIREZONE_TOKEN|\/dev\/net\/tun).*\n$/);
    expect(status).toBe(1);
  });

  it('is a running gateway: one line, exit code 1', () => {
    const { status, stderr } = run('firezone-gateway', ['status', '--address', '127.0.0.1:9']);
    expect(stderr).toMatch(/^firezone-gateway: nothing answers on 127\.0\.0\.1 port 9: .*\n$/);
    expect(status).toBe(1);
  });

  it('is a policy file: one line, exit code 1', () => {
    const { status, stderr } = run('firezone-portal', ['check', join(folder, 'absent.yaml')]);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(status).toBe(1);
  });

  it('is sense in a policy file: file, line, what is wrong', () => {
    const path = join(folder, 'policy.yaml');
    writeFileSync(path, 'account: lab\nsites:\n  - nmae: x\n');
    const { status, stderr } = run('firezone-portal', ['check', path]);
    expect(stderr).toMatch(/policy\.yaml:3/);
    expect(status).toBe(1);
  });
});
