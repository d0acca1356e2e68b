// The `phoenix` npm package, Phoenix's own client, with serializer version 1.0.0 against our portal half. It sends refs and
// join refs as texts, joins several topics on one socket and leaves: things that Firezone's components never do.

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Socket } from 'phoenix';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { SILENT_LOG } from '../../src/base/log.ts';
import {
  type ServedEvent,
  type ServedSocket,
  type UpgradeRequest,
  WebSocketAcceptor,
} from '../../src/io/portal/websocket-server.ts';

let acceptor: WebSocketAcceptor<string>;
let server: ReturnType<typeof createServer>;
let client: Socket;
let requests: UpgradeRequest[];
let events: ServedEvent[];
let refusal: string | undefined;

beforeEach(async () => {
  requests = [];
  events = [];
  refusal = undefined;
  acceptor = new WebSocketAcceptor<string>({
    log: SILENT_LOG,
    admit: (request) => {
      requests.push(request);
      const config = { topic: 'gateway', idleTimeoutMs: 37_000 };
      return { kind: 'admit', config, context: 'npm' };
    },
    onEvent: answer,
  });
  server = createServer();
  acceptor.attach(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  client = new Socket(`ws://127.0.0.1:${port}/gateway/v2`, {
    vsn: '1.0.0',
    transport: WebSocket,
    params: { token: 'secret token' },
    heartbeatIntervalMs: 50,
    encode: (message: object, callback: (text: string) => void) => {
      callback(JSON.stringify(message));
    },
    decode: (text: string, callback: (message: unknown) => void) => callback(JSON.parse(text)),
  });
  client.connect();
});

afterEach(async () => {
  await new Promise<void>((resolve) => client.disconnect(resolve));
  acceptor.close();
  server.closeAllConnections();
  server.close();
});

function answer(socket: ServedSocket<string>, event: ServedEvent): void {
  events.push(event);
  if (event.kind === 'join-requested') {
    if (refusal === undefined) socket.acceptJoin();
    else socket.refuseJoin(refusal);
  } else if (event.kind === 'message' && event.event === 'echo') {
    socket.reply(event.ref, { kind: 'response', response: { echo: event.payload } });
    socket.push('echoed', event.payload);
  } else if (event.kind === 'message') {
    socket.reply(event.ref, { kind: 'error', reason: 'unknown_message' });
  }
}

/** The status and response of a push or join. */
function answered(push: ReturnType<ReturnType<Socket['channel']>['push']>): Promise<unknown> {
  return new Promise((resolve) => {
    for (const status of ['ok', 'error', 'timeout'] as const) {
      push.receive(status, (response?: unknown) => resolve([status, response]));
    }
  });
}

describe("Phoenix's own client", () => {
  it('names its version and parameters in the query', async () => {
    await answered(client.channel('gateway').join());
    expect(requests[0]?.path).toBe('/gateway/v2/websocket');
    expect(Object.fromEntries(requests[0]?.query ?? [])).toEqual({
      token: 'secret token',
      vsn: '1.0.0',
    });
  });

  it('joins, is answered and is pushed to', async () => {
    const channel = client.channel('gateway', { hello: 1 });
    expect(await answered(channel.join())).toEqual(['ok', {}]);
    expect(events).toContainEqual({ kind: 'join-requested', payload: { hello: 1 } });
    const pushed = new Promise((resolve) => channel.on('echoed', resolve));
    expect(await answered(channel.push('echo', { n: 1 }))).toEqual(['ok', { echo: { n: 1 } }]);
    expect(await pushed).toEqual({ n: 1 });
    expect(await answered(channel.push('nonsense', {}))).toEqual([
      'error',
      { reason: 'unknown_message' },
    ]);
  });

  it('is told why a join is refused', async () => {
    refusal = 'disabled';
    const channel = client.channel('gateway');
    expect(await answered(channel.join())).toEqual(['error', { reason: 'disabled' }]);
    channel.leave();
  });

  it('is told that a topic does not match', async () => {
    const channel = client.channel('client');
    expect(await answered(channel.join())).toEqual(['error', { reason: 'unmatched topic' }]);
    channel.leave();
  });

  it('leaves and joins again', async () => {
    const first = client.channel('gateway');
    await answered(first.join());
    const confirmed = new Promise<void>((resolve) => {
      client.onMessage((message) => {
        if ((message as unknown as { event: string }).event === 'phx_close') resolve();
      });
    });
    first.leave();
    await confirmed;
    expect(events).toContainEqual({ kind: 'left' });
    expect(await answered(client.channel('gateway').join())).toEqual(['ok', {}]);
  });

  it('has its heartbeats answered', async () => {
    const heard = new Promise<number>((resolve) => {
      let count = 0;
      client.onMessage((message) => {
        const { topic } = message as unknown as { topic: string };
        if (topic === 'phoenix' && ++count === 3) resolve(count);
      });
    });
    expect(await heard).toBe(3);
  });

  it('rejoins after the portal closes the channel by an error, and after the socket breaks', async () => {
    const channel = client.channel('gateway');
    await answered(channel.join());
    const rejoined = new Promise<void>((resolve) => channel.on('init', () => resolve()));
    for (const socket of acceptor.sockets) socket.close(1012, 'restart');
    const poll = setInterval(() => {
      for (const socket of acceptor.sockets) if (socket.isJoined) socket.push('init', {});
    }, 20);
    await rejoined;
    clearInterval(poll);
    expect(requests).toHaveLength(2);
  });
});
