// Brings a fresh clone to a runnable state, and does nothing the second time. Uses nothing but Node itself, because it runs
// before any dependency is there. Order: Node version, system packages, npm packages, TypeScript, native add-on.
//
//   node scripts/setup.mjs            what `npm start` and `npm test` need
//   node scripts/setup.mjs --foreign  also the programs that `npm run interop` and `npm run e2e` want and skip without

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const STAMP = join(ROOT, 'build', 'setup.json');
const OLDEST_NODE = [20, 19];

/** Program to look for on PATH, and the Debian/Ubuntu package that brings it. */
const PROGRAMS_ALWAYS = [
  ['cc', 'gcc libc6-dev'],
  ['ip', 'iproute2'],
  ['nft', 'nftables'],
];
const PROGRAMS_LAB = [
  ['curl', 'curl'],
  ['dig', 'bind9-dnsutils'],
  ['ping', 'iputils-ping'],
];
const PROGRAMS_FOREIGN = [
  ['setcap', 'libcap2-bin'],
  ['pgrep', 'procps'],
  ['wireguard-go', 'wireguard-go'],
  ['turnserver', 'coturn'],
  ['traceroute', 'traceroute'],
  ['tracepath', 'iputils-tracepath'],
  ['socat', 'socat'],
  ['nc', 'netcat-openbsd'],
];
const PRODUCTS = {
  typescript: 'dist/app',
  native: 'build/firezone.node',
};

const stamp = readStamp();

requireNode();
requirePrograms([
  ...PROGRAMS_ALWAYS,
  ...(process.env.FIREZONE_TOKEN ? [] : PROGRAMS_LAB),
  ...(process.argv.includes('--foreign') ? PROGRAMS_FOREIGN : []),
]);
if (!hasLockedPackages()) {
  say('installing the locked npm packages');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { quiet: true });
}
step('typescript', hashTree(['src', 'tsconfig.base.json', 'tsconfig.json']), () => {
  say('compiling TypeScript');
  run(process.execPath, [join('node_modules', 'typescript', 'bin', 'tsc'), '-b']);
});
step('native', hashTree(['native', 'scripts/build-native.mjs']), () => {
  say('compiling the native add-on');
  run(process.execPath, [join('scripts', 'build-native.mjs')]);
});

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return;
  fail(`Node ${OLDEST_NODE.join('.')} or newer is needed; this is ${process.versions.node}.`);
}

function requirePrograms(programs) {
  const missing = programs.filter(([program]) => !isOnPath(program)).map(([, name]) => name);
  if (missing.length === 0) return;
  const names = missing.join(' ');
  if (!isOnPath('apt-get')) {
    fail(`system packages are missing; install what Debian calls ${missing.join(', ')}`);
  }
  const install = `apt-get update && apt-get install -y --no-install-recommends ${names}`;
  if (process.getuid?.() !== 0) fail(`system packages are missing; run: sudo sh -c '${install}'`);
  say(`installing system packages: ${names}`);
  run('sh', ['-c', install], { quiet: true, env: { DEBIAN_FRONTEND: 'noninteractive' } });
}

function isOnPath(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch (error) {
      if (error.code === 'ENOENT' || error.code === 'EACCES' || error.code === 'ENOTDIR')
        return false;
      throw error;
    }
  });
}

/** Runs `action` unless it already succeeded for the same inputs and its product is still there. */
function step(name, inputs, action) {
  if (stamp[name] === inputs && existsSync(join(ROOT, PRODUCTS[name]))) return;
  action();
  stamp[name] = inputs;
  mkdirSync(dirname(STAMP), { recursive: true });
  writeFileSync(`${STAMP}.new`, JSON.stringify(stamp));
  renameSync(`${STAMP}.new`, STAMP);
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'));
  } catch (error) {
    // Absent, or cut short by a crash: everything is checked again.
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return {};
    throw error;
  }
}

/** npm keeps a lock file of what it installed; packages for other kinds of machines are not in it. */
function hasLockedPackages() {
  const locked = readPackages('package-lock.json');
  const installed = readPackages(join('node_modules', '.package-lock.json'));
  return Object.entries(locked).every(([path, { integrity, optional }]) => {
    if (path === '') return true;
    return path in installed ? installed[path].integrity === integrity : optional === true;
  });
}

function readPackages(lockFile) {
  try {
    return JSON.parse(readFileSync(join(ROOT, lockFile), 'utf8')).packages;
  } catch (error) {
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return {};
    throw error;
  }
}

/** A tree is compared by path, size and time of change: cheap enough for each start. */
function hashTree(paths) {
  const hash = createHash('sha256');
  const visit = (path) => {
    const status = statSync(join(ROOT, path), { throwIfNoEntry: false });
    if (status?.isDirectory()) {
      for (const name of readdirSync(join(ROOT, path)).sort()) visit(join(path, name));
    } else if (status) hash.update(`${path} ${status.size} ${status.mtimeMs}\n`);
  };
  for (const path of paths) visit(path);
  return hash.digest('hex').slice(0, 16);
}

function run(command, args, { quiet = false, env = {} } = {}) {
  const result = spawnSync(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (result.status === 0) return;
  if (quiet) process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  fail(`\`${command} ${args.join(' ')}\` failed${result.error ? `: ${result.error.message}` : ''}`);
}

function say(text) {
  process.stderr.write(`setup: ${text} ...\n`);
}

function fail(text) {
  process.stderr.write(`setup: ${text}\n`);
  process.exit(1);
}
