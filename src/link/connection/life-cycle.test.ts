import { describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../base/address.ts';
import { instant } from '../../base/time.ts';
import { type Path, pathOf } from '../outbound/path.ts';
import { LifeCycle } from './life-cycle.ts';

function path(remote: string): Path {
  const at = (text: string) => parseEndpoint(text) ?? expect.unreachable();
  return pathOf({
    local: at('192.0.2.1:1'),
    remote: at(remote),
    localKind: 'host',
    remoteKind: 'host',
  });
}

const A = path('198.51.100.1:1');
const B = path('198.51.100.2:1');

describe('LifeCycle', () => {
  test('keeps the newest 128 datagrams until there is a path, in order', () => {
    const life = new LifeCycle(instant(0));
    for (let i = 0; i < 130; i++) life.buffer(Uint8Array.of(i));
    const waiting = life.adoptPath(A, instant(1));
    expect(waiting).toHaveLength(128);
    expect(waiting?.[0]).toEqual(Uint8Array.of(2));
    expect(life.buffer(Uint8Array.of(1))).toBe(false);
  });

  test('a path that is not new changes nothing; a new one while idle is adopted', () => {
    const life = new LifeCycle(instant(0));
    life.noteIceState('connected', instant(0));
    expect(life.adoptPath(A, instant(0))).toEqual([]);
    expect(life.adoptPath(A, instant(1))).toBeUndefined();
    expect(life.goIdle(instant(20_000))).toBe(true);
    expect(life.adoptPath(B, instant(20_001))).toEqual([]);
    expect(life.kind).toBe('idle');
    expect(life.path).toBe(B);
  });

  test.each(['connected', 'completed'] as const)('goes idle when the agent is %s', (state) => {
    const life = new LifeCycle(instant(0));
    life.noteRemoteCandidate();
    life.adoptPath(A, instant(0));
    expect(life.pollTimeout()).toBeUndefined();
    expect(life.goIdle(instant(30_000))).toBe(false);
    life.noteIceState(state, instant(0));
    expect(life.pollTimeout()).toBe(20_000);
    expect(life.goIdle(instant(19_999))).toBe(false);
    expect(life.goIdle(instant(20_000))).toBe(true);
    expect(life.noteActivity(instant(20_001))).toBe(true);
    expect(life.noteActivity(instant(20_002))).toBe(false);
  });

  test.each(['checking', 'connected', 'completed'] as const)(
    '%s ends the grace of a disconnect',
    (state) => {
      const life = new LifeCycle(instant(0));
      life.noteIceState('disconnected', instant(100));
      life.noteIceState('disconnected', instant(1_000));
      expect(life.isDisconnected(instant(2_099))).toBe(false);
      expect(life.isDisconnected(instant(2_100))).toBe(true);
      life.noteIceState(state, instant(2_000));
      expect(life.isDisconnected(instant(9_000))).toBe(false);
    },
  );

  test('fails without candidates only while connecting, and only once', () => {
    const life = new LifeCycle(instant(0));
    expect(life.hasNoCandidates(instant(9_999))).toBe(false);
    expect(life.hasNoCandidates(instant(10_000))).toBe(true);
    expect(life.hasNoCandidates(instant(10_001))).toBe(false);
    const connected = new LifeCycle(instant(0));
    connected.adoptPath(A, instant(5_000));
    expect(connected.hasNoCandidates(instant(10_000))).toBe(false);
    connected.fail('ice-disconnected');
    expect(connected.failure).toBe('ice-disconnected');
    expect(connected.adoptPath(B, instant(10_000))).toBeUndefined();
    expect(connected.path).toBeUndefined();
  });
});
