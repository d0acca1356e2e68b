// The steps of a world from its seed, by weight. What they name is taken modulo what there is.

import { Dice } from '../dice.ts';
import { drawAnswer, drawFilters, drawLink } from '../draw-plan.ts';
import { Streams } from '../streams.ts';
import type { PolicyChange, Program, Step, TrafficStep } from './step.ts';

const ANY = 1_000;
const PAUSES_MS = [0, 5, 50, 300, 1_000, 1_000, 5_000, 20_000];
const PORTS = [53, 80, 80, 443, 443, 5_001, 22];
const OUTAGES_MS = [500, 3_000, 15_000, 60_000, 200_000];
const IDLE_MS = [30_000, 130_000, 310_000, 1_000_000];
const HOURS_MS = 4 * 3_600_000;
const TYPES = [1, 28, 12, 16, 33, 65];

export const STEP_COUNT = 40;

export function drawSteps(seed: number, count: number = STEP_COUNT): Step[] {
  const dice = new Dice(new Streams(seed).number('steps'));
  const steps = Array.from({ length: count }, () => drawStep(dice));
  return [...steps, { kind: 'calm', afterMs: 0 }];
}

function drawStep(dice: Dice): Step {
  const afterMs = dice.pick(PAUSES_MS);
  const draw = dice.weighted<(dice: Dice, afterMs: number) => Step>([
    [50, drawTraffic],
    [4, drawResolve],
    [12, drawPolicyStep],
    [2, drawName],
    [4, drawProgramStep],
    [3, drawRelayStep],
    [3, drawPortalStep],
    [3, drawNetworkStep],
    [1, drawClock],
    [4, drawAttack],
    [
      2,
      (_, at) => ({
        kind: 'idle',
        afterMs: at + (dice.chance(0.02) ? HOURS_MS : dice.pick(IDLE_MS)),
      }),
    ],
    [1, (_, at) => ({ kind: 'calm', afterMs: at })],
  ]);
  return draw(dice, afterMs);
}

function drawTraffic(dice: Dice, afterMs: number): TrafficStep {
  return {
    kind: dice.pick(['udp', 'tcp', 'echo'] as const),
    afterMs,
    client: dice.below(ANY),
    resource: dice.below(ANY),
    target: dice.below(ANY),
    family: dice.chance(0.6) ? 4 : 6,
    port: dice.pick(PORTS),
    bytes: dice.pick([0, 20, 200, 900, 1_200, 5_000, 30_000]),
    count: dice.pick([1, 1, 1, 3, 10]),
  };
}

function drawResolve(dice: Dice, afterMs: number): Step {
  return {
    kind: 'resolve',
    afterMs,
    client: dice.below(ANY),
    name: dice.below(ANY),
    type: dice.pick(TYPES),
  };
}

function drawPolicyStep(dice: Dice, afterMs: number): Step {
  return { kind: 'policy', afterMs, change: drawChange(dice) };
}

function drawChange(dice: Dice): PolicyChange {
  const [group, resource] = [dice.below(ANY), dice.below(ANY)];
  return dice.weighted<() => PolicyChange>([
    [6, () => ({ what: 'add-rule', group, resource })],
    [5, () => ({ what: 'remove-rule', group, resource })],
    [
      3,
      () => ({ what: 'expire-rule', rule: dice.below(ANY), seconds: dice.pick([0, 2, 20, 300]) }),
    ],
    [3, () => ({ what: 'add-resource', resource })],
    [2, () => ({ what: 'remove-resource', resource })],
    [2, () => ({ what: 'edit-address', resource, address: dice.below(ANY) })],
    [3, () => ({ what: 'edit-filters', resource, filters: drawFilters(dice) })],
    [1, () => ({ what: 'edit-site', resource, site: dice.below(ANY) })],
    [
      1,
      () => ({
        what: 'edit-lifetime',
        seconds: dice.chance(0.4) ? undefined : dice.pick([15, 120]),
      }),
    ],
  ])();
}

function drawName(dice: Dice, afterMs: number): Step {
  return { kind: 'name', afterMs, name: dice.below(ANY), answer: drawAnswer(dice) };
}

function drawProgram(dice: Dice): Program {
  return dice.weighted<Program>([
    [3, 'client'],
    [2, 'gateway'],
    [2, 'relay'],
  ]);
}

function drawProgramStep(dice: Dice, afterMs: number): Step {
  const common = { afterMs, program: drawProgram(dice), index: dice.below(ANY) };
  return dice.weighted<() => Step>([
    [3, () => ({ kind: 'roam', afterMs, client: dice.below(ANY), network: dice.below(ANY) })],
    [2, () => ({ ...common, kind: 'sleep', forMs: dice.pick([...OUTAGES_MS, 3_600_000]) })],
    [
      4,
      () => ({
        ...common,
        kind: 'restart',
        how: dice.pick(['orderly', 'crash', 'power'] as const),
        downMs: dice.pick([0, 200, 2_000, 20_000, 200_000]),
      }),
    ],
  ])();
}

function drawRelayStep(dice: Dice, afterMs: number): Step {
  return {
    kind: dice.pick(['relay-replace', 'presence-storm'] as const),
    afterMs,
    relay: dice.below(ANY),
    count: dice.between(1, 8),
    intervalMs: dice.pick([50, 500, 2_000]),
  };
}

function drawPortalStep(dice: Dice, afterMs: number): Step {
  const how = dice.pick([
    'outage',
    'slow',
    'restart',
    'duplicates',
    'lost-replies',
    'black-hole',
  ] as const);
  return { kind: 'portal', afterMs, how, forMs: dice.pick(OUTAGES_MS) };
}

function drawNetworkStep(dice: Dice, afterMs: number): Step {
  const [index, forMs] = [dice.below(ANY), dice.pick(OUTAGES_MS)];
  return dice.weighted<() => Step>([
    [
      2,
      () => ({
        kind: 'link',
        afterMs,
        program: drawProgram(dice),
        index,
        forMs,
        conditions: { ...drawLink(dice), loss: dice.pick([0.05, 0.3, 1]) },
      }),
    ],
    [
      3,
      () => ({
        kind: 'partition',
        afterMs,
        a: drawProgram(dice),
        aIndex: index,
        b: dice.chance(0.3) ? 'portal' : drawProgram(dice),
        bIndex: dice.below(ANY),
        forMs,
      }),
    ],
    [
      3,
      () => ({
        kind: 'router',
        afterMs,
        router: index,
        how: dice.pick(['reboot', 'renumber', 'block-udp', 'only-3478'] as const),
        forMs,
      }),
    ],
  ])();
}

function drawClock(dice: Dice, afterMs: number): Step {
  const byMs = dice.pick([-3_600_000, -5_000, 2_000, 60_000, 3_600_000]);
  return {
    kind: 'wall-clock',
    afterMs,
    program: dice.pick(['client', 'relay'] as const),
    index: dice.below(ANY),
    byMs,
  };
}

function drawAttack(dice: Dice, afterMs: number): Step {
  const common = {
    kind: 'attack',
    afterMs,
    client: dice.below(ANY),
    seed: dice.below(1 << 30),
  } as const;
  const outsider = ['replay', 'reflect', 'mutate', 'handshakes', 'noise'] as const;
  const liar = ['spoof', 'proxies', 'icmp', 'candidates', 'status'] as const;
  return dice.chance(0.6)
    ? { ...common, attack: { by: 'outsider', what: dice.pick(outsider) } }
    : { ...common, attack: { by: 'client', what: dice.pick(liar) } };
}
