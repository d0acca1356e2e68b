// Our TURN client against a relay of Firezone's own code that somebody runs on loopback, both address families:
//
//   OFFICIAL_RELAY_PORT=3478 OFFICIAL_RELAY_SECRET=<its stamp secret> npm run interop
//
// The secret is what the relay tells the portal when it joins.

import { afterEach, describe, expect, it } from 'vitest';
import { type Endpoint, parseEndpoint } from '../../src/base/address.ts';
import { monotonicNow } from '../../src/io/clock.ts';
import { createNodeCrypto } from '../../src/io/crypto/node-crypto.ts';
import { relayPassword } from '../../src/proto/turn/server/credentials.ts';
import { PlainPeer, TurnDriver } from '../support/turn-driver.ts';

const port = process.env['OFFICIAL_RELAY_PORT'];
const secret = process.env['OFFICIAL_RELAY_SECRET'] ?? '';
const EXPIRY = '1999999999';

describe.skipIf(port === undefined)(
  `the official relay${port === undefined ? ' (skipped: OFFICIAL_RELAY_PORT is not set)' : ''}`,
  () => {
    const v4 = toEndpoint(`127.0.0.1:${port ?? 1}`);
    const v6 = toEndpoint(`[::1]:${port ?? 1}`);
    const drivers: TurnDriver[] = [];
    const peers: PlainPeer[] = [];
    let salt = 0;

    afterEach(async () => {
      await Promise.all(drivers.splice(0).map((driver) => driver.close()));
      for (const peer of peers.splice(0)) peer.close();
    });

    async function connect(
      addresses: readonly Endpoint[],
      options: { readonly password?: string; readonly sockets?: TurnDriver['sockets'] } = {},
    ): Promise<TurnDriver> {
      const text = `${process.pid}-${salt++}`;
      const password = options.password ?? relayPassword(EXPIRY, secret, text, createNodeCrypto());
      const credentials = { username: `${EXPIRY}:${text}`, password, realm: 'firezone' };
      const driver = await TurnDriver.create(addresses, credentials, options.sockets);
      drivers.push(driver);
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
      await driver.allocated();
      driver.send(peer.address, 'early');
      await peer.receives('early');
      await driver.bind(peer.address);
      driver.send(peer.address, 'ping');
      const from = await peer.receives('ping');
      expect(from.key).toBe(driver.allocation.relayedAddress(family)?.key);
      peer.send(from, 'pong');
      expect(await driver.receives('pong')).toEqual({ from: peer.address.key, text: 'pong' });
    });

    it('refreshes, and finds that a released allocation is gone', async () => {
      const driver = await connect([v4, v6]);
      await driver.allocated();
      driver.allocation.refresh(monotonicNow());
      driver.drive();
      await driver.until('an answer', () => driver.allocation.snapshot().inFlightCount === 0);
      expect(driver.allocation.hasAllocation).toBe(true);
      driver.allocation.release(monotonicNow());
      driver.drive();
      driver.allocation.restart(monotonicNow());
      driver.drive();
      await driver.allocated();
    });

    it('replaces an allocation of its socket that another user left (437)', async () => {
      const former = await connect([v4]);
      await former.allocated();
      former.abandon();
      drivers.splice(drivers.indexOf(former), 1);
      const driver = await connect([v4], { sockets: former.sockets });
      await driver.allocated();
    });

    it('gives up on a secret that is not the relay’s', async () => {
      const driver = await connect([v4], { password: 'wrong' });
      await driver.until('a failure', () => driver.events.some((e) => e.kind === 'failed'));
      expect(driver.events.at(-1)).toEqual({ kind: 'failed', reason: 'no-response' });
    });
  },
);

function toEndpoint(text: string): Endpoint {
  const value = parseEndpoint(text);
  if (!value) throw new Error(`not an endpoint: ${text}`);
  return value;
}
