// A world is nothing but its seed: the machines read no clock and no source of chance but those they are given, and nothing depends on the order of
// keys in an object, on V8's hash seeds, on what the compiler of the moment optimizes, on the time zone or the language.

import { execFileSync } from 'node:child_process';
import nodeCrypto from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tellStory } from '../support/world-story.ts';
import { runSeed } from './run-seed.ts';

const HERE = dirname(fileURLToPath(import.meta.url));
const PATIENCE_MS = 120_000;
/** A small world, beside the story. */
const SEED = 101;
const STEPS = 6;

type Anything = (...args: never[]) => unknown;

/** Replaces all sources of time and chance while `during` runs; the names of those that were touched. */
function touchedBy(during: () => void): string[] {
  const touched = new Set<string>();
  const restore: (() => void)[] = [];
  const poison = (owner: object, name: string): void => {
    const before = Object.getOwnPropertyDescriptor(owner, name);
    const original = Reflect.get(owner, name) as Anything;
    const replaced = function (this: unknown, ...args: never[]): unknown {
      touched.add(name);
      return Reflect.apply(original, this, args);
    };
    Object.defineProperty(owner, name, { value: replaced, configurable: true, writable: true });
    restore.push(() => {
      if (before) Object.defineProperty(owner, name, before);
      else Reflect.deleteProperty(owner, name);
    });
  };
  const RealDate = Date;
  // A time that is given is none that is read.
  class PoisonedDate extends RealDate {
    constructor(...args: [] | [number]) {
      if (args.length === 0) touched.add('Date');
      super(...(args as [number]));
    }
    static override now(): number {
      touched.add('Date.now');
      return RealDate.now();
    }
  }
  globalThis.Date = PoisonedDate as DateConstructor;
  restore.push(() => {
    globalThis.Date = RealDate;
  });
  poison(Math, 'random');
  poison(performance, 'now');
  for (const name of ['getRandomValues', 'randomUUID']) poison(globalThis.crypto, name);
  for (const name of ['hrtime', 'nextTick', 'uptime', 'cpuUsage', 'memoryUsage'])
    poison(process, name);
  for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask'])
    poison(globalThis, name);
  for (const name of ['randomBytes', 'randomFillSync', 'randomInt', 'generateKeyPairSync'])
    poison(nodeCrypto, name);
  syncBuiltinESMExports();
  try {
    during();
  } finally {
    for (const undo of restore.reverse()) undo();
    syncBuiltinESMExports();
  }
  return [...touched].sort();
}

let folder = '';
let bundle = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'story-'));
  bundle = join(folder, 'story.mjs');
  await build({
    stdin: {
      contents: `import { createHash } from 'node:crypto';
        import { tellStory } from '../support/world-story.ts';
        import { runSeed } from './run-seed.ts';
        const story = createHash('sha256').update(tellStory().join('\\n')).digest('hex');
        console.log(story, runSeed(${SEED}, ${STEPS}).trace);`,
      resolveDir: HERE,
      loader: 'ts',
    },
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    logLevel: 'error',
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
}, PATIENCE_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Digests of the story and of the world, as another process has them. */
function digestBy(flags: readonly string[], env: Readonly<Record<string, string>>): string {
  return execFileSync(process.execPath, [...flags, bundle], {
    encoding: 'utf8',
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  }).trim();
}

test('the poison finds whoever reads a clock or a source of chance', () => {
  const found = touchedBy(() => {
    void [new Date(), Date.now(), Math.random(), performance.now(), process.hrtime()];
    void [nodeCrypto.randomBytes(1), crypto.getRandomValues(new Uint8Array(1))];
    clearTimeout(setTimeout(() => {}, 1));
  });
  expect(found).toEqual([
    ...['Date', 'Date.now', 'getRandomValues', 'hrtime', 'now', 'random', 'randomBytes'],
    'setTimeout',
  ]);
  expect(touchedBy(() => void new Date(0).toISOString())).toEqual([]);
});

test(
  'no machine reads a clock, a timer or a source of chance but those it is given',
  () => {
    let length = 0;
    const found = touchedBy(() => {
      length = tellStory().length;
      runSeed(SEED, STEPS);
    });
    expect(found).toEqual([]);
    expect(length).toBeGreaterThan(1_000);
  },
  PATIENCE_MS,
);

test(
  'nothing depends on the order of keys in what the portal or the policy file says',
  () => {
    const story = tellStory();
    expect(tellStory()).toEqual(story);
    expect(tellStory({ retell: withKeysReversed })).toEqual(story);
  },
  PATIENCE_MS,
);

test(
  'hash seeds, optimizations, time zone and language of the process change nothing',
  () => {
    const digest = digestBy([], {});
    expect(digest).toMatch(/^[0-9a-f]{64} [0-9a-f]{16}$/);
    expect(digestBy(['--hash-seed=4711', '--random-seed=17'], { TZ: 'Asia/Kathmandu' })).toBe(
      digest,
    );
    expect(digestBy(['--no-opt', '--hash-seed=815'], { LANG: 'tr_TR.UTF-8', TZ: 'UTC' })).toBe(
      digest,
    );
  },
  PATIENCE_MS,
);

function withKeysReversed(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(withKeysReversed);
  if (typeof json !== 'object' || json === null) return json;
  const entries = Object.entries(json).reverse();
  return Object.fromEntries(entries.map(([key, value]) => [key, withKeysReversed(value)]));
}
