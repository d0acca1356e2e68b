// `npm run bench [-- NAME] [arguments]`: runs the benchmark bench/NAME*.bench.ts, or bench/NAME/main.ts; without a name all that need no root.
// They print; nothing is gated here but allocation.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, runSteps } from './steps.mjs';

const [name, ...rest] = process.argv.slice(2);
const folder = join(root, 'bench');
const main = name === undefined ? undefined : join(folder, name, 'main.mjs');

if (main !== undefined && existsSync(main)) {
  process.exit(runSteps([[name, 'node', [main, ...rest]]]));
}
const files = readdirSync(folder).filter(
  (file) => file.endsWith('.bench.mjs') && file.startsWith(name ?? ''),
);
if (files.length === 0) {
  process.stderr.write(`bench: there is no benchmark named ${name ?? ''}\n`);
  process.exit(2);
}
process.exit(
  runSteps(files.map((file) => [file, 'node', ['--expose-gc', join(folder, file), ...rest]])),
);
