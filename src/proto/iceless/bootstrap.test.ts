// The first handshake of a connection without ICE (iceless 6.2, 6.4; properties 11-1 to 11-7): over every relay, repeated, remembered.

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

const INITIATION = Uint8Array.of(1, 0, 0, 0, 11);
const RETRY = Uint8Array.of(1, 0, 0, 0, 12);
const RESPONSE = Uint8Array.of(2, 0, 0, 0, 13);

/** iceless 6.2.2: after the first copy on the pair. */
const LADDER = [0, 50, 100, 150, 250, 450, 850, 1_650, 3_250];

function initiator(): AgentDriver {
  const driver = AgentDriver.of([H, R], [GH, GR]);
  driver.agent.sendInitiation(INITIATION, driver.now);
  return driver;
}

describe('the first initiation', () => {
  test('iceless 11-1: goes to the pairs that involve a relay, with identical bytes, and (better) to the direct ones', () => {
    const driver = initiator();
    driver.run(0);
    const sent = driver.take();
    expect(AgentDriver.copies(sent)).toEqual({ 'h>gh': 1, 'h>gr': 1, 'r>gh': 1, 'r>gr': 1 });
    expect(sent.every(({ payload }) => payload === INITIATION)).toBe(true);
  });

  test('iceless 11-2: is repeated after 50, 50, 50, 100, 200, 400, 800 and 1600 ms, then never', () => {
    const driver = initiator();
    driver.run(0);
    expect(driver.agent.pollTimeout()).toBe(50);
    driver.run(60_000);
    for (const name of ['h>gh', 'h>gr', 'r>gh', 'r>gr']) {
      const times = driver.sent.filter(({ pair }) => pair === name).map(({ at }) => at);
      expect(times).toEqual(LADDER);
    }
    expect(driver.agent.pollTimeout()).toBeUndefined();
  });

  test('iceless 6.2.2: a late timer run shifts the rest of the ladder', () => {
    const driver = initiator();
    driver.run(0);
    driver.now = 70 as typeof driver.now;
    driver.run(0);
    expect(driver.agent.pollTimeout()).toBe(120);
  });

  test('iceless 11-3: a fresh one after the ladder goes once to each pair and arms no ladder', () => {
    const driver = initiator();
    driver.run(10_000);
    driver.take();
    driver.agent.sendInitiation(RETRY, driver.now);
    driver.run(60_000);
    const sent = driver.take();
    expect(AgentDriver.copies(sent)).toEqual({ 'h>gh': 1, 'h>gr': 1, 'r>gh': 1, 'r>gr': 1 });
    expect(sent.every(({ payload }) => payload === RETRY)).toBe(true);
    expect(driver.agent.pollTimeout()).toBeUndefined();
  });

  test('iceless 6.2.3: a fresh one on the ladder is sent at once, and takes the remaining steps', () => {
    const driver = initiator();
    driver.run(2_000);
    driver.take();
    driver.agent.sendInitiation(RETRY, driver.now);
    driver.run(60_000);
    const sent = driver.take().filter(({ pair }) => pair === 'h>gr');
    expect(sent.map(({ at }) => at)).toEqual([2_000, 3_250]);
    expect(sent.every(({ payload }) => payload === RETRY)).toBe(true);
  });

  test('iceless 6.2.4: a relay pair that appears later is served at once, with its own ladder', () => {
    const driver = AgentDriver.of([H], [GH]);
    driver.agent.sendInitiation(INITIATION, driver.now);
    driver.run(700);
    driver.take();
    driver.agent.addRemote(GR, 'signalled', driver.now);
    expect(driver.agent.pollTimeout()).toBe(0);
    driver.run(10_000);
    const times = driver.take().filter(({ pair }) => pair === 'h>gr');
    expect(times.map(({ at }) => at - 700)).toEqual(LADDER);
  });

  test('iceless 6.2.6: without any relay two peers can do without', () => {
    const driver = AgentDriver.of([H, S], [GH, GS]);
    driver.agent.sendInitiation(INITIATION, driver.now);
    driver.run(0);
    expect(AgentDriver.copies(driver.take())).toEqual({ 'h>gh': 1, 'h>gs': 1 });
  });

  test('iceless 11-4: is not sent again once a response was accepted: only probes are', () => {
    const driver = initiator();
    driver.run(20);
    driver.agent.handleAcceptedResponse(RESPONSE, ends(H, GR), driver.now);
    driver.agent.startProbing(driver.now);
    driver.take();
    driver.run(30_000);
    const sent = driver.take();
    expect(sent.length).toBeGreaterThan(0);
    expect(sent.every(({ form }) => form !== 'datagram')).toBe(true);
  });
});

describe('handshake messages that arrive', () => {
  test('iceless 11-5: one that WireGuard rejects leaves no event, no datagram and no primary', () => {
    const driver = AgentDriver.of([GH, GR], [H, R]);
    const path = ends(GR, H);
    expect(driver.agent.recallHandshake(INITIATION, true, path, driver.now)).toBe(false);
    driver.run(1_000);
    expect(driver.take()).toEqual([]);
    expect(driver.events).toEqual([]);
    expect(driver.agent.snapshot()).toMatchObject({ hasSession: false, primary: undefined });
  });

  test('iceless 11-6: one that was accepted is answered from memory for 10 s, then dropped silently', () => {
    const driver = AgentDriver.of([GH, GR], [H, R]);
    const { agent } = driver;
    agent.handleAcceptedInitiation(INITIATION, RESPONSE, ends(GR, R), driver.now);
    driver.take();
    driver.run(9_999);
    const other = { local: GH.address, remote: pathCandidate('host', '192.0.2.99:7').address };
    expect(agent.recallHandshake(INITIATION.slice(), true, other, driver.now)).toBe(true);
    const [answer, ...more] = driver.take();
    expect(more).toEqual([]);
    expect(answer).toMatchObject({ form: 'datagram', payload: RESPONSE, ...other });
    driver.run(1_001);
    expect(agent.recallHandshake(INITIATION, true, other, driver.now)).toBe(true);
    expect(driver.take()).toEqual([]);
    expect(agent.snapshot().drops).toEqual({ 'repeated-handshake': 1 });
  });

  test('iceless 6.4: a copy of the accepted response is dropped, until an initiation of ours goes out', () => {
    const driver = initiator();
    driver.agent.handleAcceptedResponse(RESPONSE, ends(H, GR), driver.now);
    const isRecalled = (): boolean =>
      driver.agent.recallHandshake(RESPONSE, false, ends(H, GR), driver.now);
    expect(isRecalled()).toBe(true);
    driver.agent.sendInitiation(RETRY, driver.now);
    expect(isRecalled()).toBe(false);
  });

  test('iceless 11-7: the path of the first one becomes the primary of either side, with an event', () => {
    const responder = AgentDriver.of([GH, GR], [S, R]);
    responder.agent.handleAcceptedInitiation(INITIATION, RESPONSE, ends(GR, S), responder.now);
    responder.run(0);
    expect(responder.changes).toEqual([nameOf(ends(GR, S))]);

    const asker = initiator();
    asker.agent.handleAcceptedResponse(RESPONSE, ends(H, GR), asker.now);
    asker.run(0);
    expect(asker.changes).toEqual(['h>gr']);
  });

  test('iceless 6.4: a path that is no known pair makes no primary, whoever comes by it', () => {
    const asker = initiator();
    const elsewhere = { local: H.address, remote: pathCandidate('host', '192.0.2.99:7').address };
    asker.agent.handleAcceptedResponse(RESPONSE, elsewhere, asker.now);
    asker.run(0);
    expect(asker.changes).toEqual([]);
    expect(asker.agent.snapshot().hasSession).toBe(true);
  });

  test('iceless 6.4: the second initiation of the peer, a re-key, does not move the primary', () => {
    const driver = AgentDriver.of([GH, GR], [S, R]);
    driver.agent.handleAcceptedInitiation(INITIATION, RESPONSE, ends(GR, S), driver.now);
    driver.agent.noteTraffic({ received: 1, sent: 0 }, driver.now);
    driver.agent.handleAcceptedInitiation(RETRY, RESPONSE, ends(GH, S), driver.now);
    driver.run(0);
    expect(driver.changes).toEqual(['gr>s']);
  });

  test('iceless 6.4: a response promotes over a primary only from a strictly better bucket', () => {
    const driver = AgentDriver.of([H, S, R], [GH, GS, GR]).establish(ends(H, GR));
    const rekeys = [
      { pair: ends(R, GR), expected: 'h>gr' },
      { pair: ends(R, GS), expected: 'r>gs' },
      { pair: ends(H, GR), expected: 'r>gs' },
      { pair: ends(H, GS), expected: 'h>gs' },
    ];
    for (const [index, { pair, expected }] of rekeys.entries()) {
      driver.agent.sendInitiation(Uint8Array.of(1, 0, 0, 0, index), driver.now);
      driver.agent.handleAcceptedResponse(Uint8Array.of(2, 0, 0, 0, index), pair, driver.now);
      expect(driver.primary).toBe(expected);
    }
  });

  test('iceless 13: a copy of the initiation is answered a limited number of times', () => {
    const driver = AgentDriver.of([GH, GR], [S, R]);
    driver.agent.handleAcceptedInitiation(INITIATION, RESPONSE, ends(GR, S), driver.now);
    driver.take();
    for (let copy = 0; copy < 1_000; copy++) {
      driver.agent.recallHandshake(INITIATION, true, ends(GH, S), driver.now);
    }
    expect(driver.take().length).toBeLessThanOrEqual(128);
  });
});
