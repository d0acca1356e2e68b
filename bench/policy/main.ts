// `npm run bench -- policy`, second part: how the policy fares with many resources, clients and sessions. What the project promises is gated.
// The first part, `bench/policy.bench.ts`, measures single decisions and refuses garbage.

import { measureDecisions } from './decisions.ts';
import { measureMemory } from './memory.ts';
import { measureSweep } from './sweep.ts';

const PARTS = { memory: measureMemory, decisions: measureDecisions, sweep: measureSweep };

const wanted = process.argv.slice(2);
for (const [name, measure] of Object.entries(PARTS))
  if (wanted.length === 0 || wanted.includes(name)) measure();
