// Our relay and our portal as processes: it registers, says when it is ready and when it is not, and comes back after an outage.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const isBuilt = existsSync(join(ROOT, 'dist', 'app', 'relay.js'));
// Below the range from which the kernel takes ports for outgoing connections: one of those was in use here now and then.
const PORTAL_PORT = 24_800;
const RELAY_PORT = 24_801;
const HEALTH_PORT = 24_802;
const POLICY = `
account: test
sites: [{ name: home, gateway_tokens: [gateway-token-of-the-test] }]
relays: [{ name: lab, tokens: [relay-token-of-the-test] }]
groups: [everyone]
actors: []
resources: []
policies: []
`;

const note = isBuilt ? '' : ' (skipped: run `npm run build:ts` first)';

describe.skipIf(!isBuilt)(`relay and portal${note}`, () => {
  const directory = mkdtempSync(join(tmpdir(), 'relay-portal-'));
  const children: ChildProcess[] = [];

  afterEach(async () => {
    for (const child of children.splice(0)) await stop(child);
  });

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function start(program: string, environment: Readonly<Record<string, string>>): ChildProcess {
    const child = spawn(process.execPath, [join(ROOT, 'bin', program)], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { PATH: process.env['PATH'], RUST_LOG: 'error', ...environment },
    });
    children.push(child);
    return child;
  }

  function startPortal(): ChildProcess {
    const policy = join(directory, 'policy.yaml');
    writeFileSync(policy, POLICY);
    return start('firezone-portal', {
      FIREZONE_PORTAL_LISTEN: `127.0.0.1:${PORTAL_PORT}`,
      FIREZONE_PORTAL_POLICY: policy,
      FIREZONE_PORTAL_DATABASE: join(directory, 'portal.db'),
    });
  }

  function startRelay(token: string): ChildProcess {
    return start('firezone-relay', {
      FIREZONE_TOKEN: token,
      FIREZONE_API_URL: `ws://127.0.0.1:${PORTAL_PORT}`,
      FIREZONE_NAME: 'relay of the test',
      PUBLIC_IP4_ADDR: '127.0.0.1',
      LISTEN_PORT: String(RELAY_PORT),
      HEALTH_CHECK_ADDR: `127.0.0.1:${HEALTH_PORT}`,
    });
  }

  it('is ready while the portal knows it, and again after an outage of the portal', async () => {
    startRelay('relay-token-of-the-test');
    expect(await readiness(503)).toBe('not registered with the portal\n');
    const portal = startPortal();
    await readiness(200);
    await stop(portal);
    await readiness(503);
    startPortal();
    await readiness(200);
  }, 60_000);

  it('ends with exit code 1 when the portal refuses its token', async () => {
    startPortal();
    const relay = startRelay('another-token');
    expect(await new Promise((resolve) => relay.once('exit', resolve))).toBe(1);
  }, 60_000);
});

/** Waits for a status of `/readyz`; yields its body. */
async function readiness(status: number): Promise<string> {
  for (let attempt = 0; attempt < 300; attempt++) {
    const response = await fetch(`http://127.0.0.1:${HEALTH_PORT}/readyz`).catch(() => undefined);
    const body = await response?.text();
    if (response?.status === status) return body ?? '';
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`/readyz never answered ${status}`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await ended;
}
