import { expect, test } from 'vitest';
import { peerId } from '../../base/ids.ts';
import type { OwnCandidate } from '../connection/path-finder.ts';
import { Signalling } from './signalling.ts';

const A = peerId('a');
const B = peerId('b');

function candidate(kind: string, address: string, priority: number): OwnCandidate {
  const text = `candidate:f 1 udp ${priority} ${address} 1000 typ ${kind}`;
  return { key: `${kind} ${address}:1000`, priority, text };
}

function drain(signalling: Signalling): unknown[] {
  const events: unknown[] = [];
  for (let event = signalling.pollEvent(); event; event = signalling.pollEvent()) {
    events.push([event.kind, event.peer, event.candidates.map((text) => text.split(' ')[4])]);
  }
  return events;
}

test('one message per connection and direction, best first, additions before removals', () => {
  const signalling = new Signalling();
  signalling.remove(A, candidate('relayed', '203.0.113.1', 10));
  signalling.add(B, candidate('host', '10.0.0.2', 90));
  signalling.add(A, candidate('srflx', '198.51.100.1', 50));
  signalling.add(A, candidate('host', '10.0.0.1', 90));
  expect(drain(signalling)).toEqual([
    ['candidates-added', A, ['10.0.0.1', '198.51.100.1']],
    ['candidates-added', B, ['10.0.0.2']],
    ['candidates-removed', A, ['203.0.113.1']],
  ]);
  expect(signalling.isEmpty).toBe(true);
});

test('of addition and removal the last one counts, whatever the priority says', () => {
  const signalling = new Signalling();
  signalling.add(A, candidate('relayed', '203.0.113.1', 10));
  signalling.remove(A, candidate('relayed', '203.0.113.1', 11));
  expect(drain(signalling)).toEqual([['candidates-removed', A, ['203.0.113.1']]]);
  signalling.remove(A, candidate('relayed', '203.0.113.1', 10));
  signalling.add(A, candidate('relayed', '203.0.113.1', 11));
  expect(drain(signalling)).toEqual([['candidates-added', A, ['203.0.113.1']]]);
});

test('duplicates are sent once, and nothing is sent for a connection that is gone', () => {
  const signalling = new Signalling();
  signalling.add(A, candidate('host', '10.0.0.1', 90));
  signalling.add(A, candidate('host', '10.0.0.1', 90));
  signalling.add(B, candidate('host', '10.0.0.2', 90));
  signalling.forget(B);
  expect(drain(signalling)).toEqual([['candidates-added', A, ['10.0.0.1']]]);
});
