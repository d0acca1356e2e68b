// Our TURN client against coturn (the Debian package) on loopback, configured as relay 7.3 says. What upstream cannot: allocate, bind,
// carry data, survive stale nonces, an allocation that is in the way, and expiry.

import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../src/base/address.ts';
import { monotonicNow } from '../../src/io/clock.ts';
import { parseStun, STUN_METHOD } from '../../src/wire/stun/message.ts';
import { PlainPeer, TurnDriver } from '../support/turn-driver.ts';
import {
  type CoturnUsers,
  coturnCredentials,
  isCoturnMissing,
  startCoturn,
  toEndpoint,
} from './support/coturn.ts';

const PORT = 24_780;
const V4 = toEndpoint(`127.0.0.1:${PORT}`);
const V6 = toEndpoint(`[::1]:${PORT}`);
const note = isCoturnMissing ? ' (skipped: no turnserver on the path)' : '';
/** relay 7.3: coturn's two ways to know its users. */
const CONFIGURATIONS: readonly CoturnUsers[] = ['by secret', 'static'];

describe.skipIf(isCoturnMissing).each(CONFIGURATIONS)(`coturn with users %s${note}`, (users) => {
  const restart = (): Promise<ChildProcess> =>
    startCoturn({ directory, port: PORT, relayPorts: 26_000, users, settings: ['stale-nonce=3'] });
  const directory = mkdtempSync(join(tmpdir(), 'coturn-'));
  const drivers: TurnDriver[] = [];
  const peers: PlainPeer[] = [];
  let coturn: ChildProcess | undefined;

  beforeAll(async () => {
    coturn = await restart();
  });

  afterEach(async () => {
    await Promise.all(drivers.splice(0).map((driver) => driver.close()));
    for (const peer of peers.splice(0)) peer.close();
  });

  afterAll(() => {
    coturn?.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });

  async function connect(
    addresses: readonly Endpoint[],
    name = 'gw',
    sockets?: TurnDriver['sockets'],
  ): Promise<TurnDriver> {
    const driver = await TurnDriver.create(addresses, coturnCredentials(users, name), sockets);
    drivers.push(driver);
    return driver;
  }

  async function peerOf(family: 4 | 6): Promise<PlainPeer> {
    const peer = await PlainPeer.create(family);
    peers.push(peer);
    return peer;
  }

  it.each([
    ['IPv4', V4],
    ['IPv6', V6],
  ])('allocates over %s, with relayed addresses of both families', async (_name, address) => {
    const driver = await connect([address]);
    await driver.allocated();
    expect(driver.allocation.relayedAddress(4)?.address).toBe('127.0.0.1');
    expect(driver.allocation.relayedAddress(6)?.address).toBe('::1');
    const kinds = driver.events.flatMap((e) =>
      e.kind === 'candidate-added' ? [e.candidate.kind] : [],
    );
    expect(kinds).toEqual(['host', 'srflx', 'relayed', 'relayed']);
    expect(driver.allocation.rtt).toBeGreaterThan(0);
  });

  it.each([4, 6] as const)('carries data both ways to an IPv%i peer', async (family) => {
    const driver = await connect([V4, V6]);
    const peer = await peerOf(family);
    await driver.allocated();
    await driver.bind(peer.address);
    driver.send(peer.address, 'ping');
    const from = await peer.receives('ping');
    expect(from.key).toBe(driver.allocation.relayedAddress(family)?.key);
    peer.send(from, 'pong');
    expect(await driver.receives('pong')).toEqual({ from: peer.address.key, text: 'pong' });
  });

  it('delivers data that leaves right behind its CHANNEL-BIND', async () => {
    const driver = await connect([V4]);
    const peer = await peerOf(4);
    await driver.allocated();
    driver.send(peer.address, 'early');
    await peer.receives('early');
  });

  it('relays between two of its own allocations', async () => {
    const a = await connect([V4], 'a');
    const b = await connect([V4], 'b');
    await Promise.all([a.allocated(), b.allocated()]);
    const relayedA = a.allocation.relayedAddress(4) as Endpoint;
    const relayedB = b.allocation.relayedAddress(4) as Endpoint;
    await Promise.all([a.bind(relayedB), b.bind(relayedA)]);
    a.send(relayedB, 'over two hops');
    expect(await b.receives('over two hops')).toMatchObject({ from: relayedA.key });
  });

  it('refreshes, also when the nonce has become stale (438)', async () => {
    const driver = await connect([V4]);
    await driver.allocated();
    let stale = 0;
    let refreshed = 0;
    driver.loses = (bytes) => {
      const message = parseStun(Uint8Array.from(bytes));
      if (message?.method === STUN_METHOD.refresh) {
        if (message.class === 'error') stale += 1;
        else refreshed += 1;
      }
      return false;
    };
    // coturn lets its nonces expire by its own clock, and nothing of it can be asked whether they have.
    await new Promise((resolve) => setTimeout(resolve, 4500));
    driver.allocation.refresh(monotonicNow());
    driver.drive();
    await driver.until('a refreshed allocation', () => refreshed === 1);
    expect(stale).toBe(1);
    expect(driver.allocation.hasAllocation).toBe(true);
  }, 20_000);

  it('gets the same success again when the first was lost (RFC 8489 §6.3.1)', async () => {
    const driver = await connect([V4]);
    let lost = 0;
    driver.loses = (bytes) => {
      const message = parseStun(Uint8Array.from(bytes));
      const isSuccess = message?.method === STUN_METHOD.allocate && message.class === 'success';
      return isSuccess && lost++ === 0;
    };
    await driver.allocated();
    expect(lost).toBe(2);
  });

  it('removes an allocation of its own that is in the way (437)', async () => {
    const former = await connect([V4]);
    await former.allocated();
    const relayedBefore = former.allocation.relayedAddress(4)?.key;
    former.abandon();
    const driver = await connect([V4], 'gw', former.sockets);
    drivers.splice(drivers.indexOf(former), 1);
    await driver.allocated();
    expect(driver.allocation.relayedAddress(4)?.key).not.toBe(relayedBefore);
  }, 20_000);

  it('allocates again after a release', async () => {
    const first = await connect([V4]);
    await first.allocated();
    first.allocation.release(monotonicNow());
    first.drive();
    first.abandon();
    drivers.splice(drivers.indexOf(first), 1);
    const second = await connect([V4], 'gw', first.sockets);
    await second.allocated();
  }, 20_000);

  it('does not ask again for a peer that is forbidden (403)', async () => {
    const driver = await connect([V4]);
    await driver.allocated();
    const forbidden = toEndpoint('0.0.0.9:9');
    driver.allocation.bindChannel(forbidden, monotonicNow());
    driver.drive();
    await driver.until('a refusal', () => driver.events.some((e) => e.kind === 'channel-lost'));
    driver.allocation.bindChannel(forbidden, monotonicNow());
    expect(driver.allocation.pollTransmit()).toBeUndefined();
  });

  it('gives up with a wrong password', async () => {
    const credentials = { ...coturnCredentials(users, 'gw'), password: 'wrong' };
    const driver = await TurnDriver.create([V4], credentials);
    drivers.push(driver);
    await driver.until('a failure', () => driver.events.some((e) => e.kind === 'failed'));
    expect(driver.events.at(-1)).toEqual({ kind: 'failed', reason: 'authentication' });
  });

  it('gives up with a user name that has expired or does not exist', async () => {
    const credentials = { ...coturnCredentials(users, 'gw'), username: '1000000000:gw' };
    const driver = await TurnDriver.create([V4], credentials);
    drivers.push(driver);
    await driver.until('a failure', () => driver.events.some((e) => e.kind === 'failed'));
    expect(driver.events.at(-1)).toEqual({ kind: 'failed', reason: 'authentication' });
  });

  it('finds its allocation gone after a restart, and makes another', async () => {
    const driver = await connect([V4]);
    const peer = await peerOf(4);
    await driver.allocated();
    await driver.bind(peer.address);
    const ended = new Promise((resolve) => coturn?.once('exit', resolve));
    coturn?.kill('SIGKILL');
    await ended;
    coturn = await restart();
    const before = driver.events.length;
    driver.allocation.refresh(monotonicNow());
    driver.drive();
    await driver.until('the channel bound again', () =>
      driver.events.slice(before).some((e) => e.kind === 'channel-bound'),
    );
    driver.send(peer.address, 'after the restart');
    await peer.receives('after the restart');
  }, 30_000);
});
