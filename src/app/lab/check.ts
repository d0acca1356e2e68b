// `lab --check`: runs the scenarios without a terminal, one line each, and says how many failed. A lab is built once for each kind of network and again after a
// failure, so that one scenario cannot spoil the next. Scenarios that only wait have a second lab, beside the first.

import { describeFailure } from '../program.ts';
import { ScenarioFailure } from './expectations.ts';
import { Lab } from './lab.ts';
import type { ScenarioNetwork } from './router-rules.ts';
import type { Scenario } from './scenario.ts';
import { END_OF_ACCESS } from './scenarios/end-of-access.ts';
import { ICELESS } from './scenarios/iceless.ts';
import { REACH } from './scenarios/reach.ts';
import { REFUSE } from './scenarios/refuse.ts';
import { RELAYS } from './scenarios/relays.ts';
import { SURVIVE } from './scenarios/survive.ts';

const ALL: readonly Scenario[] = [
  ...REACH,
  ...END_OF_ACCESS,
  ...SURVIVE,
  ...RELAYS,
  ...ICELESS,
  ...REFUSE,
];

export interface CheckOptions {
  readonly ipv6: boolean;
  readonly keepLogs: boolean;
  readonly print: (line: string) => void;
}

export function scenarioNames(): string[] {
  return ALL.map(({ name }) => name);
}

/** Scenarios of these names; a name that is none stands for all that begin with it; all if there are no names. */
export function selectScenarios(names: readonly string[]): Scenario[] {
  if (names.length === 0) return [...ALL];
  const exact = new Set(ALL.map(({ name }) => name));
  return ALL.filter((scenario) =>
    names.some((name) =>
      exact.has(name) ? scenario.name === name : scenario.name.startsWith(`${name}-`),
    ),
  );
}

/** Runs `scenarios`; resolves with the number of failures. */
export async function checkScenarios(
  scenarios: readonly Scenario[],
  options: CheckOptions,
): Promise<number> {
  const waiting = scenarios.filter(({ waits }) => waits);
  const others = scenarios.filter(({ waits }) => !waits);
  const failures = await Promise.all([runAll(others, options), runAll(waiting, options)]);
  const failed = failures.reduce((sum, count) => sum + count);
  options.print(`${scenarios.length - failed} passed, ${failed} failed`);
  return failed;
}

/** One after the other; resolves with the number of failures. */
async function runAll(scenarios: readonly Scenario[], options: CheckOptions): Promise<number> {
  const session = new Session(options);
  let failed = 0;
  for (const scenario of byNetwork(scenarios)) {
    const startedAt = performance.now();
    const seconds = (): string => ((performance.now() - startedAt) / 1_000).toFixed(1);
    try {
      const lab = await session.labFor(scenario.network);
      const phrase = await scenario.run(lab);
      options.print(`ok ${scenario.name} ${seconds()} ${phrase}`);
    } catch (error) {
      failed++;
      const why = error instanceof ScenarioFailure ? error.message : describeFailure(error);
      options.print(`FAIL ${scenario.name} ${why.replaceAll(/\s*\n\s*/g, ' | ')}`);
      await session.end();
    }
  }
  await session.end();
  return failed;
}

/** The lab that is up, if there is one, and what kind of network it has. */
class Session {
  readonly #options: CheckOptions;
  #lab: Lab | undefined;
  #network = '';

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  async labFor(network: ScenarioNetwork): Promise<Lab> {
    const wanted = JSON.stringify(network);
    if (this.#lab && this.#network === wanted) return this.#lab;
    await this.end();
    this.#network = wanted;
    const { ipv6, keepLogs } = this.#options;
    const hasIpv6 = ipv6 && network.ipv6;
    this.#lab = await Lab.create({ ...network, ipv6: hasIpv6, keepLogs, onProgress: () => {} });
    return this.#lab;
  }

  async end(): Promise<void> {
    const lab = this.#lab;
    this.#lab = undefined;
    if (!lab) return;
    if (this.#options.keepLogs) this.#options.print(`logs are kept in ${lab.folder}`);
    await lab.close();
  }
}

function byNetwork(scenarios: readonly Scenario[]): Scenario[] {
  const groups = new Map<string, Scenario[]>();
  for (const scenario of scenarios) {
    const key = JSON.stringify(scenario.network);
    groups.set(key, [...(groups.get(key) ?? []), scenario]);
  }
  return [...groups.values()].flat();
}
