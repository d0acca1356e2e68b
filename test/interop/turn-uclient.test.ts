// Our relay with coturn's client, `turnutils_uclient`: a standard client that does with the relay what ours never do:
// permissions and Send indications, over UDP, TCP and TLS. An echo server (`turnutils_peer`) sends each message back. Its channels are
// not tried: it draws numbers up to 0x7FFF, as RFC 5766 allowed and RFC 8656 does not.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SECRET = 'relay-uclient-secret';
const EXPIRY = '1999999999';
const PORT = 24_850;
const PEER_PORT = 24_851;
const MESSAGES = 100;
const why = !existsSync(join(ROOT, 'dist', 'app', 'relay.js'))
  ? 'run `npm run build:ts` first'
  : spawnSync('turnutils_uclient', ['-h']).error
    ? 'needs the package coturn'
    : spawnSync('openssl', ['version']).error
      ? 'needs openssl'
      : undefined;
const note = why === undefined ? '' : ` (skipped: ${why})`;

describe.skipIf(why !== undefined)(`turnutils_uclient${note}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'relay-tls-'));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  let relay: ChildProcess;
  let peer: ChildProcess;
  let salt = 0;

  beforeAll(async () => {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const files = ['-keyout', key, '-out', cert, '-days', '2'];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    execFileSync('openssl', ['req', '-x509', ...newKey, ...files, ...subject], { stdio: 'ignore' });
    const echo = ['-L', '127.0.0.1', '-p', String(PEER_PORT)];
    peer = spawn('turnutils_peer', echo, { stdio: 'ignore' });
    relay = spawn(process.execPath, [join(ROOT, 'bin', 'firezone-relay')], {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        RUST_LOG: 'warn',
        PUBLIC_IP4_ADDR: '127.0.0.1',
        LISTEN_PORT: String(PORT),
        LOWEST_PORT: '52000',
        HIGHEST_PORT: '52999',
        HEALTH_CHECK_ADDR: `127.0.0.1:${PORT + 100}`,
        FIREZONE_RELAY_STAMP_SECRET: SECRET,
        FIREZONE_RELAY_ALLOW_LOOPBACK_PEERS: 'true',
        FIREZONE_RELAY_TLS_CERT: cert,
        FIREZONE_RELAY_TLS_KEY: key,
        FIREZONE_RELAY_DRAIN_TIME: '0s',
      },
    });
    await untilReady(`http://127.0.0.1:${PORT + 100}/readyz`);
  });

  afterAll(async () => {
    const ended = new Promise((resolve) => relay.once('exit', resolve));
    peer.kill('SIGKILL');
    relay.kill('SIGTERM');
    expect(await ended).toBe(0);
    rmSync(folder, { recursive: true });
  });

  // It reads one message each time that a socket becomes readable, so that with TLS the last ones may stay in its own buffer.
  it.each([
    { transport: 'UDP', flags: [], unread: 0 },
    { transport: 'TCP', flags: ['-t'], unread: 0 },
    { transport: 'TLS', flags: ['-t', '-S'], unread: 9 },
  ])('loses nothing over $transport', async ({ flags, unread }) => {
    const before = await forwarded();
    const username = `${EXPIRY}:uclient${salt++}`;
    const password = relayPassword(
      EXPIRY,
      SECRET,
      username.slice(EXPIRY.length + 1),
      createNodeCrypto(),
    );
    const output = await run('turnutils_uclient', [
      ...flags,
      ...['-s', '-e', '127.0.0.1', '-r', String(PEER_PORT)],
      ...['-c', '-n', String(MESSAGES), '-l', '170', '-m', '1', '-z', '5'],
      ...['-u', username, '-w', password, '-p', String(PORT), '127.0.0.1'],
    ]);
    const after = await forwarded();
    expect(after.map((count, direction) => count - (before[direction] ?? 0))).toEqual([
      MESSAGES,
      MESSAGES,
    ]);
    const [, lost = 'none said'] = /Total lost packets (\d+) /.exec(output) ?? [];
    expect(Number(lost), output).toBeLessThanOrEqual(unread);
    expect(output).toMatch(/tot_recv_msgs=[1-9]/);
  });
});

/** Datagrams that the relay has forwarded so far, to peers and to clients. */
async function forwarded(): Promise<readonly number[]> {
  const text = await (await fetch(`http://127.0.0.1:${PORT + 100}/metrics`)).text();
  return ['to_peer', 'to_client'].map((direction) => {
    const sample = new RegExp(`relay_packets_total{direction="${direction}"} (\\d+)`).exec(text);
    return Number(sample?.[1]);
  });
}

function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args);
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  child.stderr.on('data', (text) => {
    output += text;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  return new Promise((resolve) => {
    child.on('close', () => {
      clearTimeout(timer);
      resolve(output);
    });
  });
}

async function untilReady(url: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    try {
      if ((await fetch(url)).status === 200) return;
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${url} never became ready`);
}
