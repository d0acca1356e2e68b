// What a newcomer does with `npm start`: runs the lines that the screen offers, and ends it, in whatever way. Then nothing is left: no process, no
// namespace, no file. Also without root, in a user namespace. Needs root itself, to look everywhere and to become somebody else.

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  AS_NOBODY,
  NpmStart,
  OPEN_TUN,
  processes,
  ROOT,
  until,
  WITHOUT_NETBASE,
} from './npm-start.ts';

const missing =
  process.getuid?.() !== 0
    ? 'root'
    : ['npm', 'ip', 'nft', 'curl', 'dig', 'ping', 'unshare', 'setpriv'].find(
        (name) => spawnSync('which', [name]).status !== 0,
      );
if (missing) console.warn(`skipped: \`npm start\` needs ${missing}`);
const userNamespaces = missing
  ? 1
  : spawnSync('setpriv', ['--reuid', '65534', '--clear-groups', 'unshare', '--user', 'true'])
      .status;

let started: NpmStart | undefined;
afterEach(async () => {
  await started?.end();
  started = undefined;
});

async function start(wrapper: readonly string[] = []): Promise<NpmStart> {
  started = new NpmStart(wrapper);
  await started.ready();
  return started;
}

function tracesOf({ labId, folder, pid }: NpmStart): string[] {
  const named = (place: string): string[] =>
    existsSync(place) ? readdirSync(place).filter((name) => name.includes(labId)) : [];
  return [
    ...processes()
      .filter(({ args }) => args.includes(labId) || (folder !== '' && args.includes(folder)))
      .map(({ args }) => args),
    ...processes()
      .filter((one) => one.pid === pid)
      .map(({ args }) => args),
    ...['/run/netns', '/etc/netns', '/run/firezone-lab'].flatMap(named),
    ...(existsSync(folder) ? [folder] : []),
  ];
}

async function leavesNothing(lab: NpmStart): Promise<void> {
  await until('nothing is left', () => tracesOf(lab).length === 0).catch(() => {});
  expect(tracesOf(lab)).toEqual([]);
}

describe.skipIf(missing)('npm start', () => {
  it('offers lines that work exactly as printed', async () => {
    const lab = await start();
    const lines = lab.output.split('\n').filter((line) => /^ {2}ip netns exec /.test(line));
    expect(lines.length).toBeGreaterThanOrEqual(5);
    const refused = lines.filter((line) => line.includes('# refused'));
    expect(refused).toHaveLength(1);
    for (const line of lines) {
      const run = spawnSync('sh', ['-c', line], { encoding: 'utf8', timeout: 60_000 });
      const said = `${line}\n${run.stdout}${run.stderr}`;
      if (refused.includes(line)) expect(run.status, said).toBe(7);
      else expect(run.status, said).toBe(0);
      if (line.includes(' dig ')) expect(run.stdout, said).toMatch(/IN\s+A\s+100\.96\./);
      if (/curl http\S+$/.test(line)) expect(run.stdout, said).toContain('Hello from the lab');
    }
    lab.signalGroup('SIGINT');
    await leavesNothing(lab);
  });

  it('shows connections, authorizations and traffic as they happen, on a bare host, too', async () => {
    const lab = await start(WITHOUT_NETBASE);
    const line = lab.output.split('\n').find((text) => text.includes('bytes?num'));
    // The lab hides files from itself: it has mounts of its own.
    const inside = ['-t', String(lab.labPid), '-m', 'sh', '-c'];
    const run = spawnSync('nsenter', [...inside, line ?? 'false'], { timeout: 60_000 });
    expect(run.status).toBe(0);
    await until(
      'traffic is shown',
      () => /traffic +up .*\(direct\)/.test(lab.output),
      () => lab.output,
    );
    expect(lab.output).toMatch(/gateway +\S+ Access granted/);
    expect(lab.output).toMatch(/gateway +\S+ Client connected/);
    lab.signalGroup('SIGINT');
    await leavesNothing(lab);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const)(
    'leaves nothing behind when all its processes in the terminal get %s',
    async (signal) => {
      const lab = await start();
      lab.signalGroup(signal);
      await leavesNothing(lab);
    },
  );

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'leaves nothing behind when npm alone gets %s',
    async (signal) => {
      const lab = await start();
      process.kill(lab.pid, signal);
      await leavesNothing(lab);
    },
  );

  it('leaves nothing behind when the lab itself is killed', async () => {
    const lab = await start();
    process.kill(lab.labPid, 'SIGKILL');
    await leavesNothing(lab);
    expect(await lab.ended).not.toBe(0);
  });

  it('leaves nothing behind when it is interrupted while it starts', async () => {
    started = new NpmStart();
    const lab = started;
    await until('it has namespaces', () => lab.labId !== '' && tracesOf(lab).length > 2);
    lab.signalGroup('SIGINT');
    await leavesNothing(lab);
    expect(lab.output).not.toContain('The lab is ready');
  });
});

describe.skipIf(missing || userNamespaces !== 0)('npm start without root', () => {
  it('runs in a user namespace and leaves nothing behind', async () => {
    const lab = await start(AS_NOBODY);
    lab.signalGroup('SIGINT');
    await leavesNothing(lab);
  });

  it('ends with its first self', async () => {
    const lab = await start(AS_NOBODY);
    lab.signalGroup('SIGKILL');
    await leavesNothing(lab);
  });

  it('says in one line what is missing where there are no user namespaces either', () => {
    // Root of a user namespace that may have no others, without capabilities: as good as nobody.
    const script =
      'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --inh-caps -all --bounding-set -all "$@"';
    const command = [process.execPath, join(ROOT, 'bin', 'firezone-gateway'), 'lab'];
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      [
        ...['--mount', 'sh', '-ec', OPEN_TUN, 'sh', 'unshare', '--user', '--map-root-user'],
        ...['sh', '-ec', script, 'sh', ...command],
      ],
      { encoding: 'utf8' },
    );
    expect(stderr).toMatch(/^firezone-gateway: the lab needs CAP_NET_ADMIN.*sudo npm start.*\n$/);
    expect(stderr).toContain('sudo sysctl user.max_user_namespaces=10000');
    expect([status, stdout]).toEqual([1, '']);
  });
});
