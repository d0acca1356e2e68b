// A WAN between two network namespaces: a device in each, and delay, loss, reordering and a rate between them, in both directions alike.
//
//   node test/e2e/wan/wan.mjs --left NAMESPACE:DEVICE --right NAMESPACE:DEVICE [--seed 1]
//        [--rtt MS] [--jitter MS] [--loss PERCENT] [--reorder PERCENT] [--reorder-ms 10] [--duplicate PERCENT] [--mbit N] [--queue KIB]
//
// Addresses and routes are the caller's, as with a veth pair. What it prints and takes while it runs is said in main.ts. Needs root.

import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const outfile = join(here, '..', '..', '..', 'build', 'e2e', `wan-${process.pid}.mjs`);
await build({
  entryPoints: [join(here, 'main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
  logLevel: 'warning',
});
await import(pathToFileURL(outfile).href);
await rm(outfile);
