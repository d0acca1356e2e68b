// Candidates during an outage of the portal (connectivity 5.6, 11.31).

import { expect, test } from 'vitest';
import { peerId } from '../base/ids.ts';
import { CandidateOutbox } from './candidate-outbox.ts';

const peer = peerId('p');
const host = 'candidate:aa 1 udp 2130706175 10.0.0.5 52625 typ host ufrag weos';
const relay =
  'candidate:bb 1 udp 37748479 203.0.113.9 50100 typ relay raddr 0.0.0.0 rport 0 ufrag weos';
const sameRelayInvalidated =
  'candidate:cc 1 udp 50331391 203.0.113.9 50100 typ relay raddr 0.0.0.0 rport 0';

const added = (...candidates: string[]) =>
  ({ kind: 'candidates-added', peer, candidates }) as const;
const removed = (...candidates: string[]) =>
  ({ kind: 'candidates-removed', peer, candidates }) as const;

test('while connected, everything passes', () => {
  const outbox = new CandidateOutbox();
  expect(outbox.connect()).toEqual([]);
  expect(outbox.handle(added(host))).toEqual(added(host));
});

test('during an outage candidates are held, and come out on connect, additions first', () => {
  const outbox = new CandidateOutbox();
  expect(outbox.handle(removed(relay))).toBeUndefined();
  expect(outbox.handle(added(host))).toBeUndefined();
  expect(outbox.connect()).toEqual([added(host), removed(relay)]);
});

test('a removal of a candidate that is still held cancels it, although its text differs', () => {
  const outbox = new CandidateOutbox();
  outbox.handle(added(host, relay));
  outbox.handle(removed(sameRelayInvalidated));
  expect(outbox.connect()).toEqual([added(host)]);
});

test('an addition cancels a held removal and is sent', () => {
  const outbox = new CandidateOutbox();
  outbox.handle(removed(relay));
  outbox.handle(added(relay));
  expect(outbox.connect()).toEqual([added(relay)]);
});

test('a connection that is gone forgets what was held for it', () => {
  const outbox = new CandidateOutbox();
  outbox.handle(added(host));
  outbox.forget(peer);
  expect(outbox.connect()).toEqual([]);
});

test('what is held for one peer has a limit', () => {
  const outbox = new CandidateOutbox();
  for (let port = 1; port <= 500; port++) outbox.handle(added(host.replace('52625', `${port}`)));
  expect(outbox.connect()[0]?.candidates).toHaveLength(64);
});
