// Replays the committed corpus of every fuzz target, and a fixed number of seeded mutations of it. The long search is
// `test/fuzz/fuzz.mjs`; what it finds becomes a corpus file.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { Mutator } from './engine/mutator.ts';
import type { FuzzTarget } from './target.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
/** In all, over the files of a corpus. */
const MUTATIONS = { bytes: 500, operations: 100 };
const HEAVY_MUTATIONS = 4;
const PATIENCE_MS = 60_000;

const files = readdirSync(join(HERE, 'targets')).filter((file) => file.endsWith('.ts'));
const targets: FuzzTarget[] = await Promise.all(
  files.map((file) => import(pathToFileURL(join(HERE, 'targets', file)).href)),
);

describe.each(targets.map((target) => [target.name, target] as const))('%s', (name, target) => {
  const folder = join(HERE, 'corpus', name);
  const corpus = (existsSync(folder) ? readdirSync(folder).sort() : []).map((file) =>
    Uint8Array.from(readFileSync(join(folder, file))),
  );
  const attempt = (bytes: Uint8Array): void => {
    target.run(bytes);
    target.compare?.(bytes);
  };

  it('has a corpus', () => {
    expect(corpus.length).toBeGreaterThan(0);
    expect(files).toContain(`${name}.ts`);
  });

  it(
    'survives the corpus, the empty input and mutations',
    () => {
      attempt(new Uint8Array());
      for (const bytes of corpus) attempt(bytes);
      const mutator = new Mutator(1, []);
      const count = target.isHeavy ? HEAVY_MUTATIONS : MUTATIONS[target.kind];
      for (let i = 0; i < count; i++) {
        const base = corpus[i % corpus.length];
        const other = corpus[mutator.below(corpus.length)];
        if (!base || !other) return;
        mutator.load(base);
        mutator.mutate(other);
        attempt(mutator.buffer.slice(0, mutator.length));
      }
    },
    PATIENCE_MS,
  );
});
