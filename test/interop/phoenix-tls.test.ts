// The portal behind TLS with a certificate authority of its own, made by the `openssl` program: names, addresses, and what
// happens when the authority is not known.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type IpAddress, parseIp } from '../../src/base/address.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { createWallClock, SystemRandom } from '../../src/io/clock.ts';
import { PortalConnection } from '../../src/io/portal/websocket.ts';
import type { DialOptions } from '../../src/io/portal/websocket-dial.ts';
import { WebSocketAcceptor } from '../../src/io/portal/websocket-server.ts';
import { type ChannelEvent, PhoenixChannel } from '../../src/proto/phoenix/channel.ts';
import { relayLoginUrl } from '../../src/proto/phoenix/login-url.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;
const LOOPBACK = parseIp('127.0.0.1') as IpAddress;

describe.skipIf(!hasOpenssl)('a portal behind TLS (skipped without the openssl program)', () => {
  let folder: string;
  let ca: string;
  let server: Server;
  let port: number;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tls-'));
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
    const names = 'subjectAltName=DNS:portal.test,IP:127.0.0.1';
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days']
        .concat(['2', '-subj', '/CN=portal.test', '-addext', names, '-keyout', key])
        .concat(['-out', certificate]),
      { stdio: 'pipe' },
    );
    ca = readFileSync(certificate, 'utf8');
    server = createServer({ key: readFileSync(key), cert: ca });
    const acceptor = new WebSocketAcceptor<undefined>({
      log: SILENT_LOG,
      admit: () => ({
        kind: 'admit',
        config: { topic: 'relay', idleTimeoutMs: 41_000 },
        context: undefined,
      }),
      onEvent: (socket, event) => {
        if (event.kind === 'join-requested') socket.acceptJoin();
      },
    });
    acceptor.attach(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });

  afterAll(() => {
    server?.closeAllConnections();
    server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function firstEvent(host: string, options: DialOptions): Promise<ChannelEvent> {
    const login = relayLoginUrl({ apiUrl: `https://${host}:${port}`, port: 3478 });
    if (login.kind === 'invalid') throw new Error(login.problem);
    const channel = new PhoenixChannel(
      {
        loginUrl: login.url,
        token: 't',
        userAgent: 'a',
        joinPayload: { stamp_secret: 's' },
        partitionBudgetMs: 1000,
      },
      { random: new SystemRandom(), wallClock: createWallClock(), log: SILENT_LOG },
    );
    return new Promise((resolve) => {
      const connection = new PortalConnection(channel, options, (event) => {
        resolve(event);
        if (event.kind !== 'closed') connection.close();
      });
      connection.connect({});
    });
  }

  const resolve = (): Promise<IpAddress[]> => Promise.resolve([LOOPBACK]);

  it('is trusted by its name when its authority is given', async () => {
    const event = await firstEvent('portal.test', { resolve, extraCa: ca });
    expect(event).toEqual({ kind: 'connected' });
  });

  it('is trusted by its address', async () => {
    const event = await firstEvent('127.0.0.1', { extraCa: ca });
    expect(event).toEqual({ kind: 'connected' });
  });

  it.each([
    ['its authority is unknown', 'portal.test', false],
    ['its name is another', 'other.test', true],
  ])('is retried, not fatal, when %s', async (_, host, knowsCa) => {
    const event = await firstEvent(host, { resolve, ...(knowsCa ? { extraCa: ca } : {}) });
    expect(event).toMatchObject({ kind: 'hiccup', cause: { kind: 'connect-failed' } });
  });
});
