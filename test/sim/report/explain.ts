// What can be said about a world that failed: the shortest list of its steps that was found to fail by the same rule, what was expected beside what was
// found, and everything that happened.

import { drawPlan } from '../draw-plan.ts';
import { judgesOf } from '../judges/judges.ts';
import type { Fault } from '../oracle.ts';
import type { Step } from '../steps/step.ts';
import { runWorld, type Verdict } from '../world.ts';
import { writePcapng } from './pcapng.ts';
import { Recorder } from './record.ts';
import { shrink } from './shrink.ts';

/** What `--replay` takes: a seed says who is in the world, the steps what happens to it. */
export interface Replay {
  readonly seed: number;
  readonly steps: readonly Step[];
}

export interface Explanation {
  readonly replay: Replay;
  readonly fault: Fault | undefined;
  readonly trace: string;
  readonly simulatedMs: number;
  readonly lines: readonly string[];
  readonly captures: readonly { readonly name: string; readonly file: Uint8Array }[];
}

/** The same world with fewer steps, in at most `budget` tries. */
export function shorten({ seed, steps }: Replay, rule: string, budget: number): Replay {
  const plan = drawPlan(seed);
  const fails = (candidate: readonly Step[]): boolean => {
    const [fault] = verdictOf(() => runWorld(plan, candidate, judgesOf)).faults;
    return fault?.rule === rule;
  };
  return { seed, steps: shrink(steps, fails, budget) };
}

export function explain(replay: Replay): Explanation {
  const recorder = new Recorder();
  const { faults, trace, simulatedMs } = verdictOf(() =>
    runWorld(drawPlan(replay.seed), replay.steps, (world) => [
      ...judgesOf(world),
      recorder.watch(world),
    ]),
  );
  const captures = recorder
    .captures()
    .map(({ name, packets }) => ({ name, file: writePcapng(packets) }));
  return { replay, fault: faults[0], trace, simulatedMs, lines: recorder.lines, captures };
}

/** A machine that throws fails by the name of what it threw. */
function verdictOf(run: () => Verdict): Pick<Verdict, 'faults' | 'trace' | 'simulatedMs'> {
  try {
    return run();
  } catch (error) {
    const found = error instanceof Error ? (error.stack ?? error.message) : String(error);
    const fault = { at: 0 as Fault['at'], rule: CRASH_RULE, expected: 'no exception', found };
    return { faults: [fault], trace: 'none', simulatedMs: 0 };
  }
}

/** As the runner calls it. */
export const CRASH_RULE = 'a world ends';
