// What finds mutations: each detector runs the machines for one seed and throws when something is wrong. Those of `test/fuzz/targets` are
// given a list of operations of random bytes; `gateway-model` draws steps for the gateway and its model; `world` is the simulation (`npm run sim`).

const SHORTEST = 24;
const LONGEST = 224;
/** Of a simulated world. */
const WORLD_STEPS = 12;

/** The text of a module that runs a detector in a worker thread. */
export function entryOf(detector) {
  return `
    import { parentPort, workerData } from 'node:worker_threads';
    ${OWN[detector] ?? targetOf(detector)}
    let problem;
    let toldAt = performance.now();
    for (let seed = 1; seed <= workerData.seeds && problem === undefined; seed++) {
      try {
        attempt(seed);
      } catch (error) {
        problem = String(error instanceof Error ? error.message : error).split('\\n')[0].slice(0, 160);
      }
      if (problem === undefined && performance.now() - toldAt < 500 && seed < workerData.seeds) continue;
      toldAt = performance.now();
      parentPort.postMessage({ done: seed, problem });
    }`;
}

const WORLD = `
    import { runSeed } from '../sim/run-seed.ts';
    const attempt = (seed) => {
      const [fault] = runSeed(seed, ${WORLD_STEPS}).faults;
      if (fault) throw new Error(fault.rule + ': expected ' + fault.expected + ', found ' + fault.found);
    };`;

const MODEL = `
    import fc from 'fast-check';
    import { runBoth, STEPS } from '../support/gateway-and-model.ts';
    const attempt = (seed) => {
      const [steps] = fc.sample(STEPS, { seed, numRuns: 1 });
      runBoth(steps);
    };`;

const OWN = { 'gateway-model': MODEL, world: WORLD };

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
