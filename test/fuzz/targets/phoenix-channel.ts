// A component's channel and the portal's socket, each under a list of operations: frames of all kinds in any order, refusals, closes,
// silence. Neither throws, queues stay within limits, deadlines pass, and a channel that failed stays still until it is told to connect.

import { instant, later } from '../../../src/base/time.ts';
import type { HiccupCause } from '../../../src/proto/phoenix/failures.ts';
import {
  IDLE_TIMEOUT_MS,
  OUTGOING_LIMIT,
  ServerSocket,
} from '../../../src/proto/phoenix/server.ts';
import { ChannelHarness, KEY, LOST } from '../../support/channel-harness.ts';
import { hashOf, observe } from '../engine/edges.ts';
import { Operations } from '../operations.ts';

export const name = 'phoenix-channel';
export const kind = 'operations';

const MAX_OPERATIONS = 40;
const PAUSES = [0, 1, 100, 1_000, 5_000, 15_000, 30_000, 37_000, 60_000, 3_600_000];
const TOPICS = ['gateway', 'phoenix', 'client', '', 'gateway:x'];
const EVENTS = [
  'phx_join',
  'phx_leave',
  'phx_reply',
  'phx_error',
  'phx_close',
  'heartbeat',
  'init',
  'reject_access',
  'disconnect',
];
const REFS = [null, 0, 1, 2, 3, 7, '1', 'x', -1, 1.5, 2 ** 53];
const PAYLOADS: readonly unknown[] = [
  {},
  null,
  [],
  { status: 'ok', response: {} },
  { status: 'ok', response: { reason: 'x' } },
  { status: 'error', response: { reason: 'unmatched topic' } },
  { status: 'error', response: {} },
  { status: 'weird' },
  { reason: 'token_expired' },
  'text',
  5,
];
const CAUSES: readonly HiccupCause[] = [
  LOST,
  { kind: 'connect-timeout' },
  { kind: 'close-frame', code: 1000, reason: '' },
  { kind: 'close-frame', code: 1008, reason: 'x' },
  { kind: 'close-frame', code: 4000, reason: '' },
  { kind: 'truncated-frame' },
  { kind: 'unresolved', detail: 'x' },
];
const STATUSES = [200, 301, 400, 401, 403, 404, 409, 426, 429, 500, 503];

export function run(bytes: Uint8Array): void {
  const ops = new Operations(bytes);
  if (ops.byte() % 2 === 0) runChannel(ops);
  else runServer(ops);
}

function runChannel(ops: Operations): void {
  const harness = new ChannelHarness(ops.byte() % 2 === 0 ? 3_600_000 : 60_000);
  const { channel } = harness;
  if (ops.byte() % 4 !== 0) {
    harness.open();
    harness.reply(0);
  }
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    performOnChannel(ops, harness);
    harness.commands();
    harness.events();
    if (harness.texts.length > 64) throw new Error('too much to say');
    harness.texts.length = 0;
    const { queueLength, unansweredHeartbeats } = channel.snapshot();
    if (queueLength > 4096) throw new Error('a queue without limit');
    if (unansweredHeartbeats > 3) throw new Error('too many unanswered heartbeats');
    const due = channel.pollTimeout();
    if (due !== undefined && due <= harness.now) {
      channel.handleTimeout(harness.now);
      const next = channel.pollTimeout();
      if (next !== undefined && next <= harness.now) throw new Error('a deadline that stays');
    }
  }
  const { state, wasConnected, isConnected, queueLength } = channel.snapshot();
  hearNothing(harness);
  observe(hashOf(`${state} ${wasConnected} ${isConnected} ${queueLength > 0}`));
}

/** A portal that says nothing any more has lost its component within a minute (portal-protocol 4.6). */
function hearNothing(harness: ChannelHarness): void {
  const { channel } = harness;
  if (!channel.snapshot().isConnected) return;
  channel.handleBackpressure(false);
  for (let i = 0; i < 6; i++) {
    harness.advance(10_000);
    harness.commands();
    harness.events();
  }
  if (channel.snapshot().isConnected) throw new Error('silence is not noticed');
}

function performOnChannel(ops: Operations, harness: ChannelHarness): void {
  const { channel, now } = harness;
  switch (ops.byte() % 16) {
    case 0:
      return channel.connect(KEY, now);
    case 1:
    case 2:
      return channel.handleOpened(now);
    case 3: {
      const contentType = ops.pick([undefined, 'application/problem+json', 'text/html']);
      const retryAfter = ops.pick([
        undefined,
        '5',
        '0',
        'Sun, 06 Nov 1994 08:49:37 GMT',
        '-1',
        '1e9',
      ]);
      const body = ops.pick([
        '',
        '{"code":"invalid_token"}',
        '{"code":"already_connected"}',
        '{"detail":5}',
      ]);
      return channel.handleRefused(
        { status: ops.pick(STATUSES), contentType, retryAfter, body },
        now,
      );
    }
    case 4:
      return channel.handleDialFailed(ops.pick(CAUSES), now);
    case 5:
    case 6:
    case 7:
    case 8:
      return channel.handleText(anyText(ops), now);
    case 9:
      return channel.handleClosed(ops.pick(CAUSES), now);
    case 10:
      return channel.handleBackpressure(ops.byte() % 2 === 0);
    case 11:
      channel.send(ops.pick(EVENTS), ops.pick(PAYLOADS));
      return;
    case 12:
      return channel.close(now);
    case 13:
      return channel.handleBinary();
    default:
      return harness.advance(ops.pick(PAUSES));
  }
}

function runServer(ops: Operations): void {
  let now = instant(0);
  const socket = new ServerSocket(
    { topic: 'gateway', idleTimeoutMs: IDLE_TIMEOUT_MS.gateway },
    now,
  );
  let isOver = false;
  let requests = 0;
  for (let i = 0; i < MAX_OPERATIONS && !ops.isAtEnd; i++) {
    switch (ops.byte() % 10) {
      case 0:
        socket.acceptJoin();
        break;
      case 1:
        socket.refuseJoin('x');
        break;
      case 2:
        for (let k = ops.byte() * 32; k > 0; k--) socket.push('init', {});
        break;
      case 3:
        socket.closeChannel();
        break;
      case 4:
        socket.reply(ops.pick(REFS) as string | number | null, { kind: 'ok' });
        break;
      case 5:
        now = later(now, ops.pick(PAUSES));
        socket.handleTimeout(now);
        break;
      default:
        socket.handleText(anyText(ops), now);
    }
    let texts = 0;
    if (ops.byte() % 2 === 0) while (socket.pollText() !== undefined) texts++;
    if (texts > OUTGOING_LIMIT) throw new Error('more waits than may');
    for (let event = socket.pollEvent(); event; event = socket.pollEvent()) {
      if (isOver) throw new Error(`${event.kind} after the end`);
      if (event.kind === 'join-requested') requests++;
      if (event.kind === 'message' && requests === 0) throw new Error('a message without a join');
      isOver = event.kind === 'ended';
    }
    if (isOver && socket.pollTimeout() !== undefined) throw new Error('a deadline after the end');
    const due = socket.pollTimeout();
    if (due !== undefined && due < now) socket.handleTimeout(now);
  }
  observe(hashOf(`server ${JSON.stringify(Object.keys(socket.snapshot().drops))} ${isOver}`));
}

function anyText(ops: Operations): string {
  const [topic, event] = [ops.pick(TOPICS), ops.pick(EVENTS)];
  const [payload, ref] = [ops.pick(PAYLOADS), ops.pick(REFS)];
  switch (ops.byte() % 16) {
    case 0:
      return '{';
    case 1:
      return JSON.stringify([ref, topic, event, payload]);
    case 2:
      return JSON.stringify({ topic, event });
    case 3:
      return JSON.stringify({ topic, event, payload, ref, join_ref: ref, more: 1 });
    default:
      return JSON.stringify({ topic, event, payload, ref });
  }
}
