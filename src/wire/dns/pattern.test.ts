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

  test.each([
    ['bücher.test', 'xn--bcher-kva.test XN--BCHER-KVA.test', 'bucher.test'],
    ['BÜCHER.test', 'xn--bcher-kva.test', 'xn--bcher-kv.test'],
    ['*.bücher.test', 'xn--bcher-kva.test a.xn--bcher-kva.test', 'a.b.xn--bcher-kva.test'],
    ['b?cher.test', 'bucher.test', 'xn--bcher-kva.test'],
    ['bü*.test', 'xn--bcher-kva.test xn--b-eha.test', 'bucher.test'],
    ['?ü?.test', 'xn--bb-xka.test', 'xn--bcher-kva.test'],
    ['例え。テスト', 'xn--r8jz45g.xn--zckzah', 'xn--r8jz45g.test'],
    ['xn--bcher-kva.test', 'xn--bcher-kva.test', 'bcher.test'],
    ['*.corp.test', 'a.corp.test', 'a\\.corp.test a\\.b.corp.test \\195\\188.corp.test'],
    ['*.b.corp.test', 'a.b.corp.test', 'a\\.b.corp.test'],
    ['**', 'a.b', 'a\\.b'],
  ])('data-plane 8, IDN and escapes: %s', (text, matches, refuses) => {
    const pattern = DomainPattern.parse(text);
    for (const name of matches.split(' ')) expect(pattern?.matches(name), name).toBe(true);
    for (const name of refuses.split(' ')) expect(pattern?.matches(name), name).toBe(false);
  });

  test('data-plane 8: covers exactly what a naive matcher says', () => {
    const label = fc
      .array(fc.constantFrom('a', 'b', '*', '?', '[ab]', '[!b]'), { minLength: 1, maxLength: 4 })
      .map((pieces) => pieces.join(''))
      .filter((text) => !text.includes('**'));
    const pattern = fc.array(fc.oneof(label, fc.constant('**')), { minLength: 1, maxLength: 4 });
    const name = fc.array(fc.stringMatching(/^[abAB]{1,3}$/), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(pattern, name, (parts, labels) => {
        const matcher = DomainPattern.parse(parts.join('.'));
        expect(matcher?.matches(labels.join('.'))).toBe(naiveMatch(parts, labels));
      }),
      { numRuns: 2_000 },
    );
  });

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

/** The words of data-plane 8, by trying everything. */
function naiveMatch(pattern: readonly string[], name: readonly string[]): boolean {
  const lower = name.map((label) => label.toLowerCase());
  const isParent = pattern[0] === '*' && pattern.slice(1).join('.') === lower.join('.');
  const collapsed = pattern.filter((label, i) => label !== '**' || pattern[i - 1] !== '**');
  return isParent || naiveLabels(collapsed, lower, true);
}

function naiveLabels(
  pattern: readonly string[],
  name: readonly string[],
  isFirst = false,
): boolean {
  const [head, ...rest] = pattern;
  if (head === undefined) return name.length === 0;
  if (head === '**') {
    // At the end of a longer pattern it stands for at least one label.
    const least = rest.length === 0 && !isFirst ? 1 : 0;
    for (let i = least; i <= name.length; i++) if (naiveLabels(rest, name.slice(i))) return true;
    return false;
  }
  const [label, ...others] = name;
  const source = head.replaceAll('*', '[^.]*').replaceAll('?', '[^.]').replaceAll('[!', '[^');
  return label !== undefined && new RegExp(`^${source}$`).test(label) && naiveLabels(rest, others);
}

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
