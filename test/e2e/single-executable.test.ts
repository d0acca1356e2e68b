// The single executable (`npm run build`) as an operator runs it: a copy with CAP_NET_ADMIN as file capability, started by an ordinary
// user in the lab's gateway namespace in place of the gateway from the checkout. Needs root (to give the capability) and a built executable.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../../src/app/lab/expectations.ts';
import { fetchOk } from '../../src/app/lab/http.ts';
import { Lab } from '../../src/app/lab/lab.ts';
import { ManagedProcess } from '../../src/app/lab/managed-process.ts';
import { LAB_TOKENS } from '../../src/app/lab/policy.ts';
import { AS_NOBODY, ROOT } from './npm-start.ts';

const built = join(ROOT, 'dist', 'firezone-gateway');
const CAP_NET_ADMIN_ONLY = '0000000000001000';
const TIMEOUT_MS = 20_000;

const missing =
  process.getuid?.() !== 0
    ? 'root'
    : !existsSync(built)
      ? 'dist/firezone-gateway (npm run build)'
      : ['setcap', 'setpriv', 'ip', 'nft', 'curl', 'pgrep'].find(
          (name) => spawnSync('which', [name]).status !== 0,
        );
if (missing) console.warn(`skipped: the single executable needs ${missing}`);

const folder = mkdtempSync(join(tmpdir(), 'single-executable-'));
const executable = join(folder, 'firezone-gateway');
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Folders that the executable may have made to load its add-on from. */
function addonFolders(): string[] {
  return [tmpdir(), '/dev/shm', '/var/tmp'].flatMap((place) =>
    readdirSync(place)
      .filter((name) => /^firezone-[A-Za-z0-9]{6}$/.test(name))
      .map((name) => join(place, name)),
  );
}

describe.skipIf(missing)('the single executable', () => {
  let lab: Lab;
  let gateway: ManagedProcess;
  let before: string[];

  beforeAll(async () => {
    copyFileSync(built, executable);
    expect(spawnSync('setcap', ['cap_net_admin+eip', executable]).status).toBe(0);
    const plain = { ipv6: true, clientNat: 'port-keeping', gatewayNat: 'port-keeping' } as const;
    lab = await Lab.create({ ...plain, keepLogs: false, onProgress: () => {} });
    await lab.gateway.stop();
    before = addonFolders();
    gateway = start('gateway', [...AS_NOBODY, executable]);
  });
  afterAll(async () => {
    await gateway?.stop();
    await lab?.close();
  });

  function start(
    name: string,
    command: readonly string[],
    token: Readonly<Record<string, string>> = { FIREZONE_TOKEN: LAB_TOKENS.gateway },
  ): ManagedProcess {
    const logFile = join(folder, `${name}.log`);
    const [program = '', ...args] = command;
    const env = {
      PATH: process.env['PATH'],
      ...token,
      FIREZONE_ID: lab.gatewayId,
      FIREZONE_API_URL: 'ws://portal:8081',
      HEALTH_CHECK_ADDR: '127.0.0.1:8080',
    };
    const spawn = () => lab.network.spawn('gateway', program, args, env, logFile);
    const started = new ManagedProcess({ name, logFile, spawn });
    started.start();
    return started;
  }

  async function inside(...command: string[]): Promise<string> {
    const { stdout, stderr } = await lab.exec('gateway', command);
    return stdout + stderr;
  }

  async function becomesReady(started: ManagedProcess): Promise<void> {
    await eventually('the gateway is ready', TIMEOUT_MS, async () => {
      if (!started.isRunning) throw new Error(started.log());
      const { code } = await lab.exec('gateway', ['curl', '-sf', 'http://127.0.0.1:8080/readyz']);
      return code === 0 ? true : undefined;
    });
  }

  it('becomes ready as an ordinary user with one capability', async () => {
    await becomesReady(gateway);
    const pid = (await inside('pgrep', '--full', `^${executable}`)).trim();
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\s+65534\s+65534\s+65534\s+65534$/m);
    expect(/^CapEff:\s+(\w+)$/m.exec(status)?.[1]).toBe(CAP_NET_ADMIN_ONLY);
  });

  it('sets the host up: interface, addresses, routes, forwarding, one firewall table', async () => {
    const addresses = await inside('ip', '-o', 'addr', 'show', 'dev', 'tun-firezone');
    expect(addresses).toMatch(/inet 100\.\d+\.\d+\.\d+\/32/);
    expect(addresses).toMatch(/inet6 fd00:2021:1111:[0-9a-f:]+\/128/);
    expect(await inside('ip', 'route', 'show', 'dev', 'tun-firezone')).toContain('100.64.0.0/11');
    expect(await inside('cat', '/proc/sys/net/ipv4/ip_forward')).toBe('1\n');
    expect(await inside('nft', 'list', 'tables')).toBe('table inet firezone_gateway\n');
  });

  it('leaves no temporary file behind after loading its add-on', () => {
    expect(addonFolders()).toEqual(before);
  });

  it('carries traffic of a client', async () => {
    const page = await eventually('a page comes through', TIMEOUT_MS, async () => {
      try {
        return await fetchOk(lab, lab.urls.httpIpv4, { timeoutMs: 2_000 });
      } catch {
        return undefined; // the client does not know yet that the gateway is back
      }
    });
    expect(page.body).toContain('Hello from the lab');
  });

  it('says what it does through the status command', async () => {
    const state = JSON.parse(await inside(executable, 'status', '--json')) as { role: string };
    expect(state.role).toBe('gateway');
  });

  it('ends with code 0 on SIGTERM and leaves the host as it was', async () => {
    expect(await gateway.stop('SIGTERM')).toBe(0);
    expect(await inside('nft', 'list', 'tables')).toBe('');
    expect(await inside('ip', 'link', 'show', 'dev', 'tun-firezone')).toContain('does not exist');
    expect(gateway.warnings()).toEqual([]);
    expect(addonFolders()).toEqual(before);
  });

  it('runs as a systemd unit runs it: ambient capability, no new privileges, token as credential', async () => {
    const plain = join(folder, 'plain');
    copyFileSync(built, plain);
    writeFileSync(join(folder, 'FIREZONE_TOKEN'), `${LAB_TOKENS.gateway}\n`);
    const capability = ['--inh-caps', '+net_admin', '--ambient-caps', '+net_admin'];
    const limits = ['--bounding-set', '-all,+net_admin', '--no-new-privs'];
    const user = AS_NOBODY.filter((word) => !/^(env$|HOME=|PATH=)/.test(word));
    const unit = start('unit', [...user, ...capability, ...limits, plain], {
      CREDENTIALS_DIRECTORY: folder,
    });
    await becomesReady(unit);
    expect(await inside('nft', 'list', 'tables')).toBe('table inet firezone_gateway\n');
    expect(await unit.stop('SIGTERM')).toBe(0);
    expect(await inside('nft', 'list', 'tables')).toBe('');
  });

  it('names the command that gives the capability where it has none', async () => {
    const bare = join(folder, 'bare');
    copyFileSync(built, bare);
    const refused = start('refused', [...AS_NOBODY, bare]);
    expect(await refused.waitForExit(TIMEOUT_MS)).toBe(1);
    expect(refused.log()).toContain(`sudo setcap 'cap_net_admin+eip' ${bare}`);
  });

  it('sends those who want the lab to the checkout', () => {
    const { status, stderr } = spawnSync(executable, ['lab'], { encoding: 'utf8' });
    expect(status).toBe(1);
    expect(stderr).toContain('npm start');
  });
});
