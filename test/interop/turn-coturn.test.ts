// Our TURN client against coturn (the Debian package) on loopback, configured as relay 7.3 says. What upstream cannot: allocate, bind,
// carry data, survive stale nonces, an allocation that is in the way, and expiry.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Endpoint, parseEndpoint } from '../../src/base/address.ts';
import { monotonicNow } from '../../src/io/clock.ts';
import { parseStun, STUN_METHOD } from '../../src/wire/stun/message.ts';
import { PlainPeer, TurnDriver } from '../support/turn-driver.ts';

const SECRET = 'turn-interop-secret';
const PORT = 24_780;
const V4 = toEndpoint(`127.0.0.1:${PORT}`);
const V6 = toEndpoint(`[::1]:${PORT}`);
const isMissing = spawnSync('turnserver', ['--version']).error !== undefined;
const note = isMissing ? ' (skipped: no turnserver on the path)' : '';

describe.skipIf(isMissing)(`coturn${note}`, () => {
  const directory = mkdtempSync(join(tmpdir(), 'coturn-'));
  const drivers: TurnDriver[] = [];
  const peers: PlainPeer[] = [];
  let coturn: ChildProcess | undefined;

  beforeAll(async () => {
    coturn = await startCoturn(directory, ['stale-nonce=3']);
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
    username = '1999999999:gw',
    sockets?: TurnDriver['sockets'],
  ): Promise<TurnDriver> {
    const password = createHmac('sha1', SECRET).update(username).digest('base64');
    const credentials = { username, password, realm: 'firezone' };
    const driver = await TurnDriver.create(addresses, credentials, sockets);
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
    const a = await connect([V4], '1999999999:a');
    const b = await connect([V4], '1999999999:b');
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
    const driver = await connect([V4], '1999999999:gw', former.sockets);
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
    const second = await connect([V4], '1999999999:gw', first.sockets);
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
    const credentials = { username: '1999999999:gw', password: 'wrong', realm: 'firezone' };
    const driver = await TurnDriver.create([V4], credentials);
    drivers.push(driver);
    await driver.until('a failure', () => driver.events.some((e) => e.kind === 'failed'));
    expect(driver.events.at(-1)).toEqual({ kind: 'failed', reason: 'authentication' });
  });

  it('gives up with a user name that has expired', async () => {
    const driver = await connect([V4], '1000000000:gw');
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
    coturn = await startCoturn(directory, ['stale-nonce=3']);
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

async function startCoturn(directory: string, options: readonly string[]): Promise<ChildProcess> {
  const file = join(directory, 'turnserver.conf');
  const settings = [
    `listening-port=${PORT}`,
    'listening-ip=127.0.0.1',
    'listening-ip=::1',
    'relay-ip=127.0.0.1',
    'relay-ip=::1',
    'realm=firezone',
    'use-auth-secret',
    `static-auth-secret=${SECRET}`,
    'min-port=50000',
    'max-port=50200',
    'allow-loopback-peers',
    'no-multicast-peers',
    'no-rfc5780',
    'no-tls',
    'no-dtls',
    'no-cli',
    `userdb=${join(directory, 'turndb')}`,
    `pidfile=${join(directory, 'turnserver.pid')}`,
    'log-file=stdout',
    'simple-log',
    ...options,
  ];
  writeFileSync(file, `${settings.join('\n')}\n`);
  const child = spawn('turnserver', ['-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`coturn does not start: ${output}`));
    }, 10_000);
    const onOutput = (chunk: Buffer): void => {
      output += chunk.toString();
      if (!output.includes('SQLite DB connection success')) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout.on('data', onOutput);
    child.stderr.on('data', onOutput);
    child.once('exit', (code) => reject(new Error(`coturn ended with ${code}: ${output}`)));
  });
  await untilAnswers(V4);
  await untilAnswers(V6);
  return child;
}

/** Its log says that it listens before it does. */
async function untilAnswers({ address, port }: Endpoint): Promise<void> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  let isAnswered = false;
  socket.on('message', () => {
    isAnswered = true;
  });
  const binding = Buffer.from('000100002112a442000102030405060708090a0b', 'hex');
  for (let attempt = 0; attempt < 200 && !isAnswered; attempt++) {
    socket.send(binding, port, address);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  socket.close();
  if (!isAnswered) throw new Error('coturn does not answer');
}

function toEndpoint(text: string): Endpoint {
  const value = parseEndpoint(text);
  if (!value) throw new Error(`not an endpoint: ${text}`);
  return value;
}
