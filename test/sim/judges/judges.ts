// All who watch a world.

import type { Observer } from '../oracle.ts';
import type { World } from '../world.ts';
import { Invariants } from './invariants.ts';
import { Once } from './once.ts';
import { PolicySafety } from './policy-safety.ts';
import { ReturnPath } from './return-path.ts';

export function judgesOf(world: World): readonly Observer[] {
  return [new ReturnPath(world), new Once(world), new PolicySafety(world), new Invariants(world)];
}
