// The schedule of relay 4.5 and the table of requests.

import { expect, it } from 'vitest';
import { type Endpoint, parseEndpoint } from '../../base/address.ts';
import { instant } from '../../base/time.ts';
import { roundTripMs, StunRequests } from './requests.ts';

const SCHEDULE = { firstIntervalMs: 1000, multiplier: 1.5, giveUpMs: 8000 };
const destination = parseEndpoint('192.0.2.1:3478') as Endpoint;

function started(): StunRequests<string> {
  const requests = new StunRequests<string>();
  const transactionId = new Uint8Array(12);
  const bytes = new Uint8Array(20);
  requests.start({ transactionId, bytes, destination, context: 'a' }, SCHEDULE, instant(0));
  return requests;
}

it('is sent again after 1, 2.5 and 4.75 s and given up after 8.125 s', () => {
  const requests = started();
  const log: [number, string][] = [];
  for (;;) {
    const timeout = requests.pollTimeout();
    if (timeout === undefined) break;
    const due = requests.pollDue(timeout);
    log.push([timeout, due?.kind ?? 'nothing']);
    expect(requests.pollDue(timeout)).toBeUndefined();
  }
  expect(log).toEqual([
    [1000, 'retransmit'],
    [2500, 'retransmit'],
    [4750, 'retransmit'],
    [8125, 'expired'],
  ]);
});

it('is not due early', () => {
  expect(started().pollDue(instant(999))).toBeUndefined();
});

it('sends once when several due times were missed, and gives up when all were', () => {
  const requests = started();
  expect(requests.pollDue(instant(5000))?.kind).toBe('retransmit');
  expect(requests.pollDue(instant(5000))).toBeUndefined();
  expect(requests.pollTimeout()).toBe(8125);
  expect(started().pollDue(instant(20_000))?.kind).toBe('expired');
});

it('yields no round trip for a request that was sent twice', () => {
  const requests = started();
  const request = requests.find(new Uint8Array(12));
  if (!request) throw new Error('not found');
  expect(roundTripMs(request, instant(40))).toBe(40);
  requests.pollDue(instant(1000));
  expect(roundTripMs(request, instant(1040))).toBeUndefined();
});
