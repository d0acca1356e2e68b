// The table of data-plane 8 row by row, the cases of client 20, and the order of specificity.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareSpecificity, DomainPattern } from './pattern.ts';

const table: readonly [pattern: string, matches: string, refuses: string][] = [
  ['corp.test', 'corp.test Corp.Test corp.test.', 'www.corp.test'],
  ['*.corp.test', 'corp.test a.corp.test A.CORP.TEST CORP.test', 'a.b.corp.test'],
  ['**.corp.test', 'corp.test CORP.test a.corp.test a.b.c.corp.test', 'xcorp.test'],
  ['?.corp.test', 'a.corp.test', 'corp.test ab.corp.test'],
  ['db-*.corp.test', 'db-.corp.test db-7.corp.test', 'db-7.x.corp.test'],
  ['*corp.test', 'corp.test xcorp.test', 'x.corp.test'],
  ['a.**.corp.test', 'a.corp.test a.x.y.corp.test', 'b.corp.test'],
  ['a.**', 'a.x.y a.x', 'a'],
  ['*.*.corp.test', 'a.b.corp.test', 'b.corp.test corp.test'],
  ['**.*.corp.test', 'a.corp.test', 'corp.test'],
  ['*?*.corp.test', 'x.corp.test', 'corp.test'],
  ['**', 'test a.test a.b.test', ''],
  ['*', 'test', 'a.test'],
  ['app.**.web.**.corp.test', 'app.web.corp.test app.x.web.y.z.corp.test', 'app.corp.test'],
  ['app.*corp', 'app.xcorp', 'app.x.corp'],
  ['[ab].corp.test', 'a.corp.test', 'c.corp.test'],
  ['[!a-c]x.corp.test', 'dx.corp.test', 'bx.corp.test'],
];

describe('a pattern', () => {
  for (const [text, matches, refuses] of table) {
    test(text, () => {
      const pattern = DomainPattern.parse(text);
      for (const name of matches.split(' ').filter(Boolean)) {
        expect(pattern?.matches(name), `${text} covers ${name}`).toBe(true);
      }
      for (const name of refuses.split(' ').filter(Boolean)) {
        expect(pattern?.matches(name), `${text} leaves out ${name}`).toBe(false);
      }
    });
  }

  test.each(['***', 'a**', '**a', '[ab.test', 'a..test', ''])('%j is invalid', (text) => {
    expect(DomainPattern.parse(text)).toBeUndefined();
  });

  test('without wildcards covers exactly itself', () => {
    const name = fc.array(fc.stringMatching(/^[a-z0-9-]{1,5}$/), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(DomainPattern.parse(a.join('.'))?.matches(b.join('.'))).toBe(
          a.join('.') === b.join('.'),
        );
      }),
    );
  });

  test('never throws and never takes long on any text', () => {
    const piece = fc.constantFrom('*', '**', '?', '.', 'a', 'b', '[', ']', '!', '-');
    const text = fc.array(piece, { maxLength: 40 }).map((pieces) => pieces.join(''));
    fc.assert(fc.property(text, text, (a, b) => void DomainPattern.parse(a)?.matches(b)));
  });
});

test('the more specific pattern comes first', () => {
  const sorted = [
    'corp.test',
    'api.corp.test',
    '*.api.corp.test',
    'web.corp.test',
    '?.corp.test',
    '*.corp.test',
    'db-*.corp.test',
    '**.corp.test',
    '*corp.test',
    '*.test',
  ];
  const patterns = sorted.map((text) => DomainPattern.parse(text)).filter((p) => p !== undefined);
  expect(
    [...patterns]
      .reverse()
      .sort(compareSpecificity)
      .map(({ text }) => text),
  ).toEqual(sorted);
});
