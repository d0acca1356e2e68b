// The model is worth something only while it is written from the specifications: it knows nothing of the product, not even its types.

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const FOLDER = new URL('./model/', import.meta.url);

test('the model imports nothing but itself', () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(5);
  for (const file of files) {
    const text = readFileSync(new URL(file, FOLDER), 'utf8');
    const imports = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(
      ([, path]) => path,
    );
    expect(
      imports.filter((path) => !/^\.\/[\w-]+\.ts$/.test(path ?? '')),
      file,
    ).toEqual([]);
  }
});

test('nothing the model does depends on a clock or on chance', () => {
  for (const file of readdirSync(FOLDER)) {
    const text = readFileSync(new URL(file, FOLDER), 'utf8');
    expect(/Date\b|Math\.random|performance|process\./.test(text), file).toBe(false);
  }
});
