// What a scenario of the lab is: a name, the network it needs, and what must be true. It says in one phrase what it saw, or throws an error whose message
// says what was wrong.

import type { Lab } from './lab.ts';
import type { ScenarioNetwork } from './router-rules.ts';

export interface Scenario {
  readonly name: string;
  readonly network: ScenarioNetwork;
  /** It does little but wait for a program's patience to end: it runs beside the others, in a lab of its own. */
  readonly waits?: true;
  /** Ends with a phrase for the report. Whatever it changed in the lab it puts back; if it fails, the lab is built anew. */
  readonly run: (lab: Lab) => Promise<string>;
}
