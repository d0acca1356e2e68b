// Writes down what happened in a world that failed: the list of steps for --replay, a trace for people, a capture for each tunnel's TUN device and one of
// the outer network, for Wireshark.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** Makes a failed world shorter and writes its files into `folder`. */
export async function reportFailure(program, { seed, steps, rule }, folder) {
  const explanation = await ask(program, { shorten: { seed, steps }, rule });
  rmSync(folder, { recursive: true, force: true });
  write(folder, explanation);
  const { replay, fault } = explanation;
  writeFileSync(join(folder, 'replay.json'), `${JSON.stringify(replay, null, 2)}\n`);
  tell(fault);
  console.error(`  steps    ${replay.steps.length} of ${steps} are enough:`);
  for (const step of replay.steps) console.error(`           ${JSON.stringify(step)}`);
  console.error(`  again    npm run sim -- --replay ${join(folder, 'replay.json')}`);
  console.error(`  trace    ${join(folder, 'trace.txt')}, and a capture for each tunnel beside it`);
}

/** Runs the steps of a file again; its files are written anew beside it. */
export async function replayFile(program, file) {
  const replay = JSON.parse(readFileSync(file, 'utf8'));
  const explanation = await ask(program, { replay });
  write(dirname(file), explanation);
  const { fault, trace } = explanation;
  if (fault) tell(fault);
  console.log(`1 worlds, ${fault ? 1 : 0} failed, trace ${trace}`);
  return fault ? 1 : 0;
}

function write(folder, { fault, lines, captures }) {
  mkdirSync(folder, { recursive: true });
  const head = fault
    ? [`rule:     ${fault.rule}`, `expected: ${fault.expected}`, `found:    ${fault.found}`, '']
    : [];
  writeFileSync(join(folder, 'trace.txt'), `${[...head, ...lines].join('\n')}\n`);
  for (const { name, file } of captures) writeFileSync(join(folder, `${name}.pcapng`), file);
}

export function tell({ rule, expected, found, at }) {
  console.error(`  rule     ${rule}, at ${at} ms`);
  if (expected !== undefined) console.error(`  expected ${expected}`);
  console.error(`  found    ${found}`);
}

function ask(program, order) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(program);
    worker.on('message', (answer) => {
      resolve(answer);
      void worker.terminate();
    });
    worker.on('error', reject);
    worker.postMessage(order);
  });
}
