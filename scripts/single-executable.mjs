// `npm run build`: one executable file, dist/firezone-gateway: this Node binary with the bundled gateway and the native add-on inside
// (Node's single-executable support). It exists because file capabilities need a binary of their own:
// sudo setcap 'cap_net_admin+eip' dist/firezone-gateway

import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { root } from './steps.mjs';

const postject = join(root, 'node_modules', 'postject', 'dist', 'cli.js');

// Specification: the marker that Node looks for in its own binary.
const SENTINEL_FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const work = join(root, 'build', 'sea');
const output = join(root, 'dist', 'firezone-gateway');
const bundle = join(work, 'gateway.cjs');
const blob = join(work, 'gateway.blob');
const config = join(work, 'sea.json');

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });

say('bundling');
await build({
  entryPoints: [join(root, 'dist', 'app', 'gateway.js')],
  outfile: bundle,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  legalComments: 'none',
  logLevel: 'warning',
  define: { 'import.meta.url': 'undefined', FIREZONE_BUNDLED_VERSION: JSON.stringify(version) },
  // Optional speed-ups of ws; absent is fine.
  external: ['bufferutil', 'utf-8-validate'],
});

say('making the blob');
writeFileSync(
  config,
  JSON.stringify({
    main: bundle,
    output: blob,
    disableExperimentalSEAWarning: true,
    useSnapshot: false,
    useCodeCache: true,
    assets: { 'firezone.node': join(root, 'build', 'firezone.node') },
  }),
);
run(process.execPath, ['--experimental-sea-config', config]);

say('putting it into a copy of Node');
rmSync(output, { force: true });
copyFileSync(process.execPath, output);
chmodSync(output, 0o755);
// As a child, because it warns about sections of Node's own that it does not understand.
run(process.execPath, [postject, output, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', SENTINEL_FUSE]);

const check = spawnSync(output, ['--version'], { encoding: 'utf8' });
if (check.status !== 0) fail(`the new executable does not run: ${check.stderr}`);
say(`${output}: ${check.stdout.trim()}`);

function run(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status !== 0) fail(`${command} ${args.join(' ')}\n${result.stdout}${result.stderr}`);
}

function say(text) {
  process.stderr.write(`build: ${text}\n`);
}

function fail(text) {
  process.stderr.write(`build: ${text}\n`);
  process.exit(1);
}
