// Searches for inputs that a fuzz target does not survive:
//
//   node test/fuzz/fuzz.mjs <target> [seconds = 60] [seed = time]
//
// Each round mutates a corpus file or an earlier mutation. A fault is written to the corpus, where `replay.test.ts` finds it.

import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const [name, seconds = '60', seed = String(Date.now())] = process.argv.slice(2);
const POOL_LIMIT = 2000;

if (name === undefined || !existsSync(join(HERE, 'targets', `${name}.ts`))) {
  const names = readdirSync(join(HERE, 'targets')).map((file) => file.replace(/\.ts$/, ''));
  console.error(`usage: node test/fuzz/fuzz.mjs <${names.join('|')}> [seconds] [seed]`);
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
try {
  const target = await load(join(HERE, 'targets', `${name}.ts`), 'target.mjs');
  const { mutate } = await load(join(HERE, 'target.ts'), 'mutate.mjs');
  process.exitCode = search(target, mutate);
} finally {
  rmSync(folder, { recursive: true });
}

async function load(entry, file) {
  const outfile = join(folder, file);
  // Some dependencies are CommonJS inside and call `require`.
  const js =
    "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  const options = { bundle: true, platform: 'node', format: 'esm', banner: { js } };
  await build({ entryPoints: [entry], outfile, ...options });
  return import(pathToFileURL(outfile).href);
}

function search(target, mutate) {
  const corpus = join(HERE, 'corpus', name);
  mkdirSync(corpus, { recursive: true });
  const files = readdirSync(corpus).map((file) =>
    Uint8Array.from(readFileSync(join(corpus, file))),
  );
  if (files.length === 0) files.push(new Uint8Array());
  const pool = [...files];
  const random = generator(Number(seed) >>> 0);
  const end = performance.now() + Number(seconds) * 1000;
  let runs = 0;
  while (performance.now() < end) {
    // Mutations of mutations drift into noise (text soon is no UTF-8 any more): every other round begins anew.
    const sources = random() < 0.5 ? files : pool;
    const bytes = mutate(sources[Math.floor(random() * sources.length)], random);
    try {
      target.run(bytes);
    } catch (error) {
      const file = join(corpus, createHash('sha256').update(bytes).digest('hex').slice(0, 16));
      writeFileSync(file, bytes);
      console.error(`run ${runs}, seed ${seed}: ${file}`, error);
      return 1;
    }
    if (pool.length < POOL_LIMIT) pool.push(bytes);
    else pool[Math.floor(random() * pool.length)] = bytes;
    runs += 1;
  }
  console.log(`${name}: ${runs} runs, no fault, seed ${seed}`);
  return 0;
}

/** mulberry32: small, seedable, good enough to choose mutations. */
function generator(state) {
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
