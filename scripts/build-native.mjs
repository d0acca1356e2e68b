// Compiles native/*.c into build/firezone.node with the C compiler of the machine; nothing else is needed (no gyp, no Python, no
// download: the headers are the npm package node-api-headers). Does nothing when the result is newer than what it is made of,
// judged by a hash of the sources.
//
//   node scripts/build-native.mjs             CC chooses the compiler, CFLAGS are added
//   node scripts/build-native.mjs --sanitize  with the address and undefined-behaviour sanitizers, into build/firezone-asan.node

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const SOURCES = join(ROOT, 'native');
const SANITIZE = process.argv.includes('--sanitize');
const NAME = SANITIZE ? 'firezone-asan' : 'firezone';
const OBJECTS = join(ROOT, 'build', SANITIZE ? 'native-asan' : 'native');
const TARGET = join(ROOT, 'build', `${NAME}.node`);
const STAMP = join(OBJECTS, 'stamp');

const compiler = process.env.CC || 'cc';
const flags = [
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-DNAPI_VERSION=8',
  '-DNODE_GYP_MODULE_NAME=firezone',
  '-fPIC',
  '-fvisibility=hidden',
  '-Wall',
  '-Wextra',
  '-Wshadow',
  ...(SANITIZE
    ? ['-O1', '-g', '-fsanitize=address,undefined', '-fno-omit-frame-pointer']
    : ['-O3', '-fstack-protector-strong', '-D_FORTIFY_SOURCE=2']),
  ...(process.env.CFLAGS ? process.env.CFLAGS.split(/\s+/).filter(Boolean) : []),
];
const linkFlags = SANITIZE
  ? ['-fsanitize=address,undefined']
  : ['-Wl,-z,relro', '-Wl,-z,now', '-s'];

const files = readdirSync(SOURCES)
  .filter((name) => /\.[ch]$/.test(name))
  .sort();
const digest = hash();
if (existsSync(TARGET) && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === digest) {
  process.exit(0);
}

const started = Date.now();
mkdirSync(OBJECTS, { recursive: true });
const include = headersDirectory();
const sources = files.filter((name) => name.endsWith('.c'));
await compileAll(sources);
const temporary = `${TARGET}.${process.pid}`;
await run([
  '-shared',
  ...linkFlags,
  '-o',
  temporary,
  ...sources.map((name) => objectOf(name)),
  '-ldl',
]);
renameSync(temporary, TARGET);
writeFileSync(STAMP, digest);
const seconds = ((Date.now() - started) / 1000).toFixed(1);
console.log(`built build/${NAME}.node from ${sources.length} files in ${seconds} s`);

function hash() {
  const sum = createHash('sha256');
  sum.update([compiler, process.arch, process.versions.modules, ...flags, ...linkFlags].join('\0'));
  for (const name of files) sum.update(name).update(readFileSync(join(SOURCES, name)));
  return sum.digest('hex');
}

function headersDirectory() {
  const require = createRequire(import.meta.url);
  return require('node-api-headers').include_dir;
}

function objectOf(name) {
  return join(OBJECTS, name.replace(/\.c$/, '.o'));
}

async function compileAll(names) {
  const queue = [...names];
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      await run([...flags, `-I${include}`, '-c', join(SOURCES, name), '-o', objectOf(name)]);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

function run(args) {
  return new Promise((resolve) => {
    const child = spawn(compiler, args, { stdio: 'inherit' });
    child.on('error', (error) => fail(`cannot run the C compiler "${compiler}": ${error.message}`));
    child.on('exit', (code) =>
      code === 0 ? resolve() : fail('the native add-on did not compile'),
    );
  });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
