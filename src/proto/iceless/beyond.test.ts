// What the reference gets wrong or leaves open (iceless 13), each as a test of ours, and hostile input: candidates, probes and copies of handshakes
// without end.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  AgentDriver,
  ends,
  GH,
  GR,
  GS,
  H,
  nameOf,
  pathCandidate,
  R,
  S,
  socket,
} from '../../../test/support/path-agent.ts';
import type { PathCandidateKind } from '../../wire/iceless/candidate.ts';

const INITIATION = Uint8Array.of(1, 0, 0, 0, 1);
const RESPONSE = Uint8Array.of(2, 0, 0, 0, 2);

function onDirectPath(): AgentDriver {
  const driver = AgentDriver.of([H, S, R], [GH, GS, GR]).establish(ends(H, GR));
  driver.roundTripOf = (pair) => ({ 'h>gs': 20, 'h>gr': 70 })[pair];
  driver.run(20_000);
  expect(driver.primary).toBe('h>gs');
  driver.take();
  return driver;
}

describe('iceless 13', () => {
  test('a burst of candidates interrupts nothing: the primary stays, and nobody is told of a change', () => {
    const driver = onDirectPath();
    const changes = driver.changes.length;
    for (let index = 0; index < 5; index++) {
      const candidate = pathCandidate('host', `10.1.0.${20 + index}:52625`);
      driver.agent.addRemote(candidate, 'signalled', driver.now);
      driver.run(15);
      expect(driver.primary).toBe('h>gs');
    }
    driver.run(10_000);
    expect(driver.changes).toHaveLength(changes);
  });

  test('a captured packet from elsewhere makes the primary prove itself, and is forgotten after 15 s', () => {
    const driver = onDirectPath();
    const thief = { local: H.address, remote: socket('192.0.2.66:1') };
    driver.agent.handleData(thief, driver.now);
    driver.run(1_000);
    expect(driver.primary).toBe('h>gs');
    const known = (): string[] =>
      driver.agent.snapshot().remoteCandidates.map(({ candidate }) => candidate.address.key);
    expect(known()).toContain('192.0.2.66:1');
    driver.run(15_000);
    expect(known()).not.toContain('192.0.2.66:1');
    expect(driver.primary).toBe('h>gs');
  });

  test('packets from a thousand addresses leave four of them, and displace nothing that was signalled', () => {
    const driver = onDirectPath();
    for (let index = 0; index < 1_000; index++) {
      const remote = socket(`192.0.2.${index % 250}:${1_000 + index}`);
      driver.agent.handleData({ local: H.address, remote }, driver.now);
    }
    const { remoteCandidates } = driver.agent.snapshot();
    expect(remoteCandidates.filter(({ origin }) => origin === 'seen')).toHaveLength(4);
    const signalled = remoteCandidates.filter(({ origin }) => origin === 'signalled');
    expect(signalled).toHaveLength(3);
  });

  test('a pair that is promoted after its schedule had ended is kept alive every 25 s', () => {
    const driver = AgentDriver.of([H, S, R], [GH, GS, GR]).establish(ends(H, GR));
    driver.roundTripOf = (pair) => (pair === 'h>gr' ? 70 : undefined);
    driver.run(20_000);
    driver.take();
    // The answer to its last probe comes late.
    driver.answer(ends(H, GS));
    expect(driver.primary).toBe('h>gs');
    driver.roundTripOf = (pair) => (pair === 'h>gs' ? 20 : undefined);
    driver.run(60_000);
    const times = driver.take().filter(({ pair }) => pair === 'h>gs');
    expect(times.map(({ at }) => at)).toEqual([45_000, 70_000]);
  });

  test('a handshake that promotes such a pair keeps it alive, too', () => {
    const driver = onDirectPath();
    driver.agent.removeRemote(GS, driver.now);
    driver.run(20_000);
    driver.agent.sendInitiation(INITIATION, driver.now);
    driver.agent.handleAcceptedResponse(RESPONSE, ends(H, GH), driver.now);
    expect(driver.primary).toBe('h>gh');
    expect(driver.pair('h>gh').nextProbeAt).toBeDefined();
  });

  test('removing a reflexive candidate leaves the pairs of the host it is based on', () => {
    const driver = onDirectPath();
    driver.agent.removeLocal(S, driver.now);
    expect(driver.primary).toBe('h>gs');
    expect(driver.pair('h>gs').localKind).toBe('host');
    expect(driver.pair('h>gs').rtt).toBe(20);
  });

  test('data sent without any answer for a second puts the path in doubt, long before a re-key would', () => {
    const driver = onDirectPath();
    driver.roundTripOf = (pair) => (pair === 'h>gr' ? 70 : undefined);
    driver.agent.noteTraffic({ received: 1_000, sent: 0 }, driver.now);
    driver.agent.noteTraffic({ received: 1_000, sent: 1 }, driver.now);
    const begin = driver.now;
    driver.run(2_000);
    expect(driver.primary).toBe('h>gr');
    expect(driver.events.at(-1)?.at).toBeLessThanOrEqual(begin + 1_800);
  });

  test('who only receives asks its own way every 5 s, and leaves it if it is dead', () => {
    const driver = onDirectPath();
    driver.roundTripOf = (pair) => (pair === 'h>gr' ? 70 : undefined);
    const begin = driver.now;
    for (let received = 1_000; driver.primary === 'h>gs' && received < 1_200; received++) {
      driver.agent.noteTraffic({ received, sent: 0 }, driver.now);
      driver.run(100);
    }
    driver.run(200);
    expect(driver.primary).toBe('h>gr');
    expect(driver.now - begin).toBeLessThan(7_000);
  });

  test('data that comes another way than ours goes makes ours prove itself within 100 ms', () => {
    const driver = onDirectPath();
    driver.roundTripOf = (pair) => (pair === 'h>gr' ? 70 : undefined);
    driver.agent.handleData(ends(H, GR), driver.now);
    driver.run(300);
    expect(driver.primary).toBe('h>gr');
  });

  test('two idle ends do not keep each other busy: answers to probes are no traffic', () => {
    const driver = onDirectPath();
    let received = 0;
    for (let second = 0; second < 250; second++) {
      driver.agent.noteTraffic({ received, sent: 0 }, driver.now);
      const before = driver.sent.length;
      driver.run(1_000);
      received += driver.sent.length - before;
    }
    expect(driver.take().filter(({ probe }) => probe?.kind === 'request').length).toBeLessThan(15);
  });

  test('requests without end get 600 answers a second, and no more probes than the budget', () => {
    const driver = onDirectPath();
    for (let sequence = 0; sequence < 50_000; sequence++) {
      const probe = { kind: 'request', id: 1, sequence: sequence & 0xffff } as const;
      driver.agent.handleProbe(probe, ends(H, GH), driver.now);
    }
    driver.run(500);
    const sent = driver.take();
    expect(sent.filter(({ probe }) => probe?.kind === 'reply')).toHaveLength(600);
    expect(AgentDriver.probes(sent)['h>gh']).toBeLessThanOrEqual(12);
    expect(driver.agent.snapshot().drops['too-many-probes']).toBe(49_400);
  });

  test('a request that comes before ours was answered is asked back at once, within the budget', () => {
    const driver = AgentDriver.of([H, S, R], [GH, GS, GR]).establish(ends(H, GR));
    driver.roundTripOf = (pair) => (pair === 'h>gr' ? 70 : undefined);
    driver.run(30);
    driver.take();
    driver.agent.handleProbe({ kind: 'request', id: 1, sequence: 1 }, ends(H, GS), driver.now);
    driver.run(0);
    expect(AgentDriver.probes(driver.take())).toEqual({ 'h>gs': 1 });
    driver.run(60_000);
    expect(AgentDriver.probes(driver.take())['h>gs']).toBe(10);
  });
});

describe('candidates of the peer', () => {
  test('iceless 3.5: the seventh of a kind displaces the oldest of that kind, but not the one in use', () => {
    const driver = onDirectPath();
    for (let index = 0; index < 20; index++) {
      const address = `203.0.113.${100 + index}:52625`;
      driver.agent.addRemote(
        pathCandidate('srflx', address, '10.1.0.4:52625'),
        'signalled',
        driver.now,
      );
    }
    const ofKind = driver.agent
      .snapshot()
      .remoteCandidates.filter(({ candidate }) => candidate.kind === 'srflx');
    expect(ofKind).toHaveLength(6);
    expect(ofKind.map(({ candidate }) => candidate.address.key)).toContain(GS.address.key);
    expect(driver.primary).toBe('h>gs');
  });

  test('iceless 11-25: guesses are IPv4 only, skip what is known, and two at a time', () => {
    const driver = AgentDriver.of([H], []);
    const { agent } = driver;
    const guesses = (): string[] =>
      agent
        .snapshot()
        .remoteCandidates.filter(({ origin }) => origin === 'guessed')
        .map(({ candidate }) => candidate.address.key);
    agent.addRemote(pathCandidate('host', '[2001:db8::1]:9'), 'signalled', driver.now);
    agent.addRemote(
      pathCandidate('srflx', '[2001:db8:1::1]:7', '[2001:db8::1]:9'),
      'signalled',
      driver.now,
    );
    agent.addGuesses(driver.now);
    expect(guesses()).toEqual([]);
    for (const port of [1, 2, 3]) {
      agent.addRemote(pathCandidate('host', `10.1.0.4:${port}`), 'signalled', driver.now);
    }
    agent.addRemote(
      pathCandidate('srflx', '203.0.113.80:1', '10.1.0.4:1'),
      'signalled',
      driver.now,
    );
    agent.addGuesses(driver.now);
    expect(guesses()).toEqual(['203.0.113.80:2', '203.0.113.80:3']);
    agent.addGuesses(driver.now);
    expect(guesses()).toHaveLength(2);
  });

  test('nothing pairs across families', () => {
    const driver = AgentDriver.of([H, pathCandidate('host', '[2001:db8::2]:9')], [GH]);
    driver.agent.addRemote(pathCandidate('host', '[2001:db8::1]:9'), 'signalled', driver.now);
    expect(driver.agent.snapshot().pairs.map((pair) => nameOf(pair))).toEqual([
      'h>gh',
      '[2001:db8::2]:9>[2001:db8::1]:9',
    ]);
  });
});

describe('whatever comes in whatever order', () => {
  const kind = fc.constantFrom<PathCandidateKind[]>('host', 'srflx', 'relayed');
  const address = fc
    .tuple(fc.nat(6), fc.nat(3))
    .map(([host, port]) => `10.0.0.${host}:${1 + port}`);
  const candidate = fc.tuple(kind, address, address).map(([name, own, base]) => {
    return pathCandidate(name, own, name === 'host' ? own : base);
  });
  const path = fc.tuple(address, address).map(([local, remote]) => {
    return { local: socket(local), remote: socket(remote) };
  });
  const small = fc.nat(40);
  const operation = fc.oneof(
    fc.record({ do: fc.constant('local'), candidate }),
    fc.record({ do: fc.constant('remote'), candidate }),
    fc.record({ do: fc.constant('no-local'), candidate }),
    fc.record({ do: fc.constant('no-remote'), candidate }),
    fc.record({ do: fc.constantFrom('initiation', 'response', 'data', 'answer'), path, small }),
    fc.record({ do: fc.constantFrom('request', 'reply'), path, small }),
    fc.record({ do: fc.constantFrom('rekey', 'rebuild', 'recheck', 'begin'), small }),
    fc.record({ do: fc.constantFrom('run', 'traffic'), small }),
  );

  type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

  function apply(driver: AgentDriver, step: Operation): void {
    const { agent, now } = driver;
    if ('candidate' in step) {
      if (step.do === 'local') agent.addLocal(step.candidate, now);
      else if (step.do === 'no-local') agent.removeLocal(step.candidate, now);
      else if (step.do === 'no-remote') agent.removeRemote(step.candidate, now);
      else {
        agent.addRemote(step.candidate, 'signalled', now);
        agent.addGuesses(now);
      }
      return;
    }
    const bytes = Uint8Array.of(1, 0, 0, 0, step.small);
    if ('path' in step) {
      const { path: way, small: id } = step;
      if (step.do === 'request' || step.do === 'reply') {
        return agent.handleProbe({ kind: step.do, id, sequence: id }, way, now);
      }
      if (step.do === 'data') return agent.handleData(way, now);
      if (step.do === 'answer') return agent.handleAcceptedResponse(bytes, way, now);
      if (agent.recallHandshake(bytes, step.do === 'initiation', way, now)) return;
      return agent.handleAcceptedInitiation(bytes, RESPONSE, way, now);
    }
    if (step.do === 'rekey') agent.sendInitiation(bytes, now);
    else if (step.do === 'rebuild') agent.rebuild(now);
    else if (step.do === 'recheck') agent.recheck(now);
    else if (step.do === 'begin') agent.startProbing(now);
    else if (step.do === 'traffic') agent.noteTraffic({ received: step.small, sent: 0 }, now);
    else driver.run(step.small * 50);
  }

  test('tables stay small, the primary is a pair, deadlines do not stand still, and output is bounded', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 120 }), (steps) => {
        const driver = new AgentDriver();
        driver.roundTripOf = (pair) => (pair.length % 3 === 0 ? 30 : undefined);
        for (const step of steps) {
          apply(driver, step);
          const { pairs, primary, remoteCandidates } = driver.agent.snapshot();
          expect(pairs.length).toBeLessThanOrEqual(160);
          expect(remoteCandidates.length).toBeLessThanOrEqual(18);
          expect(pairs.every(({ inFlight }) => inFlight <= 12)).toBe(true);
          if (primary) expect(pairs.map(nameOf)).toContain(nameOf(primary));
        }
        driver.run(20_000);
        const before = driver.take().length;
        expect(before).toBeLessThan(200_000);
        driver.run(10_000);
      }),
      { numRuns: 200 },
    );
  });
});
