// Our component side against our portal side over loopback: real sockets, no sleeping.

import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { parseIp } from '../../base/address.ts';
import { SILENT_LOG } from '../../base/log.ts';
import { type ChannelEvent, PhoenixChannel } from '../../proto/phoenix/channel.ts';
import { gatewayLoginUrl, type PublicKeyParams } from '../../proto/phoenix/login-url.ts';
import { createWallClock, SystemRandom } from '../clock.ts';
import { createNodeCrypto } from '../crypto/node-crypto.ts';
import { PortalConnection } from './websocket.ts';
import type { DialOptions } from './websocket-dial.ts';
import {
  type AcceptorOptions,
  type ServedEvent,
  type ServedSocket,
  type UpgradeRequest,
  WebSocketAcceptor,
} from './websocket-server.ts';

const KEY = new Uint8Array(32).fill(7);
const disposals: (() => void)[] = [];

afterEach(() => {
  for (const dispose of disposals.splice(0)) dispose();
});

/** A queue whose reader waits. */
class Mailbox<T> {
  readonly #items: T[] = [];
  #waiter: ((item: T) => void) | undefined;

  put(item: T): void {
    if (this.#waiter === undefined) this.#items.push(item);
    else this.#waiter(item);
    this.#waiter = undefined;
  }

  take(): Promise<T> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve) => {
      this.#waiter = resolve;
    });
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  disposals.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

interface Portal {
  readonly port: number;
  readonly requests: UpgradeRequest[];
  readonly events: Mailbox<ServedEvent>;
  readonly socket: () => ServedSocket<string>;
}

async function startPortal(options: Partial<AcceptorOptions<string>> = {}): Promise<Portal> {
  const requests: UpgradeRequest[] = [];
  const events = new Mailbox<ServedEvent>();
  let current: ServedSocket<string> | undefined;
  const acceptor = new WebSocketAcceptor<string>({
    log: SILENT_LOG,
    admit: (request) => {
      requests.push(request);
      const config = { topic: 'gateway', idleTimeoutMs: 37_000 };
      return { kind: 'admit', config, context: 'lab' };
    },
    onEvent: (socket, event) => {
      current = socket;
      if (event.kind === 'join-requested') socket.acceptJoin();
      events.put(event);
    },
    ...options,
  });
  const server = createServer();
  acceptor.attach(server);
  const port = await listen(server);
  return {
    port,
    requests,
    events,
    socket: () => {
      if (current === undefined) throw new Error('nobody is connected');
      return current;
    },
  };
}

function startGateway(
  port: number,
  options: DialOptions = {},
  host = '127.0.0.1',
  token = 'secret\n',
): { events: Mailbox<ChannelEvent>; connection: PortalConnection<PublicKeyParams> } {
  const login = { apiUrl: `ws://${host}:${port}`, firezoneId: 'lab-gateway', name: 'lab gateway' };
  const result = gatewayLoginUrl(login, createNodeCrypto());
  if (result.kind === 'invalid') throw new Error(result.problem);
  const channel = new PhoenixChannel(
    {
      loginUrl: result.url,
      token,
      userAgent: 'Debian/12.0.0 gateway/1.6.0',
      joinPayload: null,
      partitionBudgetMs: 60_000,
    },
    { random: new SystemRandom(), wallClock: createWallClock(), log: SILENT_LOG },
  );
  const events = new Mailbox<ChannelEvent>();
  const connection = new PortalConnection(channel, options, (event) => events.put(event));
  disposals.push(() => connection.close());
  connection.connect({ publicKey: KEY });
  return { events, connection };
}

describe('a component and a portal over loopback', () => {
  it('sends the request that portals expect', async () => {
    const portal = await startPortal();
    const { events } = startGateway(portal.port);
    expect(await events.take()).toEqual({ kind: 'connected' });
    const [request] = portal.requests;
    expect(request?.path).toBe('/gateway/v2/websocket');
    expect([...(request?.query ?? [])]).toEqual([
      ['external_id', 'lab-gateway'],
      ['name', 'lab gateway'],
      ['public_key', 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc='],
    ]);
    const { 'sec-websocket-key': key, ...headers } = request?.headers ?? {};
    expect(key).toHaveLength(24);
    expect(headers).toEqual({
      host: '127.0.0.1',
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'user-agent': 'Debian/12.0.0 gateway/1.6.0',
      'x-authorization': 'Bearer secret',
    });
  });

  it('carries messages both ways', async () => {
    const portal = await startPortal();
    const { events, connection } = startGateway(portal.port);
    expect(await events.take()).toEqual({ kind: 'connected' });
    expect(await portal.events.take()).toEqual({ kind: 'join-requested', payload: null });
    portal.socket().push('init', { hello: 'gateway' });
    expect(await events.take()).toEqual({
      kind: 'message',
      event: 'init',
      payload: { hello: 'gateway' },
    });
    expect(connection.send('no_relays', {})).toBe('queued');
    expect(await portal.events.take()).toEqual({
      kind: 'message',
      event: 'no_relays',
      payload: {},
      ref: 1,
    });
    portal.socket().reply(1, { kind: 'error', reason: 'unknown_message' });
    expect(await events.take()).toEqual({
      kind: 'message-refused',
      event: 'no_relays',
      reason: 'unknown_message',
    });
  });

  it('closes with code 1000 and says so', async () => {
    const portal = await startPortal();
    const { events, connection } = startGateway(portal.port);
    await events.take();
    connection.close();
    expect(await events.take()).toEqual({ kind: 'closed' });
    await portal.events.take();
    expect(await portal.events.take()).toEqual({ kind: 'gone', code: 1000 });
  });

  it('retries when the portal closes, and names the code', async () => {
    const portal = await startPortal();
    const { events } = startGateway(portal.port);
    await events.take();
    portal.socket().close(1012, 'restart');
    expect(await events.take()).toMatchObject({
      kind: 'hiccup',
      cause: { kind: 'close-frame', code: 1012, reason: 'restart' },
    });
    expect(await events.take()).toEqual({ kind: 'connected' });
  });

  it('gives up when the token is refused', async () => {
    const portal = await startPortal({
      admit: () => ({
        kind: 'refuse',
        status: 401,
        code: 'invalid_token',
        detail: 'Invalid token',
      }),
    });
    const { events } = startGateway(portal.port);
    expect(await events.take()).toEqual({ kind: 'failed', failure: { kind: 'invalid-token' } });
  });

  it('reports any other refusal with its problem details, and waits as long as asked', async () => {
    const portal = await startPortal({
      admit: () => ({
        kind: 'refuse',
        status: 503,
        code: 'rate_limit',
        detail: 'Service Unavailable',
        retryAfterSeconds: 30,
      }),
    });
    const { events } = startGateway(portal.port);
    const event = await events.take();
    expect(event).toMatchObject({
      kind: 'hiccup',
      cause: { kind: 'http-status', status: 503, problem: { code: 'rate_limit' } },
    });
    expect(event.kind === 'hiccup' ? event.delayMs : 0).toBeGreaterThanOrEqual(30_000);
  });

  it('connects although one of the addresses does not answer', async () => {
    const portal = await startPortal();
    const dead = parseIp('127.0.0.2');
    const live = parseIp('127.0.0.1');
    if (dead === undefined || live === undefined) throw new Error('unreachable');
    const { events } = startGateway(
      portal.port,
      { resolve: () => Promise.resolve([dead, live]) },
      'portal.test',
    );
    expect(await events.take()).toEqual({ kind: 'connected' });
  });

  it('retries when the name has no address and when nobody listens', async () => {
    const nameless = startGateway(1, { resolve: () => Promise.resolve([]) }, 'portal.test');
    expect(await nameless.events.take()).toEqual({
      kind: 'hiccup',
      cause: { kind: 'unresolved', detail: 'no addresses' },
      delayMs: 1000,
    });
    const server = createTcpServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    server.close();
    const refused = startGateway(port);
    expect(await refused.events.take()).toMatchObject({
      kind: 'hiccup',
      cause: { kind: 'connect-failed' },
      delayMs: 1000,
    });
  });

  it('can be closed while the server does not answer', async () => {
    const ended = new Mailbox<string>();
    const silent = createTcpServer((stream) => {
      stream.on('error', () => {});
      stream.on('close', () => ended.put('ended'));
      stream.once('data', () => connection.close());
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    disposals.push(() => silent.close());
    const { events, connection } = startGateway((silent.address() as AddressInfo).port);
    expect(await events.take()).toEqual({ kind: 'closed' });
    expect(await ended.take()).toBe('ended');
  });

  it('retries when the server answers nonsense, or a token makes an illegal header', async () => {
    const server = createTcpServer((stream) => {
      stream.on('error', () => {});
      stream.end('220 mail.test ESMTP\r\n');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    disposals.push(() => server.close());
    const hiccup = { kind: 'hiccup', cause: { kind: 'connect-failed' } };
    const { port } = server.address() as AddressInfo;
    expect(await startGateway(port).events.take()).toMatchObject(hiccup);
    expect(await startGateway(port, {}, '127.0.0.1', '\u{1f511}').events.take()).toMatchObject(
      hiccup,
    );
  });

  it('cuts off an idle component that does not even answer the close', async () => {
    const portal = await startPortal({
      admit: () => ({
        kind: 'admit',
        config: { topic: 'gateway', idleTimeoutMs: 20 },
        context: 'idle',
      }),
    });
    const stream = connect(portal.port, '127.0.0.1');
    disposals.push(() => stream.destroy());
    stream.on('error', () => {});
    stream.write(
      'GET / HTTP/1.1\r\nHost: portal\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    expect(await portal.events.take()).toMatchObject({ kind: 'ended', reason: 'idle' });
    expect(await portal.events.take()).toEqual({ kind: 'gone', code: 1006 });
  });

  it('goes through an HTTP proxy', async () => {
    const portal = await startPortal();
    const proxy = createServer();
    const asked: (string | undefined)[] = [];
    proxy.on('connect', (request, stream) => {
      asked.push(request.url, request.headers['proxy-authorization']);
      const onward = connect(portal.port, '127.0.0.1', () => {
        stream.write('HTTP/1.1 200 Connection established\r\n\r\n');
        onward.pipe(stream).pipe(onward);
      });
      onward.on('error', () => stream.destroy());
      stream.on('error', () => onward.destroy());
    });
    const port = await listen(proxy);
    const options = { proxy: `http://user:pass@127.0.0.1:${port}` };
    const { events } = startGateway(4711, options, 'portal.test');
    expect(await events.take()).toEqual({ kind: 'connected' });
    expect(asked).toEqual(['portal.test:4711', 'Basic dXNlcjpwYXNz']);
  });

  it('refuses foreign origins', async () => {
    const portal = await startPortal();
    const response = await new Promise<string>((resolve) => {
      const stream = connect(portal.port, '127.0.0.1');
      let text = '';
      stream.on('data', (chunk) => {
        text += chunk.toString();
      });
      stream.on('close', () => resolve(text));
      stream.write(
        'GET /gateway/v2/websocket HTTP/1.1\r\nHost: portal\r\nConnection: Upgrade\r\n' +
          'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://elsewhere\r\n\r\n',
      );
    });
    expect(response).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/);
    expect(portal.requests).toEqual([]);
  });
});
