// How long packets wait for the periodic sweep over a million sessions: the longest single `handleTimeout`, by processor time, because the
// machine of a benchmark has other things to do as well.

import { later } from '../../src/base/time.ts';
import type { GatewayWorld } from '../../test/support/gateway-world.ts';
import { fillSessions, withSessions } from './memory.ts';
import { gate, report } from './subject.ts';

const MAX_PAUSE_MS = 2;
const SECOND_MS = 1_000;
const ROUNDS = 4;

interface Times {
  readonly longest: number;
  readonly total: number;
}

interface Round {
  readonly kept: Times;
  readonly removed: Times;
}

/** Lets the gateway do all it has to do within `ms`; the longest call, and all together, in milliseconds of processor time. */
function run(world: GatewayWorld, ms: number): Times {
  const end = later(world.now, ms);
  let longest = 0;
  let total = 0;
  while (world.now < end) {
    const due = world.gateway.pollTimeout();
    world.now = due !== undefined && due > world.now && due < end ? due : later(world.now, 1);
    const start = process.cpuUsage();
    world.gateway.handleTimeout(world.now);
    const { user, system } = process.cpuUsage(start);
    longest = Math.max(longest, (user + system) / 1_000);
    total += (user + system) / 1_000;
  }
  return { longest, total };
}

const sessionsOf = (world: GatewayWorld): number =>
  world.gateway.snapshot().clients.reduce((sum, { natSessions }) => sum + natSessions, 0);

export function measureSweep(): void {
  // The best of some: the longest of many is what else happens on the machine.
  const rounds = Array.from({ length: ROUNDS }, measureOnce);
  const best = (of: (round: Round) => number): number => Math.min(...rounds.map(of));
  report(
    'sweep of a million sessions, none over, together',
    best(({ kept }) => kept.total),
    'ms',
  );
  gate(
    'its longest pause',
    best(({ kept }) => kept.longest),
    MAX_PAUSE_MS,
    'ms',
  );
  const removed = best(({ removed }) => removed.total);
  report('sweep of a million sessions, all over, together', removed, 'ms');
  gate(
    'its longest pause',
    best(({ removed }) => removed.longest),
    MAX_PAUSE_MS,
    'ms',
  );
}

function measureOnce(): Round {
  const world = withSessions();
  fillSessions(world);
  const count = sessionsOf(world);
  // Sessions last a minute without an answer, and longer because of these packets; a sweep is due after the minute.
  world.now = later(world.now, 50 * SECOND_MS);
  fillSessions(world);
  world.now = later(world.now, 20 * SECOND_MS);
  globalThis.gc?.();
  const kept = run(world, 2 * SECOND_MS);
  if (sessionsOf(world) !== count) throw new Error('the sweep removed what lives');
  world.now = later(world.now, 600 * SECOND_MS);
  globalThis.gc?.();
  const removed = run(world, 16 * SECOND_MS);
  if (sessionsOf(world) !== 0) throw new Error('the sweep left something');
  return { kept, removed };
}
