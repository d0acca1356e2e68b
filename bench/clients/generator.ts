// The program that is many clients; it runs in the client's namespace and reports on its standard output, one JSON document per client.
//
//   one by one   a client is started, settles for a while (portal connection, relays), and pings: what a user waits for
//   in a crowd   clients are started evenly over some time and ping as soon as they can

import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../src/app/lab/lab.ts';
import { warmUp } from '../../src/app/warm-up.ts';
import { SILENT_LOG } from '../../src/base/log.ts';
import { type ClientPlan, GeneratedClient } from './generated-client.ts';

export interface GeneratorPlan extends Omit<ClientPlan, 'id' | 'token'> {
  /** Used in turn: a portal lets each connect so often. */
  readonly tokens: readonly string[];
  readonly count: number;
  /** One by one: how long each settles. */
  readonly settleMs?: number;
  /** In a crowd: the time over which they start. */
  readonly withinMs?: number;
  readonly patienceMs: number;
}

/** Of one client, in milliseconds. */
export interface GeneratedResult {
  /** From its start until it may send. */
  readonly usable: number;
  /** From its first packet to the first answer; absent if there was none. */
  readonly answer?: number;
  readonly path: string;
  readonly problem?: string;
}

/** Tokens for generated clients, taught to the lab's portal. */
export async function grantTokens(lab: Lab, count: number): Promise<readonly string[]> {
  const tokens = Array.from({ length: count }, (_, i) => `bench-client-token-${i}`);
  lab.policy.edit((policy) => policy.clientTokens.push(...tokens));
  await lab.settlePolicy();
  return tokens;
}

export async function runGenerator(text: string): Promise<void> {
  const plan = JSON.parse(text) as GeneratorPlan;
  await warmUp(SILENT_LOG);
  if (plan.withinMs === undefined) await oneByOne(plan);
  else await crowd(plan, plan.withinMs);
  process.exit(0);
}

async function oneByOne(plan: GeneratorPlan): Promise<void> {
  for (let i = 0; i < plan.count; i++) {
    const client = start(plan, i);
    report(await run(client, plan));
    await client.close();
  }
}

async function crowd(plan: GeneratorPlan, withinMs: number): Promise<void> {
  const startedAt = performance.now();
  const running: Promise<void>[] = [];
  const clients: GeneratedClient[] = [];
  for (let i = 0; i < plan.count; i++) {
    await sleep(Math.max(0, startedAt + (i * withinMs) / plan.count - performance.now()));
    const client = start(plan, i);
    clients.push(client);
    running.push(run(client, plan).then(report));
  }
  await Promise.all(running);
  console.log('"done"');
  await Promise.all(clients.map((client) => client.close()));
}

function start(plan: GeneratorPlan, index: number): GeneratedClient {
  const token = plan.tokens[index % plan.tokens.length] ?? '';
  return new GeneratedClient({ ...plan, token, id: `bench-client-${process.pid}-${index}` });
}

async function run(client: GeneratedClient, plan: GeneratorPlan): Promise<GeneratedResult> {
  const startedAt = performance.now();
  let usable = Number.NaN;
  try {
    await client.usable();
    usable = performance.now() - startedAt;
    await sleep(plan.settleMs ?? 0);
    const answer = await client.ping(plan.patienceMs);
    return { usable, answer, path: client.path };
  } catch (error) {
    return { usable, path: client.path, problem: String(error) };
  }
}

function report(result: GeneratedResult): void {
  console.log(JSON.stringify(result));
}
