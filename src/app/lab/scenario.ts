// What a scenario of the lab is: a name, the network it needs, and what must be true. It says in one phrase what it saw, or throws an error whose message
// says what was wrong.

import type { Lab } from './lab.ts';
import type { RouterKind } from './router-rules.ts';

export interface ScenarioNetwork {
  readonly clientNat: RouterKind;
  readonly gatewayNat: RouterKind;
}

export interface Scenario {
  readonly name: string;
  readonly network: ScenarioNetwork;
  /** Ends with a phrase for the report. Whatever it changed in the lab it puts back; if it fails, the lab is built anew. */
  readonly run: (lab: Lab) => Promise<string>;
}

export const DIRECT: ScenarioNetwork = { clientNat: 'port-keeping', gatewayNat: 'port-keeping' };
/** Neither side can be reached from outside: everything goes through the relay. */
export const RELAYED: ScenarioNetwork = { clientNat: 'symmetric', gatewayNat: 'symmetric' };

export class ScenarioFailure extends Error {}

export function expect(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new ScenarioFailure(otherwise);
}

/** Repeats `attempt` until it gives a value; throws with the last complaint when time is up. */
export async function eventually<T>(
  what: string,
  timeoutMs: number,
  attempt: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await attempt();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new ScenarioFailure(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
