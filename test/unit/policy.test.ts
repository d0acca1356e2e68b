// House rules that neither the compiler nor the linter sees. They read text on purpose: no compiler API, no build.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const MAX_LINES = 600;

function filesUnder(folder: string, pattern: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => pattern.test(path))
    .map((path) => join(folder, path))
    .sort();
}

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const sources = filesUnder('src', /\.ts$/).filter((path) => !path.endsWith('.test.ts'));
const native = filesUnder('native', /\.[ch]$/);
const all = [
  ...sources,
  ...native,
  ...filesUnder('src', /\.test\.ts$/),
  ...filesUnder('test', /\.ts$/),
  ...filesUnder('scripts', /\.m?[jt]s$/),
];

/** Paths, relative to `src`, that a source file imports from inside the project. */
function importsOf(path: string): string[] {
  const found = read(path).matchAll(/(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g);
  return [...found].map(([, target = '']) =>
    relative(join(ROOT, 'src'), join(ROOT, dirname(path), target)),
  );
}

describe('each file', () => {
  test('begins with a comment that says what it is', () => {
    const silent = [...sources, ...native].filter((path) => !/^\s*\/[/*]/.test(read(path)));
    expect(silent).toEqual([]);
  });

  test(`has at most ${MAX_LINES} lines`, () => {
    expect(all.filter((path) => read(path).split('\n').length > MAX_LINES + 1)).toEqual([]);
  });

  test('has no bare TODO', () => {
    expect(
      all.filter(
        (path) =>
          /\b(TODO|FIXME|XXX)\b(?!.*(ADR|issue))/.test(read(path)) &&
          !path.endsWith('policy.test.ts'),
      ),
    ).toEqual([]);
  });
});

describe('inside the layers', () => {
  test('no part of proto imports a sibling, except that ice and turn share stun', () => {
    const part = (path: string): string => path.split('/')[1] ?? '';
    const cheats = sources
      .filter((path) => path.startsWith('src/proto/'))
      .flatMap((path) => importsOf(path).map((target) => [path.slice('src/'.length), target]))
      .filter(([from = '', to = '']) => to.startsWith('proto/') && part(from) !== part(to))
      .filter(([from = '', to = '']) => !(part(to) === 'stun' && /^(ice|turn)$/.test(part(from))));
    expect(cheats).toEqual([]);
  });

  test('pure layers use no clock and no randomness of their own', () => {
    const pure = sources.filter((path) => /^src\/(base|wire|proto|link|roles)\//.test(path));
    const cheats = pure.filter((path) =>
      /\bMath\.random\b|\bDate\.now\b|\bnew Date\b/.test(read(path)),
    );
    expect(cheats).toEqual([]);
  });

  test('imports never form a cycle between files', () => {
    const graph = new Map(sources.map((path) => [path.slice('src/'.length), importsOf(path)]));
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      expect(trail, `cycle: ${[...trail, path].join(' -> ')}`).not.toContain(path);
      if (done.has(path)) return;
      for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
  });
});

describe('documents and code agree', () => {
  test('each error code is explained in docs/errors.md, and no other', () => {
    const thrown = new Set(
      sources.flatMap((path) => read(path).match(/FZ_ERR_[A-Z_]+[A-Z]/g) ?? []),
    );
    const explained = new Set(read('docs/errors.md').match(/FZ_ERR_[A-Z_]+[A-Z]/g) ?? []);
    expect([...explained].sort()).toEqual([...thrown].sort());
  });

  test('each runtime dependency is argued for in the decision record, and no other', () => {
    const manifest = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    const argued = [
      ...read('docs/adr/0002-runtime-dependencies.md').matchAll(/^\| `([^`]+)` \|/gm),
    ];
    expect(argued.map(([, name]) => name).sort()).toEqual(
      Object.keys(manifest.dependencies).sort(),
    );
  });

  test('the index of decision records is complete', () => {
    const records = filesUnder('docs/adr', /^\d{4}-.*\.md$/).map((path) =>
      path.slice('docs/adr/'.length),
    );
    const index = read('docs/adr/README.md');
    expect(records.filter((name) => !index.includes(name))).toEqual([]);
  });
});
