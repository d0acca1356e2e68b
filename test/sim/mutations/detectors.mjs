// What finds mutations: each detector runs the machines for one seed and throws when something is wrong. Those of `test/fuzz/targets` are
// given a list of operations of random bytes; `gateway-model` draws steps for the gateway and its model.

const SHORTEST = 24;
const LONGEST = 224;

/** The text of a module that runs a detector in a worker thread. */
export function entryOf(detector) {
  return `
    import { parentPort, workerData } from 'node:worker_threads';
    ${detector === 'gateway-model' ? MODEL : targetOf(detector)}
    let problem;
    for (let seed = 1; seed <= workerData.seeds && problem === undefined; seed++) {
      try {
        attempt(seed);
      } catch (error) {
        problem = String(error instanceof Error ? error.message : error).split('\\n')[0].slice(0, 160);
      }
      if (problem !== undefined || seed % 10 === 0) parentPort.postMessage({ done: seed, problem });
    }`;
}

const MODEL = `
    import fc from 'fast-check';
    import { runBoth, STEPS } from '../support/gateway-and-model.ts';
    const attempt = (seed) => {
      const [steps] = fc.sample(STEPS, { seed, numRuns: 1 });
      runBoth(steps);
    };`;

function targetOf(name) {
  return `
    import { run } from './targets/${name}.ts';
    import { SeededRandom } from '../../src/base/random.ts';
    const attempt = (seed) => {
      const random = new SeededRandom(seed);
      const bytes = new Uint8Array(${SHORTEST} + random.nextUint32() % ${LONGEST - SHORTEST});
      for (let i = 0; i < bytes.length; i++) bytes[i] = random.nextUint32();
      run(bytes);
    };`;
}
