// Our relay as a process, over real sockets on loopback: our client and plain peers, all four combinations of address families, with
// the native add-on and without it, and what an operator sees.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Endpoint, endpoint, parseEndpoint } from '../../src/base/address.ts';
import { monotonicNow } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { nativeProblem } from '../../src/io/packets/native.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { PlainPeer, TurnDriver } from '../support/turn-driver.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const BUILT = join(ROOT, 'dist', 'app', 'relay.js');
const SECRET = 'relay-interop-secret';
const EXPIRY = '1999999999';
const problem = nativeProblem();
const why = existsSync(BUILT) ? undefined : 'run `npm run build:ts` first';

interface Mode {
  readonly name: string;
  readonly port: number;
  readonly arguments: readonly string[];
  readonly skip: string | undefined;
}

// Below the range from which the kernel takes ports for outgoing connections; their health listeners are 100 above.
const modes: readonly Mode[] = [
  { name: 'native sockets', port: 24_870, arguments: [], skip: why ?? problem },
  { name: 'plain sockets', port: 24_871, arguments: ['--no-native'], skip: why },
];

for (const mode of modes) {
  const note = mode.skip === undefined ? '' : ` (skipped: ${mode.skip})`;
  describe.skipIf(mode.skip !== undefined)(`the relay with ${mode.name}${note}`, () => {
    const v4 = toEndpoint(`127.0.0.1:${mode.port}`);
    const v6 = toEndpoint(`[::1]:${mode.port}`);
    const health = `http://127.0.0.1:${mode.port + 100}`;
    const drivers: TurnDriver[] = [];
    const peers: PlainPeer[] = [];
    let relay: ChildProcess;
    let salt = 0;

    beforeAll(async () => {
      relay = spawn(process.execPath, [join(ROOT, 'bin', 'firezone-relay'), ...mode.arguments], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          PATH: process.env['PATH'],
          RUST_LOG: 'warn',
          PUBLIC_IP4_ADDR: '127.0.0.1',
          PUBLIC_IP6_ADDR: '::1',
          LISTEN_PORT: String(mode.port),
          LOWEST_PORT: '51000',
          HIGHEST_PORT: '51999',
          HEALTH_CHECK_ADDR: `127.0.0.1:${mode.port + 100}`,
          FIREZONE_RELAY_STAMP_SECRET: SECRET,
          FIREZONE_RELAY_ALLOW_LOOPBACK_PEERS: 'true',
        },
      });
      await untilReady(`${health}/readyz`);
    });

    afterEach(async () => {
      await Promise.all(drivers.splice(0).map((driver) => driver.close()));
      for (const peer of peers.splice(0)) peer.close();
    });

    afterAll(async () => {
      const ended = new Promise((resolve) => relay.once('exit', resolve));
      relay.kill('SIGTERM');
      expect(await ended).toBe(0);
    });

    async function connect(addresses: readonly Endpoint[]): Promise<TurnDriver> {
      const text = `salt${salt++}`;
      const username = `${EXPIRY}:${text}`;
      const password = relayPassword(EXPIRY, SECRET, text, createNodeCrypto());
      const credentials = { username, password, realm: 'firezone' };
      const driver = await TurnDriver.create(addresses, credentials);
      drivers.push(driver);
      await driver.allocated();
      return driver;
    }

    async function peerOf(family: 4 | 6): Promise<PlainPeer> {
      const peer = await PlainPeer.create(family);
      peers.push(peer);
      return peer;
    }

    it.each([
      ['IPv4', 'IPv4', v4, 4],
      ['IPv4', 'IPv6', v4, 6],
      ['IPv6', 'IPv4', v6, 4],
      ['IPv6', 'IPv6', v6, 6],
    ] as const)('carries data between an %s client and an %s peer', async (_a, _b, via, family) => {
      const driver = await connect([via]);
      const peer = await peerOf(family);
      await driver.bind(peer.address);
      driver.send(peer.address, 'ping');
      const from = await peer.receives('ping');
      expect(from.key).toBe(driver.allocation.relayedAddress(family)?.key);
      peer.send(from, 'pong');
      expect(await driver.receives('pong')).toEqual({ from: peer.address.key, text: 'pong' });
    });

    it('carries a burst of datagrams of different sizes and peers, each whole', async () => {
      const driver = await connect([v4]);
      const [a, b] = [await peerOf(4), await peerOf(6)];
      await driver.bind(a.address);
      await driver.bind(b.address);
      const texts = Array.from({ length: 60 }, (_, i) =>
        `${i} `.padEnd(i % 7 === 0 ? 40 : 900, '.'),
      );
      for (const [i, text] of texts.entries())
        driver.send(i % 3 === 0 ? b.address : a.address, text);
      for (const [i, text] of texts.entries()) await (i % 3 === 0 ? b : a).receives(text);
      const from = await a.receives(texts[1] ?? '');
      for (const text of texts) a.send(from, `back ${text}`);
      for (const text of texts) await driver.receives(`back ${text}`);
    });

    it('relays between two of its own allocations', async () => {
      const [a, b] = [await connect([v4]), await connect([v6])];
      const relayedA = a.allocation.relayedAddress(4) as Endpoint;
      const relayedB = b.allocation.relayedAddress(4) as Endpoint;
      await Promise.all([a.bind(relayedB), b.bind(relayedA)]);
      a.send(relayedB, 'over two hops');
      expect(await b.receives('over two hops')).toMatchObject({ from: relayedA.key });
    });

    it('delivers nothing from a port of the peer that has no channel', async () => {
      const driver = await connect([v4]);
      const [peer, stranger] = [await peerOf(4), await peerOf(4)];
      await driver.bind(peer.address);
      driver.send(peer.address, 'hello');
      const relayed = await peer.receives('hello');
      stranger.send(relayed, 'intrusion');
      peer.send(relayed, 'legitimate');
      await driver.receives('legitimate');
      expect(driver.received.map(({ text }) => text)).toEqual(['legitimate']);
    });

    it('gives a release back: the port is closed, another allocation works', async () => {
      const driver = await connect([v4]);
      driver.allocation.release(monotonicNow());
      driver.drive();
      driver.allocation.restart(monotonicNow());
      driver.drive();
      await driver.allocated();
    });

    it('tells this machine how it is', async () => {
      await connect([v4]);
      const state = await (await fetch(`${health}/debug/state`)).json();
      expect(state).toMatchObject({ relay: { allocationCount: 1 } });
      expect((await fetch(`${health}/healthz`)).status).toBe(200);
    });

    it('drops what is not TURN, and goes on', async () => {
      const [peer, driver] = [await peerOf(4), await connect([v4])];
      for (const junk of ['', 'x', '\u0040\u0000\u0000\u0009abc', 'GET / HTTP/1.1']) {
        peer.send(v4, junk);
      }
      await driver.bind(endpoint(v4.address, 9));
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

function toEndpoint(text: string): Endpoint {
  const value = parseEndpoint(text);
  if (!value) throw new Error(`not an endpoint: ${text}`);
  return value;
}
