// `npm test`: types of the tests, then unit, vector, property, pair and compliance tests and the replay of the fuzz corpus.
// Foreign programs and namespaces are `npm run interop` and `npm run e2e`; `npm run check` is everything.

import { runSteps, tsc, vitest } from './steps.mjs';

const filters = process.argv.slice(2);

process.exit(
  runSteps([
    ['types of the tests', 'node', [tsc, '-p', 'tsconfig.test.json']],
    ['tests', 'node', [vitest, 'run', ...filters]],
  ]),
);
