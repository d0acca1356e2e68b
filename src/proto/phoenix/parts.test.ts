// The small parts of the channel: back-off, Retry-After, problem details, User-Agent.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../base/random.ts';
import { unixMillis } from '../../base/time.ts';
import { Backoff, FIRST_CONNECTION, reconnection } from './backoff.ts';
import { parseProblemDetails } from './failures.ts';
import { parseRetryAfter } from './retry-after.ts';
import { writeUserAgent } from './user-agent.ts';

describe('back-off', () => {
  it('has the delays of vector T9 before jitter', () => {
    const backoff = new Backoff(
      { ...reconnection(Number.POSITIVE_INFINITY), hasJitter: false },
      new SeededRandom(1),
    );
    const delays = Array.from({ length: 14 }, () => Math.round(backoff.next() ?? 0));
    expect(delays).toEqual([
      500, 750, 1125, 1688, 2531, 3797, 5695, 8543, 12814, 19222, 28833, 43249, 60000, 60000,
    ]);
  });

  it('hands out 15 delays before the first connection', () => {
    const backoff = new Backoff(FIRST_CONNECTION, new SeededRandom(1));
    const delays = Array.from({ length: 17 }, () => backoff.next());
    expect(delays).toEqual([...Array(15).fill(1000), undefined, undefined]);
  });
});

describe('Retry-After', () => {
  const now = unixMillis(Date.UTC(2026, 0, 1));
  it.each([
    ['120', 120_000],
    ['0', 0],
    ['3600', 3_600_000],
    ['Thu, 01 Jan 2026 00:00:30 GMT', 30_000],
    ['Thu, 01 Jan 2026 01:00:30 +0100', 30_000],
    ['1 Jan 2026 00:00:30 UT', 30_000],
    ['Sun, 06 Nov 1994 08:49:37 GMT', 0],
  ])('%s is %i ms', (value, expected) => expect(parseRetryAfter(value, now)).toBe(expected));

  it.each(['invalid', '', '-1', '12.5', '1e3', 'Thu, 41 Jan 2026 00:00:30 GMT', '99 Foo 2026'])(
    '%j counts as absent',
    (value) => expect(parseRetryAfter(value, now)).toBeUndefined(),
  );

  it('reads every date that Date writes', () => {
    const dates = fc.date({
      min: new Date(0),
      max: new Date('9999-12-31T00:00:00Z'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(dates, (date) => {
        const seconds = Math.floor(date.getTime() / 1000) * 1000;
        expect(parseRetryAfter(date.toUTCString(), unixMillis(0))).toBe(seconds);
      }),
    );
  });
});

describe('problem details', () => {
  const body = '{"code":"brand_new","detail":"d","status":401}';
  it.each(['application/problem+json', 'APPLICATION/problem+JSON ; charset=utf-8'])(
    'are read from %s, unknown codes too',
    (type) => expect(parseProblemDetails(type, body)).toEqual({ code: 'brand_new', detail: 'd' }),
  );
  it.each([undefined, 'application/json', 'text/html'])('are not looked for in %s', (type) =>
    expect(parseProblemDetails(type, body)).toBeUndefined(),
  );
  it.each(['{', '[]', 'null', ''])('are none in %j', (text) =>
    expect(parseProblemDetails('application/problem+json', text)).toBeUndefined(),
  );
  it('leave out members that are not texts', () => {
    const problem = parseProblemDetails('application/problem+json', '{"code":1,"detail":null}');
    expect(problem).toEqual({ code: undefined, detail: undefined });
  });
});

describe('the User-Agent', () => {
  const fields = { component: 'gateway', version: '1.6.0' } as const;
  it.each([
    [
      { osType: 'Debian', osVersion: '12', arch: 'x86_64', kernel: '6.1.0-18-amd64' },
      'Debian/12.0.0 gateway/1.6.0 (x86_64; 6.1.0-18-amd64)',
    ],
    [
      { osType: 'Ubuntu', osVersion: '22.04', arch: 'x86_64' },
      'Ubuntu/22.4.0 gateway/1.6.0 (x86_64)',
    ],
    [
      { osType: 'Arch Linux', osVersion: 'Rolling Release' },
      'Arch Linux/Rolling Release gateway/1.6.0',
    ],
    [{ osType: 'Linüx\r\n', osVersion: 'Unknown' }, 'Linx/Unknown gateway/1.6.0'],
  ])('%j', (host, expected) => expect(writeUserAgent({ ...fields, ...host })).toBe(expected));
});
