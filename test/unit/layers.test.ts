// Proves that the compiler refuses what the architecture forbids: each cheat is compiled as one more file of a layer, in memory,
// with that layer's own settings. If somebody loosens a tsconfig, this test fails.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const LAYERS = ['base', 'wire', 'proto', 'link', 'roles', 'io', 'app'] as const;
type Layer = (typeof LAYERS)[number];

/** Error codes the compiler gives for `source` as a file of `layer`. */
function errorsOf(layer: Layer, source: string): number[] {
  const folder = join(ROOT, 'src', layer);
  const file = join(folder, 'cheat-for-test.ts');
  const raw = ts.readConfigFile(join(folder, 'tsconfig.json'), ts.sys.readFile);
  const parsed = ts.parseJsonConfigFileContent(raw.config, ts.sys, folder);
  const options: ts.CompilerOptions = { ...parsed.options, noEmit: false };
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists, getSourceFile } = host;
  host.readFile = (path) => (path === file ? source : readFile(path));
  host.fileExists = (path) => path === file || fileExists(path);
  host.getSourceFile = (path, version, onError, fresh) =>
    path === file
      ? ts.createSourceFile(path, source, version)
      : getSourceFile(path, version, onError, fresh);
  const program = ts.createProgram({
    rootNames: [file],
    options,
    ...(parsed.projectReferences ? { projectReferences: parsed.projectReferences } : {}),
    host,
  });
  const sourceFile = program.getSourceFile(file);
  const diagnostics = [
    ...program.getOptionsDiagnostics(),
    ...program.getSyntacticDiagnostics(sourceFile),
    ...program.getSemanticDiagnostics(sourceFile),
  ];
  return diagnostics.map(({ code }) => code);
}

describe('purity, proven by the compiler', () => {
  const pure: readonly Layer[] = ['base', 'wire', 'proto', 'link', 'roles'];
  const cheats: readonly [string, string][] = [
    ['a timer', 'export const t: unknown = setTimeout(() => {}, 1);'],
    [
      'a Node module',
      "import { createSocket } from 'node:dgram';\nexport const s: unknown = createSocket;",
    ],
    ['a Buffer', "export const b: unknown = Buffer.from('x');"],
    ['the process', 'export const p: unknown = process.env;'],
    ['the console', "export function f(): void { console.log('x'); }"],
    ['a clock', 'export const c: unknown = performance.now();'],
    ['the DOM', 'export const d: unknown = new TextEncoder();'],
  ];
  for (const layer of pure) {
    test(`${layer} cannot use ${cheats.map(([what]) => what).join(', ')}`, () => {
      for (const [what, source] of cheats) {
        expect(errorsOf(layer, source), `${layer}: ${what}`).not.toEqual([]);
      }
    });
  }

  test('an honest file compiles, so that the refusals above mean something', () => {
    expect(
      errorsOf(
        'proto',
        "import { later } from '../base/time.ts';\nexport const f: unknown = later;",
      ),
    ).toEqual([]);
  });
});

describe('direction, proven by the compiler', () => {
  for (const [index, layer] of LAYERS.entries()) {
    const above = LAYERS[index + 1];
    if (above === undefined) continue;
    test(`${layer} cannot import from ${above}, not even a type`, () => {
      const probe = join(ROOT, 'src', above);
      const target = ts.sys
        .readDirectory(probe, ['.ts'], ['**/*.test.ts'])
        .find((path) => !path.includes('cheat-for-test'));
      expect(target, `a file in src/${above}`).toBeDefined();
      const path = (target ?? '').slice(join(ROOT, 'src').length);
      const codes = errorsOf(
        layer,
        `import type * as above from '..${path}';\nexport type T = typeof above;`,
      );
      expect(codes).toContain(6307);
    });
  }
});
