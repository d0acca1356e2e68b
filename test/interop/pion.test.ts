// Ours against pion's: our ICE agent in both roles, and our relay with its TURN client, which is a plain RFC 8656 client of one address family
// that begins with permissions and indications.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parseEndpoint } from '../../src/base/address.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { formatCandidate, parseCandidate } from '../../src/proto/ice/candidate.ts';
import type { IceRole } from '../../src/proto/ice/candidate-pair.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { PlainPeer } from '../support/turn-driver.ts';
import { IceDriver, now, OWN } from './support/ice-driver.ts';
import { Pion, whyNoPion } from './support/pion.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const reason = whyNoPion();
const note = (why: string | undefined): string => (why === undefined ? '' : ` (skipped: ${why})`);

const opened: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

function start(...args: string[]): Pion {
  const pion = new Pion(...args);
  opened.push(() => pion.close());
  return pion;
}

describe.skipIf(reason !== undefined)(`the ICE agent of pion${note(reason)}`, () => {
  async function settle(role: IceRole): Promise<{ driver: IceDriver; pion: Pion }> {
    const its = role === 'controlling' ? 'controlled' : 'controlling';
    const pion = start('ice', its, OWN.ufrag, OWN.password);
    const { ufrag, password } = await pion.hears({ ufrag: undefined });
    const driver = await IceDriver.create(role, {
      ufrag: String(ufrag),
      password: String(password),
    });
    opened.push(() => driver.close());
    const ours = driver.agent.addLocalCandidate(
      { kind: 'host', address: driver.local, base: driver.local },
      now(),
    );
    if (!ours) return expect.unreachable();
    await pion.hears({ gathered: true });
    pion.say(formatCandidate(ours));
    for (const text of pion.all('candidate')) {
      const parsed = parseCandidate(String(text));
      if (!parsed) throw new Error(`cannot parse ${text}`);
      expect(driver.agent.addRemoteCandidate(parsed, now())).toBe('added');
    }
    driver.drain();
    await driver.until(() => driver.nominated);
    await pion.hears({ state: 'Connected' });
    return { driver, pion };
  }

  it.each<IceRole>(['controlling', 'controlled'])(
    'settles with ours, %s, and data flows both ways',
    async (role) => {
      const { driver, pion } = await settle(role);
      expect(driver.nominated).toMatchObject({ localKind: 'host', local: driver.local });
      await pion.hears({ selected: `127.0.0.1:${driver.local.port}` });
      driver.sendData('hello');
      await pion.hears({ data: 'hello' });
      expect(await driver.receive()).toBe('pion heard: hello');
    },
  );

  it.each<IceRole>(['controlling', 'controlled'])(
    'stays connected with ours, %s, beyond its own patience of 5 s',
    async (role) => {
      const { driver, pion } = await settle(role);
      await new Promise((resolve) => setTimeout(resolve, 8_000));
      expect(pion.all('state').at(-1)).toBe('Connected');
      expect(driver.agent.snapshot().drops).toEqual({});
      driver.sendData('still there');
      expect(await driver.receive()).toBe('pion heard: still there');
    },
  );
});

const PORT = 24_790;
const HEALTH = `127.0.0.1:${PORT + 1}`;
const SECRET = 'pion-interop-secret';
const EXPIRY = '1999999999';
const whyNoRelay =
  reason ??
  (existsSync(join(ROOT, 'dist', 'app', 'relay.js')) ? undefined : 'run `npm run build:ts` first');

describe.skipIf(whyNoRelay !== undefined)(
  `our relay with the TURN client of pion${note(whyNoRelay)}`,
  () => {
    let relay: ChildProcess;
    let salt = 0;

    beforeAll(async () => {
      relay = spawn(process.execPath, [join(ROOT, 'bin', 'firezone-relay')], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          PATH: process.env['PATH'],
          RUST_LOG: 'warn',
          PUBLIC_IP4_ADDR: '127.0.0.1',
          PUBLIC_IP6_ADDR: '::1',
          LISTEN_PORT: String(PORT),
          LOWEST_PORT: '27000',
          HIGHEST_PORT: '27099',
          HEALTH_CHECK_ADDR: HEALTH,
          FIREZONE_RELAY_STAMP_SECRET: SECRET,
          FIREZONE_RELAY_ALLOW_LOOPBACK_PEERS: 'true',
        },
      });
      await untilReady(`http://${HEALTH}/readyz`);
    });

    afterAll(async () => {
      const ended = new Promise((resolve) => relay.once('exit', resolve));
      relay.kill('SIGTERM');
      expect(await ended).toBe(0);
    });

    function client(family: 4 | 6, text = `salt${salt++}`): Pion {
      const password = relayPassword(EXPIRY, SECRET, text, createNodeCrypto());
      return start(
        ...['turn', `127.0.0.1:${PORT}`, `${EXPIRY}:${text}`, password, 'firezone', `${family}`],
      );
    }

    async function peerOf(family: 4 | 6): Promise<PlainPeer> {
      const peer = await PlainPeer.create(family);
      opened.push(() => peer.close());
      return peer;
    }

    it.each([4, 6] as const)(
      'tells it its address and carries data to an IPv%i peer',
      async (family) => {
        const pion = client(family);
        const { mapped, socket, relayed } = await pion.hears({ relayed: undefined });
        expect(mapped).toBe(socket);
        const peer = await peerOf(family);
        // The first packets are indications, then there is a channel.
        for (let i = 0; i < 20; i++) {
          pion.say(`${peer.address.key} ping ${i}`);
          const from = await peer.receives(`ping ${i}`);
          expect(from.key).toBe(relayed);
          peer.send(from, `pong ${i}`);
          await pion.hears({ from: peer.address.key, data: `pong ${i}` });
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      },
    );

    it('carries data between two of its clients, both relayed', async () => {
      const [a, b] = [client(4), client(4)];
      const { relayed: relayedA } = await a.hears({ relayed: undefined });
      const { relayed: relayedB } = await b.hears({ relayed: undefined });
      // The permission has to be there before anything comes in.
      b.say(`${relayedA} open`);
      await new Promise((resolve) => setTimeout(resolve, 300));
      a.say(`${relayedB} over two hops`);
      await b.hears({ from: relayedA, data: 'over two hops' });
      b.say(`${relayedA} and back`);
      await a.hears({ from: relayedB, data: 'and back' });
    });

    it('keeps away whom it has no permission for, and closes the port it gives back', async () => {
      const pion = client(4);
      const { relayed } = await pion.hears({ relayed: undefined });
      const address = parseEndpoint(String(relayed));
      if (!address) return expect.unreachable();
      const peer = await peerOf(4);
      const before = await dropsFrom(HEALTH, 'no-peer');
      peer.send(address, 'too early');
      // Its socket is not the client's: only what the relay has seen is before the permission.
      await expect.poll(() => dropsFrom(HEALTH, 'no-peer')).toBe(before + 1);
      pion.say(`${peer.address.key} hello`);
      await peer.receives('hello');
      peer.send(address, 'welcome');
      await pion.hears({ data: 'welcome' });
      expect(pion.all('data')).toEqual(['welcome']);
      pion.say('release');
      await pion.hears({ released: true });
    });
  },
);

async function dropsFrom(health: string, reason: string): Promise<number> {
  const text = await (await fetch(`http://${health}/metrics`)).text();
  const [, count = '0'] =
    new RegExp(`relay_drops_total{reason="${reason}"} (\\d+)`).exec(text) ?? [];
  return Number(count);
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
