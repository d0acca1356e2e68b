// Our client over TCP and TLS, as in networks that block UDP: with our own relay, and with coturn in both configurations of relay 7.3.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { monotonicNow } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import type { TurnCredentials } from '../../src/proto/turn/auth.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { PlainPeer, TurnDriver } from '../support/turn-driver.ts';
import { coturnCredentials, isCoturnMissing, startCoturn, toEndpoint } from './support/coturn.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const SECRET = 'relay-streams-secret';
const EXPIRY = '1999999999';
const hasOpenssl = spawnSync('openssl', ['version']).error === undefined;
const isBuilt = existsSync(join(ROOT, 'dist', 'app', 'relay.js'));
const folder = mkdtempSync(join(tmpdir(), 'turn-streams-'));
const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];

interface Server {
  readonly name: string;
  readonly why: string | undefined;
  readonly tcp: number;
  readonly tls: number;
  readonly start: (server: Server) => Promise<ChildProcess>;
  readonly credentials: (name: string) => TurnCredentials;
}

const whyNot = hasOpenssl ? undefined : 'needs openssl';
const coturn = (users: 'by secret' | 'static', port: number): Server => ({
  name: `coturn with users ${users}`,
  why: isCoturnMissing ? 'needs the package coturn' : whyNot,
  tcp: port,
  tls: port + 1,
  start: ({ tcp, tls }) =>
    startCoturn({
      directory: folder,
      port: tcp,
      relayPorts: 26_200,
      users,
      tls: { port: tls, cert, key },
    }),
  credentials: (name) => coturnCredentials(users, name),
});

const SERVERS: readonly Server[] = [
  {
    name: 'our relay',
    why: isBuilt ? whyNot : 'run `npm run build:ts` first',
    tcp: 24_860,
    tls: 24_860,
    start: startRelay,
    credentials: (name) => ({
      username: `${EXPIRY}:${name}`,
      password: relayPassword(EXPIRY, SECRET, name, createNodeCrypto()),
      realm: 'firezone',
    }),
  },
  coturn('by secret', 24_862),
  coturn('static', 24_864),
];

beforeAll(() => {
  if (hasOpenssl) makeCertificate();
});

afterAll(() => rmSync(folder, { recursive: true }));

for (const server of SERVERS) {
  const note = server.why === undefined ? '' : ` (skipped: ${server.why})`;
  describe.skipIf(server.why !== undefined)(`${server.name}${note}`, () => {
    const drivers: TurnDriver[] = [];
    const peers: PlainPeer[] = [];
    let process: ChildProcess;

    beforeAll(async () => {
      process = await server.start(server);
    });

    afterEach(async () => {
      await Promise.all(drivers.splice(0).map((driver) => driver.close()));
      for (const peer of peers.splice(0)) peer.close();
    });

    afterAll(() => void process.kill('SIGKILL'));

    async function connect(kind: 'TCP' | 'TLS', name: string): Promise<TurnDriver> {
      const isSecure = kind === 'TLS';
      const remote = toEndpoint(`127.0.0.1:${isSecure ? server.tls : server.tcp}`);
      const extraCa = readFileSync(cert, 'utf8');
      const target = { remote, isSecure };
      const driver = await TurnDriver.overStream(target, server.credentials(name), { extraCa });
      drivers.push(driver);
      await driver.allocated();
      return driver;
    }

    it.each(['TCP', 'TLS'] as const)('carries data both ways over %s', async (kind) => {
      const driver = await connect(kind, 'gw');
      const peer = await PlainPeer.create(4);
      peers.push(peer);
      await driver.bind(peer.address);
      // Of all lengths modulo four, whole and in a burst.
      const texts = Array.from({ length: 40 }, (_, i) => `${i} `.padEnd(20 + i * 29, '.'));
      for (const text of texts) driver.send(peer.address, text);
      for (const text of texts) await peer.receives(text);
      const from = await peer.receives(texts[0] ?? '');
      expect(from.key).toBe(driver.allocation.relayedAddress(4)?.key);
      for (const text of texts) peer.send(from, `back ${text}`);
      for (const text of texts) await driver.receives(`back ${text}`);
    });

    it('reports relayed addresses only', async () => {
      const driver = await connect('TCP', 'gw');
      const kinds = driver.events.flatMap((event) =>
        event.kind === 'candidate-added' ? [event.candidate.kind] : [],
      );
      expect(new Set(kinds)).toEqual(new Set(['relayed']));
    });

    it('relays between a client by TCP and one by TLS', async () => {
      const [a, b] = [await connect('TCP', 'a'), await connect('TLS', 'b')];
      const relayedA = a.allocation.relayedAddress(4) ?? expect.unreachable();
      const relayedB = b.allocation.relayedAddress(4) ?? expect.unreachable();
      await Promise.all([a.bind(relayedB), b.bind(relayedA)]);
      a.send(relayedB, 'over two streams');
      expect(await b.receives('over two streams')).toMatchObject({ from: relayedA.key });
    });

    it('refreshes and gives back', async () => {
      const driver = await connect('TCP', 'gw');
      driver.allocation.refresh(monotonicNow());
      driver.drive();
      await driver.until('an answer', () => driver.allocation.snapshot().inFlightCount === 0);
      expect(driver.allocation.hasAllocation).toBe(true);
    });

    it('is not spoken to by TLS if its certificate is nobody’s whom we trust', async () => {
      const target = { remote: toEndpoint(`127.0.0.1:${server.tls}`), isSecure: true };
      const attempt = TurnDriver.overStream(target, server.credentials('gw'));
      await expect(attempt).rejects.toThrow('not opened');
    });

    it('is known by the name that its certificate is made for', async () => {
      const target = { remote: toEndpoint(`127.0.0.1:${server.tls}`), isSecure: true };
      const extraCa = readFileSync(cert, 'utf8');
      const options = { extraCa, serverName: 'relay.example' };
      const driver = await TurnDriver.overStream(target, server.credentials('gw'), options);
      drivers.push(driver);
      await driver.allocated();
      const wrong = { extraCa, serverName: 'other.example' };
      const attempt = TurnDriver.overStream(target, server.credentials('gw'), wrong);
      await expect(attempt).rejects.toThrow('not opened');
    });
  });
}

function makeCertificate(): void {
  const names = 'subjectAltName=IP:127.0.0.1,DNS:relay.example';
  const subject = ['-subj', '/CN=localhost', '-addext', names];
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-keyout', key, '-out', cert, '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...newKey, ...files, ...subject], { stdio: 'ignore' });
}

async function startRelay({ tcp }: Server): Promise<ChildProcess> {
  const relay = spawn(process.execPath, [join(ROOT, 'bin', 'firezone-relay')], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      RUST_LOG: 'warn',
      PUBLIC_IP4_ADDR: '127.0.0.1',
      LISTEN_PORT: String(tcp),
      LOWEST_PORT: '53000',
      HIGHEST_PORT: '53999',
      HEALTH_CHECK_ADDR: `127.0.0.1:${tcp + 100}`,
      FIREZONE_RELAY_STAMP_SECRET: SECRET,
      FIREZONE_RELAY_ALLOW_LOOPBACK_PEERS: 'true',
      FIREZONE_RELAY_TLS_CERT: cert,
      FIREZONE_RELAY_TLS_KEY: key,
    },
  });
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = await fetch(`http://127.0.0.1:${tcp + 100}/readyz`).catch(() => undefined);
    if (answer?.status === 200) return relay;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the relay did not become ready');
}
