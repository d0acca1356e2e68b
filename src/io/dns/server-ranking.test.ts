// The order of name servers: the window, against its words (operations 18.6).

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ServerRanking } from './server-ranking.ts';

const SERVERS = ['a', 'b', 'c'];

test('without samples servers are asked as they are listed', () => {
  expect(new ServerRanking().rank(SERVERS, 0)).toEqual(SERVERS);
});

test('the fastest comes first, one that fails comes last, until the window has passed', () => {
  const ranking = new ServerRanking();
  ranking.note('a', 'failed', 0);
  ranking.note('b', 30, 0);
  ranking.note('c', 10, 0);
  expect(ranking.rank(SERVERS, 59_999)).toEqual(['c', 'b', 'a']);
  expect(ranking.rank(SERVERS, 60_000)).toEqual(SERVERS);
});

test('one that was fast once and is slow now loses its place', () => {
  const ranking = new ServerRanking();
  ranking.note('a', 1, 0);
  for (let i = 1; i <= 5; i++) {
    ranking.note('a', 900, i * 10_000);
    ranking.note('b', 40, i * 10_000);
  }
  expect(ranking.rank(['a', 'b'], 50_000)).toEqual(['b', 'a']);
});

test('one that is slower than a second is not asked before one that nobody knows', () => {
  const ranking = new ServerRanking();
  ranking.note('a', 1_000, 0);
  expect(ranking.rank(['a', 'b'], 1)).toEqual(['b', 'a']);
});

test('is a permutation, and servers that are gone are forgotten', () => {
  const sample = fc.record({
    server: fc.constantFrom(...SERVERS, 'gone'),
    outcome: fc.oneof(fc.constant('failed' as const), fc.nat(9_000)),
  });
  fc.assert(
    fc.property(fc.array(sample), fc.nat(100_000), (samples, now) => {
      const ranking = new ServerRanking();
      for (const { server, outcome } of samples) ranking.note(server, outcome, now);
      expect([...ranking.rank(SERVERS, now)].sort()).toEqual(SERVERS);
      expect(ranking.rank(['gone', 'x'], now)).toEqual(['gone', 'x']);
    }),
  );
});
