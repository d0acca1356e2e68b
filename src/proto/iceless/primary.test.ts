// Which pair carries data, and when it is given up (iceless 6.6 and 6.7; properties 11-8 to 11-16).

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
} from '../../../test/support/path-agent.ts';

const initiation = (index: number): Uint8Array => Uint8Array.of(1, 0, 0, 0, index);
const response = (index: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, index);

/** Only what is named answers. */
function answering(driver: AgentDriver, times: Readonly<Record<string, number>>): AgentDriver {
  driver.roundTripOf = (pair) => times[pair];
  return driver;
}

/** Everything that the client of iceless 10 has, on the relayed path that its handshake took. */
function established(): AgentDriver {
  return AgentDriver.of([H, S, R], [GH, GS, GR]).establish(ends(H, GR));
}

describe('probes', () => {
  test('iceless 11-9: of an unanswered pair beside a primary there are exactly 12 in 60 s', () => {
    const driver = answering(established(), { 'h>gr': 70 });
    driver.run(60_000);
    const probes = AgentDriver.probes(driver.take());
    expect(probes['h>gs']).toBe(12);
    expect(probes['r>gr']).toBe(12);
  });

  test('iceless 11-9: without a primary there are more than 12 in 30 s, and 12 at most are remembered', () => {
    const driver = AgentDriver.of([H], [GH]);
    driver.agent.handleAcceptedResponse(response(0), ends(R, GH), driver.now);
    driver.agent.startProbing(driver.now);
    driver.run(30_000);
    expect(AgentDriver.probes(driver.take())['h>gh']).toBeGreaterThan(12);
    expect(driver.pair('h>gh').inFlight).toBe(12);
  });

  test('iceless 12: go out at 0, 200, 500, 1000 ... 9000 ms, and of the primary at 34 and 59 s', () => {
    const driver = answering(established(), { 'h>gr': 70 });
    driver.run(60_000);
    const times = (name: string): number[] =>
      driver.sent.filter(({ pair, probe }) => pair === name && probe).map(({ at }) => at);
    const first = [0, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000];
    expect(times('h>gs')).toEqual(first);
    expect(times('h>gr')).toEqual([...first, 34_000, 59_000]);
  });

  test('iceless 11-10: an answer with another id is none, even if the sequence number fits', () => {
    const driver = established();
    driver.run(0);
    const { probe } = driver.sent.find(({ pair }) => pair === 'h>gs') ?? {};
    const { id = 0, sequence = 0 } = probe ?? {};
    driver.agent.handleProbe({ kind: 'reply', id: id + 1, sequence }, ends(H, GS), driver.now);
    expect(driver.primary).toBe('h>gr');
    driver.agent.handleProbe({ kind: 'reply', id, sequence: 999 }, ends(H, GS), driver.now);
    expect(driver.primary).toBe('h>gr');
    expect(driver.agent.snapshot().drops).toEqual({ 'unexpected-reply': 2 });
    driver.agent.handleProbe({ kind: 'reply', id, sequence }, ends(H, GS), driver.now);
    expect(driver.primary).toBe('h>gs');
  });

  test('iceless 6.6: an answer counts on the pair that it came by only', () => {
    const driver = established();
    driver.run(0);
    const { probe } = driver.sent.find(({ pair }) => pair === 'h>gs') ?? {};
    if (!probe) throw new Error('the pair was probed');
    driver.agent.handleProbe({ ...probe, kind: 'reply' }, ends(H, GH), driver.now);
    expect(driver.primary).toBe('h>gr');
  });

  test('iceless 6.6: the round trip is the first sample, then the mean of it and the next', () => {
    const driver = answering(established(), { 'h>gr': 80 });
    driver.run(100);
    expect(driver.pair('h>gr').rtt).toBe(80);
    driver.roundTripOf = () => 40;
    driver.run(250);
    expect(driver.pair('h>gr').rtt).toBe(60);
  });

  test('iceless 6.6.3: one of the peer is answered the way it came, and asks the pair back if it was given up', () => {
    const driver = answering(established(), { 'h>gr': 70 });
    driver.run(20_000);
    driver.take();
    driver.agent.handleProbe({ kind: 'request', id: 7, sequence: 8 }, ends(H, GS), driver.now);
    driver.run(0);
    const [reply, question] = driver.take();
    expect(reply).toMatchObject({ pair: 'h>gs', probe: { kind: 'reply', id: 7, sequence: 8 } });
    expect(question).toMatchObject({ pair: 'h>gs', probe: { kind: 'request' } });
  });

  test('iceless 6.6: ids follow the order of creation, and a pair whose kinds are refined gets the next', () => {
    const driver = AgentDriver.of([H, S, R], [GH, GS, GR]);
    const ids = driver.agent.snapshot().pairs.map((pair) => [nameOf(pair), pair.id]);
    expect(ids).toEqual([
      ['h>gh', 1],
      ['h>gr', 7],
      ['h>gs', 4],
      ['r>gh', 2],
      ['r>gr', 8],
      ['r>gs', 5],
    ]);
  });
});

describe('promotion', () => {
  test('iceless 11-8: an answer of a host pair takes over from a relay, never the other way round', () => {
    const driver = established();
    driver.run(0);
    driver.answer(ends(H, GH));
    expect(driver.primary).toBe('h>gh');
    driver.answer(ends(H, GR));
    driver.answer(ends(R, GR));
    expect(driver.primary).toBe('h>gh');
    expect(driver.changes).toEqual(['h>gr', 'h>gh']);
  });

  test('iceless 6.7: in the same bucket only a clearly shorter round trip takes over', () => {
    const second = pathCandidate('srflx', '203.0.113.81:52625', '10.1.0.4:52625');
    const driver = AgentDriver.of([H, S], [GS, second]).establish(ends(H, GS));
    answering(driver, { 'h>gs': 60, [nameOf(ends(H, second))]: 49 }).run(15_000);
    expect(driver.primary).toBe('h>gs');
    driver.roundTripOf = (pair) => (pair === 'h>gs' ? 60 : 40);
    driver.agent.recheck(driver.now);
    driver.run(15_000);
    expect(driver.primary).toBe(nameOf(ends(H, second)));
  });
});

describe('re-keys without an answer', () => {
  test('iceless 11-11: one keeps the primary, the second clears it and asks all pairs', () => {
    const driver = established();
    driver.run(20_000);
    const before = driver.primary;
    driver.agent.sendInitiation(initiation(1), driver.now);
    driver.run(0);
    expect(driver.primary).toBe(before);
    driver.take();
    driver.agent.sendInitiation(initiation(2), driver.now);
    driver.run(0);
    expect(driver.primary).toBeUndefined();
    const probes = AgentDriver.probes(driver.take());
    expect(Object.keys(probes)).toHaveLength(6);
  });

  test('iceless 11-11: an answer in between sets the count back, and so does a change of the primary', () => {
    const driver = established();
    const silent = answering(driver, { 'h>gr': 70 });
    silent.run(10_000);
    for (let index = 0; index < 5; index++) {
      driver.agent.sendInitiation(initiation(index), driver.now);
      driver.agent.handleAcceptedResponse(response(index), ends(H, GR), driver.now);
    }
    expect(driver.primary).toBe('h>gr');
    driver.agent.sendInitiation(initiation(10), driver.now);
    driver.answer(ends(H, GS));
    driver.agent.sendInitiation(initiation(11), driver.now);
    expect(driver.primary).toBe('h>gs');
    expect(driver.agent.snapshot().unansweredRekeys).toBe(1);
  });

  test('iceless 6.3: fires once: the third and fourth do nothing more', () => {
    const driver = established();
    driver.run(20_000);
    for (let index = 0; index < 4; index++) {
      driver.agent.sendInitiation(initiation(index), driver.now);
    }
    expect(driver.primary).toBeUndefined();
    expect(driver.agent.snapshot().unansweredRekeys).toBe(4);
  });

  test('iceless 11-12: two initiations of the peer without data clear the primary; with data in between never', () => {
    const driver = AgentDriver.of([GH, GR], [S, R]);
    const { agent } = driver;
    const path = ends(GR, S);
    for (let index = 0; index < 10; index++) {
      agent.noteTraffic({ received: index, sent: 0 }, driver.now);
      agent.handleAcceptedInitiation(initiation(index), response(index), path, driver.now);
      expect(driver.primary).toBe('gr>s');
    }
    agent.handleAcceptedInitiation(initiation(11), response(11), path, driver.now);
    expect(driver.primary).toBeUndefined();
  });
});

describe('candidates that come and go', () => {
  test('iceless 11-13: a new one puts the primary in doubt, and its answer within one round trip keeps it', () => {
    const driver = answering(established(), { 'h>gr': 70 });
    driver.run(20_000);
    driver.take();
    driver.agent.addRemote(pathCandidate('host', '10.9.9.9:1'), 'signalled', driver.now);
    driver.run(71);
    expect(AgentDriver.probes(driver.take())['h>gr']).toBe(1);
    driver.run(10_000);
    // Deviates: upstream clears it meanwhile. Nothing is said, because nothing changes for data.
    expect(driver.changes).toEqual(['h>gr']);
    expect(driver.primary).toBe('h>gr');
  });

  test('iceless 11-13: one that does not answer is given up', () => {
    const driver = answering(established(), { 'h>gr': 70 });
    driver.run(20_000);
    driver.roundTripOf = () => undefined;
    driver.agent.addRemote(pathCandidate('host', '10.9.9.9:1'), 'signalled', driver.now);
    driver.run(200);
    expect(driver.primary).toBeUndefined();
  });

  test('iceless 11-14: after a rebuild with one new local the old remote is probed and becomes primary, without a handshake', () => {
    const driver = established();
    driver.run(20_000);
    driver.agent.rebuild(driver.now);
    driver.take();
    driver.agent.addLocal(pathCandidate('host', '172.30.0.200:40000'), driver.now);
    answering(driver, { '172.30.0.200:40000>gs': 20 }).run(1_000);
    const sent = driver.take();
    expect(sent.every(({ form }) => form !== 'datagram')).toBe(true);
    expect(driver.primary).toBe('172.30.0.200:40000>gs');
  });

  test('iceless 11-15: removing the relay in use asks the way over the relay of the peer at once', () => {
    const driver = AgentDriver.of([H, S, R], [GR]).establish(ends(R, GR));
    driver.run(20_000);
    driver.take();
    driver.agent.removeLocal(R, driver.now);
    expect(driver.primary).toBeUndefined();
    driver.run(0);
    const sent = driver.take();
    expect(AgentDriver.probes(sent)).toEqual({ 'h>gr': 1 });
    driver.answer(ends(H, GR));
    expect(driver.primary).toBe('h>gr');
    driver.run(20_000);
    expect(driver.take().filter(({ pair }) => pair.startsWith('r>'))).toEqual([]);
    // A new relay of our own: of two pairs with one relay the one with ours is better.
    const fresh = pathCandidate('relayed', '198.51.100.6:50000', H.address.key);
    driver.agent.addRemote(GS, 'signalled', driver.now);
    driver.agent.addLocal(fresh, driver.now);
    answering(driver, { [nameOf(ends(fresh, GS))]: 70, 'h>gr': 70 }).run(1_000);
    expect(driver.primary).toBe(nameOf(ends(fresh, GS)));
  });

  test('iceless 11-16: a signalled candidate for an address that was seen keeps primary and round trip, and says nothing', () => {
    const driver = AgentDriver.of([GH], [H]);
    const seen = pathCandidate('srflx', '203.0.113.9:40001');
    driver.agent.handleAcceptedInitiation(initiation(0), response(0), ends(GH, seen), driver.now);
    driver.agent.startProbing(driver.now);
    answering(driver, { [nameOf(ends(GH, seen))]: 20 }).run(500);
    const [before, said] = [driver.pair('gh>s'), driver.events.length];
    expect(driver.primary).toBe('gh>s');
    driver.agent.addRemote(S, 'signalled', driver.now);
    expect(driver.pair('gh>s')).toEqual(before);
    expect(driver.primary).toBe('gh>s');
    expect(driver.events).toHaveLength(said);
    expect(driver.agent.snapshot().remoteCandidates.map(({ origin }) => origin)).toEqual([
      'signalled',
      'signalled',
    ]);
  });

  test('iceless 6.4: a candidate that renames the pair of the handshake leaves the primary the one that is probed', () => {
    const driver = AgentDriver.of([GH], []);
    driver.agent.addRemote(pathCandidate('host', S.address.key), 'signalled', driver.now);
    driver.agent.handleAcceptedInitiation(initiation(0), response(0), ends(GH, S), driver.now);
    driver.agent.addRemote(S, 'signalled', driver.now);
    driver.agent.startProbing(driver.now);
    answering(driver, { 'gh>s': 20 }).run(500);
    driver.roundTripOf = () => undefined;
    driver.agent.recheck(driver.now);
    driver.run(200);
    expect(driver.primary).toBeUndefined();
  });

  test('removing the candidate of the primary clears it; removing another one does not', () => {
    const driver = established();
    driver.agent.removeRemote(GS, driver.now);
    expect(driver.primary).toBe('h>gr');
    driver.agent.removeRemote(GR, driver.now);
    expect(driver.primary).toBeUndefined();
  });
});
