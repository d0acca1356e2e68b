// The table of connectivity 5.9: when checks are sent and when a pair is given up, by profile.

import { describe, expect, it } from 'vitest';
import { IceWorld, type PeerOptions } from '../../../test/support/ice-world.ts';
import { VirtualNetwork } from '../../../test/support/virtual-network.ts';
import { instant } from '../../base/time.ts';
import { CheckPacer } from './check-pacer.ts';
import {
  CLIENT_IDLE_TIMING,
  CLIENT_TIMING,
  GATEWAY_IDLE_TIMING,
  GATEWAY_TIMING,
  type IceTiming,
} from './timing.ts';

const EARLY_CLIENT_TIMING: IceTiming = { maxRetransmits: 8, maxRtoMs: 1500, initialRtoMs: 250 };
const EARLY_IDLE_TIMING: IceTiming = { maxRetransmits: 4, maxRtoMs: 60_000, initialRtoMs: 60_000 };

const CLIENT = { host: '198.51.100.1:52625' };
const GATEWAY = { host: '203.0.113.1:52625' };

function range(from: number, to: number, step: number): number[] {
  return Array.from({ length: Math.round((to - from) / step) + 1 }, (_, i) => from + i * step);
}

describe('a pair that is never answered', () => {
  it.each<[string, IceTiming, number[], number]>([
    ['early', EARLY_CLIENT_TIMING, [0, 250, 750, ...range(1750, 7750, 1500)], 9250],
    ['early idle', EARLY_IDLE_TIMING, range(0, 180_000, 60_000), 240_000],
    ['client', CLIENT_TIMING, [0, 250, 750, ...range(1750, 13_750, 1500)], 15_250],
    ['client idle', CLIENT_IDLE_TIMING, range(0, 75_000, 25_000), 100_000],
    [
      'gateway',
      GATEWAY_TIMING,
      [0, 250, 750, 1750, 3750, 7750, ...range(15_750, 585_750, 15_000)],
      600_750,
    ],
    ['gateway idle', GATEWAY_IDLE_TIMING, range(0, 975_000, 25_000), 1_000_000],
  ])('is checked and removed in the %s profile as specified', (_name, timing, sends, removedAt) => {
    const world = connect({ ...CLIENT, timing });
    world.network.isDelivered = () => false;
    world.runUntil(instant(removedAt - 1));
    expect(world.client.agent.snapshot().pairs).toHaveLength(1);
    expect(world.client.checks.map(({ at }) => at)).toEqual(sends);
    world.runUntil(instant(removedAt));
    expect(world.client.agent.snapshot().pairs).toHaveLength(0);
    expect(world.client.checks).toHaveLength(sends.length);
    expect(world.client.agent.state).toBe('disconnected');
    expect(world.client.agent.pollTimeout()).toBeUndefined();
  });
});

describe('a good pair', () => {
  it.each<[string, IceTiming, number, number[], number]>([
    ['early', EARLY_CLIENT_TIMING, 1500, [0, 1500, 2000, ...range(3000, 9000, 1500)], 10_500],
    ['early idle', EARLY_IDLE_TIMING, 60_000, range(0, 180_000, 60_000), 240_000],
    ['client', CLIENT_TIMING, 1500, [0, 1500, 2000, ...range(3000, 15_000, 1500)], 16_500],
    ['client idle', CLIENT_IDLE_TIMING, 25_000, range(0, 75_000, 25_000), 100_000],
    [
      'gateway',
      GATEWAY_TIMING,
      15_000,
      [0, 15_000, 15_500, 16_500, 18_500, 22_500, ...range(30_500, 600_500, 15_000)],
      615_500,
    ],
    ['gateway idle', GATEWAY_IDLE_TIMING, 25_000, range(0, 975_000, 25_000), 1_000_000],
  ])(
    'is checked steadily and noticed to be silent in the %s profile as specified',
    (_name, timing, interval, sends, removedAfter) => {
      const world = connect({ ...CLIENT, timing });
      // Long enough that as many attempts are remembered as there can be.
      world.runUntil(instant(interval * (timing.maxRetransmits + 10)));
      const steady = world.client.checks.slice(-4).map(({ at }) => at);
      expect(steady.slice(1).map((at, i) => at - (steady[i] ?? 0))).toEqual(
        Array(3).fill(interval),
      );

      // The next check is the first unanswered one.
      world.network.isDelivered = () => false;
      const before = world.client.checks.length;
      const start = (steady.at(-1) ?? 0) + interval;
      world.runUntil(instant(start + removedAfter - 1));
      const silent = world.client.checks.slice(before).map(({ at }) => at - start);
      expect(silent).toEqual(sends);
      expect(world.client.agent.snapshot().pairs).toHaveLength(1);
      world.runUntil(instant(start + removedAfter));
      expect(world.client.agent.snapshot().pairs).toHaveLength(0);
      expect(world.client.checks.slice(before)).toHaveLength(sends.length);
      expect(world.client.agent.state).toBe('disconnected');
    },
  );

  it('is noticed to be silent before the 20 s after which WireGuard gives up', () => {
    const world = connect(CLIENT);
    world.runUntil(instant(60_000));
    const lastAnswered = world.client.checks.at(-1)?.at ?? 0;
    world.network.isDelivered = () => false;
    world.runUntil(instant(lastAnswered + 1500 + 16_499));
    expect(world.client.agent.state).toBe('completed');
    world.runUntil(instant(lastAnswered + 1500 + 16_500));
    expect(world.client.agent.state).toBe('disconnected');
  });
});

describe('a controlled agent', () => {
  it('keeps a pair for 15 s after the last request, whatever becomes of its own checks', () => {
    const timing = CLIENT_TIMING;
    const world = connect({ ...CLIENT, timing: GATEWAY_TIMING }, { ...GATEWAY, timing });
    world.network.isDelivered = ({ source }) => source.key !== world.gateway.host.key;
    world.runUntil(instant(100_000));
    const lastRequest = (world.client.checks.at(-1)?.at ?? 0) + world.network.latencyMs;
    expect(world.gateway.agent.snapshot().pairs).toHaveLength(1);
    world.network.isDelivered = () => false;
    world.runUntil(instant(lastRequest + 15_000 - 1));
    expect(world.gateway.agent.snapshot().pairs).toHaveLength(1);
    // A check that is under way then still has its time.
    const lastCheck = world.gateway.checks.at(-1)?.at ?? 0;
    world.runUntil(instant(Math.max(lastRequest + 15_000, lastCheck + timing.maxRtoMs)));
    expect(world.gateway.agent.snapshot().pairs).toHaveLength(0);
    expect(world.gateway.checks.at(-1)?.at).toBe(lastCheck);
  });
});

describe('a changed timing', () => {
  it('takes effect at once, both ways', () => {
    const world = connect(CLIENT);
    world.runUntil(instant(60_000));
    const last = world.client.checks.at(-1)?.at ?? 0;
    world.client.agent.setTiming(CLIENT_IDLE_TIMING, world.now);
    expect(world.client.agent.pollTimeout()).toBe(last + 25_000);
    world.runUntil(instant(last + 10_000));
    expect(world.client.checks.at(-1)?.at).toBe(last);
    world.client.agent.setTiming(CLIENT_TIMING, world.now);
    expect(world.client.agent.pollTimeout()).toBe(last + 1500);
    world.runFor(1);
    expect(world.client.checks.at(-1)?.at).toBe(last + 10_000);
  });
});

describe('pacing', () => {
  it('spreads checks that are due together once the burst is spent', () => {
    const pacer = new CheckPacer();
    for (let i = 0; i < 128; i++) expect(pacer.reserve(instant(0))).toBeLessThanOrEqual(0);
    const world = new IceWorld(new VirtualNetwork(), { ...CLIENT, pacer }, GATEWAY);
    world.client.gather(CLIENT);
    for (const port of [1, 2, 3]) {
      world.client.agent.addRemoteCandidate(
        {
          kind: 'host',
          foundation: 'f',
          component: 1,
          priority: 100 - port,
          address: { ...world.gateway.host, port, key: `203.0.113.1:${port}` },
          base: world.gateway.host,
        },
        world.now,
      );
    }
    world.runFor(100);
    expect(world.client.checks).toEqual([
      { at: 0, path: '198.51.100.1:52625>203.0.113.1:1' },
      { at: 0.5, path: '198.51.100.1:52625>203.0.113.1:2' },
      { at: 1, path: '198.51.100.1:52625>203.0.113.1:3' },
    ]);
  });

  it('does not hold up what the peer waits for', () => {
    const pacer = new CheckPacer();
    for (let i = 0; i < 10_000; i++) pacer.reserve(instant(0));
    const world = IceWorld.connect(new VirtualNetwork(), CLIENT, { ...GATEWAY, pacer });
    world.runFor(100);
    // As in a world without pacing, but for the gateway's first check, which nobody waited for.
    expect(world.client.events.find(({ kind }) => kind === 'nominated')?.at).toBe(20);
    expect(world.gateway.events.find(({ kind }) => kind === 'nominated')?.at).toBe(30);
    expect(world.gateway.checks.map(({ at }) => at)).toEqual([10, 30]);
  });
});

function connect(client: PeerOptions, gateway: PeerOptions = GATEWAY): IceWorld {
  return IceWorld.connect(new VirtualNetwork(), client, gateway);
}
