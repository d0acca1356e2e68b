// Replays the committed corpus of every fuzz target, and a fixed number of seeded mutations of it. The long search is
// `test/fuzz/fuzz.mjs`; what it finds becomes a corpus file.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../src/base/random.ts';
import { type FuzzTarget, mutate } from './target.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const MUTATIONS_PER_FILE = 200;

const files = readdirSync(join(HERE, 'targets')).filter((file) => file.endsWith('.ts'));
const targets: FuzzTarget[] = await Promise.all(
  files.map((file) => import(pathToFileURL(join(HERE, 'targets', file)).href)),
);

describe.each(targets.map((target) => [target.name, target] as const))('%s', (name, target) => {
  const folder = join(HERE, 'corpus', name);
  const corpus = existsSync(folder) ? readdirSync(folder).sort() : [];

  it('has a corpus', () => {
    expect(corpus.length).toBeGreaterThan(0);
  });

  it('survives the corpus, the empty input and mutations', () => {
    const random = new SeededRandom(1);
    target.run(new Uint8Array());
    for (const file of corpus) {
      const bytes = Uint8Array.from(readFileSync(join(folder, file)));
      target.run(bytes);
      for (let i = 0; i < MUTATIONS_PER_FILE; i++) target.run(mutate(bytes, () => random.next()));
    }
  });
});
