// What each step does to a world. Steps name things by index, taken modulo how many there are; a step that finds nothing to do does nothing.

import type { ClientProgram } from '../actors/client-program.ts';
import type { GatewayProgram } from '../actors/gateway-program.ts';
import type { PortalService } from '../actors/portal-service.ts';
import type { RelayProgram } from '../actors/relay-program.ts';
import { lie } from '../attackers/liar.ts';
import type { Router } from '../network/router.ts';
import { visibleResources } from '../policy-view.ts';
import type { World } from '../world.ts';
import { keepCalm } from './calm.ts';
import { changePolicy } from './change-policy.ts';
import type {
  AttackStep,
  NetworkStep,
  PartitionStep,
  PortalStep,
  Program,
  RelayStep,
  RestartStep,
  RouterStep,
  SleepStep,
  Step,
  TrafficStep,
} from './step.ts';

/** How an application repeats what is not answered: RFC 6298 without its end. */
const PAUSES_MS = [1_000, 2_000, 4_000];
const SLOW_PORTAL_MS = 4_000;

export type AnyProgram = ClientProgram | GatewayProgram | RelayProgram;

export function performStep(world: World, step: Step): void {
  switch (step.kind) {
    case 'udp':
    case 'tcp':
    case 'echo':
      return speak(world, step);
    case 'resolve': {
      const name = pick(world.plan.names, step.name)?.name;
      const client = pick(world.clients, step.client);
      if (name !== undefined) client?.ask(name, step.type);
      return;
    }
    case 'policy':
      return changePolicy(world, step.change);
    case 'name': {
      const name = pick(world.plan.names, step.name)?.name;
      if (name !== undefined) world.names.set(name, step.answer, world.now);
      return;
    }
    case 'roam':
      return roam(world, step.client, step.network);
    case 'sleep':
      return sleep(world, step);
    case 'restart':
      return restart(world, step);
    case 'relay-replace':
    case 'presence-storm':
      return disturbRelay(world, step);
    case 'portal':
      return disturbPortal(world, step);
    case 'link':
      return disturbLink(world, step);
    case 'partition':
      return partition(world, step);
    case 'router':
      return disturbRouter(world, step);
    case 'wall-clock': {
      const { program, index, byMs } = step;
      const host =
        program === 'portal' ? world.portal.host : programOf(world, program, index)?.host;
      host?.stepWallClock(byMs);
      return;
    }
    case 'idle':
      return;
    case 'calm':
      return keepCalm(world);
    case 'attack':
      return attack(world, step);
  }
}

function attack(world: World, { attack: { by, what }, client: index, seed }: AttackStep): void {
  if (by === 'outsider') return world.outsider.attack(what, seed);
  const client = pick(world.clients, index);
  if (client?.isRunning && !client.isAsleep) lie(world, client, what, seed);
}

export function pick<T>(list: readonly T[], index: number): T | undefined {
  return list[index % list.length];
}

export function programOf(world: World, program: Program, index: number): AnyProgram | undefined {
  switch (program) {
    case 'client':
      return pick(world.clients, index);
    case 'gateway':
      return pick(world.gateways, index);
    case 'relay':
      return pick(world.relays, index);
  }
}

function speak(world: World, step: TrafficStep): void {
  const client = pick(world.clients, step.client);
  if (!client?.isRunning) return;
  // People mostly use what they see; in one of four cases somebody tries what is not for them.
  const visible = visibleResources(world.portal.policy, client.actor, world.wallNow);
  const isCurious = step.target % 4 === 0 || visible.length === 0;
  const resource = pick(isCurious ? world.plan.resources : visible, step.resource);
  if (!resource) return;
  const { kind, port, bytes, count, family } = step;
  const other = { ...step, family: family === 4 ? 6 : 4 } as const;
  const target =
    world.traffic.find(client, resource, step) ?? world.traffic.find(client, resource, other);
  if (!target) return;
  const { destination } = target;
  world.traffic.start({ client, kind, destination, port, bytes, count, pausesMs: PAUSES_MS });
}

function roam(world: World, client: number, network: number): void {
  const program = pick(world.clients, client);
  const access = program && pick([program.plan.access, ...program.plan.otherAccess], network);
  if (!access) return;
  world.topology.attach(program.host, access);
  program.handleNetworkChanged();
}

function sleep(world: World, { program, index, forMs }: SleepStep): void {
  const sleeper = programOf(world, program, index);
  if (!sleeper || sleeper.isAsleep) return;
  sleeper.sleep();
  world.disturb(forMs, () => sleeper.wake());
}

function restart(world: World, { program, index, how, downMs }: RestartStep): void {
  const restarted = programOf(world, program, index);
  if (!restarted?.isRunning || restarted.isAsleep) return;
  restarted.stop(how);
  world.disturb(downMs, () => restarted.start());
}

function disturbRelay(world: World, { kind, relay: index, count, intervalMs }: RelayStep): void {
  const relay = pick(world.relays, index);
  if (!relay) return;
  if (kind === 'presence-storm') {
    for (let i = 0; i < count; i++) {
      world.scheduler.call(2 * i * intervalMs, () => relay.dropPortal());
      world.scheduler.call((2 * i + 1) * intervalMs, () => relay.reconnectPortal());
    }
    return;
  }
  relay.stop('power');
  world.relays.splice(world.relays.indexOf(relay), 1);
  const plan = pick(world.plan.relays, index);
  // The last one has to speak both families, or somebody may have no way.
  const next = plan && world.addRelay({ ...plan, ipv4: true, ipv6: true });
  world.disturb(intervalMs, () => next?.start());
}

function disturbPortal(world: World, { how, forMs }: PortalStep): void {
  const { portal } = world;
  const set = (change: (portal: PortalService) => void, undo: (portal: PortalService) => void) => {
    change(portal);
    world.disturb(forMs, () => undo(portal));
  };
  switch (how) {
    case 'outage':
    case 'restart':
      return set(
        (it) => it.stop(),
        (it) => it.start(),
      );
    case 'slow':
      return set(
        (it) => {
          it.extraLatencyMs = SLOW_PORTAL_MS;
        },
        (it) => {
          it.extraLatencyMs = 0;
        },
      );
    case 'duplicates':
      return set(
        (it) => {
          it.repeatsPushes = true;
        },
        (it) => {
          it.repeatsPushes = false;
        },
      );
    case 'lost-replies':
      return set(
        (it) => {
          it.losesReplies = true;
        },
        (it) => {
          it.losesReplies = false;
        },
      );
    case 'black-hole':
      return set(
        (it) => {
          it.isBlackHole = true;
        },
        (it) => {
          it.isBlackHole = false;
        },
      );
  }
}

function disturbLink(world: World, { program, index, conditions, forMs }: NetworkStep): void {
  const first = programOf(world, program, index)?.host.interfaces[0];
  if (!first) return;
  const before = first.conditions;
  first.setConditions(conditions);
  world.disturb(forMs, () => {
    if (first.conditions === conditions) first.setConditions(before);
  });
}

function partition(world: World, { a, aIndex, b, bIndex, forMs }: PartitionStep): void {
  const first = programOf(world, a, aIndex)?.name;
  const second = b === 'portal' ? 'portal' : programOf(world, b, bIndex)?.name;
  if (first === undefined || second === undefined || first === second) return;
  world.network.part(first, second);
  world.disturb(forMs, () => world.network.join(first, second));
}

function disturbRouter(world: World, { router: index, how, forMs }: RouterStep): void {
  const router = pick(world.network.routers, index);
  if (!router) return;
  switch (how) {
    case 'reboot':
      return router.reboot(Math.min(forMs, 60_000), world.now);
    case 'renumber':
      return world.topology.renumber(router);
    case 'block-udp':
    case 'only-3478':
      return block(world, router, how, forMs);
  }
}

function block(world: World, router: Router, how: string, forMs: number): void {
  const before = router.config.outboundRule ?? 'everything';
  router.outboundRule = how === 'block-udp' ? 'no-udp' : { ports: [3478] };
  world.disturb(forMs, () => {
    router.outboundRule = before;
  });
}
